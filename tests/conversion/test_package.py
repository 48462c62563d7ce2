"""Packages that exist go the whole way again: real weights, the real library, clean processes."""

import http.server
import io
import json
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tifffile
import tiny_model
import torch
import yaml
from old_packages import old_package, zipped
from rebuilt import Built, built
from small_packages import Small, make_package
from torch import nn

from zoowizard.conversion.package_image import array_in
from zoowizard.conversion.package_original import laid_out
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.build_steps import KEPT
from zoowizard.jobs.folder import create
from zoowizard.jobs.steps import Steps
from zoowizard.packaging import build


@pytest.mark.parametrize("layout", ["0.4.10", "0.3.2"])
def test_an_old_package_becomes_one_of_today(tmp_path: Path, layout: str) -> None:
    old = old_package(tmp_path / "old", layout, parent={"id": "happy-otter"}, covers=["look.png"])
    (old.parent / "look.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    new = built(zipped(old.parent), tmp_path)
    assert new.outcome["status"] == "passed"
    assert new.outcome["formats"] == ["pytorch_state_dict", "torchscript", "onnx"]
    assert new.outcome["agreement"]["apart"] < 1e-4
    assert new.told["format_version"] == "0.5.10"
    assert new.told["name"] == "U-Net of 2021"
    if not layout.startswith("0.3"):  # there, it has another layout
        assert new.told["parent"] == {"id": "happy-otter"}
    assert new.told["packaged_by"] == [{"name": "Grace Hopper"}]
    assert [axis["size"] for axis in new.told["inputs"][0]["axes"][2:]] == 2 * [{"min": 32, "step": 2}]
    steps = [one["id"] for one in new.told["inputs"][0]["preprocessing"]]
    assert "zero_mean_unit_variance" in steps
    assert new.told["outputs"][0]["postprocessing"][0] == {"id": "sigmoid"}
    assert np.array_equal(new.array("test_raw.npy"), np.load(old.parent / "test_in.npy"))
    assert np.array_equal(new.array("test_probability.npy"), np.load(old.parent / "test_out.npy"))
    assert new.files["weights.pt"] == (old.parent / "weights.pt").read_bytes()
    assert new.files["net.py"] == (old.parent / "net.py").read_bytes()
    assert new.files["training.csv"] == (old.parent / "training.csv").read_bytes()
    assert new.files["original-README.md"] == (old.parent / "README.md").read_bytes()
    assert {one["source"] for one in new.told["attachments"]} == {"training.csv", "original-README.md"}
    assert new.told["covers"] == ["look.png", "cover.png"]
    assert new.told["config"]["deepimagej"] == {"allow_tiling": True}
    assert "Finds cells in images of cultured cells" in new.card
    assert "format 0." not in new.card


def test_going_on_after_a_kill(tmp_path: Path) -> None:
    package = zipped(old_package(tmp_path / "old").parent)
    first = built(package, tmp_path)
    (first.folder / "tested.json").unlink()
    (first.folder / "compared.json").unlink()
    second = built(package, tmp_path, before=first.folder)
    events = [json.loads(line) for line in (second.folder / "events.jsonl").read_text().splitlines()]
    assert {one.get("note") for one in events if one["event"] == "step-done" and one["step"] == "convert"} == {KEPT}
    assert set(second.files) == set(first.files)
    assert second.told["attachments"] == first.told["attachments"]


class Longer(nn.Module):
    """Another network than that of the package."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3)


def fine_tuned() -> nn.Module:
    network = Small().network()
    with torch.no_grad():
        for one in network.parameters():
            one.add_(0.05)
    return network


def test_fine_tuned_weights_from_a_checkpoint(tmp_path: Path) -> None:
    old = old_package(tmp_path / "old", covers=["look.png"])
    (old.parent / "look.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    package = zipped(old.parent)
    state = fine_tuned().state_dict()
    wrapped = {f"module.{name}": one for name, one in state.items()}
    torch.save({"epoch": 7, "model_state_dict": wrapped, "optimizer": {"state": {}}}, tmp_path / "fine.pth")
    new = built(package, tmp_path, new_weights=str(tmp_path / "fine.pth"), parent="affable-shark", name="Fine-tuned")
    assert new.outcome["formats"] == ["pytorch_state_dict", "torchscript", "onnx"]
    assert new.told["parent"] == {"id": "affable-shark"}
    link = "[affable-shark](https://bioimage.io/#/artifacts/affable-shark) (U-Net of 2021)"
    assert f"- **Fine-tuned from:** {link}" in new.card and new.card.count("Fine-tuned from:") == 1
    told = new.card.partition("\n# Validation\n")[2]
    assert told.startswith("\nF1 of 0.9 on 20 images that it was not trained on.\n\nThis was told of the original,")
    assert "original-README.md" in new.files and "nothing in it was measured again with the fine-tuned" in new.card
    assert {name: one.shape for name, one in new.state().items()} == {name: one.shape for name, one in state.items()}
    assert all(torch.equal(new.state()[name], one) for name, one in state.items())
    image = torch.from_numpy(np.load(old.parent / "test_in.npy"))
    normalised = (image - image.mean((2, 3), keepdim=True)) / (image.std((2, 3), keepdim=True, correction=0) + 1e-6)
    with torch.inference_mode():
        expected = torch.sigmoid(fine_tuned()(normalised)).numpy()
    assert np.allclose(new.array("test_probability.npy"), expected, atol=1e-5)
    assert not np.allclose(new.array("test_probability.npy"), np.load(old.parent / "test_out.npy"), atol=1e-2)
    assert new.told["covers"] == ["cover.png"], "the old cover shows what the old weights predicted"

    torch.save(Longer().state_dict(), tmp_path / "other.pth")
    with pytest.raises(ZoowizardError, match=r"other\.pth does not fit the network of the package: .* are missing"):
        built(package, tmp_path, new_weights=str(tmp_path / "other.pth"), parent="none")


@pytest.mark.parametrize("kind", ["torchscript", "onnx"])
def test_fine_tuned_weights_of_another_kind_stand_alone(tmp_path: Path, kind: str) -> None:
    package = make_package(tmp_path / "small", Small(formats=("pytorch_state_dict", "torchscript", "onnx")))
    network, example = fine_tuned(), torch.rand(1, 1, 64, 64)
    source = tmp_path / ("fine.onnx" if kind == "onnx" else "fine.pt")
    if kind == "onnx":
        free = {0: "batch", 2: "y", 3: "x"}
        torch.onnx.export(
            network, (example,), source, opset_version=16, dynamo=False, input_names=["raw"],
            output_names=["prediction"], dynamic_axes={"raw": free, "prediction": free},
        )  # fmt: skip
    else:
        torch.jit.trace(network, example).save(str(source))
    new = built(package, tmp_path, new_weights=str(source), name="Fine-tuned", parent="none")
    assert new.outcome["formats"] == (["torchscript", "onnx"] if kind == "torchscript" else [kind])
    assert "parent" not in new.told
    assert "- **Fine-tuned from:** Small U-Net, which is not in the zoo" in new.card
    with torch.inference_mode():
        expected = network(torch.from_numpy(new.array("test_raw.npy"))).numpy()
    assert np.allclose(new.array("test_prediction.npy"), expected, atol=1e-5)
    assert (new.told["weights"][kind].get("opset_version") or 16) == 16
    with pytest.raises(ZoowizardError, match=r"is a state dict, and the package has no network in Python for it"):
        torch.save(network.state_dict(), tmp_path / "fine.pth")
        alone = make_package(tmp_path / "alone", Small())
        built(alone, tmp_path, new_weights=str(tmp_path / "fine.pth"), name="Fine-tuned", parent="none")


def test_a_package_that_does_not_give_its_own_test_output(tmp_path: Path) -> None:
    old = old_package(tmp_path / "old")
    right = np.load(old.parent / "test_out.npy")
    wrong = right.copy()
    wrong[..., :32, :] += 0.25
    np.save(old.parent / "test_out.npy", wrong)
    with pytest.raises(ZoowizardError, match=r"50\.0% of the values of “probability” differ, by 0\.25 at most"):
        built(old, tmp_path)
    new = built(old, tmp_path, renew_test_output="yes")
    assert np.allclose(new.array("test_probability.npy"), right, atol=1e-5)
    assert "The test output was made anew: 50.0% of the values" in new.card


def test_labels_of_a_postprocessing_survive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model.TinyModel()
    tiny_model.install(monkeypatch, model)
    work = tiny_model.work(tmp_path)
    folder = create(tmp_path / "jobs", "build", "tiny", work)
    original = Built(build.run(work, folder, Steps(folder / "events.jsonl")), folder)
    new = built(Path(original.outcome["package"]), tmp_path / "new")
    assert new.outcome["formats"] == ["pytorch_state_dict", "torchscript", "onnx"]
    assert new.told["outputs"] == original.told["outputs"]
    assert np.array_equal(new.array("test_labels.npy"), original.array("test_labels.npy"))
    assert new.array("test_labels.npy").max() > 5
    assert new.told["config"]["zoowizard"]["original"]["family"] == "tiny"
    assert new.told["attachments"] == [{"source": "original-README.md"}]


class Served(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, quietly."""

    def log_message(self, *arguments: Any) -> None:
        return None


def test_files_on_a_server_are_fetched_or_named_one_by_one(tmp_path: Path) -> None:
    old = old_package(tmp_path / "old")
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Served, directory=str(old.parent)))
    threading.Thread(target=served.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{served.server_address[1]}"
    known = yaml.safe_load(old.read_text())
    known["weights"]["pytorch_state_dict"] |= {
        "source": f"{address}/weights.pt",
        "architecture": f"{address}/net.py:SmallUNet",
    }
    known |= {"test_inputs": [f"{address}/test_in.npy"], "documentation": f"{address}/README.md"}
    known["attachments"]["files"].append(f"{address}/gone.csv")
    (tmp_path / "alone").mkdir()
    alone = tmp_path / "alone" / "rdf.yaml"
    alone.write_text(yaml.safe_dump({**known, "test_outputs": [f"{address}/test_out.npy"]}))
    known["attachments"]["files"].remove("training.csv")
    alone.write_text(yaml.safe_dump({**known, "test_outputs": [f"{address}/test_out.npy"]}))
    new = built(alone, tmp_path)
    assert new.files["weights.pt"] == (old.parent / "weights.pt").read_bytes()
    assert f"{address}/gone.csv is not in the package, and the server answers 404" in new.card
    served.shutdown()
    served.server_close()
    with pytest.raises(ZoowizardError) as refused:
        laid_out(alone, tmp_path / "laid")
    for name in ("test_in.npy", "test_out.npy"):
        assert f"{address}/{name} is not in the package, and the server cannot be reached" in str(refused.value)


def test_a_changed_file_is_named_in_the_job_too(tmp_path: Path) -> None:
    old = old_package(tmp_path / "old")
    package = zipped(old.parent)
    laid_out(package, tmp_path / "laid")
    (old.parent / "net.py").write_text("# another\n")
    with pytest.raises(ZoowizardError, match=r"net\.py is not the file that rdf\.yaml describes"):
        laid_out(old, tmp_path / "laid")


def test_a_volume_with_another_voxel_size(tmp_path: Path) -> None:
    small = Small(
        dims=3, pool=(1, 2, 2), minimum=16, halo=4, formats=("pytorch_state_dict",),
        pixel_size_um={"z": 2.0, "y": 0.5, "x": 0.5},
    )  # fmt: skip
    package = make_package(tmp_path / "small", small)
    assert "- **Pixel size:** 2 x 0.5 x 0.5 micrometer (depth x height x width)" in built(package, tmp_path).card
    new = built(package, tmp_path, pixel_size="1.5 x 0.25 x 0.3 micrometer")
    assert new.outcome["formats"] == ["pytorch_state_dict", "torchscript", "onnx"]
    for side in ("inputs", "outputs"):
        [tensor] = new.told[side]
        assert [axis.get("scale") for axis in tensor["axes"]] == [None, None, 1.5, 0.25, 0.3]
    with tifffile.TiffFile(io.BytesIO(new.files["sample_raw.tif"])) as file:
        assert file.series[0].axes == "ZYX"


def test_another_test_image(tmp_path: Path) -> None:
    package = make_package(tmp_path / "small", Small())
    picture = (np.random.default_rng(0).random((67, 90)) * 60_000).astype(np.uint16)
    tifffile.imwrite(tmp_path / "picture.tif", picture)
    new = built(package, tmp_path, test_image=str(tmp_path / "picture.tif"))
    assert np.array_equal(new.array("test_raw.npy"), picture[None, None, :66].astype(np.float32))
    assert new.array("test_prediction.npy").shape == (1, 1, 66, 90)
    for name, array, sentence in (
        ("small.npy", np.ones((1, 1, 20, 64), np.float32), "has 20 pixels along y, and the package takes 32 or more"),
        ("channels.npy", np.ones((1, 2, 64, 64), np.float32), "has 2 channels, and the package takes 1"),
        ("axes.npy", np.ones((64, 64), np.float32), "has 2 axes, and the input of the package has 4: b, c, y, x"),
        ("complex.npy", np.full((1, 1, 64, 64), 1j), "values of the type complex128"),
    ):
        np.save(tmp_path / name, array)
        with pytest.raises(ZoowizardError, match=sentence):
            built(package, tmp_path, test_image=str(tmp_path / name))


def test_arrays_that_are_none(tmp_path: Path) -> None:
    whole = io.BytesIO()
    np.save(whole, np.ones((4, 4)))
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)
    huge, torn = (whole.getvalue().replace(b"(4, 4), ", shape) for shape in (b"(1 << 9)", b"(9**9,), "[:8]))
    vast = whole.getvalue().replace(b"(4, 4), ", b"(99999,)")
    for content in (b"", b"text", whole.getvalue()[:-8], pickled.getvalue(), huge, torn, vast, 2 * whole.getvalue()):
        with pytest.raises(ZoowizardError, match=r"a\.npy is no \.npy file of numbers, or cut short"):
            array_in(content, "a.npy")


