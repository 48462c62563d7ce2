"""Ultralytics YOLO segmentation → TorchScript and ONNX that draw the label image of `model.predict`.

Runs in a job only: it imports torch and ultralytics, and it loads the checkpoint (with the loader's allow-list of known
classes, after `families.pickles` has already refused everything else).
"""

import functools
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from zoowizard.conversion.converted import Array, Converted, Native, TensorDescription, Weights
from zoowizard.conversion.saved_torchscript import save_torchscript
from zoowizard.conversion.yolo_network import LabelImage, OnlyLabels, Settings
from zoowizard.conversion.yolo_onnx import export_onnx
from zoowizard.drafts.images import EIGHT_BIT
from zoowizard.drafts.pixels import parse_pixel_size
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.steps import Step

ACCEPTS: Final = EIGHT_BIT
SMALLEST_SIDE_PX = 64
USES: Final = (
    "confidence",
    "overlap_iou",
    "max_objects",
    "image_size",
    "image_size_asked",
    "colour",
    "pixel_size",
    "test_image",
)
LATE: Final = (
    "ultralytics.models.yolo",
    "ultralytics.nn.autobackend",
    "torchvision",
    "torch.onnx.utils",
    "torch._dynamo",
    "scipy.sparse",
)
"""What ultralytics and PyTorch import only when they predict, trace and export."""


def _quiet_offline(folder: Path) -> None:
    """Ultralytics reads these when it is imported: no downloads, no installs, no settings file in the person's home."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(
        YOLO_OFFLINE="1",
        YOLO_AUTOINSTALL="0",
        YOLO_VERBOSE="0",
        YOLO_CONFIG_DIR=str(folder),
        ULTRALYTICS_SKIP_REQUIREMENTS_CHECKS="1",
        ULTRALYTICS_SAFE_LOAD="1",
    )


def preload(folder: Path) -> None:
    """Load what `convert` and `native` load late; `folder` is where ultralytics may write."""
    _quiet_offline(folder / "ultralytics")
    for name in LATE:
        importlib.import_module(name)


def convert(checkpoint: Path, values: Mapping[str, Any], image: Array, folder: Path, step: Step) -> Converted:
    """Convert a checkpoint; weights go to `folder`.

    `values` are the draft's values (thresholds, image size, pixel size, colour); `image` is the test image, (y, x) or
    (y, x, 3) uint8. Raises ZoowizardError where the checkpoint is no segmentation model or nothing is found in `image`.
    """
    _quiet_offline(folder / "ultralytics")
    step.progress(0.05, "loading ultralytics")
    yolo = _load(checkpoint)
    arguments = _arguments(yolo, values)
    step.progress(0.2, "predicting the test image with ultralytics")
    labels = predict_native(yolo, arguments, image)
    if not labels.any():
        raise ZoowizardError(
            f"test_image: the model finds nothing in {values.get('test_image', 'the test image')} at a confidence of "
            f"{arguments['conf']}; give an image that holds the objects it was trained on, or lower `confidence`"
        )
    # what `predict` made of the checkpoint: the head chosen, batch normalisation fused, the image size rounded up
    backend, size = yolo.predictor.model, int(yolo.predictor.imgsz[0])
    settings = _settings(checkpoint, backend, size, arguments)
    classes = [str(backend.names[key]) for key in sorted(backend.names)]
    if settings.network_channels == 1 and not _looks_gray(image):
        raise ZoowizardError(
            "test_image: it is in colour, but the model was trained on grayscale images; give such a one"
        )
    colour_channels = 1 if settings.network_channels == 1 or _is_grayscale(values, image) else 3

    step.progress(0.5, "tracing the network")
    network = Network(backend.model).eval()
    example = torch.rand(1, settings.network_channels, size, size)
    label_image = LabelImage(torch.jit.trace(network, example, check_trace=False), settings).eval()  # type: ignore[no-untyped-call]
    scripted = torch.jit.script(label_image if len(classes) > 1 else OnlyLabels(label_image).eval())
    torchscript = folder / "weights-torchscript.pt"
    save_torchscript(scripted, torchscript)

    step.progress(0.6, "drawing the test image")
    input_tensor = _to_input(image, colour_channels)
    outputs = _run_torchscript(scripted, input_tensor)
    step.progress(0.7, "converting to ONNX")
    exported, why_not = _onnx(network, settings, colour_channels, len(classes) > 1, folder)
    version = {"pytorch_version": torch.__version__.split("+")[0]}
    return Converted(
        inputs=[_input(input_tensor, image, values)],
        outputs=_outputs(outputs, classes, values),
        weights=[Weights("torchscript", torchscript, version), *([exported] if exported else [])],
        native=Native(
            to_input=lambda picture: _to_input(picture, colour_channels),
            predict=lambda picture: labels if picture is image else predict_native(yolo, arguments, picture),
        ),
        framework=f"ultralytics {_version()}",
        notes=[*_notes(settings, values), *([why_not] if why_not else [])],
        facts={"classes": classes, "colour": "grayscale" if colour_channels == 1 else "rgb", "image_size": size},
    )


def native(checkpoint: Path, values: Mapping[str, Any], facts: Mapping[str, Any], folder: Path) -> Native:
    """The model of `convert` in ultralytics again, without converting it; loaded when it first predicts.

    `facts` are those of the conversion, `folder` is where ultralytics may write. Predicting raises ZoowizardError where
    the checkpoint cannot be loaded.
    """
    colour_channels = 1 if facts["colour"] == "grayscale" else 3

    @functools.cache
    def loaded() -> tuple[Any, dict[str, Any]]:
        _quiet_offline(folder / "ultralytics")
        yolo = _load(checkpoint)
        return yolo, _arguments(yolo, values)

    return Native(
        to_input=lambda picture: _to_input(picture, colour_channels),
        predict=lambda picture: predict_native(*loaded(), picture),
    )


def _arguments(yolo: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """What `model.predict` is asked for, by its own names."""
    return {
        "conf": float(values["confidence"]),
        "iou": float(values["overlap_iou"]),
        "max_det": int(values["max_objects"]),
        "imgsz": int(values.get("image_size") or yolo.overrides.get("imgsz") or 640),
        "retina_masks": True,  # masks at the size of the image, not of the network's input
        "device": "cpu",
        "verbose": False,
    }


class Network(torch.nn.Module):
    """The fused network of ultralytics with the four tensors that `LabelImage` asks for as its answer."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Box distances, class logits, mask coefficients, mask prototypes; for their shapes see `LabelImage`."""
        (_, prototypes), raw = self.network(image)
        return raw["boxes"], raw["scores"], raw["mask_coefficient"], prototypes


