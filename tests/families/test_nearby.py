"""Which models lie at or below a folder, told line by line by a process of its own."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from zoowizard.drafts.store import open_workspace, start_draft
from zoowizard.errors import ZoowizardError
from zoowizard.families.family import Recognition
from zoowizard.families.identify import as_told, from_json, identify, to_json


def look(*arguments: str | Path, code: int = 0) -> tuple[list[dict[str, Any]], str]:
    """The lines of the answer, and what stands on standard error."""
    command = [sys.executable, "-m", "zoowizard.families.nearby", *map(os.fspath, arguments)]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=300, check=False)
    assert done.returncode == code, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


def candidates(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {Path(line["path"]).name: line for line in lines if "family" in line}


def test_a_tree_with_hostile_names_and_an_unsafe_file(tmp_path: Path, sample_run: Path) -> None:
    import torch

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'canary'}",)

    tree = tmp_path / "tree"
    names = ["run [best].pt", "[/x]", "a\nb\x1b[31m", "z" * 200, os.fsdecode(b"caf\xe9")]
    for name in [*names, ".hidden", "node_modules"]:
        shutil.copytree(sample_run, tree / "runs" / name)
    os.utime(tree / "runs" / "[/x]" / "weights" / "best.pt", (1_000_000, 1_000_000))
    torch.save(Evil(), tree / "evil.pt")
    torch.save({"model": 1, "optimizer": 2}, tree / "other.pth")
    (tree / "loop").symlink_to(tree, target_is_directory=True)
    lines, _ = look(tree)
    assert lines[-1] == {"looked": 8, "complete": True}
    found = candidates(lines)
    assert set(found) == {*(Path(name).name for name in names), "evil.pt", "other.pth"}
    assert found["x]"]["modified"] == 1_000_000
    assert found["x]"]["size"] == (sample_run / "weights" / "best.pt").stat().st_size
    assert found["x]"]["what"] == "YOLO11n-seg run, 40 of 40 epochs"
    assert found["x]"]["obstacle"] is None
    assert found["evil.pt"]["unsafe"]
    assert "posix.system" in found["evil.pt"]["obstacle"]
    assert "a mapping with model, optimizer" in found["other.pth"]["what"]
    assert not (tmp_path / "canary").exists()
    told = from_json(found[os.fsdecode(b"caf\xe9")])
    assert told.checkpoint is not None
    assert told.checkpoint.is_file(), "a name that is no UTF-8 leads to its file"


def test_one_run_one_file_and_nothing(tmp_path: Path, sample_run: Path) -> None:
    [run, last], _ = look(sample_run)
    assert (run["path"], last) == (str(sample_run), {"looked": 1, "complete": True})
    best = sample_run / "weights" / "best.pt"
    [file, last], _ = look(best)
    assert (file["checkpoint"], last["complete"]) == (str(best), True)
    assert file["what"] == "YOLO11n-seg checkpoint, 40 of 40 epochs"
    assert from_json(file) == identify(best)[0]
    assert look(tmp_path)[0] == [{"looked": 1, "complete": True}]
    lines, said = look(tmp_path / "none", code=1)
    assert (lines, said) == ([], f"{tmp_path / 'none'} does not exist.\n")


def test_a_model_that_has_a_draft_is_marked(tmp_path: Path, sample_run: Path, run: Path) -> None:
    workspace = open_workspace(tmp_path / "workspace")
    draft = start_draft(workspace, "yolo", run / "weights" / "best.pt", "nuclei")
    (tmp_path / "runs" / "other").symlink_to(run.parent)
    lines, _ = look(tmp_path / "runs", "--workspace", workspace.root)
    assert candidates(lines)["nuclei"]["draft"] == draft.id
    assert candidates(look(sample_run, "--workspace", workspace.root)[0])[sample_run.name]["draft"] is None


@pytest.mark.parametrize(
    ("bound", "found"),
    [(("--folders", "5"), 1), (("--depth", "2"), 1), (("--models", "1"), 1), (("--seconds", "-1"), 0)],
)
def test_a_search_has_bounds_and_says_so(bound: tuple[str, str], found: int, tmp_path: Path, sample_run: Path) -> None:
    shutil.copytree(sample_run, tmp_path / "a" / "run")
    shutil.copytree(sample_run, tmp_path / "b" / "c" / "d" / "run")
    lines, _ = look(tmp_path, *bound)
    assert len(candidates(lines)) == found
    assert lines[-1]["complete"] is False


def test_what_is_told_can_be_read_back(tmp_path: Path, sample_run: Path) -> None:
    (tmp_path / "empty.pt").touch()
    for path in (sample_run, tmp_path / "empty.pt"):
        [found] = identify(path)
        assert from_json(json.loads(json.dumps(as_told(found, [])))) == found
        assert from_json(to_json(found, ["name"])) == found
    unsafe = Recognition(tmp_path, None, refused="no", unsafe=True)
    assert from_json({**as_told(unsafe, []), "unsafe": True, "what": "more"}) == unsafe


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"path": 3}, "path"),
        ({"path": "a\0b"}, "path"),
        ({"fields": {"name": {"value": 1}}}, "fields.name.origin"),
        ({"warnings": [{"code": "x", "message": None}]}, "warnings.0.message"),
        ({"evidence": "text"}, "evidence"),
    ],
)
def test_what_is_no_recognition_is_one_sentence(wrong: dict[str, Any], names: str, sample_run: Path) -> None:
    [found] = identify(sample_run)
    with pytest.raises(ZoowizardError, match=names.replace(".", r"\.")):
        from_json({**to_json(found, []), **wrong})
    with pytest.raises(ZoowizardError, match="cannot be read"):
        from_json([])


def test_it_ends_when_nobody_listens(tmp_path: Path, sample_run: Path) -> None:
    for number in range(60):
        shutil.copytree(sample_run, tmp_path / f"run{number}")
    command = [sys.executable, "-m", "zoowizard.families.nearby", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.stdout.close()
        started = time.monotonic()
        assert child.wait(timeout=20) != 0
        assert time.monotonic() - started < 10
