"""ONNX files of torch's two exporters and of the onnx library, and some that nobody should load."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import exported_networks as made
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from zoowizard.errors import UnsafeCheckpoint, ZoowizardError
from zoowizard.families import onnx as family
from zoowizard.families import registry
from zoowizard.families.family import Recognition
from zoowizard.families.identify import identify, obstacle

FREE = ["n", 1, "h", "w"]


def recognised(path: Path) -> Recognition:
    [found] = identify(path)
    assert found.family == "onnx", found
    assert found.refused is None, found.refused
    return found


def refused(path: Path) -> str:
    [found] = identify(path)
    assert found.refused is not None
    assert found.refused.startswith(path.name)
    return found.refused


def codes(found: Recognition) -> set[str]:
    return {one.code for one in found.warnings}


def told(found: Recognition, name: str) -> object:
    return found.values[name].value if name in found.values else None


def model_of(
    nodes: list[onnx.NodeProto],
    shape: list[int | str] = FREE,
    kind: int = TensorProto.FLOAT,
    weights: list[onnx.TensorProto] | None = None,
    opset: int = 17,
    domains: tuple[str, ...] = (),
    functions: list[onnx.FunctionProto] | None = None,
) -> onnx.ModelProto:
    """A model from image to result."""
    ends = [helper.make_tensor_value_info(name, kind, shape) for name in ("image", "result")]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], weights or [])
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(one, 1) for one in domains)]
    model = helper.make_model(graph, opset_imports=opsets, functions=functions or [])
    model.ir_version = 8
    return model


def saved(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def relu() -> list[onnx.NodeProto]:
    return [helper.make_node("Relu", ["image"], ["result"])]


def weight(name: str = "w", location: str = "", **place: int) -> onnx.TensorProto:
    """Four numbers; in another file where `location` names one."""
    tensor = helper.make_tensor(name, TensorProto.FLOAT, [4], b"\0" * 16, raw=True)
    if location:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **place}.items():
            tensor.external_data.add(key=key, value=str(value))
    return tensor


def beside(path: Path, location: str, **place: int) -> Path:
    add = [helper.make_node("Add", ["image", "w"], ["result"])]
    return saved(path, model_of(add, weights=[weight(location=location, **place)]))


@pytest.mark.parametrize("dynamo", [False, True])
def test_both_exporters_of_torch(dynamo: bool, tmp_path: Path) -> None:
    network = made.Net().eval()
    path = made.exported_to_onnx(tmp_path / "nuclei.onnx", network, dynamo, made.image(), external_data=False)
    found = recognised(path)
    assert obstacle(found) is None
    assert found.warnings == ()
    assert told(found, "architecture") == "ONNX network, 2-D, 2 input channels"
    assert told(found, "inputs_found") == ["image (float32, batch x 2 x height x width)"]
    assert str(told(found, "outputs_found")).startswith("['probability (float32, batch x 3 x")
    stored = onnx.load(path)
    assert told(found, "opset") == stored.opset_import[0].version
    sizes = [torch.tensor(list(one.dims)).prod().item() for one in stored.graph.initializer if one.data_type == 1]
    assert told(found, "parameters") == sum(sizes)
    assert told(found, "name") == "nuclei"
    assert "pytorch" in str(told(found, "producer"))
    assert family.look(path).opset == told(found, "opset")


def test_weights_in_a_file_beside(tmp_path: Path) -> None:
    network = made.Net(volume=True).eval()
    path = made.exported_to_onnx(
        tmp_path / "net.onnx", network, True, made.image(volume=True), external_data=True, dynamic_shapes=None
    )
    data = tmp_path / "net.onnx.data"
    found = recognised(path)
    assert told(found, "architecture") == "ONNX network, 3-D, 2 input channels"
    assert told(found, "external_data") == {"net.onnx.data": data.stat().st_size}
    assert codes(found) == {"fixed-size"}
    whole = data.read_bytes()
    data.write_bytes(whole[:-1])
    assert f"{len(whole) - 1} of the {len(whole)} bytes" in (obstacle(recognised(path)) or "")
    data.unlink()
    assert "net.onnx.data, which is missing" in (obstacle(recognised(path)) or "")
    with pytest.raises(ZoowizardError, match="missing"):
        family.look(path)


def test_all_files_that_are_missing_are_named(tmp_path: Path) -> None:
    weights = [weight("a", "one.bin"), weight("b", "parts/two.bin"), weight("c", "three.bin", offset=4, length=16)]
    (tmp_path / "three.bin").write_bytes(bytes(20))
    nodes = [helper.make_node("Sum", ["image", "a", "b", "c"], ["result"])]
    reason = obstacle(recognised(saved(tmp_path / "net.onnx", model_of(nodes, weights=weights)))) or ""
    assert "one.bin" in reason
    assert "parts/two.bin" in reason
    assert "three.bin" not in reason


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/passwd", "a/../../secret", "..\\secret", "C:\\secret", "linked", "folder/inside"]
)
def test_a_name_that_leads_elsewhere_is_refused(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(16))
    (tmp_path / "inside").write_bytes(bytes(16))
    (folder / "linked").symlink_to(tmp_path / "secret")
    (folder / "folder").symlink_to(tmp_path, target_is_directory=True)
    path = beside(folder / "net.onnx", location)
    [found] = identify(path)
    assert found.unsafe
    assert "its weights are in" in refused(path)
    with pytest.raises(UnsafeCheckpoint):
        family.look(path)


def test_a_pipe_beside_it_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "a link or a device" in refused(beside(tmp_path / "net.onnx", "pipe"))


def test_inputs(tmp_path: Path) -> None:
    two = model_of([helper.make_node("Add", ["image", "other"], ["result"])])
    two.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, FREE))
    both = recognised(saved(tmp_path / "two.onnx", two))
    assert obstacle(both) is None and told(both, "further_inputs") == ["other"]
    other = two.graph.input[1].type.tensor_type.shape
    other.dim[2].dim_value = 7
    two.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 64
    assert "a package takes images of the same size" in (obstacle(recognised(saved(tmp_path / "two.onnx", two))) or "")
    del other.dim[2:]
    assert "other is n x 1, no image of (batch, channel, y, x)" in (
        obstacle(recognised(saved(tmp_path / "two.onnx", two))) or ""
    )
    old = model_of([helper.make_node("Add", ["image", "w"], ["result"])], weights=[weight()])
    old.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4]))  # as files before IR 4 have it
    found = recognised(saved(tmp_path / "old.onnx", old))
    assert obstacle(found) is None
    assert told(found, "inputs_found") == ["image (float32, n x 1 x h x w)"]


@pytest.mark.parametrize(
    ("shape", "kind", "says"),
    [
        (FREE, TensorProto.FLOAT16, "is float16, which the zoo's format cannot give"),
        (FREE, TensorProto.INT64, "is int64"),
        (["n", 7], TensorProto.FLOAT, "is n x 7, no image"),
        ([1, 256, 256, 3], TensorProto.FLOAT, "channels last"),
        (["n", "h", "w", 1], TensorProto.FLOAT, "channels last"),
        ([4, 1, "h", "w"], TensorProto.FLOAT, "batches of 4 images"),
    ],
)
def test_an_input_that_a_package_cannot_have(shape: list[int | str], kind: int, says: str, tmp_path: Path) -> None:
    found = recognised(saved(tmp_path / "net.onnx", model_of(relu(), shape, kind)))
    assert says in (obstacle(found) or "")


def test_channels_that_only_the_weights_tell(tmp_path: Path) -> None:
    kernel = helper.make_tensor("w", TensorProto.FLOAT, [8, 2, 3, 3], bytes(576), raw=True)
    nodes = [helper.make_node("Conv", ["image", "w"], ["result"], group=2)]
    found = recognised(saved(tmp_path / "net.onnx", model_of(nodes, ["n", "c", "h", "w"], weights=[kernel])))
    assert told(found, "input_channels") == 4
    assert "a guess to confirm" in found.evidence[-1]
    values = {name: one.value for name, one in found.values.items()}
    asked = {one.name: one for one in registry.questions("onnx", values)}
    assert asked["input_channels_asked"].check(3) is None
    assert "which is 2" in (asked["spatial_axes"].check("3") or "")


@pytest.mark.parametrize(("opset", "warned"), [(6, None), (7, False), (21, False), (22, True)])
def test_versions_of_the_operators(opset: int, warned: bool | None, tmp_path: Path) -> None:
    found = recognised(saved(tmp_path / "net.onnx", model_of(relu(), opset=opset)))
    assert ("new-opset" in codes(found)) == bool(warned)
    assert ("from opset 7 on" in (obstacle(found) or "")) == (warned is None)


def test_operators_that_others_lack(tmp_path: Path) -> None:
    def with_operator(name: str, domain: str, functions: list[onnx.FunctionProto] | None = None) -> Recognition:
        nodes = [helper.make_node(name, ["image"], ["result"], domain=domain)]
        return recognised(saved(tmp_path / "net.onnx", model_of(nodes, domains=(domain,), functions=functions)))

    assert "lab.ops::Unmix, which onnxruntime does not bring" in (obstacle(with_operator("Unmix", "lab.ops")) or "")
    own = helper.make_function("lab.ops", "Unmix", ["x"], ["y"], relu(), [helper.make_opsetid("", 17)])
    assert obstacle(with_operator("Unmix", "lab.ops", [own])) is None
    runtime = with_operator("Gelu", "com.microsoft")
    assert obstacle(runtime) is None
    assert codes(runtime) == {"runtime-operators"}


def test_control_flow_and_outputs_of_any_length(tmp_path: Path) -> None:
    result = helper.make_tensor_value_info("b", TensorProto.FLOAT, FREE)
    half = helper.make_tensor("half", TensorProto.FLOAT16, [2], b"\0" * 4, raw=True)
    constant = helper.make_node("Constant", [], ["half"], value=half)
    branch = helper.make_graph([helper.make_node("NonZero", ["image"], ["b"]), constant], "branch", [], [result])
    node = helper.make_node("If", ["image"], ["result"], then_branch=branch, else_branch=branch)
    found = recognised(saved(tmp_path / "net.onnx", model_of([node])))
    assert codes(found) == {"control-flow", "counted-outputs", "half-precision"}
    assert "NonZero" in str(told(found, "operators"))


def test_a_file_that_ultralytics_exported_points_to_its_weights(tmp_path: Path, run_folder: Path) -> None:
    model = model_of(relu())
    model.metadata_props.add(key="author", value="Ultralytics")
    assert "exported-yolo" in codes(recognised(saved(run_folder / "weights" / "best.onnx", model)))
    assert [(one.path, one.family) for one in identify(tmp_path)] == [(run_folder, "yolo")]


def test_broken_files_are_one_sentence(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.onnx", model_of(relu(), weights=[weight()])).read_bytes()
    for size in range(1, len(whole)):
        (tmp_path / "cut.onnx").write_bytes(whole[:size])
        [found] = identify(tmp_path / "cut.onnx")
        assert found.refused is not None or size > 100, size
    for name, content, says in (
        ("text.onnx", b"hello, this is no network", "damaged"),
        ("picture.onnx", b"\x89PNG\r\n\x1a\n" + bytes(100), "damaged"),
        ("pointer.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("empty.onnx", b"", "is empty"),
    ):
        (tmp_path / name).write_bytes(content)
        assert says in refused(tmp_path / name)
    no_outputs = model_of(relu())
    del no_outputs.graph.output[:]
    assert "no outputs" in refused(saved(tmp_path / "none.onnx", no_outputs))
    assert "no place" in refused(beside(tmp_path / "place.onnx", "data", offset=-1))
    small = model_of(relu(), weights=[weight()])
    small.graph.initializer[0].dims[0] = 1 << 40
    assert "is 1099511627776 numbers, and holds only 16 bytes" in refused(saved(tmp_path / "small.onnx", small))
    small.graph.initializer[0].dims[0] = -1
    assert "a size that there cannot be" in refused(saved(tmp_path / "small.onnx", small))


def _part(number: int, content: bytes) -> bytes:
    """A field of protobuf, by hand: the library would make the large ones in memory."""
    return _whole(number << 3 | 2) + _whole(len(content)) + content


def _whole(value: int) -> bytes:
    told_ = b""
    while value > 127:
        told_ += bytes([value & 127 | 128])
        value >>= 7
    return told_ + bytes([value])


def _around(graph: bytes) -> bytes:
    """A whole file whose graph begins with this."""
    model = model_of(relu())
    return model.SerializeToString() + _part(7, graph)


def _deep() -> bytes:
    graph = b""
    for _ in range(400):
        graph = _part(1, _part(5, _part(6, graph)))
    return graph


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "fields": (lambda: b"\xa0\x06\x01" * 2_100_000, "parts"),
    "deep": (_deep, "graphs within graphs"),
    "axes": (lambda: _part(5, _part(1, b"\x01" * 2_100_000)), "parts"),
    "operators": (lambda: b"".join(_part(1, _part(4, b"%d" % one)) for one in range(11_000)), "kinds of operators"),
    "weights": (
        lambda: b"".join(_part(5, _part(8, b"%09d" % one + b"w" * 500)) for one in range(101_000)),
        "holds more than 100,000 tensors",
    ),
    "text": (lambda: _part(1, _part(4, b"R" * (100 << 20))), ""),
}


@pytest.fixture
def look(tmp_path: Path) -> Iterator[Callable[[Path], tuple[str, float]]]:
    """Recognises in a process of its own; gives what it says, and its memory in MB."""
    code = (
        "import re, sys; from pathlib import Path; from zoowizard.families.identify import identify\n"
        "[found] = identify(Path(sys.argv[1]))\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'bioimageio', 'textual'} & set(sys.modules)\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1], len(heavy))\n"
        "print(found.refused or found.family)"
    )

    def run(path: Path) -> tuple[str, float]:
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        numbers, _, sentence = done.stdout.partition("\n")
        memory, heavy = numbers.split()
        assert heavy == "0"
        return sentence.strip(), int(memory) / 1024

    yield run


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_little_memory(
    name: str, look: Callable[[Path], tuple[str, float]], tmp_path: Path
) -> None:
    make, says = BOMBS[name]
    (tmp_path / "bomb.onnx").write_bytes(_around(make()))
    sentence, memory = look(tmp_path / "bomb.onnx")
    assert says in sentence
    assert memory < 250


def test_gigabytes_of_weights_are_passed_over(look: Callable[[Path], tuple[str, float]], tmp_path: Path) -> None:
    numbers = 1 << 30
    tensor = b"\x08" + _whole(numbers) + b"\x10\x01" + _part(8, b"w") + b"\x4a" + _whole(4 * numbers)
    size = 4 * numbers
    ends = model_of(relu()).SerializeToString()
    head = ends + b"\x3a" + _whole(len(tensor) + size + 1 + len(_whole(len(tensor) + size)))
    head += b"\x2a" + _whole(len(tensor) + size) + tensor
    with (tmp_path / "large.onnx").open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)  # it takes no room on the disk
    sentence, memory = look(tmp_path / "large.onnx")
    assert sentence == "onnx"
    assert memory < 100
    assert told(recognised(tmp_path / "large.onnx"), "parameters") == numbers
