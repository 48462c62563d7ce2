"""How the sample checkpoint was made: a YOLO11n segmentation network on drawn nuclei.

The pictures are drawn here, so nothing has to be downloaded and nothing is owed to anyone. They imitate
the look of `nuclei-512.png`: dim, elliptical, touching nuclei of 20 to 45 px, a few bright ones, camera
noise. About half an hour on two cores:

    uv run python assets/sample/train.py FOLDER
"""

import os
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from scipy import ndimage
from skimage.measure import approximate_polygon, find_contours

SIDE_PX = 512


def draw_nuclei(rng: np.random.Generator, side_px: int = SIDE_PX) -> tuple[np.ndarray, np.ndarray]:
    """Draw one field of view: an 8-bit image and its label image, both (y, x)."""
    labels = np.zeros((side_px, side_px), np.int32)
    brightness = np.zeros((side_px, side_px))
    yy, xx = np.mgrid[:side_px, :side_px]
    typical = rng.uniform(18, 70)
    centres: list[np.ndarray] = []
    for _ in range(rng.integers(25, 80)):
        if centres and rng.random() < 0.25:  # nuclei often touch
            centre = centres[rng.integers(len(centres))] + rng.normal(0, 22, 2)
        else:
            centre = rng.uniform(0, side_px, 2)
        major, minor = rng.uniform(13, 23), rng.uniform(9, 13)
        angle, wobble, phase = rng.uniform(0, np.pi), rng.uniform(0, 0.08), rng.uniform(0, 6.3)
        dy, dx = yy - centre[0], xx - centre[1]
        u, v = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        radius = np.hypot(u / major, v / minor)
        inside = radius < 1 + wobble * np.sin(3 * np.arctan2(v, u) + phase)
        if (labels[inside] > 0).mean() > 0.3 if inside.any() else True:
            continue
        centres.append(centre)
        labels[inside] = len(centres)
        level = typical * rng.uniform(0.7, 1.7) if rng.random() < 0.97 else rng.uniform(120, 255)
        brightness[inside] = (level * (1.1 - 0.35 * radius**2))[inside]
    texture = ndimage.gaussian_filter(rng.normal(0, 1, labels.shape), 1.5) * 0.9
    light = ndimage.gaussian_filter(brightness * (1 + 0.25 * texture), rng.uniform(0.7, 1.4))
    light += ndimage.gaussian_filter(brightness, 18) * 0.12 + rng.uniform(1, 5)
    noisy = rng.poisson(np.clip(light, 0, None) * 3) / 3 + rng.normal(0, 0.6, labels.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), labels


def polygons(labels: np.ndarray) -> list[str]:
    """The label image as lines of a YOLO segmentation label file (class 0, corners between 0 and 1)."""
    lines = []
    for label in np.unique(labels)[1:]:
        mask = np.pad(labels == label, 1)
        if mask.sum() < 40:
            continue
        contour = max(find_contours(mask.astype(float), 0.5), key=len) - 1
        corners = np.clip(approximate_polygon(contour, 0.4)[:, ::-1] / labels.shape[0], 0, 1)
        lines.append("0 " + " ".join(f"{value:.5f}" for value in corners.ravel()))
    return lines


def draw_dataset(folder: Path, train: int = 96, val: int = 16, seed: int = 0) -> Path:
    """Draw a data set in the layout that ultralytics reads; gives the path of its `data.yaml`."""
    rng = np.random.default_rng(seed)
    for part, count in (("train", train), ("val", val)):
        for kind in ("images", "labels"):
            (folder / kind / part).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            image, labels = draw_nuclei(rng)
            iio.imwrite(folder / "images" / part / f"{index:03}.png", image)
            (folder / "labels" / part / f"{index:03}.txt").write_text("\n".join(polygons(labels)))
    description = folder / "data.yaml"
    description.write_text("path: .\ntrain: images/train\nval: images/val\nnames:\n  0: nucleus\n")
    return description


def main(folder: Path) -> None:
    """Draw the data set, train, and leave the run in `folder`/nuclei-yolo11n."""
    os.environ.update(YOLO_OFFLINE="1", YOLO_AUTOINSTALL="0", YOLO_CONFIG_DIR=str(folder / "config"))
    (folder / "config").mkdir(parents=True, exist_ok=True)
    from ultralytics import YOLO, settings

    settings.update({"tensorboard": True, "datasets_dir": str(folder)})
    draw_dataset(folder / "drawn-nuclei")
    os.chdir(folder / "drawn-nuclei")
    YOLO("yolo11n-seg.yaml").train(
        data="data.yaml",
        project=str(folder),
        name="nuclei-yolo11n",
        epochs=40,
        imgsz=SIDE_PX,
        batch=4,
        device="cpu",
        workers=0,
        amp=False,
        seed=0,
        mosaic=0.0,
        overlap_mask=True,
        degrees=90.0,
        flipud=0.5,
        scale=0.3,
        hsv_v=0.5,
        plots=False,
        exist_ok=True,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
