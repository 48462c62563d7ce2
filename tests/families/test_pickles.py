"""Checkpoints are hostile until proven otherwise: what is refused, how, and that nothing of it runs."""

import contextlib
import io
import os
import pickle
import random
import re
import struct
import subprocess
import sys
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zoowizard.errors import UnsafeCheckpoint, WrongUse, ZoowizardError
from zoowizard.families.literals import DamagedError, Machine
from zoowizard.families.opcodes import run
from zoowizard.families.pickles import LARGEST_PICKLE, look
from zoowizard.families.stand_ins import Tensor, parameters


def packed(folder: Path, data: bytes, name: str = "best.pt", record: str = "archive/data.pkl") -> Path:
    """A checkpoint as torch lays it out, around the pickle `data`."""
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr(record, data)
        archive.writestr("archive/version", "3")
    return folder / name


class Runs:
    """Pickles to a call."""

    def __init__(self, call: Callable[..., Any], *args: Any) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call, self.args


def shell(canary: Path) -> str:
    return f"touch {canary}"


def text(word: str) -> bytes:
    return b"X" + struct.pack("<I", len(word)) + word.encode()


def hostile(canary: Path) -> dict[str, tuple[bytes, str]]:
    """Hand-made pickles that would all run something, and the name that must be told."""
    command = text(shell(canary))
    system = Runs(os.system, shell(canary))
    made = b"cultralytics.nn.tasks\nSegmentationModel\n"
    return {
        "reduce": (pickle.dumps(system, 2), "posix.system"),
        "protocol 0": (b"cos\nsystem\n(" + command + b"tR.", "os.system"),
        "protocol 4": (pickle.dumps({"model": [system]}, 4), "posix.system"),
        "protocol 5": (pickle.dumps({"model": [system]}, 5), "posix.system"),
        "memoised strings": (
            b"\x80\x04" + text("posix") + b"\x94" + text("system") + b"\x940h\x00h\x01\x93" + command + b"\x85R.",
            "posix.system",
        ),
        "a duplicate": (b"\x80\x04" + text("os") + b"2\x930" + text("os") + text("system") + b"\x93.", "os.system"),
        "instance": (b"(" + command + b"ios\nsystem\n.", "os.system"),
        "object": (b"(cos\nsystem\n" + command + b"o.", "os.system"),
        "in a state": (made + b")\x81}" + text("act") + b"cos\nsystem\n" + command + b"\x85Rsb.", "os.system"),
        "after a harmless one": (pickle.dumps({"a": 1, "b": system}, 2), "posix.system"),
        "torch.hub": (b"ctorch.hub\nload\n(" + command * 2 + b"tR.", "torch.hub.load"),
        "torch.load": (b"ctorch\nload\n" + command + b"\x85R.", "torch.load"),
        "storage from bytes": (b"ctorch.storage\n_load_from_bytes\n" + command + b"\x85R.", "_load_from_bytes"),
        "a download": (
            b"cultralytics.utils.downloads\nsafe_download\n" + command + b"\x85R.",
            "ultralytics.utils.downloads.safe_download",
        ),
        "eval": (pickle.dumps(Runs(eval, "1"), 2), "builtins.eval"),
        "a constructor": (made + command + b"\x85R.", "ultralytics.nn.tasks.SegmentationModel"),
        "getattr": (
            b"c__builtin__\ngetattr\n(ctorch.nn.modules.conv\nConv2d\n" + text("__init__") + b"tR.",
            "getattr(torch.nn.modules.conv.Conv2d, __init__)",
        ),
        "a chain of getattr": (
            b"c__builtin__\ngetattr\n(c__builtin__\ngetattr\n(ctorch.nn.modules.conv\nConv2d\n"
            + text("forward")
            + b"tR"
            + text("__globals__")
            + b"tR.",
            "__globals__",
        ),
        "a memo whose number is padded": (
            b"\x80\x04" + text("torch") + b"p0\n0" + text("os") + b"p" + b"0" * 30 + b"1\n0"
            b"g1\n" + text("system") + b"\x93" + command + b"\x85R.",
            "os.system",
        ),
        "a dotted name": (
            b"\x80\x04" + text("torch.nn") + text("Module.__init__.__globals__") + b"\x93.",
            "__globals__",
        ),
        "a class changed": (made + b"N}" + text("forward") + b"Ns\x86b.", "ultralytics.nn.tasks.SegmentationModel"),
        "a made-up name": (b"\x80\x04" + made + b")\x81" + text("system") + b"\x93.", "put together"),
        "a made-up call": (made + b")\x81" + command + b"\x85R.", "put together"),
        "cut short after it": (b"cos\nsystem\n" + command + b"\x85R", "os.system"),
    }


