"""The number in a tensor of one element, out of files that torch wrote and out of files that lie."""

import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from zoowizard.errors import ZoowizardError
from zoowizard.families.pickles import look
from zoowizard.families.tensors import single_number

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)


def numbers(path: Path) -> dict[str, float | None]:
    """What is read of every tensor of the file."""
    looked = look(path)
    return {name: single_number(path, looked, one) for name, one in looked.root.items()}


def changed(path: Path, **changes: Any) -> Path:
    """The same zip with another `content`, `method` or `name` of its first storage, or another `byteorder`."""
    other = path.with_name("changed")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for one in old.infolist():
            content = old.read(one)
            if one.filename.endswith("/data/0"):
                name, content = changes.get("name", one.filename), changes.get("content", content)
                new.writestr(name, content, changes.get("method", zipfile.ZIP_STORED))
            else:
                new.writestr(
                    one.filename, changes.get("byteorder", content) if "byteorder" in one.filename else content
                )
    return other


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Two numbers in storages of their own, and one in the middle of a larger one."""
    large = torch.arange(100.0)
    torch.save(
        {
            "mean": torch.tensor([30.0]),
            "inside": large[41:42],
            "weights": torch.zeros(5, 5),
            "labels": torch.ones(1) / 3,
        },
        tmp_path / "model",
    )
    return tmp_path / "model"


@pytest.mark.parametrize("zipped", [True, False])
def test_every_type_of_number_is_read_as_torch_reads_it(zipped: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {str(dtype): (torch.rand(1, dtype=torch.float64) * 50).to(dtype) for dtype in DTYPES}
    # storages of all widths lie before and between them in a legacy file
    state |= {f"weights {number}": torch.rand(7 + number).to(dtype) for number, dtype in enumerate(DTYPES)}
    state |= {"inside": torch.arange(9.0)[5:6], "scalar": torch.tensor(-2.5), "nothing": torch.zeros(0)}
    torch.save(state, tmp_path / "model", _use_new_zipfile_serialization=zipped)
    read = numbers(tmp_path / "model")
    for name, tensor in state.items():
        assert read[name] == (tensor.item() if tensor.numel() == 1 else None)


def test_nan_and_infinite_are_no_numbers(tmp_path: Path) -> None:
    torch.save({"a": torch.tensor([float("nan")]), "b": torch.tensor([float("inf")])}, tmp_path / "model")
    assert numbers(tmp_path / "model") == {"a": None, "b": None}


def test_what_lies_about_its_place_gives_no_number(written: Path) -> None:
    assert numbers(written) == {"mean": 30.0, "inside": 41.0, "weights": None, "labels": pytest.approx(1 / 3)}
    lies: dict[str, dict[str, Any]] = {
        "packed": {"method": zipfile.ZIP_DEFLATED},
        "missing": {"name": "model/elsewhere/0"},
        "too short": {"content": b"ab"},
        "too long": {"content": bytes(8)},
        "big-endian": {"byteorder": b"big"},
    }
    assert numbers(changed(written))["mean"] == 30.0
    for lie, changes in lies.items():
        assert numbers(changed(written, **changes))["mean"] is None, lie


def test_two_records_of_one_name_give_no_number(written: Path) -> None:
    with zipfile.ZipFile(written, "a") as archive:
        name = next(one for one in archive.namelist() if one.endswith("/data/0"))
        archive.writestr(name.upper().replace("DATA/0", "Data/0"), struct.pack("<f", 7.0))
    assert numbers(written)["mean"] is None


def test_a_place_beyond_the_file_ends_in_nothing(written: Path) -> None:
    raw = bytearray(written.read_bytes())
    with zipfile.ZipFile(written) as archive:
        name = next(one for one in archive.namelist() if one.endswith("/data/0")).encode()
    at = raw.rindex(name) - 46  # its entry in the zip's list
    for offset in (len(raw) - 3, 0xFFFFFFF0, 0):
        raw[at + 42 : at + 46] = struct.pack("<I", offset)
        written.write_bytes(raw)
        assert numbers(written)["mean"] is None


def test_every_cut_and_every_wrong_byte_of_a_legacy_file_ends_quietly(tmp_path: Path) -> None:
    path = tmp_path / "model"
    torch.save({"mean": torch.tensor([30.0]), "w": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    looked = look(path)
    assert looked.storages is not None
    for length in range(looked.storages.start, len(whole)):
        path.write_bytes(whole[:length])
        assert single_number(path, looked, looked.root["mean"]) in (None, 30.0)
    for place in range(looked.storages.start, len(whole)):
        path.write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
        single_number(path, looked, looked.root["mean"])


def test_the_weights_around_it_are_never_read(tmp_path: Path) -> None:
    """A storage of 8 GB before the number: a sparse file in the format before torch 1.6."""
    path = tmp_path / "model"
    state = {"weights": torch.ones(3, dtype=torch.uint8), "mean": torch.tensor([30.0])}
    torch.save(state, path, _use_new_zipfile_serialization=False)
    looked = look(path)
    assert looked.storages is not None
    key = looked.root["weights"].place[0]
    with path.open("r+b") as file:
        file.seek(looked.storages.start)
        lengths = {key: 8 << 30, looked.root["mean"].place[0]: 1}
        for one in looked.storages.keys:
            file.write(struct.pack("<q", lengths[one]))
            if one == key:
                file.seek(lengths[one], os.SEEK_CUR)
            else:
                file.write(struct.pack("<f", 30.0))
        file.truncate(file.tell())
    code = (
        "import resource, sys, json; from pathlib import Path; from zoowizard.families.pickles import look\n"
        "from zoowizard.families.tensors import single_number\n"
        "resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))\n"
        "path = Path(sys.argv[1]); looked = look(path)\n"
        "print(json.dumps([single_number(path, looked, looked.root['mean']), 'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True, timeout=20)
    assert json.loads(done.stdout) == [30.0, False]


@pytest.mark.parametrize("extra", [b"\x01\x00\xff\xff\x00", struct.pack("<2HQ", 1, 8, 1 << 63)])
def test_a_list_of_records_that_points_nowhere_is_refused(extra: bytes, written: Path) -> None:
    """8-byte numbers that are cut short, or lead where no system can go."""
    raw = written.read_bytes()
    with zipfile.ZipFile(written) as archive:
        start = archive.start_dir
    name = b"model/data.pkl"
    head = (b"PK\x01\x02", 45, 45, 0, 0, 0, 0, 0, 10, 10, len(name), len(extra), 0, 0, 0, 0, 0xFFFFFFFF)
    record = struct.pack("<4s6H3I5H2I", *head) + name + extra
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(record), start, 0)
    written.write_bytes(raw[:start] + record + end)
    with pytest.raises(ZoowizardError, match=r"damaged zip|cut short"):
        look(written)
