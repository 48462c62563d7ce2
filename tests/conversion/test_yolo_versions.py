"""Every architecture, converted, paints what `model.predict` paints: no pixel and no class differs.

The networks are the true ones with random weights, scaled so that they find a few dozen objects; nothing is trained.
"""

import keyword
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from zoowizard.conversion.converted import Converted
from zoowizard.conversion.yolo import _quiet_offline, convert
from zoowizard.jobs.steps import Steps

Picture = NDArray[np.uint8]
LabelImage = NDArray[np.int32]

ONE_CLASS = ["nucleus"]
THREE_CLASSES = ["round cell", "mitotic", "debris"]
CASES = [
    # architecture, image size, classes, colour, channels of the network
    ("yolov8n-seg.yaml", 320, THREE_CLASSES, "rgb", 3),
    ("yolov8n-seg-p6.yaml", 384, ONE_CLASS, "rgb", 3),  # four levels, sides in multiples of 64
    ("yolo11n-seg.yaml", 224, ONE_CLASS, "grayscale", 3),
    ("yolo12n-seg.yaml", 352, THREE_CLASSES, "grayscale", 3),
    ("yolo11n-seg.yaml", 256, ONE_CLASS, "grayscale", 1),
    ("yolo26n-seg.yaml", 320, THREE_CLASSES, "rgb", 3),  # distances without bins, and a second head that is not used
]
SHAPES = [(256, 320), (300, 400), (97, 64)]
CONFIDENCE, OVERLAP_IOU, MAX_OBJECTS = 0.25, 0.6, 60


@dataclass(frozen=True)
class Case:
    """A converted network and the checkpoint that it comes from."""

    checkpoint: Path
    converted: Converted
    image_size: int
    classes: list[str]
    colour: str
    predicted: list[tuple[Picture, list[LabelImage]]]
    """Pictures, and what `model.predict` paints on each: the label image, and with several classes the class image."""


def cells(shape: tuple[int, int], colour: str, seed: int = 0) -> Picture:
    """Coloured discs on noise, (y, x) or (y, x, 3)."""
    rng = np.random.default_rng(seed)
    picture = rng.normal(30, 8, (*shape, 3))
    y, x = np.mgrid[: shape[0], : shape[1]]
    for _ in range(shape[0] * shape[1] // 900):
        centre, radius = rng.uniform((0, 0), shape), rng.uniform(5, 16)
        picture[np.hypot(y - centre[0], x - centre[1]) < radius] += rng.uniform(20, 160, 3)
    whole: Picture = np.clip(picture, 0, 255).astype(np.uint8)
    return whole if colour == "rgb" else np.ascontiguousarray(whole[..., 0])


def write_checkpoint(
    path: Path, architecture: str, image_size: int, classes: list[str], picture: Picture, channels: int
) -> None:
    """A checkpoint as training leaves it behind, of a network that finds objects of all sizes and classes."""
    from ultralytics.nn.tasks import SegmentationModel

    torch.manual_seed(3)
    model = SegmentationModel(architecture, ch=channels, nc=len(classes), verbose=False)
    model.names = dict(enumerate(classes))
    model.args = {"task": "segment", "imgsz": image_size}
    model.task = "segment"
    coloured = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    batch = (
        torch.from_numpy(coloured.transpose(2, 0, 1)[None]).float().repeat(2, 1, 1, 1)[:, :channels, :256, :256] / 255
    )
    head: Any = model.model[-1]
    last = {kind: [branch[-1] for branch in getattr(head, kind)] for kind in ("cv2", "cv3", "cv4")}
    spread = {"cv2": 1.5, "cv3": 1.5, "cv4": 1.0}
    with torch.inference_mode(False), torch.no_grad():
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 0.9
        for _ in range(3):
            model(batch)
        model.eval()
        seen: dict[Any, torch.Tensor] = {}
        layers = [(kind, layer) for kind, found in last.items() for layer in found]
        hooks = [
            layer.register_forward_hook(lambda layer, _, out: seen.__setitem__(layer, out.detach()))
            for _, layer in layers
        ]
        model(batch)
        for hook in hooks:
            hook.remove()
        for kind, layer in layers:
            out = seen[layer]
            factor = spread[kind] / out.std((0, 2, 3))
            shift = {"cv2": 2.5 if head.reg_max == 1 else 0.0, "cv3": -3.8, "cv4": 0.0}[kind]
            layer.weight.mul_(factor[:, None, None, None])
            layer.bias.copy_((layer.bias - out.mean((0, 2, 3))) * factor + shift)
    torch.save({"model": model.half(), "epoch": -1, "train_args": model.args, "version": "8.4.0"}, path)


@pytest.fixture(scope="module", autouse=True)
def framework(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = dict(os.environ)
    _quiet_offline(tmp_path_factory.mktemp("ultralytics"))
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0].removesuffix('.yaml')}-{case[4]}")
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    architecture, image_size, classes, colour, channels = request.param
    folder = tmp_path_factory.mktemp("网络 [1]")
    picture = cells(SHAPES[0], colour)
    write_checkpoint(folder / "best.pt", architecture, image_size, classes, picture, channels)
    values = {
        "confidence": CONFIDENCE,
        "overlap_iou": OVERLAP_IOU,
        "max_objects": MAX_OBJECTS,
        "image_size": image_size,
        "colour": colour,
    }
    with Steps(folder / "events.jsonl").step("convert") as step:
        converted = convert(folder / "best.pt", values, picture, folder, step)
    pictures = [cells(shape, colour, seed) for seed, shape in enumerate(SHAPES)]
    predicted = [
        (picture, images[: 1 if len(classes) == 1 else 2])
        for picture, images in zip(
            pictures, painted_by_predict(folder / "best.pt", image_size, pictures, channels), strict=True
        )
    ]
    return Case(folder / "best.pt", converted, image_size, classes, colour, predicted)


