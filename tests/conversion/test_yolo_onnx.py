"""The ONNX file gives the label image that the PyTorch network gives."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoowizard.conversion.yolo_network import LabelImage, Settings
from zoowizard.conversion.yolo_onnx import export_onnx

Image = NDArray[np.float32]
NETWORK_OUTPUTS = ["distances", "class_logits", "coefficients", "prototypes"]
IMAGE_SIZE = 256


def nuclei_like(height: int, width: int, seed: int, channels: int = 3) -> Image:
    """Bright discs on a dark noisy ground, (channels, `height`, `width`), whole numbers from 0 to 255."""
    rng = np.random.default_rng(seed)
    image = rng.normal(20, 4, (channels, height, width))
    y, x = np.mgrid[:height, :width]
    for _ in range(height * width // 700):
        centre_y, centre_x, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(4, 11)
        brightness = rng.uniform(60, 200, (channels, 1))
        image[:, (y - centre_y) ** 2 + (x - centre_x) ** 2 < radius**2] += brightness
    return np.clip(np.round(image), 0, 255).astype(np.float32)


def open_session(model: Path | bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options)


class Network(nn.Module):
    """The four tensors of an ultralytics segmentation model that a label image is made from."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        (_, prototypes), answer = self.model(image)
        return answer["boxes"], answer["scores"], answer["mask_coefficient"], prototypes


class Recorded(nn.Module):
    """Answers with given tensors, and keeps what it was asked."""

    def __init__(self, answer: list[Image]) -> None:
        super().__init__()
        self.answer = [torch.from_numpy(tensor) for tensor in answer]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        self.asked = image
        return tuple(self.answer)


class Case:
    """A network of an architecture, its settings and its file."""

    def __init__(self, architecture: str, classes: int, folder: Path) -> None:
        # it reads its settings when it is imported
        from ultralytics.nn.tasks import SegmentationModel

        torch.manual_seed(1)
        model = SegmentationModel(architecture, nc=classes, verbose=False)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        images = torch.from_numpy(np.stack([nuclei_like(IMAGE_SIZE, IMAGE_SIZE, seed) for seed in (1, 2)])) / 255
        head: Any = model.model[-1]
        boxes = [*head.cv2, *getattr(head, "one2one_cv2", [])]
        with torch.no_grad():
            for level in boxes:
                # small boxes, as cells have: the mean distance of a side is one or two strides
                steps = -0.6 * torch.arange(head.reg_max) if head.reg_max > 1 else torch.tensor([1.5])
                level[-1].bias.copy_(steps.repeat(4))
                level[-1].weight.mul_(0.1)
            # statistics of real activations: with the initial ones a signal fades, and all anchors answer the same
            model.train()(images)
            model.eval().fuse(verbose=False)
            self.network = Network(model).eval()
            certain = self.network(images)[1].amax(1).flatten().sort(descending=True)[0]
        strides = tuple(int(stride) for stride in head.stride)
        confidence = float(certain[300].sigmoid())
        self.settings = Settings(IMAGE_SIZE, 3, max(strides), strides, head.reg_max, confidence, 0.7, 150)
        self.file = folder / f"{Path(architecture).stem}.onnx"
        self.opset = export_onnx(self.network, self.settings, 3, self.file, True)
        described = onnx.load(self.file)
        for name in ["letterboxed", *NETWORK_OUTPUTS]:
            described.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        self.session = open_session(self.file)
        self.talking_session = open_session(described.SerializeToString())


@pytest.fixture(scope="module", params=[("yolo11n-seg.yaml", 3), ("yolo26n-seg.yaml", 1)], ids=["yolo11n", "yolo26n"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp("yolo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "YOLO_OFFLINE", "1")
        patch.setitem(os.environ, "YOLO_AUTOINSTALL", "0")
        patch.setitem(os.environ, "YOLO_CONFIG_DIR", str(folder))
        architecture, classes = request.param
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield Case(architecture, classes, folder)
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("height", "width", "batch"),
    [(256, 256, 2), (150, 256, 1), (256, 101, 1), (64, 64, 1), (65, 66, 1), (450, 512, 1), (350, 350, 1), (9, 300, 1)],
)
def test_what_surrounds_the_network_is_the_same_to_the_pixel(case: Case, height: int, width: int, batch: int) -> None:
    image = np.stack([nuclei_like(height, width, seed) for seed in range(3, 3 + batch)])
    labels, classes, letterboxed, *answer = case.talking_session.run(None, {"image": image})
    network = Recorded(answer)
    expected_labels, expected_classes = LabelImage(network, case.settings).eval()(torch.from_numpy(image))
    np.testing.assert_array_equal(letterboxed, network.asked.numpy())
    np.testing.assert_array_equal(labels, expected_labels.numpy())
    np.testing.assert_array_equal(classes, expected_classes.numpy())
    assert labels.dtype == classes.dtype == np.float32
    assert len(np.unique(labels)) > 1


@pytest.mark.parametrize(("height", "width", "batch"), [(256, 180, 2), (60, 256, 1)])
def test_the_network_answers_the_same(case: Case, height: int, width: int, batch: int) -> None:
    image = np.stack([nuclei_like(height, width, seed) for seed in range(5, 5 + batch)])
    letterboxed, *answer = case.talking_session.run(["letterboxed", *NETWORK_OUTPUTS], {"image": image})
    with torch.no_grad():
        expected = case.network(torch.from_numpy(letterboxed))
    # a sum is rounded differently by each library, and random weights magnify that
    for name, tensor, wanted in zip(NETWORK_OUTPUTS, answer, expected, strict=True):
        spread = float(wanted.max() - wanted.min())
        assert spread > 0.1
        np.testing.assert_allclose(tensor, wanted.numpy(), rtol=0, atol=1e-3 * spread, err_msg=name)


def test_any_java_program_can_read_the_file(case: Case) -> None:
    model = onnx.load(case.file, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", case.opset)]
    assert case.opset <= 17
    assert model.ir_version <= 10
    assert not model.functions
    assert [file.name for file in case.file.parent.iterdir() if file.name.startswith(case.file.stem)] == [
        case.file.name
    ]
    (given,) = case.session.get_inputs()
    assert (given.name, given.type, given.shape) == ("image", "tensor(float)", ["batch", 3, "y", "x"])
    for result in case.session.get_outputs():
        assert (result.type, result.shape) == ("tensor(float)", ["batch", 1, "y", "x"])


def test_grey_images_labels_alone_and_nothing_found(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "grey.onnx"
    export_onnx(case.network, case.settings, 1, file, False)
    session = open_session(file)
    grey = nuclei_like(200, 256, 7, channels=1)[None]
    assert [result.name for result in session.get_outputs()] == ["labels"]
    (labels,) = session.run(None, {"image": grey})
    (expected,) = case.session.run(["labels"], {"image": np.repeat(grey, 3, axis=1)})
    np.testing.assert_array_equal(labels, expected)
    assert labels.max() >= 10

    certain = Settings(**{**vars(case.settings), "confidence": 1.0})
    export_onnx(case.network, certain, 1, file, True)
    labels, classes = open_session(file).run(None, {"image": np.repeat(grey, 2, axis=0)})
    assert labels.shape == classes.shape == (2, 1, 200, 256)
    assert not labels.any()
    assert not classes.any()
