"""A file, a run folder, or a tree with many of each."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cellpose_files import cpnet_state, write

from zoowizard.errors import WrongUse
from zoowizard.families import registry
from zoowizard.families.identify import identify, to_json


@contextmanager
def somebody_else() -> Iterator[None]:
    """Read permissions mean nothing to root: be somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that everybody may enter."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_a_tree_gives_one_answer_a_run(run_folder: Path, tmp_path: Path, saved: Callable[..., Path]) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(run_folder, tree / "a" / "train [1]")
    shutil.copy(run_folder / "weights" / "best.pt", tree / "a" / "train [1]" / "weights" / "epoch10.pt")
    (tree / "b" / "train").mkdir(parents=True)
    shutil.copy(run_folder / "args.yaml", tree / "b" / "train")
    (tree / "c").mkdir()
    shutil.copy(saved(name="核.pt"), tree / "c")
    for hidden in (".git", "node_modules", ".venv"):
        shutil.copytree(run_folder, tree / hidden / "train")
    (tree / "notes.txt").write_text("nothing")
    (tree / "c" / "picture.pt").write_bytes(b"\x89PNG")
    (tree / "c" / "loop").symlink_to(tree, target_is_directory=True)
    (tree / "itself").symlink_to("itself")
    found = [(str(one.path.relative_to(tree)), one.family, one.refused) for one in identify(tree)]
    names = [name for name, family, refused in found if family == "yolo" and refused is None]
    assert names == ["a/train [1]", "b/train", "c/核.pt"]
    assert [name for name, family, _ in found if family is None] == ["c/picture.pt"]
    assert any("epoch10.pt" in sentence for sentence in identify(tree)[0].evidence)


def test_a_folder_with_another_s_checkpoint(tmp_path: Path) -> None:
    import torch

    torch.save({"state_dict": {"a": torch.zeros(2)}}, tmp_path / "other.pth")
    for asked in (tmp_path, tmp_path / "other.pth"):
        [found] = identify(asked)
        assert found.family is None
        assert found.refused is None
        assert "state_dict" in found.evidence[0]


def test_an_unsafe_file_is_refused_in_a_tree_and_by_name(tmp_path: Path) -> None:
    import torch

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'canary'}",)

    torch.save(Evil(), tmp_path / "net.ckpt")
    for asked in (tmp_path, tmp_path / "net.ckpt"):
        [found] = identify(asked)
        assert found.unsafe
        assert found.refused is not None
        assert "posix.system" in found.refused
    assert not (tmp_path / "canary").exists()


def test_each_bad_input_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.pt").touch()
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    told = {
        "empty.pt": "empty.pt is empty (0 bytes); copy it again from where it was trained.",
        "text.pt": "text.pt is no torch checkpoint (neither a zip nor a pickle, and torch writes one of the two).",
        "folder": f"{tmp_path}/folder holds no checkpoint and no run folder of a family that zoowizard knows.",
        "loop": "loop cannot be opened: Too many levels of symbolic links.",
        "pipe": "pipe is no regular file but a pipe, a device or a socket.",
    }
    for name, sentence in told.items():
        [found] = identify(tmp_path / name)
        assert found.refused == sentence
        assert not found.unsafe
    for nothing in (tmp_path / "none", tmp_path / "text.pt" / "below", Path("a\0b")):
        with pytest.raises(WrongUse, match="does not exist"):
            identify(nothing)
    assert identify(Path("/dev/null"))[0].refused


def test_without_permission_to_read(open_folder: Path, made_once: Path) -> None:
    for name in ("closed", "open"):
        (open_folder / name).mkdir()
        shutil.copy(made_once / "weights" / "best.pt", open_folder / name / "best.pt")
    (open_folder / "open" / "best.pt").chmod(0)
    (open_folder / "closed").chmod(0)
    with somebody_else():
        [file] = identify(open_folder / "open" / "best.pt")
        [below] = identify(open_folder / "closed" / "best.pt")
        tree = {one.path.name: one.refused or "" for one in identify(open_folder)}
    (open_folder / "closed").chmod(0o755)
    assert file.refused == "best.pt may not be read by you: ask its owner for read permission."
    assert "cannot be reached: Permission denied" in (below.refused or "")
    assert "Permission denied" in tree["closed"]
    assert "may not be read by you" in tree["best.pt"]


