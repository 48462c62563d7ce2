"""How the files of BiaPy here were made: seconds of training on the CPU, in an environment of its own.

    uv run --no-project --python 3.11 --with biapy==3.7.1 --with 'pydantic<2.14' tests/origins/make_biapy.py

BiaPy itself trains, predicts and exports; nothing is downloaded.
"""

import hashlib
import shutil
import tempfile
import zipfile
from pathlib import Path

import bioimageio.spec._internal.constants as constants
import numpy as np
import tifffile
import torch
import yaml

constants.KNOWN_GITHUB_USERS.add("ada")  # looked up over the network otherwise
from biapy import BiaPy  # noqa: E402

HERE = Path(__file__).parent / "biapy-3.7.1"
SIDE_PX = 64


def draw(folder: Path, count: int, seed: int) -> None:
    """Images of bright discs, and their masks."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:SIDE_PX, :SIDE_PX]
    for number in range(count):
        mask = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
        for y, x, radius in zip(rng.uniform(6, 58, 6), rng.uniform(6, 58, 6), rng.uniform(4, 9, 6), strict=True):
            mask[(yy - y) ** 2 + (xx - x) ** 2 < radius**2] = 255
        image = np.where(mask > 0, 160, 60) + rng.normal(0, 15, mask.shape)
        for kind, one in (("x", image.clip(0, 255).astype(np.uint8)), ("y", mask)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(folder / kind / f"{number}.tif", one)


def without_paths(package: Path, target: Path) -> None:
    """Copy a package; its code tells in comments where BiaPy was installed."""
    installed = str(Path(constants.__file__).parents[3])
    with zipfile.ZipFile(package) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copy:
        code = source.read("model.py")
        clean = code.replace(installed.encode(), b"site-packages")
        digests = [hashlib.sha256(one).hexdigest().encode() for one in (code, clean)]
        for name in source.namelist():
            copy.writestr(name, clean if name == "model.py" else source.read(name).replace(*digests))


def main() -> None:
    HERE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = {}
        for seed, (kind, count) in enumerate({"TRAIN": 4, "VAL": 2, "TEST": 1}.items()):
            draw(folder / kind, count, seed)
            data[kind] = {"PATH": str(folder / kind / "x"), "GT_PATH": str(folder / kind / "y"), "IN_MEMORY": True}
        data["VAL"]["FROM_TRAIN"] = False
        data["TEST"]["LOAD_GT"] = True
        settings = {
            "SYSTEM": {"NUM_CPUS": 1, "NUM_WORKERS": 0},
            "PROBLEM": {"TYPE": "SEMANTIC_SEG", "NDIM": "2D"},
            "DATA": {"PATCH_SIZE": [SIDE_PX, SIDE_PX, 1], **data},
            "AUGMENTOR": {"ENABLE": False},
            "MODEL": {"ARCHITECTURE": "unet", "FEATURE_MAPS": [4, 8, 8], "DROPOUT_VALUES": [0.0] * 3},
            "TRAIN": {"ENABLE": True, "OPTIMIZER": "ADAMW", "LR": 1e-3, "BATCH_SIZE": 4, "EPOCHS": 2, "PATIENCE": 5},
            "TEST": {"ENABLE": True},
        }
        (folder / "spots.yaml").write_text(yaml.safe_dump(settings))
        biapy = BiaPy(str(folder / "spots.yaml"), result_dir=str(folder), name="spots", run_id=1, gpu="")
        biapy.run_job()
        biapy.export_model_to_bmz(
            str(folder / "package"),
            bmz_cfg={
                "description": "Finds spots.", "authors": [{"name": "Ada Lovelace", "github_user": "ada"}],
                "license": "MIT", "tags": ["spots"], "model_name": "spots", "cite": [],
                "data": {"name": "spots", "doi": "10.1000/xyz123", "image_modality": "fluorescence microscopy"},
            },
        )  # fmt: skip
        [checkpoint] = folder.rglob("spots_1-checkpoint-best.pth")
        told = torch.load(checkpoint, "cpu", weights_only=True)
        told["optimizer"] = []  # two thirds of the file, and nothing of them is read
        for kind in data:
            told["cfg"]["DATA"][kind] = {}  # paths of the computer on which it was trained
        told["cfg"] = {name: one for name, one in told["cfg"].items() if name not in ("PATHS", "LOG")}
        torch.save(told, HERE / checkpoint.name)
        shutil.copyfile(folder / "TEST" / "x" / "0.tif", HERE / "image.tif")
        [package] = (folder / "package").glob("*.zip")
        without_paths(package, HERE / "spots.zip")


if __name__ == "__main__":
    main()
