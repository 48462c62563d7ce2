"""Models as Cellpose leaves them: the true networks' state dicts with random weights, and what lies beside them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from zoowizard.conversion.cellpose_network import Cellpose

SMALL: Final = [2, 8, 16, 32]
LOG: Final = """\
2026-11-21 19:28:50,009 [INFO] WRITING LOG OUTPUT TO /home/ada/.cellpose/run.log
2026-11-21 19:28:50,009 [INFO]
cellpose version: \t3.1.1.2
platform:       \tlinux
python version: \t3.11.7
torch version:  \t2.5.1+cu124
2026-11-21 19:28:50,010 [INFO] 3 / 3 images in {train} folder have labels
2026-11-21 19:28:50,011 [INFO] 2 / 2 images in {test} folder have labels
2026-11-21 19:28:50,020 [INFO] >>>> during training rescaling images to fixed diameter of 30.0 pixels
2026-11-21 19:28:50,030 [INFO] >>>> loading model /home/ada/.cellpose/models/cyto3
2026-11-21 19:28:50,040 [INFO] >>>> model diam_mean =  30.000 (ROIs rescaled to this size during training)
2026-11-21 19:28:50,133 [INFO] >>> computing diameters
2026-11-21 19:28:50,136 [INFO] >>> using channels [2, 1]
2026-11-21 19:28:50,136 [INFO] >>> normalizing {{'lowhigh': None, 'percentile': {percentile}, 'normalize': True, \
'norm3D': True, 'sharpen_radius': 0, 'smooth_radius': 0, 'tile_norm_blocksize': 0, 'tile_norm_smooth3D': 1, \
'invert': False}}
2026-11-21 19:28:50,144 [INFO] >>> n_epochs=12, n_train=3, n_test=2
2026-11-21 19:28:50,144 [INFO] >>> AdamW, learning_rate=0.00500, weight_decay=0.00001
2026-11-21 19:28:56,398 [INFO] >>> saving model to {saved}
2026-11-21 19:28:57,526 [INFO] 0, train_loss=1.9305, test_loss=1.5714, LR=0.000000, time 1.13s
2026-11-21 19:29:01,809 [INFO] 5, train_loss=1.3717, test_loss=1.5190, LR=0.002778, time 5.41s
2026-11-21 19:29:01,809 [INFO] saving network parameters to {saved}_epoch_0005
2026-11-21 19:29:05,907 [INFO] 10, train_loss=0.9950, test_loss=1.1977, LR=0.005000, time 9.51s
2026-11-21 19:29:06,805 [INFO] saving network parameters to {saved}
2026-11-21 19:29:06,806 [INFO] >>>> model trained and saved to {saved}
"""
"""What cellpose 3.1.1.2 wrote, the homes apart."""


def cpnet_state(nbase: list[int] | None = None, **options: Any) -> dict[str, torch.Tensor]:
    """The state dict of a CPnet, with the tensors of a file that Cellpose 2 or 3 wrote."""
    torch.manual_seed(0)
    network = Cellpose(nbase=nbase or SMALL, **options)
    state = {name: one.clone() for name, one in network.state_dict().items()}
    return {**state, "diam_mean": torch.tensor([30.0]), "diam_labels": torch.tensor([23.878416])}


def write(path: Path, state: Mapping[str, Any], zipped: bool = True) -> Path:
    """Save as torch does, making the folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state), path, _use_new_zipfile_serialization=zipped)
    return path


def cpsam_state(width: int = 1024, depth: int = 24, nout: int = 3, dtype: Any = torch.bfloat16) -> dict[str, Any]:
    """The tensors by which Cellpose-SAM is known, with their true shapes; of most blocks a few numbers only."""
    shapes = {
        "W2": (nout * 64, nout, 8, 8),
        "diam_labels": (1,),
        "diam_mean": (1,),
        "encoder.pos_embed": (1, 32, 32, width),
        "encoder.patch_embed.proj.weight": (width, 3, 8, 8),
        "encoder.patch_embed.proj.bias": (width,),
        **{f"encoder.blocks.{number}.norm1.weight": (width,) for number in range(depth)},
        **{f"encoder.blocks.{number}.attn.rel_pos_h": (63, 64) for number in range(depth)},
        "encoder.neck.0.weight": (256, width, 1, 1),
        "out.weight": (nout * 64, 256, 1, 1),
        "out.bias": (nout * 64,),
    }
    return {
        name: torch.full(shape, 30.0 if name.startswith("diam") else 0.5, dtype=dtype) for name, shape in shapes.items()
    }