def predict_native(yolo: Any, arguments: Mapping[str, Any], picture: Array) -> Array:
    """The label image (y, x) that `model.predict` gives for a picture, (y, x) or (y, x, 3) uint8 in RGB."""
    result = yolo.predict(_as_opencv_reads_it(picture, yolo), **arguments)[0]
    labels = np.zeros(picture.shape[:2], np.int32)
    if result.masks is not None:
        masks = result.masks.data.numpy()
        for index in range(len(masks) - 1, -1, -1):  # the surest is painted last: it stays visible
            labels[masks[index] > 0] = index + 1
    return labels


def _as_opencv_reads_it(picture: Array, yolo: Any) -> Array:
    """Blue, green, red; or one channel where the network has one."""
    if _channels_of(yolo.model) == 1:
        return np.ascontiguousarray(picture if picture.ndim == 2 else picture[..., 0])
    coloured = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    return np.ascontiguousarray(coloured[..., ::-1])


def _channels_of(model: Any) -> int:
    return int((getattr(model, "yaml", None) or {}).get("channels", 3))


def _settings(checkpoint: Path, backend: Any, image_size: int, arguments: Mapping[str, Any]) -> Settings:
    """What `LabelImage` needs to know. Raises ZoowizardError for heads and channels that it cannot reproduce."""
    head, channels = backend.model.model[-1], _channels_of(backend.model)
    if getattr(head, "cv2", None) is None or backend.end2end:
        raise ZoowizardError(
            f"{checkpoint.name}: its head was fused for NMS-free prediction; give the checkpoint that training wrote"
        )
    if channels not in (1, 3):
        raise ZoowizardError(
            f"{checkpoint.name}: it was trained on images of {channels} channels; only models of 1 or 3 (grayscale or "
            "RGB) can be packaged so far"
        )
    return Settings(
        image_size=image_size,
        network_channels=channels,
        stride=int(backend.stride),
        level_strides=tuple(int(stride) for stride in head.stride),
        box_bins=int(head.reg_max),
        confidence=arguments["conf"],
        overlap_iou=arguments["iou"],
        max_objects=arguments["max_det"],
    )


def _version() -> str:
    import ultralytics

    return str(ultralytics.__version__)


def _run_torchscript(scripted: Any, tensor: Array) -> list[Array]:
    """The output tensors of the scripted module for one input tensor."""
    with torch.inference_mode():
        out = scripted(torch.from_numpy(tensor).float())
    return [part.numpy() for part in (out if isinstance(out, tuple) else (out,))]


def _load(checkpoint: Path) -> Any:
    from ultralytics import YOLO

    try:
        yolo = YOLO(str(checkpoint))
    except TypeError as problem:
        raise ZoowizardError(f"{checkpoint.name}: ultralytics refuses to load it: {problem}") from problem
    if yolo.task != "segment":
        raise ZoowizardError(f"{checkpoint.name}: it is a model for `{yolo.task}`; only `segment` can be packaged")
    return yolo