@pytest.mark.parametrize("name", hostile(Path("canary")))
def test_a_hostile_pickle_is_refused_by_name_and_does_not_run(name: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    data, told = hostile(canary)[name]
    with pytest.raises(UnsafeCheckpoint) as refused:
        look(packed(tmp_path, data))
    assert told in str(refused.value)
    assert "best.pt" in str(refused.value)
    assert not canary.exists()


def test_the_canary_does_fly_where_pickle_itself_loads_the_file(tmp_path: Path) -> None:
    pickle.loads(hostile(tmp_path / "canary")["reduce"][0])
    assert (tmp_path / "canary").exists()


def test_what_is_run_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(UnsafeCheckpoint, match=r"names `posix\.system`, which would run a program when loaded"):
        look(packed(tmp_path, pickle.dumps(Runs(os.system, "true"), 2)))


def test_a_hostile_file_of_the_old_format_is_refused_wherever_it_hides(tmp_path: Path) -> None:
    import torch

    torch.save({"a": torch.zeros(3)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    root = look(tmp_path / "old.pt").root
    assert isinstance(root["a"], Tensor)
    assert root["a"].shape == (3,)

    with io.BytesIO((tmp_path / "old.pt").read_bytes()) as file:
        head = [pickle.load(file) for _ in range(3)]
    parts = [*head, {"a": 1}, Runs(os.system, shell(tmp_path / "canary"))]
    (tmp_path / "bad.pt").write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))
    with pytest.raises(UnsafeCheckpoint, match="system"):
        look(tmp_path / "bad.pt")
    assert not (tmp_path / "canary").exists()


def test_a_second_pickle_that_torch_would_load_instead_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path, pickle.dumps({}, 2))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/DATA.PKL", pickle.dumps(Runs(os.system, "true"), 2))
    with pytest.raises(ZoowizardError, match=r"more than one data\.pkl"):
        look(path)


BOMBS = {
    "a memo of 4 billion": b"\x80\x02Nr\xff\xff\xff\xff.",
    "an array of 2**62 bytes": b"\x80\x05\x96" + struct.pack("<Q", 1 << 62) + b".",
    "a text of 2**62 bytes": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"abc.",
    "a number of 2 GB": b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",
    "a negative length": b"\x80\x02\x8b\xff\xff\xff\xff\x01.",
    "five million lists": b"\x80\x02" + b"]" * 5_000_000 + b".",
    "five million nested tuples": b"\x80\x02N" + b"\x85" * 5_000_000 + b".",
    "an extension code": b"\x80\x02\x82\x01.",
    "no end": b"\x80\x02}",
    "nothing on the stack": b"\x80\x02R.",
}


def test_bombs_end_in_a_sentence_soon_and_in_little_memory(tmp_path: Path) -> None:
    code = (
        "import sys, time, resource; from pathlib import Path; from zoowizard.families.pickles import look\n"
        "from zoowizard.errors import ZoowizardError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))\n"
        "for name in sys.argv[1:]:\n"
        "    try: look(Path(name)); print('followed')\n"
        "    except ZoowizardError as refused: print(refused)\n"
        "assert time.process_time() < 10"
    )
    paths = [packed(tmp_path, data, f"{number}.pt") for number, data in enumerate(BOMBS.values())]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    told = dict(zip(BOMBS, done.stdout.splitlines(), strict=True))
    # Followed without doing what it asks: nothing is allocated by its numbers.
    assert told.pop("a memo of 4 billion") == "followed"
    assert all(re.match(r"\d+\.pt (is|holds) .+\.$", sentence) for sentence in told.values()), told
    assert "more than 1,000,000 pickle instructions" in told["five million lists"]


