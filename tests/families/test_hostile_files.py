"""Files that are built to crash whoever looks at them, or to take their memory, time or terminal."""

import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from zoowizard.drafts.stacks import check_stack
from zoowizard.families import architecture, package_fields, pytorch
from zoowizard.families.arguments import fields_for
from zoowizard.families.identify import identify

DESCRIPTION = "format_version: {}\ntype: model\nname: x\ninputs: [{{}}]\noutputs: [{{}}]\nweights: {{}}\n"
NETWORK = "class Net(Module):\n    def __init__(self, a=1): pass\n    def forward(self, x): return x\n"
MOST_BYTES = 100_000_000


@pytest.mark.parametrize(
    ("version", "more"),
    [
        ("0.5.3", "version: 0x" + "F" * 5000),
        ("0x" + "F" * 5000, ""),
        ('"' + "1" * 5000 + '.5"', ""),
        ("0.5.3", "version: 1" + ":1" * 100_000),
        ("0.5.3", "covers: [" + "a," * 200_000 + "a]"),
        ("0.5.3", "covers: [" + "a," * 3_000 + "a]"),
        ("0.5.3", "#" + "a" * 3_000_000),
    ],
    ids=["hexadecimal", "layout", "digits", "base 60", "values", "files", "long"],
)
def test_descriptions(version: str, more: str, tmp_path: Path) -> None:
    (tmp_path / "rdf.yaml").write_text(DESCRIPTION.format(version) + more)
    tracemalloc.start()
    [found] = identify(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    tracemalloc.stop()
    assert found.refused or found.warnings
    (tmp_path / "rdf.yaml").write_text(
        DESCRIPTION.format("0.5.3").replace("[{}]", "[{axes: [{id: y, scale: 0x" + "F" * 400 + "}]}]", 1)
    )
    assert identify(tmp_path)[0].refused


def test_a_header_of_safetensors_that_grows(tmp_path: Path) -> None:
    header = b'{"a":[' + b"[]," * (5 << 20) + b"[]]}"
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    tracemalloc.start()
    [found] = identify(tmp_path / "a.safetensors")
    assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    tracemalloc.stop()
    assert found.refused and "is no safetensors file" in found.refused


def test_a_zip_with_very_many_records(tmp_path: Path) -> None:
    record = b"PK\x01\x02" + bytes(42)
    head, end = b"PK\x03\x04" + bytes(100), struct.Struct("<4s4H2IH")
    path = tmp_path / "many.pt"
    path.write_bytes(
        head + record * 250_000 + end.pack(b"PK\x05\x06", 0, 0, 65535, 65535, 250_000 * len(record), len(head), 0)
    )
    [found] = identify(path)
    assert found.refused and "more than 200,000 records" in found.refused


def test_pickles_of_torchscript_that_are_large_together(tmp_path: Path) -> None:
    values = b"\x80\x02(" + b"}" * 600_000 + b"l."
    with zipfile.ZipFile(tmp_path / "net.pt", "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("data.pkl", "constants.pkl"):
            file.writestr(f"a/{name}", values)
        file.writestr("a/code/__torch__.py", "")
    [found] = identify(tmp_path / "net.pt")
    assert found.refused and "pickle instructions" in found.refused


@pytest.mark.parametrize(
    "source",
    [
        "if " + "+".join("a" * 600) + ": pass\n" + NETWORK,
        NETWORK.replace("a=1", "a=" + "+".join("x" * 400)),
        NETWORK.replace("a=1", "a=0x" + "f" * 5000),
        NETWORK.replace("a=1", "a=1, a=2"),
        "from torch import *\nfrom torch.nn import *\n" * 100 + NETWORK.replace("Module", "Unknown"),
    ],
    ids=["condition", "default", "digits", "twice", "stars"],
)
def test_architectures_are_read(source: str, tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(source)
    assert pytorch._check_file(str(path)) is None
    names = [one.name for one in fields_for({"architecture_file": str(path), "network": "Net"})]
    assert names == ["argument_a"]


def test_architectures_that_are_large(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(NETWORK + "a;" * 400_000)
    said = pytorch._check_file(str(path))
    assert said is not None and "is no Python of a network: it holds over 200,000 names" in said
    path.write_text(NETWORK.replace("a=1", ", ".join(f"a{number}=1" for number in range(20_000))))
    assert len(fields_for({"architecture_file": str(path), "network": "Net"})) == 101


def test_what_plays_with_the_terminal_is_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    choice = "b: Literal['\\x1b[2J', 'x'] = 'x'"
    path.write_text(NETWORK.replace("a=1", f"a='\\x1b[31mred', {choice}"))
    signature = architecture.signature(architecture.parsed(path), "Net")
    assert signature is not None
    first, second = signature.parameters
    assert not first.required and "\x1b" not in str(first) and second.choices == ()


def test_new_weights_that_are_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "cut.pt"
    path.write_bytes(b"PK\x03\x04aaaa")
    [field] = [one for one in package_fields.FIELDS if one.name == "new_weights"]
    said = field.check(str(path))
    assert said is not None and "cut.pt is cut short" in said
    assert package_fields.asks({"new_weights": str(path)})


def test_an_image_without_pixels(tmp_path: Path) -> None:
    np.save(tmp_path / "empty.npy", np.zeros((0, 64, 64), np.float32))
    assert "0 x 64 x 64" in str(check_stack(str(tmp_path / "empty.npy")))
