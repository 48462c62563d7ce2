"""A small picture of an image or of a label image, for a terminal.

`python -m zoowizard.thumbnail image|labels|picture PATH W H [--family NAME] [--axes LETTERS]` prints one JSON object:
`width`, `height` (pixels, at most W x H, the aspect ratio kept), `rgb` (the pixels, row by row, in hexadecimal),
`shape`, `dtype`, `min`, `max` of what is in the file, and `problem`: for an image the sentence that says why it cannot
be the test image of a model of that family, or null. With a problem there are no pixels.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zoowizard.drafts.fields import Check
from zoowizard.drafts.images import MICROSCOPY, MOST_PIXELS, check_test_image, in_8_bits, read_image
from zoowizard.drafts.stacks import check_stack, likely_axes, middle_plane, read_stack, stack_facts
from zoowizard.errors import ZoowizardError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGEST_SIDE: Final = 1024
COLOURS: Final = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip
"""Colours that people of any colour vision can tell apart: Okabe and Ito, https://jfly.uni-koeln.de/color/."""
LABELS: Final = ("sample_labels.tif", "sample_labels.png", "test_labels.npy")
"""The files with a predicted label image in the folder of a package, the best first."""
KEPT_LABELS: Final = "tensors/labels.npy"
"""The same in the folder of the job, beside that of the package, where the package itself gives no labels."""
KEPT_PICTURE: Final = "tensors/shown-output.npy"
"""There, too: a picture of what is predicted, where that are no labels."""


def check_of(family: str) -> Check:
    """The check of the test image of a model of the family; the common one where it has none of its own."""
    # By name, as this is one of the families' neighbours and knows none of them.
    fields = importlib.import_module("zoowizard.families.registry").family(family).FIELDS
    return next((field.check for field in fields if field.name == "test_image"), check_test_image)


def of_image(path: Path, width: int, height: int, check: Check = check_test_image, axes: str = "") -> dict[str, Any]:
    """The answer for a test image, stretched so that dim ones can be seen; two channels are red and green.

    Of a stack it is the plane in the middle; `axes` are its letters where they are known, and stand in the answer.
    """
    if check is check_stack:
        return _of_stack(path, width, height, axes)
    try:
        problem = check(str(path))
        pixels = None if problem else read_image(path, MICROSCOPY)
    except ZoowizardError as error:  # it was changed meanwhile
        problem, pixels = str(error), None
    if pixels is None:
        return {"width": 0, "height": 0, "rgb": "", "problem": problem}
    return {**_picture(pixels, width, height), **_facts(pixels), "problem": None}


def _of_stack(path: Path, width: int, height: int, axes: str) -> dict[str, Any]:
    try:
        problem = check_stack(str(path))
        facts = stack_facts(path)
        shown = axes if len(axes) == len(facts.shape) else likely_axes(facts)
        image = None if problem else read_stack(path, shown)
    except ZoowizardError as error:
        problem, image = problem or str(error), None
    if image is None:
        return {"width": 0, "height": 0, "rgb": "", "problem": problem}
    told = {**_facts(image), "shape": list(facts.shape), "axes": shown, "axes_told": facts.axes is not None}
    return {**_picture(middle_plane(image), width, height), **told, "problem": None}


def of_labels(path: Path, width: int, height: int) -> dict[str, Any]:
    """The answer for a label image, (y, x) with 0 as background; `path` may be the folder of a package.

    Objects that touch each other have different colours. Of a package that gives no labels it is a picture of its first
    output, and `objects` is false. Raises ZoowizardError where there is no such image.
    """
    import numpy as np

    picture = path.parent / KEPT_PICTURE
    if path.is_dir() and picture.is_file():
        pixels = _read_picture(picture)
        return {**_picture(pixels, width, height), **_facts(pixels), "problem": None, "objects": False}
    pixels = _read_labels(_labels_in(path) if path.is_dir() else path)
    columns, rows = _within(pixels.shape, width, height)
    across = ((np.arange(columns) + 0.5) * pixels.shape[1] / columns).astype(np.intp)
    down = ((np.arange(rows) + 0.5) * pixels.shape[0] / rows).astype(np.intp)
    small = pixels[np.ix_(down, across)]
    numbers = coloured(small.astype(np.int64).tolist())
    palette = np.array([(0, 0, 0), *COLOURS], np.uint8)
    return {**_answer(palette[np.array(numbers)]), **_facts(pixels), "problem": None, "objects": True}