def test_nested_tuples_as_keys_are_not_hashed_and_deep_ones_do_not_crash(tmp_path: Path) -> None:
    laughing = b"\x80\x02}" + text("a") + b"q\x00" + b"\x85q\x01h\x01\x86" + b"q\x01h\x01\x86" * 60 + b"Ns."
    deep = b"\x80\x02}" + b")" + b"\x85" * 900_000 + b"Ns."
    assert look(packed(tmp_path, laughing)).root == {}
    assert look(packed(tmp_path, deep)).root == {}


def test_a_zip_bomb_is_refused_without_unpacking_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "best.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"N" * (LARGEST_PICKLE + 1))
    assert (tmp_path / "best.pt").stat().st_size < 1e6
    with pytest.raises(ZoowizardError, match=r"data\.pkl of over 32 MB"):
        look(tmp_path / "best.pt")


def test_a_zip_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "best.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"N" * 40_000_000)
    raw = bytearray((tmp_path / "best.pt").read_bytes())
    at = raw.rindex(b"PK\x01\x02")
    raw[at + 24 : at + 28] = struct.pack("<I", 1000)
    (tmp_path / "best.pt").write_bytes(raw)
    with pytest.raises(ZoowizardError, match="damaged zip"):
        look(tmp_path / "best.pt")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_checkpoint_that_is_cut_short_is_told_so(share: float, made_once: Path, tmp_path: Path) -> None:
    whole = (made_once / "weights" / "best.pt").read_bytes()
    (tmp_path / "best.pt").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ZoowizardError, match=r"best\.pt is cut short .* copy it again"):
        look(tmp_path / "best.pt")


def test_every_byte_of_damage_ends_in_a_sentence_or_in_nothing(made_once: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(made_once / "weights" / "best.pt") as archive:
        name = next(one for one in archive.namelist() if one.endswith("data.pkl"))
        data = archive.read(name)[:3000]
    for place in range(0, len(data), 23):
        path = packed(tmp_path, data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        with pytest.raises(ZoowizardError):
            look(path)


def test_files_that_are_no_checkpoints_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "image.pt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (tmp_path / "empty.pt").touch()
    (tmp_path / "plain.pt").write_bytes(pickle.dumps([1, 2], 2))
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    os.mkfifo(tmp_path / "pipe.pt")
    for name, told in {
        "image.pt": "neither a zip nor a pickle",
        "empty.pt": "is empty",
        "plain.pt": "none that torch wrote",
        "other.pt": r"no data\.pkl",
        "pipe.pt": "a pipe",
    }.items():
        with pytest.raises(ZoowizardError, match=told):
            look(tmp_path / name)
    with pytest.raises(WrongUse, match="does not exist"):
        look(tmp_path / "none.pt")


def test_an_exported_program_is_no_checkpoint(tmp_path: Path) -> None:
    import torch

    torch.jit.save(torch.jit.script(torch.nn.ReLU()), str(tmp_path / "net.pt"))
    with pytest.raises(ZoowizardError, match="TorchScript"):
        look(tmp_path / "net.pt")


def test_the_weights_are_never_read(made_once: Path, tmp_path: Path) -> None:
    """A checkpoint of 10 GB: a sparse file whose zip ends as zip64 does."""
    import torch

    torch.save({"weight": torch.zeros(4), "epoch": 3}, tmp_path / "small.pt")
    with zipfile.ZipFile(tmp_path / "small.pt") as archive:
        data = archive.read("small/data.pkl")
    huge = tmp_path / "huge.pt"
    names = (b"huge/data.pkl", b"huge/data/0")
    size = 10 << 30
    with huge.open("wb") as file:
        places = []
        for name, length in zip(names, (len(data), size), strict=True):
            places.append(file.tell())
            file.write(struct.pack("<4s5H3I2H", b"PK\x03\x04", 45, 0, 0, 0, 0, 0, 0, 0, len(name), 0) + name)
            if length == len(data):
                file.write(data)
            else:
                file.seek(length, os.SEEK_CUR)
        start = file.tell()
        for name, place, length in zip(names, places, (len(data), size), strict=True):
            extra = struct.pack("<2H3Q", 1, 24, length, length, place)
            full = 0xFFFFFFFF
            head = (b"PK\x01\x02", 45, 45, 0, 0, 0, 0, 0, full, full, len(name), len(extra), 0, 0, 0, 0, full)
            file.write(struct.pack("<4s6H3I5H2I", *head) + name + extra)
        length = file.tell() - start
        end = file.tell()
        file.write(struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 2, 2, length, start))
        file.write(struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1))
        file.write(struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 2, 2, 0xFFFFFFFF, 0xFFFFFFFF, 0))
    started = time.perf_counter()
    root = look(huge).root
    assert time.perf_counter() - started < 1
    assert root["epoch"] == 3
    assert root["weight"].shape == (4,)


