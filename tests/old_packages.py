"""Packages of the zoo as they were written years ago, in the layouts 0.3 and 0.4, of the small network."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from small_packages import ARCHITECTURE, Small

from zoowizard.library.archive import sha256

README = """# A U-Net for cells

## Intended use

Finds cells in images of cultured cells, *in vitro* only.

```python
# Limitations
```

## Limitations

Misses cells under 5 pixels; see <https://example.org/paper>.

| a | b |

## Validation

F1 of 0.9 on 20 images that it was not trained on.
"""


def old_package(folder: Path, layout: str = "0.4.10", **more: Any) -> Path:
    """Write the package into `folder` (made); gives its description, in which `more` stands (None: taken out)."""
    folder.mkdir(parents=True, exist_ok=True)
    network = Small().network()
    torch.manual_seed(1)
    image = torch.rand(1, 1, 64, 64)
    normalised = (image - image.mean((2, 3), keepdim=True)) / (image.std((2, 3), keepdim=True, correction=0) + 1e-6)
    with torch.inference_mode():
        predicted = torch.sigmoid(network(normalised))
    np.save(folder / "test_in.npy", image.numpy())
    np.save(folder / "test_out.npy", predicted.numpy())
    torch.save(network.state_dict(), folder / "weights.pt")
    (folder / "net.py").write_text(ARCHITECTURE)
    (folder / "README.md").write_text(README)
    (folder / "training.csv").write_text("epoch,loss\n1,0.5\n")
    old = described(folder, layout)
    told = {name: one for name, one in {**old, **more}.items() if one is not None}
    (folder / "rdf.yaml").write_text(yaml.safe_dump(told, sort_keys=False))
    return folder / "rdf.yaml"


def described(folder: Path, layout: str) -> dict[str, Any]:
    """As data."""
    weights = {"source": "weights.pt", "sha256": sha256(folder / "weights.pt")}
    network = {"kwargs": {"dims": 2}}
    of_file = {"architecture": "net.py:SmallUNet", "architecture_sha256": sha256(folder / "net.py"), **network}
    in_03 = layout.startswith("0.3")
    return {
        "format_version": layout,
        "type": "model",
        "name": "U-Net of 2021",
        "description": "Finds cells in pictures of cultured cells.",
        "license": "MIT",
        "authors": [{"name": "Ada Lovelace", "affiliation": "Uni", "github_user": "a-user-that-nobody-has"}],
        "packaged_by": [{"name": "Grace Hopper"}],
        "cite": [{"text": "Nobody et al.", "doi": "10.1234/none"}],
        "tags": ["unet2d", "cells"],
        "documentation": "README.md",
        "timestamp": "2021-03-04T05:06:07",
        "inputs": [
            {
                "name": "raw",
                "axes": "bcyx",
                "data_type": "float32",
                "data_range": ["-inf", "inf"],
                "shape": {"min": [1, 1, 32, 32], "step": [0, 0, 2, 2]},
                "preprocessing": [{"name": "zero_mean_unit_variance", "kwargs": {"mode": "per_sample", "axes": "yx"}}],
            }
        ],
        "outputs": [
            {
                "name": "probability",
                "axes": "bcyx",
                "data_type": "float32",
                "data_range": ["-inf", "inf"],
                "halo": [0, 0, 8, 8],
                "shape": {"reference_tensor": "raw", "scale": [1, 1, 1, 1], "offset": [0, 0, 0, 0]},
                "postprocessing": [{"name": "sigmoid"}],
            }
        ],
        "test_inputs": ["test_in.npy"],
        "test_outputs": ["test_out.npy"],
        "weights": {"pytorch_state_dict": weights if in_03 else {**weights, **of_file}},
        "attachments": {"files": ["training.csv"]},
        "config": {"deepimagej": {"allow_tiling": True}},
        **({"source": "./net.py:SmallUNet", "sha256": sha256(folder / "net.py"), **network} if in_03 else {}),
        **({"language": "python", "framework": "pytorch"} if in_03 else {}),
    }


def zipped(folder: Path) -> Path:
    """The folder as a package beside it."""
    package = folder.parent / f"{folder.name}.zip"
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return package
