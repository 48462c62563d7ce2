"""The doctor says what is so on this computer, names what is wrong, and how to mend it."""

import importlib
import json
import os
import pty
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import Ran, run_zoowizard
from disks import may_mount

from zoowizard.doctor.examine import GROUPS, Group, _asked, examine
from zoowizard.doctor.finding import Finding
from zoowizard.doctor.installation import fits
from zoowizard.doctor.workspace import file_system, workspace
from zoowizard.jobs.settings import JobSettings, write_settings

HEAVY = {"torch", "bioimageio", "ultralytics", "onnx", "onnxruntime", "textual"}
WHOLE = """
import json, sys
from zoowizard.cli import main
code = main(sys.argv[1:])
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
sys.exit(code)
"""


def group(name: str, root: Path, **variables: str) -> list[Finding]:
    """What one group of checks finds, with these variables in its environment."""
    before = {key: os.environ.get(key) for key in variables}
    os.environ.update(variables)
    try:
        return list(examine(root, [name]))
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def test_this_computer(tmp_path: Path) -> None:
    arguments = ["doctor", "--json", "--workspace", str(tmp_path / "new")]
    done = subprocess.run([sys.executable, "-c", WHOLE, *arguments], capture_output=True, text=True, check=False)
    loaded = json.loads(done.stderr.splitlines()[-1])
    assert "zoowizard" in loaded and not HEAVY & set(loaded)
    told = json.loads(done.stdout)
    by_name = {one["name"]: one for one in reversed(told["checks"])}
    assert list(reversed(by_name)) == list(dict.fromkeys(one["name"] for one in told["checks"]))
    for name in ("Python", "packages", "torch", "memory", "disk", "turns", "workspace", "locks", "saving", "clock"):
        assert by_name[name]["state"] in ("ok", "warning"), by_name[name]
    assert "computes on the CPU" in by_name["torch"]["text"]
    assert "bioimageio-core 0.11.0" in by_name["packages"]["text"]
    assert "work between processes" in by_name["locks"]["text"]
    assert {"GPU", "session", "uploading", "SLURM", "terminal", "warm process"} <= set(by_name)
    assert all(one["mend"] for one in told["checks"] if one["state"] != "ok")
    assert done.returncode == (1 if told["status"] == "problem" else 0)
    assert not list((tmp_path / "new").glob(".doctor-*"))


def test_a_workspace_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    [finding] = workspace(tmp_path / "file")
    assert (finding.state, str(tmp_path / "file") in finding.text) == ("problem", True)
    assert "--workspace" in finding.mend


def test_what_is_wrong_with_a_workspace(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    (tmp_path / "jobs.json").write_text('{"engine": "cloud"}')
    findings = {one.name: one for one in workspace(tmp_path)}
    assert findings["workspace"].state == "warning" and "chmod go-w" in findings["workspace"].mend
    assert findings["settings"].state == "problem" and "jobs.json: engine is wrong" in findings["settings"].text
    assert {findings[name].state for name in ("locks", "saving", "clock")} <= {"ok", "warning"}


@pytest.mark.parametrize("mounted", ["tmpfs"] if may_mount() else [])
def test_a_full_disk_and_its_kind(mounted: str, tmp_path: Path) -> None:
    disk = tmp_path / "a disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", mounted, "-o", "size=64k,mode=700", "none", str(disk)], check=True)
    try:
        assert file_system(disk) == file_system(disk / "not" / "there") == mounted
        [space] = [one for one in group("computer", disk) if one.name == "disk" and str(disk) in one.text]
        assert space.state == "problem" and "jobs clean" in space.mend
        (disk / "others").write_bytes(b"0" * 65536)
        states = [(one.name, one.state) for one in workspace(disk)]
        assert ("locks", "problem") in states or ("workspace", "problem") in states
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    assert file_system(tmp_path) not in ("", mounted)


def test_a_clock_of_the_disk_that_goes_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 100)
    [clock] = [one for one in workspace(tmp_path) if one.name == "clock"]
    assert clock.state == "problem" and re.search(r"is (99|100|101) s from", clock.text)