def painted_by_predict(
    checkpoint: Path, image_size: int, pictures: list[Picture], channels: int
) -> list[list[LabelImage]]:
    """Label image and class image out of the framework's own results, the surest object on top."""
    from ultralytics import YOLO

    yolo, painted = YOLO(str(checkpoint)), []
    for picture in pictures:
        coloured = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
        [result] = yolo.predict(
            picture if channels == 1 else np.ascontiguousarray(coloured[..., ::-1]),
            conf=CONFIDENCE,
            iou=OVERLAP_IOU,
            max_det=MAX_OBJECTS,
            imgsz=image_size,
            retina_masks=True,
            device="cpu",
            verbose=False,
        )
        assert result.masks is not None
        assert result.boxes is not None
        labels, kinds = np.zeros(picture.shape[:2], np.int32), np.zeros(picture.shape[:2], np.int32)
        numbers = result.boxes.cls.numpy().astype(int)
        for index in reversed(range(len(numbers))):
            inside = result.masks.data[index].numpy() > 0
            labels[inside], kinds[inside] = index + 1, numbers[index] + 1
        painted.append([labels, kinds])
    return painted


def as_input(case: Case, picture: Picture) -> NDArray[np.float32]:
    return np.ascontiguousarray(case.converted.native.to_input(picture)).astype(np.float32)


def test_no_pixel_differs_from_predict(case: Case) -> None:
    weights = next(one for one in case.converted.weights if one.weight_format == "torchscript")
    network = torch.jit.load(str(weights.path))
    objects, classes_seen = 0, {0}
    for picture, expected in case.predicted:
        with torch.inference_mode():
            got = network(torch.from_numpy(as_input(case, picture)))
        outputs = [got] if isinstance(got, torch.Tensor) else list(got)
        assert len(outputs) == len(expected) == len(case.converted.outputs)
        for output, image in zip(outputs, expected, strict=True):
            assert (output[0, 0].numpy() == image).all()
        objects += len(np.unique(expected[0])) - 1
        classes_seen |= set(np.unique(expected[-1]).tolist())
    assert objects > 20
    assert len(case.classes) == 1 or len(classes_seen) > 2


def test_onnx_paints_the_same(case: Case) -> None:
    """All but the order of objects whose scores are equal to the last digits: another library adds in another order."""
    weights = next(one for one in case.converted.weights if one.weight_format == "onnx")
    session = onnxruntime.InferenceSession(weights.path, providers=["CPUExecutionProvider"])
    differing = pixels = 0
    for picture, (labels, *kinds) in case.predicted:
        got, *got_kinds = (output[0, 0] for output in session.run(None, {"image": as_input(case, picture)}))
        differing += int((numbered_alike(got, labels) != labels).sum())
        differing += sum(int((one != image).sum()) for one, image in zip(got_kinds, kinds, strict=True))
        pixels += labels.size * (1 + len(kinds))
    assert differing / pixels < 1e-3


def numbered_alike(got: LabelImage, expected: LabelImage) -> LabelImage:
    """The label image with each object's number as it is expected; only neighbours in the order may have changed."""
    numbers = {0: 0}
    for number in np.unique(got[got > 0]).tolist():
        found, counts = np.unique(expected[got == number], return_counts=True)
        numbers[number] = int(found[counts.argmax()])
        assert numbers[number] == 0 or abs(numbers[number] - number) <= 2
    objects = [number for number in numbers.values() if number]
    assert len(set(objects)) == len(objects)
    return np.vectorize(numbers.get)(got)


def test_channels_have_names_that_the_zoos_runner_takes(case: Case) -> None:
    """Its library, older than today's, takes identifiers only, and no words of Python."""
    axes = [axis for tensor in (*case.converted.inputs, *case.converted.outputs) for axis in tensor.axes]
    names = [name for axis in axes for name in axis.get("channel_names", [])]
    assert len(names) == (1 if case.colour == "grayscale" else 3) + (1 if len(case.classes) == 1 else 2)
    assert all(name.isidentifier() and not keyword.iskeyword(name) for name in names)


def test_weights_do_not_tell_where_they_were_made(case: Case) -> None:
    """TorchScript packs the paths of the source files into records of its own, where a look at the file misses them."""
    local = [str(case.checkpoint.parent), str(Path(torch.__file__).parents[1]), str(Path(__file__).parents[2])]
    for weights in case.converted.weights:
        records = [weights.path.read_bytes()]
        if weights.weight_format == "torchscript":
            with zipfile.ZipFile(weights.path) as archive:
                records += [archive.read(name) for name in archive.namelist()]
        for path in local:
            assert not any(path.encode() in record for record in records)