TWO_INPUTS = """
import torch


class Both(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([2.0]))

    def forward(self, one, other):
        return one * self.weight + other, one - other
"""


def test_two_inputs_and_two_outputs(tmp_path: Path) -> None:
    folder = tmp_path / "both"
    make_package(folder, Small(formats=("pytorch_state_dict",)), zipped=False)
    known = yaml.safe_load((folder / "rdf.yaml").read_text())
    one, other = (np.random.default_rng(seed).random((1, 1, 40, 40)).astype(np.float32) for seed in (0, 1))
    (folder / "both.py").write_text(TWO_INPUTS)
    torch.save({"weight": torch.tensor([2.0])}, folder / "weights.pt")
    for name, array in (("one", one), ("other", other), ("sum", 2 * one + other), ("difference", one - other)):
        np.save(folder / f"{name}.npy", array)
    known["inputs"] = [
        {**known["inputs"][0], "id": name, "test_tensor": {"source": f"{name}.npy"}} for name in ("one", "other")
    ]
    [output] = known["outputs"]
    axes = [
        {**axis, **({"size": {**axis["size"], "tensor_id": "one"}} if "size" in axis else {})}
        for axis in output["axes"]
    ]
    known["outputs"] = [
        {**output, "id": name, "axes": axes, "test_tensor": {"source": f"{name}.npy"}} for name in ("sum", "difference")
    ]
    entry = known["weights"]["pytorch_state_dict"]
    known["weights"]["pytorch_state_dict"] = {
        **{key: value for key, value in entry.items() if key != "sha256"},
        "architecture": {"callable": "Both", "source": "both.py"},
    }
    (folder / "rdf.yaml").write_text(yaml.safe_dump(known))
    new = built(folder, tmp_path)
    assert new.outcome["formats"] == ["pytorch_state_dict", "torchscript", "onnx"]
    assert [one["id"] for one in new.told["inputs"]] == ["one", "other"]
    ports = onnx.load_model_from_string(new.files["weights.onnx"]).graph
    assert [[one.name for one in side] for side in (ports.input, ports.output)] == [
        ["one", "other"],
        ["sum", "difference"],
    ]
    assert "| onnx | 0 | 0 | 40 x 40, 32 x 32 |" in new.card, "compared at another size of both inputs"
    assert 'inputs={"one": "one.tif", "other": "other.tif"}' in new.card
    assert set(new.outcome["agreement"]["outputs"]) == {"sum", "difference"}
    assert np.array_equal(new.array("test_difference.npy"), one - other)
    np.save(tmp_path / "small.npy", one[..., :32])
    with pytest.raises(ZoowizardError, match="it has 1 x 1 x 40 x 32 values, and the package has other inputs, which"):
        built(folder, tmp_path, test_image=str(tmp_path / "small.npy"))