def of_picture(path: Path, width: int, height: int) -> dict[str, Any]:
    """The answer for an 8-bit PNG, grey or RGB, that a job drew to be looked at. Raises ZoowizardError."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG",)) as opened:
            is_picture = opened.mode in ("L", "RGB") and opened.width * opened.height <= MOST_PIXELS
            pixels = np.asarray(opened) if is_picture else None
    except Exception as error:  # a damaged file may raise anything
        raise ZoowizardError(f"{path} cannot be read as a picture: it is damaged or something else") from error
    if pixels is None:
        raise ZoowizardError(f"{path} is no 8-bit picture")
    return {**_picture(pixels, width, height), **_facts(pixels), "problem": None}


def coloured(labels: Sequence[Sequence[int]]) -> list[list[int]]:
    """A colour's number, from 1, for each label: one that no object beside it has, where one is left; 0 stays 0."""
    chosen: dict[int, int] = {0: 0}
    near: dict[int, set[int]] = {}
    for row, below in zip(labels, [*labels[1:], labels[-1]], strict=True):
        for column, label in enumerate(row):
            for other in (*row[column + 1 : column + 3], *below[max(0, column - 1) : column + 2]):
                if label != other:
                    near.setdefault(label, set()).add(other)
                    near.setdefault(other, set()).add(label)
    for count, label in enumerate(sorted({label for row in labels for label in row} - {0})):
        taken = {chosen[other] for other in near.get(label, ()) if other in chosen}
        order = [(count + step) % len(COLOURS) + 1 for step in range(len(COLOURS))]
        chosen[label] = next((colour for colour in order if colour not in taken), order[0])
    return [[chosen[label] for label in row] for row in labels]


def _labels_in(folder: Path) -> Path:
    for path in (*(folder / name for name in LABELS), folder.parent / KEPT_LABELS):
        if path.is_file():
            return path
    raise ZoowizardError(f"{folder} holds no predicted label image")


def _read_labels(path: Path) -> "NDArray[np.generic]":
    import numpy as np

    try:
        if path.suffix.lower() == ".npy":
            read = np.load(path, mmap_mode="r", allow_pickle=False)
        elif path.suffix.lower() in (".tif", ".tiff"):
            import tifffile

            read = tifffile.imread(path)
        else:
            from PIL import Image

            read = np.asarray(Image.open(path, formats=("PNG",)))
        pixels = np.squeeze(read)
    except Exception as error:  # a damaged file may raise anything
        raise ZoowizardError(f"{path} cannot be read as a label image: it is damaged or something else") from error
    if pixels.ndim != 2 or not 0 < pixels.size <= MOST_PIXELS or pixels.dtype.kind not in "buif":
        size = " x ".join(str(side) for side in pixels.shape)
        raise ZoowizardError(f"{path} is no label image of rows and columns ({size}, {pixels.dtype})")
    return np.asarray(pixels)


def _read_picture(path: Path) -> "NDArray[Any]":
    """A picture as packaging keeps it, of such a type and shape as a test image has."""
    import numpy as np

    try:
        pixels = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise ZoowizardError(f"{path} cannot be read as a picture: it is damaged or something else") from error
    is_picture = pixels.ndim in (2, 3) and pixels.shape[2:] in ((), (2,), (3,)) and 0 < pixels.size <= 3 * MOST_PIXELS
    if not is_picture or str(pixels.dtype) not in MICROSCOPY.dtypes:
        size = " x ".join(str(side) for side in pixels.shape)
        raise ZoowizardError(f"{path} is no picture ({size}, {pixels.dtype})")
    return pixels


def _within(shape: Sequence[int], width: int, height: int) -> tuple[int, int]:
    """Width and height of the thumbnail; small images are not made larger."""
    scale = min(width / shape[1], height / shape[0], 1.0)
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def _picture(pixels: "NDArray[Any]", width: int, height: int) -> dict[str, Any]:
    import numpy as np
    from PIL import Image

    every = max(1, -(-max(pixels.shape[:2]) // LARGEST_SIDE))
    size = _within(pixels.shape, width, height)
    small = Image.fromarray(np.ascontiguousarray(in_8_bits(pixels[::every, ::every]))).resize(
        size, Image.Resampling.BOX
    )
    shown = np.asarray(small.convert("RGB"), np.float32)
    low, high = np.percentile(shown, (1, 99))
    stretched = (shown - low) * (255 / max(high - low, 1.0))
    return _answer(np.clip(np.rint(stretched), 0, 255).astype(np.uint8))


def _answer(rgb: "NDArray[np.uint8]") -> dict[str, Any]:
    return {"width": rgb.shape[1], "height": rgb.shape[0], "rgb": rgb.tobytes().hex()}


def _facts(pixels: "NDArray[Any]") -> Mapping[str, Any]:
    return {
        "shape": list(pixels.shape),
        "dtype": str(pixels.dtype),
        "min": float(pixels.min()),
        "max": float(pixels.max()),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the answer; gives 1, and a sentence on standard error, where there is none."""
    parser = argparse.ArgumentParser(prog="python -m zoowizard.thumbnail")
    parser.add_argument("kind", choices=("image", "labels", "picture"))
    parser.add_argument("path", type=Path)
    parser.add_argument("width", type=int)
    parser.add_argument("height", type=int)
    parser.add_argument("--family", default="")
    parser.add_argument("--axes", default="")
    given = parser.parse_args(arguments)
    size = (given.width, given.height)
    try:
        if given.kind == "image":
            check = check_of(given.family) if given.family else check_test_image
            answer = of_image(given.path, *size, check, given.axes)
        elif given.kind == "picture":
            answer = of_picture(given.path, *size)
        else:
            answer = of_labels(given.path, *size)
    except ZoowizardError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    except MemoryError:
        sys.stderr.write(f"{given.path} is too big for the memory of this computer\n")
        return 1
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
