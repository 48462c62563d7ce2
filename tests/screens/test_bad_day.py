"""A bad day at the screens: they stay up, say what is wrong, and lose nothing."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from prepared import PYTHON, Open, Prepared, cursor_is_at, wait_until

from zoowizard.atomic import write_json
from zoowizard.drafts.draft import with_given
from zoowizard.drafts.place import Place, read_place, write_place
from zoowizard.drafts.store import Workspace, load, save
from zoowizard.jobs.events import Ended, StepFailed, StepStarted, to_line
from zoowizard.jobs.folder import create

HOSTILE = "[/x] run [best].pt \x1b]0;owned\x07\x1b[2J[bold]" + "n" * 300
NOT_SAVED, SAVED = "not saved: ", "draft saved"
SETPRIV = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
UNPRIVILEGED = [*SETPRIV, *PYTHON] if os.geteuid() == 0 else PYTHON
"""Runs with no more rights than the files give, also where the tests are run by root."""


def vanish(prepared: Prepared) -> Callable[[], None]:
    root = prepared.workspace.root
    away = root.rename(root.with_name("away"))
    return lambda: (away.rename(root), None)[1]


def close(prepared: Prepared) -> Callable[[], None]:
    folder = prepared.workspace.folder(prepared.draft)
    folder.chmod(0o500)
    return lambda: folder.chmod(0o700)


TROUBLES = {"vanished": vanish, "read-only": close}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_workspace_that_is_gone_for_a_while(trouble: str, prepared: Prepared, opened: Open) -> None:
    prepared.at("describe", name=None)
    terminal = opened("new", prepared.run, "--workspace", prepared.workspace.root, command=UNPRIVILEGED, columns=200)
    terminal.wait_for("missing: Model name")
    cursor_is_at(terminal, "Model name")
    end = TROUBLES[trouble](prepared)
    terminal.send("Zoo of today")
    terminal.wait_for("Zoo of today")
    terminal.wait_for(NOT_SAVED)
    terminal.send("ctrl+o")
    terminal.wait_for("stay here, or the last answers are lost")
    end()
    terminal.wait_for(SAVED)
    assert load(prepared.workspace, prepared.draft).get("name") == "Zoo of today"
    terminal.send("ctrl+q")
    assert terminal.ended() == 0


def test_what_could_never_be_saved_is_left_on_the_terminal(prepared: Prepared, opened: Open) -> None:
    prepared.at("describe", name=None)
    terminal = opened("new", prepared.run, "--workspace", prepared.workspace.root, columns=300, rows=60)
    terminal.wait_for("missing: Model name")
    cursor_is_at(terminal, "Model name")
    end = vanish(prepared)
    terminal.send("Zoo of today")
    terminal.wait_for(NOT_SAVED)
    terminal.send("ctrl+q")
    assert terminal.ended() == 1
    assert '"name": "Zoo of today"' in terminal.text() and "these are its answers" in terminal.text()
    end()


ON_A_SMALL_DISK = """
mount -t tmpfs -o size=300k tmpfs "$0" || exit 99
cp -r "$1/." "$0" && dd if=/dev/zero of="$0/ballast" bs=4k 2>/dev/null
(until [ -e "$2/room" ]; do sleep 0.05; done; rm "$0/ballast") &
"$3" -m zoowizard new "$4" --workspace "$0"
code=$?
cp -r "$0/." "$2"
exit $code
"""


def may_mount(unshare: list[str]) -> bool:
    mount = [*unshare, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(mount, capture_output=True, check=False).returncode == 0


NAMESPACES = [["unshare", "--user", "--map-root-user", "--mount"], ["unshare", "--mount"]]
PERMITTED = next((one for one in NAMESPACES if may_mount(one)), None)


@pytest.mark.parametrize("unshare", [PERMITTED] if PERMITTED else [], ids=["tmpfs"] if PERMITTED else [])
def test_a_full_disk(unshare: list[str], prepared: Prepared, opened: Open, tmp_path: Path) -> None:
    """On a file system of its own, where the system permits that."""
    prepared.at("describe", name=None)
    disk, out = tmp_path / "disk", tmp_path / "out"
    disk.mkdir()
    out.mkdir()
    terminal = opened(
        disk, prepared.workspace.root, out, sys.executable, prepared.run,
        command=[*unshare, "sh", "-c", ON_A_SMALL_DISK], columns=200,
    )  # fmt: skip
    terminal.wait_for("missing: Model name")
    cursor_is_at(terminal, "Model name")
    terminal.send("Zoo of today")
    terminal.wait_for(NOT_SAVED)
    terminal.wait_for("the disk is full")
    terminal.send("f6")
    (out / "room").touch()
    terminal.wait_for(SAVED)
    terminal.send("ctrl+q")
    assert terminal.ended() == 0
    assert load(Workspace(out), prepared.draft).get("name") == "Zoo of today"


def failed_build(prepared: Prepared, reason: str, *more: str) -> Path:
    folder = create(prepared.workspace.jobs(prepared.draft), "build", prepared.draft, {"values": {}}, 60)
    events = [StepStarted("convert"), StepFailed("convert", 1.0, reason), Ended("failed", reason)]
    lines = [*map(to_line, events[:2]), *more, to_line(events[2])]
    (folder / "events.jsonl").write_text("".join(f"{line}\n" for line in lines))
    write_json(
        folder / "result.json", {"status": "failed", "reason": reason, "seconds": 1.0, "ended": "2026-01-01T00:00:00Z"}
    )
    (folder / "log.txt").write_text(f"{reason}\n" * 3)
    return folder


def test_hostile_words_everywhere(prepared: Prepared, opened: Open, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / HOSTILE.replace("/", "∕")[:120]
    prepared.run.rename(folder)
    draft = load(prepared.workspace, prepared.draft)
    answers = {"name": HOSTILE, "description": HOSTILE, "limitations": HOSTILE, "tags": [HOSTILE], "category": HOSTILE}
    save(prepared.workspace, with_given(draft, answers))
    write_place(prepared.workspace, prepared.draft, Place("describe", typed={"modality": HOSTILE}))
    failed_build(prepared, HOSTILE)
    terminal = opened("--workspace", prepared.workspace.root, columns=100)
    terminal.wait_for("[/x]")
    terminal.send("l")
    terminal.wait_for("✗ failed")
    terminal.send("escape")
    terminal.wait_for("n New")
    terminal.send("enter")
    terminal.wait_for("Describe   ")
    terminal.wait_for("to mend")
    terminal.wait_for("^e Card")
    terminal.send("ctrl+e")
    terminal.wait_for("Model card, a preview")
    terminal.wait_for("one moment", gone=True)
    terminal.wait_for("[/x]")
    terminal.send("escape")
    terminal.wait_for("Model card, a preview", gone=True)
    terminal.wait_for("● 3 Describe")
    terminal.send("escape")
    terminal.wait_for("● 2 Check")
    terminal.send("escape")
    terminal.wait_for("● 1 Model")
    terminal.wait_for("[best].pt")
    terminal.send("ctrl+o")
    terminal.wait_for("n New")
    terminal.send("n")
    terminal.wait_for("[best].pt")
    terminal.send("ctrl+q")
    assert terminal.ended() == 0
    assert terminal.screen.title != "owned"
    assert not (prepared.workspace.root / "crash.txt").exists()
    assert read_place(prepared.workspace, prepared.draft).typed == {"modality": HOSTILE}


DAMAGE = {
    "screens.json": (b'{"theme": 5}', "models/nuclei/place.json", b"["),
    "event.json": (b"\xff\xfe", "models/nuclei/place.json", b'{"step": 7, "typed": []}'),
    "crash.txt": (b"old", "models/nuclei/place.json", b'{"step": "nowhere", "field": "none", "typed": {"none": "x"}}'),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files_beside_the_draft(name: str, prepared: Prepared, opened: Open) -> None:
    content, other, damage = DAMAGE[name]
    root = prepared.workspace.root
    (root / name).write_bytes(content)
    (root / other).write_bytes(damage)
    failed_build(prepared, "the network has no head", "{broken", '{"time": "x"}', "\0")
    terminal = opened("--workspace", root, columns=120)
    terminal.wait_for("Failed")
    if name == "event.json":
        terminal.wait_for("event.json")
    terminal.send("enter")
    terminal.wait_for("1 Model")
    terminal.wait_for(SAVED)
    terminal.send("ctrl+o")
    terminal.wait_for("n New")
    terminal.send("ctrl+q")
    assert terminal.ended() == 0
    assert (root / "crash.txt").exists() is (name == "crash.txt")


def test_a_damaged_draft_is_named_and_left_alone(prepared: Prepared, opened: Open) -> None:
    path = prepared.workspace.folder(prepared.draft) / "draft.json"
    good = path.read_text()
    terminal = opened("--workspace", prepared.workspace.root, columns=160)
    terminal.wait_for("Nuclei seg")
    path.write_text(good[:300])
    terminal.wait_for("is no JSON")
    terminal.send("enter")
    beside = opened("new", prepared.run, "--workspace", prepared.workspace.root, columns=160)
    beside.wait_for("is no JSON")
    assert path.read_text() == good[:300]
    path.write_text(good)
    terminal.send("escape")
    terminal.wait_for("n New")
    terminal.wait_for("Nuclei seg")
    for one in (terminal, beside):
        one.send("ctrl+q")
        assert one.ended() == 0
    assert path.read_text() == good


def test_the_draft_is_damaged_while_it_is_open(prepared: Prepared, opened: Open) -> None:
    prepared.at("describe", name=None)
    path = prepared.workspace.folder(prepared.draft) / "draft.json"
    terminal = opened("new", prepared.run, "--workspace", prepared.workspace.root, columns=160)
    terminal.wait_for("missing: Model name")
    cursor_is_at(terminal, "Model name")
    path.write_text("{")
    terminal.send("Zoo of today")
    wait_until(lambda: "Zoo of today" in path.read_text())
    terminal.send("ctrl+q")
    assert terminal.ended() == 0
    assert load(prepared.workspace, prepared.draft).get("name") == "Zoo of today"