def test_the_shape_that_programs_read(run_folder: Path) -> None:
    renamed = run_folder.rename(run_folder.parent / os.fsdecode(b"caf\xe9 [x]"))
    [found] = identify(renamed)
    told = json.loads(json.dumps(to_json(found, ["name", "modality"]), ensure_ascii=False, allow_nan=False).encode())
    assert set(told) == {"family", "path", "checkpoint", "evidence", "fields", "missing", "warnings", "refused"}
    assert told["family"] == "yolo"
    assert told["missing"] == ["name", "modality"]
    assert told["fields"]["epochs"] == {"value": 3, "origin": "checkpoint"}
    assert set(told["warnings"][0]) == {"code", "message"}
    assert told["refused"] is None


def test_a_thousand_files_and_twenty_large_checkpoints(run_folder: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(20):
        folder = tree / f"run{number:02}"
        (folder / "weights").mkdir(parents=True)
        os.link(run_folder / "weights" / "best.pt", folder / "weights" / "best.pt")
        shutil.copy(run_folder / "args.yaml", folder)
        for other in range(48):
            (folder / f"{other}.jpg").touch()
    code = (
        "import re, sys, time; from pathlib import Path; from zoowizard.families.identify import identify\n"
        "started = time.process_time(); found = identify(Path(sys.argv[1]))\n"
        "spent = time.process_time() - started\n"
        "peak = re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]\n"
        "print(len(found), spent, int(peak) / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, tree], capture_output=True, text=True, check=True)
    count, seconds, megabytes = (float(word) for word in done.stdout.split())
    assert count == 20
    assert seconds < 2
    assert megabytes < 150


def test_families_by_name() -> None:
    assert registry.family("yolo").NAME == "yolo"
    assert registry.family("cellpose_sam").NAME == "cellpose_sam"
    with pytest.raises(WrongUse, match="it knows yolo, cellpose, cellpose_sam"):
        registry.family("yolov3")


NEW_FAMILY = """
import json, sys, types
from pathlib import Path
from zoowizard.errors import ZoowizardError
from zoowizard.families import family, registry

def recognise(path):
    if path.is_dir() or not path.name.endswith((".net", ".bin")):
        return None
    if path.stat().st_size < 10:
        raise ZoowizardError(f"{path.name} is too short")
    return family.Recognition(path, "bright", path)

files = family.Files((".net",), shared=(".bin",), unnamed=("best.net",), one_a_training=True, made_of_models=True)
bright = types.SimpleNamespace(
    NAME="bright", FIELDS=(), LABELS={}, FILES=files, recognise=recognise, look=recognise, asks=family.asks_no_more,
    named_like=lambda name: False, built_in=lambda path: None,
)
registry.FAMILIES += (bright,)
from zoowizard.families.identify import identify
from zoowizard.screens.widgets.file_browser import listing
from zoowizard.workflow import choose_one, name_of_run

tree = Path(sys.argv[1])
print(json.dumps({
    "found": {one.path.name: one.refused for one in identify(tree)},
    "by name": identify(tree / "short.bin")[0].refused,
    "shown": listing(tree).files,
    "chosen": choose_one(tree / "cells").family,
    "called": name_of_run(tree / "cells" / "best.net"),
}))
"""


def test_what_a_new_family_says_of_its_files_is_enough(tmp_path: Path, saved: Callable[..., Path]) -> None:
    tree = tmp_path / "tree"
    (tree / "cells").mkdir(parents=True)
    shutil.move(saved(name="mine.pt"), tree / "cells")
    for name in ("net_epoch_1.net", "net_epoch_2.net", "zipped.bin", "cells/best.net"):
        (tree / name).write_bytes(b"PK\x03\x04 and the weights")
    for name, content in {"short.net": b"PK\x03\x04", "short.bin": b"PK\x03\x04", "other.bin": bytes(20)}.items():
        (tree / name).write_bytes(content)
    command = [sys.executable, "-c", NEW_FAMILY, tree]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert told["found"] == {
        "best.net": None,
        "mine.pt": None,
        "net_epoch_2.net": None,
        "zipped.bin": None,
        "short.net": "short.net is too short",
    }
    assert told["by name"] == "short.bin is too short"
    assert told["shown"] == ["net_epoch_1.net", "net_epoch_2.net", "short.bin", "short.net", "zipped.bin"]
    assert (told["chosen"], told["called"]) == ("yolo", "cells")


def test_what_a_workspace_holds_is_no_model_of_its_own(run_folder: Path, tmp_path: Path) -> None:
    from zoowizard.drafts.store import open_workspace, start_draft

    workspace = open_workspace(tmp_path / "kept")
    draft = start_draft(workspace, "yolo", run_folder / "weights" / "best.pt")
    shutil.copy(run_folder / "weights" / "best.pt", workspace.folder(draft.id))
    assert [one.path for one in identify(tmp_path)] == [run_folder]


def test_a_checkpoint_that_was_unpacked_says_how_to_pack_it_again(tmp_path: Path) -> None:
    import torch

    state = cpnet_state()
    folder = tmp_path / "models" / "my cells"
    with zipfile.ZipFile(write(tmp_path / "whole", state)) as archive:
        archive.extractall(tmp_path / "unpacked")
    (tmp_path / "whole").unlink()
    folder.parent.mkdir()
    (tmp_path / "unpacked" / "whole").rename(folder)
    for asked in (folder, tmp_path):
        [found] = identify(asked)
        assert (found.path, found.family) == (folder, None)
        assert "zip -0 -r 'my cells.pt' 'my cells'" in (found.refused or "")
    with zipfile.ZipFile(tmp_path / "models" / "my cells.pt", "w") as archive:  # as `zip -0 -r` does
        for one in sorted(folder.rglob("*")):
            archive.write(one, one.relative_to(folder.parent))
    shutil.rmtree(folder)
    [packed] = identify(tmp_path)
    assert packed.family == "cellpose"
    assert packed.values["diam_labels"].value == 23.878416
    assert torch.equal(torch.load(packed.path)["output.2.bias"], state["output.2.bias"])


def test_the_name_of_one_of_cellposes_own_models_is_no_file(tmp_path: Path) -> None:
    for name in ("cyto3", "cpsam"):
        with pytest.raises(
            WrongUse, match=f"{name} does not exist. {name} is the name of a model that Cellpose fetches"
        ):
            identify(tmp_path / name)
    with pytest.raises(WrongUse, match=r"cyto4 does not exist\.$"):
        identify(tmp_path / "cyto4")


def test_files_without_an_ending_are_looked_into_and_told_only_where_they_are_models(tmp_path: Path) -> None:
    import torch

    for number in range(30):
        (tmp_path / f"scan{number:03}").write_bytes(bytes(200_000))
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        archive.writestr("notes.txt", bytes(200_000))
    (tmp_path / "pickled").write_bytes(pickle.dumps(Path("/x"), 4) + bytes(200_000))
    write(tmp_path / "CP_small", {"a": torch.ones(3)})  # too small for Cellpose
    (tmp_path / "CP_damaged").write_bytes(b"PK\x03\x04" + bytes(200_000))
    model = write(tmp_path / "release-1.2", cpnet_state())
    found = {one.path.name: one for one in identify(tmp_path)}
    assert set(found) == {"CP_damaged", "release-1.2"}
    assert found["release-1.2"].checkpoint == model
    assert "is cut short" in (found["CP_damaged"].refused or "")


def test_models_without_an_ending_do_not_hide_runs_of_yolo(run_folder: Path, tmp_path: Path) -> None:
    write(run_folder / "my_cells", cpnet_state())
    write(run_folder.parent / "my_cells", cpnet_state())
    found = [(one.path, one.family) for one in identify(tmp_path)]
    assert found == [(run_folder.parent / "my_cells", "cellpose"), (run_folder, "yolo")]
    assert identify(run_folder / "my_cells")[0].family == "cellpose"