def _is_grayscale(values: Mapping[str, Any], image: Array) -> bool:
    """What was answered, else what the test image is: one channel, or three that are all the same."""
    answered = values.get("colour")
    if answered:
        return bool(answered == "grayscale")
    return _looks_gray(image)


def _looks_gray(image: Array) -> bool:
    return image.ndim == 2 or bool((image == image[..., :1]).all())


def _to_input(picture: Array, channels: int) -> Array:
    """A picture (y, x) or (y, x, 3) as the tensor (1, `channels`, y, x)."""
    if picture.ndim == 2:
        return np.repeat(picture[None, None], channels, axis=1)
    if channels == 1:
        return np.ascontiguousarray(picture[None, None, :, :, 0])
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None])


def _onnx(
    network: Network, settings: Settings, colour_channels: int, several_classes: bool, folder: Path
) -> tuple[Weights | None, str]:
    """ONNX, or None and the sentence that says why not. Whether it reproduces is measured with the whole package."""
    path = folder / "weights.onnx"
    try:
        opset = export_onnx(network, settings, colour_channels, path, several_classes)
    except Exception as problem:
        lines = str(problem).strip().splitlines() or ["no message"]
        return None, f"ONNX was left out: the network could not be converted ({type(problem).__name__}: {lines[0]})."
    return Weights("onnx", path, {"opset_version": opset}, parent="torchscript"), ""


def _space_axis(name: str, values: Mapping[str, Any], size: Mapping[str, Any]) -> dict[str, Any]:
    axis: dict[str, Any] = {"type": "space", "id": name, "size": dict(size)}
    if values.get("pixel_size"):
        size_of_pixel = parse_pixel_size(values["pixel_size"])
        axis |= {"scale": size_of_pixel.y if name == "y" else size_of_pixel.x, "unit": size_of_pixel.unit}
    return axis


def _input(tensor: Array, image: Array, values: Mapping[str, Any]) -> TensorDescription:
    channels = ["intensity"] if tensor.shape[1] == 1 else ["red", "green", "blue"]
    any_size = {"min": SMALLEST_SIDE_PX, "step": 1}
    return TensorDescription(
        id="image",
        description="8-bit image; it is resized to the training size inside",
        axes=[
            {"type": "batch"},
            {"type": "channel", "channel_names": channels},
            _space_axis("y", values, any_size),
            _space_axis("x", values, any_size),
        ],
        data={"type": "uint8", "range": [0, 255]},
        test_tensor=tensor,
        sample=image if image.ndim == 2 or len(channels) == 3 else image[..., 0],
        processing=[{"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}],
    )


def _outputs(tensors: list[Array], classes: list[str], values: Mapping[str, Any]) -> list[TensorDescription]:
    kinds = [
        ("labels", "label", "label image: one number an instance, the surest first, 0 is background"),
        # not `class`: the zoo's library before 0.5.12 takes no word of Python for a channel
        ("classes", "class_number", _class_description(classes)),
    ]
    described = []
    for tensor, (name, channel, text) in zip(tensors, kinds, strict=False):
        described.append(
            TensorDescription(
                id=name,
                description=text,
                axes=[
                    {"type": "batch"},
                    {"type": "channel", "channel_names": [channel]},
                    *(_space_axis(axis, values, {"tensor_id": "image", "axis_id": axis}) for axis in ("y", "x")),
                ],
                data={"type": "float32"},
                test_tensor=tensor,
                sample=tensor[0, 0],
            )
        )
    return described


def _class_description(classes: list[str]) -> str:
    """At most 128 characters, which is the format's limit; the card lists all classes."""
    text = "class image: 0 background, " + ", ".join(f"{number} {name}" for number, name in enumerate(classes, 1))
    return text if len(text) <= 128 else "class image: 0 background, then the classes in the order of the documentation"


def _notes(settings: Settings, values: Mapping[str, Any]) -> list[str]:
    side = settings.image_size
    notes = [
        f"Give whole images, not tiles: as in `model.predict`, every image is resized inside so that its longer side "
        f"has {side} px, and the label image is brought back to the size of the image.",
        "Labels of neighbouring tiles cannot be joined: each image starts counting at 1.",
    ]
    notes.append(
        f"Agreement is measured against `model.predict(image, imgsz={side}, conf={settings.confidence:g}, "
        f"iou={settings.overlap_iou:g}, max_det={settings.max_objects}, retina_masks=True)`. Without `retina_masks` "
        "ultralytics draws its masks at the size of the network's input, which is coarser or finer than the image."
    )
    asked = values.get("image_size_asked")
    if asked and int(asked) != side:
        notes.append(
            f"Training asked for {asked} px; the network works on multiples of {settings.stride}, so ultralytics "
            f"trained it at {side} px and the package uses {side}."
        )
    return notes
