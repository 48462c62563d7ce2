"""How the files of CAREamics here were made: seconds of training on the CPU, in an environment of its own.

    uv run --no-project --python 3.11 --with careamics==0.3.5 --with 'pydantic<2.14' tests/origins/make_careamics.py

CAREamics itself trains, predicts and exports; nothing is downloaded.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from careamics import CAREamist
from careamics.config import create_advanced_care_config, create_advanced_n2v_config

HERE = Path(__file__).parent / "careamics-0.3.5"
SIDE_PX = 96


def images() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Waves and spots (y, x): a noisy 16-bit image, and what it would be without noise, in other values."""
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[:SIDE_PX, :SIDE_PX]
    clean = 1000 + 600 * np.sin(xx / 9) * np.cos(yy / 13)
    for y, x, radius in zip(rng.uniform(5, 90, 12), rng.uniform(5, 90, 12), rng.uniform(4, 9, 12), strict=True):
        clean += 900 * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * radius**2))
    noisy = rng.poisson(clean / 20) * 20 + rng.normal(0, 60, clean.shape)
    return noisy.clip(0, 65535).astype(np.uint16), (clean * 2 + 100).astype(np.float32)


def main() -> None:
    HERE.mkdir(exist_ok=True)
    noisy, clean = images()
    settings: dict[str, Any] = {
        "data_type": "array", "axes": "YX", "patch_size": (32, 32), "batch_size": 4, "num_epochs": 2, "num_steps": 20,
        "num_workers": 0, "trainer_params": {"accelerator": "cpu"}, "seed": 1,
        "model_params": {"depth": 1, "num_channels_init": 8},
    }  # fmt: skip
    tifffile.imwrite(HERE / "image.tif", noisy)
    with tempfile.TemporaryDirectory() as folder:
        care = CAREamist(create_advanced_care_config(experiment_name="waves", **settings), work_dir=folder)
        care.train(train_data=noisy, train_data_target=clean, val_data=noisy, val_data_target=clean)
        np.save(HERE / "predicted.npy", np.squeeze(np.asarray(care.predict(pred_data=noisy)[0])))
        for checkpoint in Path(folder).rglob("waves_*.ckpt"):
            told = torch.load(checkpoint, "cpu", weights_only=False)
            told["optimizer_states"], told["callbacks"] = [], {}  # large, and with paths of the computer that trained
            torch.save(told, HERE / checkpoint.name)
        n2v2 = CAREamist(
            create_advanced_n2v_config(experiment_name="waves2", use_n2v2=True, **settings), work_dir=folder
        )
        n2v2.train(train_data=noisy, val_data=noisy)
        n2v2.export_to_bmz(
            path_to_archive=HERE / "n2v2.zip",
            friendly_model_name="N2V2 of waves",
            input_array=noisy[:64, :64].astype(np.float32),
            authors=[{"name": "Ada Lovelace"}],
            general_description="Takes the noise out of waves.",
            data_description="Drawn waves and spots.",
        )
    shutil.rmtree("csv_logs", ignore_errors=True)


if __name__ == "__main__":
    main()