def test_parameters_are_counted_as_torch_counts_them(made_once: Path, network: Callable[[str], Any]) -> None:
    model = network("yolo11n-seg.yaml")
    root = look(made_once / "weights" / "best.pt").root
    assert sum(one.numel for one in parameters(root["model"])) == sum(one.numel() for one in model.parameters())


def test_numbers_and_paths_of_older_versions_are_read(tmp_path: Path) -> None:
    import numpy as np

    path = packed(tmp_path, pickle.dumps({"fitness": np.float64(0.25), "save_dir": Path("/home/ada")}, 2))
    root = look(path).root
    assert root["fitness"] == 0.25
    assert root["save_dir"] == "/home/ada"


def test_what_yolov8_wrote_with_getattr_is_harmless(tmp_path: Path) -> None:
    """ultralytics 8.0 and 8.1: `getattr(Detect, "forward")` in a segmentation head."""
    written = b"\x80\x02c__builtin__\ngetattr\n(cultralytics.nn.modules.head\nDetect\n" + text("forward") + b"tR."
    names = look(packed(tmp_path, written)).names
    assert names == ("builtins.getattr", "ultralytics.nn.modules.head.Detect")


def test_a_name_cannot_play_with_the_terminal(tmp_path: Path) -> None:
    with pytest.raises(UnsafeCheckpoint) as refused:
        look(packed(tmp_path, b"c\x1b[2Jos\nsystem\n."))
    assert "\x1b" not in str(refused.value)


def test_neither_torch_nor_ultralytics_is_loaded(made_once: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from zoowizard.families.identify import identify\n"
        "found = identify(Path(sys.argv[1]))\n"
        "heavy = {'torch', 'ultralytics', 'numpy', 'textual', 'bioimageio', 'pandas', 'cellpose'}\n"
        "print(found[0].family, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, made_once], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "yolo []"


class Watched(pickle.Unpickler):
    """Python's own unpickler, which tells what names it was asked for and makes nothing of them."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.asked: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        self.asked.add(f"{module}.{name}")
        return type(name.encode().hex(), (dict,), {"__init__": lambda self, *args: None, "__setstate__": len})

    def persistent_load(self, told: Any) -> Any:
        return None


def test_no_name_is_overlooked_that_python_s_own_unpickler_asks_for() -> None:
    """Damaged at random: what is not refused as damaged names all that Python's own unpickler would ask for."""
    chance = random.Random(5)
    holder = {"a": [OrderedDict(b=1), Path("/x")], "c": OrderedDict(d=(1, "torch", "os")), "e": Runs(os.system, "true")}
    whole = [pickle.dumps(holder, protocol) for protocol in range(6)]
    names, refused = 0, 0
    for turn in range(6000):
        data = bytearray(whole[turn % 6])
        for _ in range(chance.randint(0, 4)):
            place = chance.randrange(len(data))
            # Never an instruction that makes Python's own unpickler allocate by a number in the file.
            data[place] = chance.choice([byte for byte in data if byte not in b"rj\x96\x8d\x8e\x8b"])
        watched, machine = Watched(bytes(data)), Machine(bytes(data))
        with contextlib.suppress(Exception):
            watched.load()
        try:
            run(machine)
        except DamagedError:
            refused += 1
            continue
        names += len(watched.asked)
        if "a name that is put together while loading" not in machine.unsafe:
            assert {name.replace("__builtin__.", "builtins.") for name in watched.asked} <= set(machine.names)
    assert names > 6000
    assert refused > 600