def test_numbers_of_an_onnx_file_stay_beside_it(tmp_path: Path) -> None:
    description = make_package(tmp_path / "small", Small(formats=("onnx",)), zipped=False)
    folder, known = description.parent, yaml.safe_load(description.read_text())
    onnx.save(
        onnx.load(folder / "weights.onnx"), folder / "net.onnx",
        save_as_external_data=True, location="net.onnx.data", size_threshold=0,
    )  # fmt: skip
    entry = {"source": "net.onnx", "opset_version": 17, "external_data": {"source": "net.onnx.data"}}
    description.write_text(yaml.safe_dump({**known, "weights": {"onnx": entry}}))
    new = built(zipped(folder), tmp_path)
    assert new.outcome["formats"] == ["onnx"]
    assert "torchscript could not be added: they are made of a state dict or of TorchScript, and the" in new.card
    assert new.told["weights"]["onnx"]["external_data"]["source"] == "net.onnx.data"
    assert new.files["net.onnx.data"] == (folder / "net.onnx.data").read_bytes()
    with pytest.raises(ZoowizardError, match=r"net\.onnx keeps its numbers in another file; save it as one file"):
        built(description, tmp_path, new_weights=str(folder / "net.onnx"), name="Fine-tuned", parent="none")


def test_code_that_cannot_be_run_is_told_in_its_words(tmp_path: Path) -> None:
    old = old_package(tmp_path / "old")
    source = "import a_library_that_nobody_has\n" + (old.parent / "net.py").read_text()
    (old.parent / "net.py").write_text(source)
    known = yaml.safe_load(old.read_text())
    del known["weights"]["pytorch_state_dict"]["architecture_sha256"]
    old.write_text(yaml.safe_dump(known))
    with pytest.raises(ZoowizardError, match=r"with its pytorch_state_dict: .*a_library_that_nobody_has"):
        built(old, tmp_path)


def test_a_description_that_does_not_keep_to_the_format(tmp_path: Path) -> None:
    description = make_package(tmp_path / "small", Small(), zipped=False)
    known = yaml.safe_load(description.read_text())
    known["inputs"][0]["axes"][2]["size"] = {"min": 0, "step": "two"}
    known["weights"]["torchscript"].pop("pytorch_version")
    description.write_text(yaml.safe_dump(known))
    with pytest.raises(ZoowizardError, match="does not keep to the format: ") as refused:
        built(description, tmp_path)
    for word in ("inputs.0.axes.2", "weights.torchscript.pytorch_version"):
        assert word in str(refused.value)