def test_a_torch_that_does_not_work(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('libtorch.so: cannot open shared object file')")
    [finding] = group("torch", tmp_path, PYTHONPATH=str(tmp_path))
    assert finding.state == "problem"
    assert "does not work: ImportError: libtorch.so: cannot open shared object file" in finding.text


def test_packages_that_do_not_fit(tmp_path: Path) -> None:
    for name, version in (("bioimageio.core", "0.6.0"), ("opencv-python", "4.11.0")):
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    python, *packages = group("installation", tmp_path, PYTHONPATH=str(tmp_path))
    assert python.state == "ok"
    assert [one.state for one in packages] == ["problem", "problem"]
    assert "bioimageio-core is 0.6.0, but must be ==0.11.0" in packages[0].text
    assert "opencv-python and opencv-python-headless overwrite each other" in packages[1].text


@pytest.mark.parametrize(
    ("version", "specifiers", "does"),
    [
        ("2.15.0+cu132", ">=2.11,<2.16", True),
        ("2.16.0", ">=2.11,<2.16", False),
        ("3.9.1", ">=3.11,<3.14", False),
        ("0.5.12.0", "==0.5.12", True),
        ("8.4.190", ">=8.4.100,<8.5,!=8.3.41", True),
        ("8.3.41", ">=8.3,!=8.3.41", False),
        ("1.0", "", True),
    ],
)
def test_versions(version: str, specifiers: str, does: bool) -> None:
    assert fits(version, specifiers) is does


def test_a_check_that_hangs_or_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd.py").write_text(
        "import os, time\ndef hangs(root):\n    time.sleep(600)\ndef crashes(root):\n    os.abort()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    begun = time.monotonic()
    [finding] = _asked("disk", Group("odd:hangs", 1, "wake it"), tmp_path)
    assert time.monotonic() - begun < 60
    assert finding == Finding("disk", "problem", "did not answer within 1 seconds", "wake it")
    [finding] = _asked("disk", Group("odd:crashes", 60, "wake it"), tmp_path)
    assert finding.state == "problem" and "ended with code -6" in finding.text


def script(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(stat.S_IRWXU)


def test_a_cluster(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    [finding] = group("SLURM", tmp_path, PATH=str(programs))
    assert finding.state == "ok" and "not on this computer" in finding.text

    write_settings(tmp_path, JobSettings(engine="slurm"))
    [finding] = group("SLURM", tmp_path, PATH=str(programs))
    assert finding.state == "problem" and "sinfo" in finding.text and "settings" in finding.mend

    refuses = "echo 'slurm_load_partitions: Unable to contact slurm controller' >&2; exit 1"
    script(programs, "sinfo", refuses)
    [finding] = group("SLURM", tmp_path, PATH=str(programs))
    assert finding.state == "problem" and "SLURM does not answer" in finding.text

    script(programs, "sinfo", "echo 'gpu*|up|2|idle'; echo 'old|down|1|down'")
    script(programs, "squeue", "exit 0")
    [finding] = group("SLURM", tmp_path, PATH=str(programs))
    assert (finding.state, finding.text) == ("ok", "answers; partitions: gpu; closed: old")


def test_where_jobs_end_with_the_shell(tmp_path: Path) -> None:
    session, uploading = group("session", tmp_path, SLURM_JOB_ID="4711")
    assert session.state == "warning" and "4711" in session.text and "--engine slurm" in session.mend
    assert uploading.state == "ok"


def on_a_terminal(tmp_path: Path, columns: int, **variables: str) -> str:
    """What the doctor says of a terminal, its checks in other processes left out."""
    program = "from zoowizard.doctor.session import terminal; print(list(terminal()))"
    ours, theirs = pty.openpty()
    size = {"COLUMNS": str(columns), "LINES": "24"}
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=theirs, env={**os.environ, **size, **variables}, stdin=theirs
    )
    assert child.wait(60) == 0
    os.close(theirs)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    return said


def test_terminals(tmp_path: Path) -> None:
    plain = {"NO_COLOR": "", "COLORTERM": ""}
    assert "xterm-256color, 80x24, 256 colours, utf-8" in on_a_terminal(tmp_path, 80, TERM="xterm-256color", **plain)
    assert "make it 80x24 or larger" in on_a_terminal(tmp_path, 60, TERM="xterm-256color", **plain)
    assert "TERM is dumb" in on_a_terminal(tmp_path, 80, TERM="dumb")
    assert "its coding is ascii" in on_a_terminal(tmp_path, 80, TERM="xterm", PYTHONIOENCODING="ascii")


def test_a_problem_is_a_failure_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('none')")
    ran: Ran = run_zoowizard(["doctor", "--workspace", tmp_path / "file"], PYTHONPATH=str(tmp_path))
    assert ran.code == 1
    lines = ran.out.splitlines()
    wrong = next(number for number, line in enumerate(lines) if line.startswith("x workspace"))
    assert "file" in lines[wrong] and lines[wrong + 1].startswith(" ") and "--workspace" in lines[wrong + 1]


def test_every_group_has_its_check() -> None:
    for one in GROUPS.values():
        module, function = one.checks.split(":")
        assert one.within_s > 0 and one.mend
        assert callable(getattr(importlib.import_module(module), function))
