"""Packages are written whole or not at all, and unpacked without trusting them."""

import os
import stat
import struct
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from zoowizard.errors import ZoowizardError
from zoowizard.library.archive import sha256, unpack, write_archive

MIB = 1 << 20


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "parts"
    (folder / "images").mkdir(parents=True)
    contents = {
        "weights.pt": bytes(range(256)) * 5000,
        "README.md": b"# Model",
        "images/in.png": b"",
        "rdf.yaml": b"a: 1",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


def in_child(code: str, *arguments: object, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, so that limits and measurements are its own, too."""
    command = [*before, sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_what_goes_in_comes_out(files: dict[str, Path], tmp_path: Path) -> None:
    seen: list[tuple[float, str]] = []
    write_archive(files, tmp_path / "model.zip", lambda fraction, name: seen.append((fraction, name)))
    unpacked = unpack(tmp_path / "model.zip", tmp_path / "new" / "folder")
    assert {str(path.relative_to(tmp_path / "new" / "folder")) for path in unpacked} == set(files)
    for name, path in files.items():
        assert (tmp_path / "new" / "folder" / name).read_bytes() == path.read_bytes()
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert archive.namelist() == ["rdf.yaml", "README.md", "images/in.png", "weights.pt"]
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    assert {path.name for path in tmp_path.iterdir()} == {"parts", "model.zip", "new"}


def test_the_same_content_gives_the_same_bytes(files: dict[str, Path], tmp_path: Path) -> None:
    write_archive(files, tmp_path / "one.zip")
    for path in files.values():
        os.utime(path, (10**9, 10**9))
        path.chmod(0o600)
    write_archive(dict(reversed(files.items())), tmp_path / "two.zip")
    assert sha256(tmp_path / "one.zip") == sha256(tmp_path / "two.zip")


def test_other_zip_programs_are_content(files: dict[str, Path], tmp_path: Path) -> None:
    write_archive(files, tmp_path / "model.zip")
    listing = subprocess.run(
        [sys.executable, "-m", "zipfile", "-t", tmp_path / "model.zip"], capture_output=True, text=True, check=True
    )
    assert "Done testing" in listing.stdout
    # Streaming readers need the sizes in front of the content: flag bit 3 would put them behind it.
    assert struct.unpack_from("<H", (tmp_path / "model.zip").read_bytes(), 6)[0] & 0x8 == 0


def test_sha256_is_that_of_sha256sum(files: dict[str, Path]) -> None:
    assert sha256(files["README.md"]) == "b64072a27d1b105b9b8cd9b31f3c2cb9e5d837dd3dcab7037f98fcbbbb4cd3f9"


def test_large_weights_need_little_memory(tmp_path: Path) -> None:
    with (tmp_path / "weights.pt").open("wb") as file:
        file.truncate(512 * MIB)
    code = """
        import re, sys
        from pathlib import Path
        from zoowizard.library.archive import sha256, write_archive
        folder = Path(sys.argv[1])
        write_archive({"weights.pt": folder / "weights.pt"}, folder / "model.zip")
        sha256(folder / "model.zip")
        # not getrusage: its peak begins with that of the process that started this one
        print(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])
    """
    child = in_child(code, tmp_path)
    assert int(child.stdout) < 200_000, "kB of memory at most"
    assert (tmp_path / "model.zip").stat().st_size > 512 * MIB
    (tmp_path / "model.zip").unlink()


@pytest.mark.slow
def test_more_than_four_gigabytes(tmp_path: Path) -> None:
    size = 4096 * MIB + 1
    with (tmp_path / "weights.pt").open("wb") as file:
        file.truncate(size)
        file.seek(size - 1)
        file.write(b"!")
    (tmp_path / "README.md").write_text("# Model")
    files = {"weights.pt": tmp_path / "weights.pt", "zz.md": tmp_path / "README.md"}
    write_archive(files, tmp_path / "model.zip")
    (tmp_path / "weights.pt").unlink()
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert archive.getinfo("weights.pt").file_size == size
        assert archive.getinfo("zz.md").header_offset > size
        assert archive.testzip() is None
    (tmp_path / "model.zip").unlink()


@pytest.mark.parametrize(
    "name", ["../up", "/etc/passwd", "a/../../b", "a//b", "./a", "", "a/", "C:\\x", "a\\b", "new\nline", "x" * 300, "."]
)
def test_names_that_are_not_plain_are_not_packed(name: str, files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ZoowizardError, match="cannot be a file's name in a package"):
        write_archive({**files, name: files["README.md"]}, tmp_path / "model.zip")
    assert not (tmp_path / "model.zip").exists()


@pytest.mark.parametrize("name", ["readme.MD", "README.md/x", "images"])
def test_names_that_clash_are_not_packed(name: str, files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ZoowizardError, match="twice"):
        write_archive({**files, name: files["README.md"]}, tmp_path / "model.zip")


@pytest.mark.parametrize("name", ["gone", "folder", "closed/inside"])
def test_a_part_that_cannot_be_read_is_named(name: str, files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "closed").write_text("a file where a folder should be")
    with pytest.raises(ZoowizardError, match=str(tmp_path / name)):
        write_archive({**files, "x": tmp_path / name}, tmp_path / "model.zip")
    assert {path.name for path in tmp_path.iterdir()} == {"parts", "folder", "closed"}


def test_a_part_that_grows_meanwhile_is_named_and_the_old_package_stays(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_text("the old one")

    def still_training(_fraction: float, name: str) -> None:
        with files[name].open("ab") as file:
            file.write(b"more")

    with pytest.raises(ZoowizardError, match="changed while it was being packed"):
        write_archive(files, tmp_path / "model.zip", still_training)
    assert (tmp_path / "model.zip").read_text() == "the old one"
    assert {path.name for path in tmp_path.iterdir()} == {"parts", "model.zip"}


def test_no_folder_to_write_into(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ZoowizardError, match=f"could not write {tmp_path / 'gone' / 'model.zip'}: no such file"):
        write_archive(files, tmp_path / "gone" / "model.zip")


PACK_INTO_LITTLE_ROOM = """
    import resource, subprocess, sys
    from pathlib import Path
    from zoowizard.errors import ZoowizardError
    from zoowizard.library.archive import unpack, write_archive
    kind, weights, room = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if kind == "disk":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", room], check=True)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    try:
        write_archive({"a/weights.pt": weights}, room / "model.zip")
    except ZoowizardError as problem:
        print(problem)
    print([path.name for path in room.iterdir()])
"""


@pytest.mark.parametrize(
    ("kind", "before", "says"),
    [
        (
            "disk",
            ("unshare", "--user", "--map-root-user", "--mount"),
            "the disk is full: could not write {destination}",
        ),
        ("limit", (), "could not write {destination}: file too large"),
    ],
)
def test_no_room_for_the_package(kind: str, before: tuple[str, ...], says: str, tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "weights.pt").write_bytes(os.urandom(3 * MIB))
    child = in_child(PACK_INTO_LITTLE_ROOM, kind, tmp_path / "weights.pt", tmp_path / "room", before=before)
    sentence, left = child.stdout.splitlines()
    assert sentence.startswith(says.format(destination=tmp_path / "room" / "model.zip"))
    assert left == "[]"
    assert child.stderr == ""


Damage = Callable[[zipfile.ZipFile], None]


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr, made.create_system = mode << 16, 3
    return made


def link_to_etc(archive: zipfile.ZipFile) -> None:
    archive.writestr(entry("link", stat.S_IFLNK | 0o777), "/etc")
    archive.writestr("link/passwd", "root")


def a_bomb(archive: zipfile.ZipFile) -> None:
    archive.writestr("zeros", bytes(64 * MIB), zipfile.ZIP_DEFLATED)


def too_many(archive: zipfile.ZipFile) -> None:
    for number in range(10_001):
        archive.writestr(f"{number}", b"")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda archive: archive.writestr("../climbed", "x"), "climbed"),
        (lambda archive: archive.writestr("/tmp/climbed", "x"), "climbed"),
        (lambda archive: archive.writestr("a/../../climbed", "x"), "climbed"),
        (lambda archive: archive.writestr("a\\..\\climbed", "x"), "backslashes"),
        (link_to_etc, "link or a device"),
        (lambda archive: archive.writestr(entry("fifo", stat.S_IFIFO), ""), "link or a device"),
        (a_bomb, "zip bombs"),
        (lambda archive: archive.writestr("x", b"x" * 99, zipfile.ZIP_LZMA), "compressed in a way"),
        (too_many, "10002 files"),
        (lambda archive: archive.writestr("RDF.yaml", "x"), "twice"),
        (lambda archive: archive.writestr("rdf.yaml/x", "x"), "twice"),
    ],
)
def test_packages_that_could_do_harm_are_refused(damage: Damage, says: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("rdf.yaml", "a: 1")
        damage(archive)
    with pytest.raises(ZoowizardError, match=f"{tmp_path / 'bad.zip'} was not unpacked: .*{says}"):
        unpack(tmp_path / "bad.zip", tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.zip"]


def stored(tmp_path: Path) -> bytearray:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("rdf.yaml", "content")
    return bytearray((tmp_path / "bad.zip").read_bytes())


def test_a_false_size_does_not_fill_the_disk(tmp_path: Path) -> None:
    raw = stored(tmp_path)
    table = raw.index(b"PK\x01\x02")
    struct.pack_into("<II", raw, table + 20, 1 << 30, 1 << 30)
    (tmp_path / "bad.zip").write_bytes(raw)
    with pytest.raises(ZoowizardError, match="zip bombs"):
        unpack(tmp_path / "bad.zip", tmp_path / "new")


@pytest.mark.parametrize("offset", [-4, 30 + 8 + 2], ids=["table of contents", "content"])
def test_a_damaged_package(offset: int, tmp_path: Path) -> None:
    raw = stored(tmp_path)
    raw[offset] ^= 0xFF
    (tmp_path / "bad.zip").write_bytes(raw)
    with pytest.raises(ZoowizardError, match="damaged"):
        unpack(tmp_path / "bad.zip", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("length", [0, 1, 40, 100])
def test_a_truncated_package(length: int, tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(stored(tmp_path)[:length])
    with pytest.raises(ZoowizardError, match="not a zip, or a damaged one"):
        unpack(tmp_path / "bad.zip", tmp_path / "new")


def test_a_package_with_a_false_offset(tmp_path: Path) -> None:
    raw = stored(tmp_path)
    struct.pack_into("<I", raw, raw.index(b"PK\x05\x06") + 16, 1000)
    (tmp_path / "bad.zip").write_bytes(raw)
    with pytest.raises(ZoowizardError, match="damaged"):
        unpack(tmp_path / "bad.zip", tmp_path / "new")


def test_an_encrypted_package(tmp_path: Path) -> None:
    raw = stored(tmp_path)
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "bad.zip").write_bytes(raw)
    with pytest.raises(ZoowizardError, match=r"`rdf\.yaml` is encrypted"):
        unpack(tmp_path / "bad.zip", tmp_path / "new")


def test_a_package_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ZoowizardError, match="no such file"):
        unpack(tmp_path / "gone.zip", tmp_path / "new")
    with pytest.raises(ZoowizardError, match="is a directory"):
        unpack(tmp_path, tmp_path / "new")


def test_a_folder_in_use_is_left_alone(files: dict[str, Path], tmp_path: Path) -> None:
    write_archive(files, tmp_path / "model.zip")
    with pytest.raises(ZoowizardError, match="not empty"):
        unpack(tmp_path / "model.zip", tmp_path / "parts")
    assert files["README.md"].read_text() == "# Model"
