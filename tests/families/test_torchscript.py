"""TorchScript files of torch itself, and some that nobody should load."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import exported_networks as made
import pytest
import torch

from zoowizard.errors import UnsafeCheckpoint, ZoowizardError
from zoowizard.families import registry, torchscript
from zoowizard.families.family import Recognition
from zoowizard.families.identify import identify, obstacle
from zoowizard.families.nearby import candidate
from zoowizard.screens.widgets.file_browser import listing

CODE = "class Net(Module):\n  def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n    return x\n"
VALUES = b"\x80\x02c__torch__\nNet\n)\x81}(X\x08\x00\x00\x00training\x89ub."


def recognised(path: Path) -> Recognition:
    [found] = identify(path)
    assert found.family == "torchscript", found
    assert found.refused is None
    return found


def codes(found: Recognition) -> set[str]:
    return {one.code for one in found.warnings}


def told(found: Recognition, name: str) -> object:
    return found.values[name].value if name in found.values else None


def by_hand(
    path: Path, code: str = CODE, values: bytes = VALUES, more: Mapping[str, bytes | str] | None = None
) -> Path:
    """A program of the network Net, of these records."""
    records = {"data.pkl": values, "code/__torch__.py": code, "constants.pkl": b"\x80\x02).", "version": "3\n"}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**records, **(more or {})}.items():
            archive.writestr(f"net/{name}", content)
    return path


def test_the_same_network_however_it_was_saved(tmp_path: Path) -> None:
    network = made.Net().eval()
    trained = sum(one.numel() for one in network.parameters())
    for path in (
        made.traced(tmp_path / "traced.pt", network),
        made.scripted(tmp_path / "scripted.torchscript", network),
        made.scripted(tmp_path / "frozen.ts", network, frozen=True),
    ):
        found = recognised(path)
        assert obstacle(found) is None
        assert found.warnings == ()
        assert told(found, "architecture") == "TorchScript network, 2-D, 2 input channels"
        assert told(found, "inputs_found") == ["x (Tensor)"]
        assert told(found, "outputs_found") == "one tensor"
        assert told(found, "dtype") == "float32"
        folded = 2 * 7 if path.stem == "frozen" else 0  # freezing puts the norms into the convolutions
        assert told(found, "parameters") == trained - folded
        assert torchscript.look(path).kind == "script"
        assert candidate(found, {})["what"] == "TorchScript network, 2-D, 2 input channels"
    assert "traced with an image of 1 x 2 x 16 x 16" in recognised(tmp_path / "traced.pt").evidence[-1]
    for guessed in ("scripted.torchscript", "frozen.ts"):
        assert "a guess to confirm" in recognised(tmp_path / guessed).evidence[-1]


def test_a_volume_in_half_precision(tmp_path: Path) -> None:
    network = made.Net(1, volume=True).eval().to(torch.bfloat16)
    found = recognised(made.scripted(tmp_path / "volume.pt", network))
    assert told(found, "spatial_axes_found") == 3
    assert told(found, "input_channels") == 1
    assert told(found, "dtype") == "bfloat16"
    assert codes(found) == {"half-precision"}


def test_operators_of_torchvision_are_named(tmp_path: Path) -> None:
    found = recognised(made.traced(tmp_path / "boxes.pt", made.Boxes(), made.image(1)))
    assert told(found, "operators") == ["torchvision::nms"]
    [warning] = found.warnings
    assert warning.code == "torchvision-operators"
    assert "torchvision::nms" in warning.message
    assert obstacle(found) is None


@pytest.mark.parametrize(
    ("code", "named"),
    [
        (CODE.replace("return x", "return ops.torch_scatter.scatter_max(x)"), "torch_scatter::scatter_max"),
        (CODE.replace("    return x", "    _0 = __torch__.torch.classes.lab.Tracker()\n    return x"), "lab.Tracker"),
    ],
)
def test_what_only_another_library_brings_is_in_the_way(code: str, named: str, tmp_path: Path) -> None:
    assert named in (obstacle(recognised(by_hand(tmp_path / "net.pt", code))) or "")


def test_inputs_and_outputs(tmp_path: Path) -> None:
    two = recognised(made.traced(tmp_path / "two.pt", made.TwoImages().eval(), made.image(), made.image()))
    assert told(two, "outputs_found") == "2 tensors"
    assert obstacle(two) is None and told(two, "further_inputs") == ["y"]
    assert {"image_of_y", "normalisation_of_y"} <= {
        one.name for one in torchscript.asks({name: one.value for name, one in two.values.items()})
    }
    one = recognised(made.scripted(tmp_path / "one.pt", made.OneOfTwo().eval()))
    assert told(one, "inputs_found") == ["x (Tensor)", "y (Optional[Tensor])", "flag (bool)"]
    assert told(one, "outputs_found") == "tensors by name"
    assert obstacle(one) is None
    listed = recognised(made.scripted(tmp_path / "list.pt", made.ListOfImages()))
    assert "no image but List[Tensor]" in (obstacle(listed) or "")
    nothing = recognised(by_hand(tmp_path / "nothing.pt", "class Net(Module):\n  training : bool\n"))
    assert "no forward" in (obstacle(nothing) or "")


def test_a_trace_of_a_network_in_training_is_told(tmp_path: Path) -> None:
    assert codes(recognised(made.traced(tmp_path / "training.pt", made.Net().train()))) == {"traced-in-training"}
    free = torch.nn.BatchNorm2d(2, track_running_stats=False).eval()  # never knows another state
    assert "traced-in-training" not in codes(recognised(made.traced(tmp_path / "free.pt", free)))
    assert "traced-in-training" not in codes(recognised(made.scripted(tmp_path / "script.pt", made.Net().train())))


def test_a_device_and_quantised_weights_are_told(tmp_path: Path) -> None:
    assert "needs-device" in codes(recognised(made.scripted(tmp_path / "gpu.pt", made.OnGpu())))
    code = CODE.replace("return x", "return ops.quantized.conv2d(x)")
    found = recognised(by_hand(tmp_path / "quantised.pt", code))
    assert "quantised" in codes(found)
    assert obstacle(found) is None


def test_code_that_reaches_out_is_refused(tmp_path: Path) -> None:
    made.scripted(tmp_path / "real.pt", made.Writes())
    by_hand(tmp_path / "saves.pt", CODE.replace("return x", 'torch.save(x, "a")\n    return x'))
    by_hand(tmp_path / "spaced.pt", CODE.replace("return x", 'return ops. aten . from_file ("/etc/passwd")'))
    by_hand(tmp_path / "got.pt", CODE.replace("return x", 'getattr(torch, "save")(x, "a")\n    return x'))
    by_hand(tmp_path / "calls.pt", CODE.replace("return x", "return rpc_async(x)"))
    for name, what in {
        "real": "from_file",
        "saves": "save",
        "spaced": "from_file",
        "got": "save",
        "calls": "rpc_async",
    }.items():
        [found] = identify(tmp_path / f"{name}.pt")
        assert found.unsafe
        assert f"names `{what}`" in (found.refused or "")
    assert not Path("canary").exists()


def test_values_that_would_run_a_program_are_refused(tmp_path: Path) -> None:
    values = b"\x80\x02cposix\nsystem\n(X\x0a\x00\x00\x00touch here!tR."
    by_hand(tmp_path / "net.pt", values=values)
    [found] = identify(tmp_path / "net.pt")
    assert found.unsafe
    assert "posix.system" in (found.refused or "")
    by_hand(tmp_path / "other.pt", more={"traced_inputs.pkl": values})
    with pytest.raises(UnsafeCheckpoint, match=r"posix\.system"):
        torchscript.look(tmp_path / "other.pt")


def _exported(path: Path) -> None:
    torch.export.save(torch.export.export(made.Net().eval(), (made.image(),)), path)


def _packaged(path: Path) -> None:
    with torch.package.PackageExporter(path) as package:
        package.extern("torch.**")
        package.save_pickle("net", "net.pkl", torch.nn.ReLU())


def _zip(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "{}")

    return write


@pytest.mark.parametrize(
    ("name", "write", "what", "way"),
    [
        ("net.pt2", _exported, "PyTorch exported program", "torch.export.load"),
        ("older.pt2", _zip("serialized_exported_program.json", "version"), "exported program", "torch.export.load"),
        ("net.pt", _packaged, "torch.package archive", "state dict"),
        ("net.ptl", _zip("net/bytecode.pkl", "net/data.pkl", "net/constants.pkl"), "Mobile", "torch.jit.save"),
        ("old.pt", _zip("net/model.json", "net/tensors/0", "net/code/net.py"), "before PyTorch 1.4", "torch.jit.load"),
        ("quick.pt2", _zip("net/data/aotinductor/model/a.so", "net/archive_format"), "AOTInductor", "ONNX"),
    ],
)
def test_other_programs_are_told_apart(
    name: str, write: Callable[[Path], None], what: str, way: str, tmp_path: Path
) -> None:
    write(tmp_path / name)
    found = recognised(tmp_path / name)
    assert what in str(told(found, "architecture"))
    assert way in (obstacle(found) or "")
    with pytest.raises(ZoowizardError, match="no TorchScript program"):
        torchscript.look(tmp_path / name)


def test_broken_files_are_one_sentence(tmp_path: Path) -> None:
    whole = made.traced(tmp_path / "whole.pt", made.Net().eval()).read_bytes()
    for size in (5, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.pt").write_bytes(whole[:size])
        [found] = identify(tmp_path / "cut.pt")
        assert "cut short" in (found.refused or ""), size
    by_hand(tmp_path / "twice.pt", more={"code/__TORCH__.py": CODE})
    by_hand(tmp_path / "bomb.pt", more={"code/more.py": " " * (64 << 20)})
    by_hand(tmp_path / "values.pt", values=b"\x80\x02" + b"]" * 1_100_000 + b".")
    by_hand(tmp_path / "half.pt", values=VALUES[:20])
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ"
    sizes = b"(" + b"J\xff\xff\xff\x7f" * 4 + b"t"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + sizes + sizes + b"\x89NtR"
    by_hand(tmp_path / "huge.pt", values=VALUES[:-3] + b"X\x01\x00\x00\x00w" + tensor + b"ub.")
    for name, told_ in {
        "twice": "two records",
        "bomb": "code of over",
        "values": "instructions",
        "half": "cut",
        "huge": "cannot be",
    }.items():
        [found] = identify(tmp_path / f"{name}.pt")
        assert told_ in (found.refused or "")
        assert found.refused is not None and found.refused.startswith(f"{name}.pt ")


BUILT_TO_BE_SLOW = {
    "calls": CODE + "torch.batch_norm(a, b, c, d, d, " * 200_000,
    "operators": CODE + "ops." * 1_500_000,
    "classes": "class Net(Module):\n" * 300_000 + CODE,
    "signature": CODE.replace("x: Tensor", "x: [(" * 3000),
}


@pytest.mark.parametrize("name", BUILT_TO_BE_SLOW)
def test_what_is_built_to_be_slow_or_large_is_neither(name: str, tmp_path: Path) -> None:
    modules = b"X\x01\x00\x00\x00ac__torch__\nNet\n)\x81}(" * 100_000 + b"ub" * 100_000
    by_hand(tmp_path / "net.pt", BUILT_TO_BE_SLOW[name], b"\x80\x02c__torch__\nNet\n)\x81}(" + modules + b"ub.")
    code = (
        "import re, sys; from pathlib import Path; from zoowizard.families import torchscript\n"
        "torchscript.recognise(Path(sys.argv[1]))\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "net.pt"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) / 1024 < 200


def test_a_file_that_ultralytics_exported_points_to_its_weights(tmp_path: Path, run_folder: Path) -> None:
    extra = {"config.txt": '{"description": "Ultralytics YOLO11n-seg model", "task": "segment"}'}
    path = made.scripted(run_folder / "weights" / "best.torchscript", made.Net().eval(), _extra_files=extra)
    assert "exported-yolo" in codes(recognised(path))
    assert [(one.path, one.family) for one in identify(tmp_path)] == [(run_folder, "yolo")]


def test_in_a_tree_only_what_is_a_program_is_found(tmp_path: Path) -> None:
    (tmp_path / "main.ts").write_text("export const answer: number = 42;\n")
    (tmp_path / "linked.ts").symlink_to(tmp_path / "main.ts")
    path = made.scripted(tmp_path / "membranes.ts", made.Net().eval())
    assert [one.path for one in identify(tmp_path)] == [path]
    (tmp_path / "net.torchscript").hardlink_to(path)
    assert listing(tmp_path).files == ("membranes.ts", "net.torchscript")
    assert identify(tmp_path / "main.ts")[0].family is None
    (tmp_path / "cut.ts").write_bytes(path.read_bytes()[:2000])
    for cut in (tmp_path, tmp_path / "cut.ts"):
        assert "cut.ts is cut short" in (identify(cut)[0].refused or "")
    assert told(identify(path)[0], "name") == "membranes"


def test_what_cellmap_wrote_beside_it(tmp_path: Path) -> None:
    path = made.traced(tmp_path / "model.ts", made.Net(1, volume=True).eval(), made.image(1, volume=True))
    told_ = {
        "model_name": "fly_organelles_run07",
        "channels_names": ["mito", "er-mem"],
        "input_voxel_size": [8, 4, 4],
        "inference_input_shape": [8, 16, 16],
        "description": None,
        "in_channels": 1,
    }
    (tmp_path / "metadata.json").write_text(json.dumps(told_))
    values = {name: one for name, one in recognised(path).values.items() if one.origin == "metadata.json"}
    assert {name: one.value for name, one in values.items()} == {
        "name": "fly organelles run07",
        "output_channels": ["mito", "er_mem"],
        "pixel_size": "8 x 4 x 4 nanometer",
    }
    for content in (
        '{"model_name": 3}',
        "[" * 100_000,
        '{"model_name": "x", "input_voxel_size": "8", "channels_names": 3}',
    ):
        (tmp_path / "metadata.json").write_text(content)
        assert not [one for one in recognised(path).values.values() if one.origin == "metadata.json"]


def test_what_the_file_says_for_sure_takes_no_other_answer(tmp_path: Path) -> None:
    found = recognised(made.traced(tmp_path / "net.pt", made.Net().eval()))
    values = {name: one.value for name, one in found.values.items()}
    asked = {one.name: one for one in registry.questions("torchscript", values)}
    assert asked["spatial_axes"].check("2") is None
    assert "which is 2" in (asked["spatial_axes"].check("3") or "")
    assert "which is 2" in (asked["input_channels_asked"].check(3) or "")
    guessed = recognised(made.scripted(tmp_path / "guessed.pt", made.Net().eval()))
    values = {name: one.value for name, one in guessed.values.items()}
    assert {one.name: one for one in registry.questions("torchscript", values)}["input_channels_asked"].check(3) is None
