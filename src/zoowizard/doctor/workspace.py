"""Whether the workspace's disk does what jobs need: locks between processes, renaming, bringing files to the disk."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from zoowizard.atomic import write_text
from zoowizard.doctor.finding import Finding
from zoowizard.drafts.workspace import open_workspace
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.locks import claim
from zoowizard.jobs.settings import read_settings

ELSEWHERE: Final = "choose a workspace on another disk, with --workspace or ZOOWIZARD_WORKSPACE"
NETWORK: Final = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "afs",
    "9p",
    "virtiofs",
    "fuse.sshfs",
    "fuse.glusterfs",
    "fuse.rclone",
    "fuse.s3fs",
)
"""Kinds of file systems that lie on another computer, as /proc/self/mountinfo names them."""
CLOCK_WARNING_S, CLOCK_PROBLEM_S = 2.0, 20.0
"""A job that has not started within 30 seconds, by the clock of the disk, is taken for dead."""
LOOK: Final = """
import sys
from pathlib import Path
from zoowizard.jobs.locks import is_held
print(is_held(Path(sys.argv[1])))
"""


def workspace(root: Path) -> Iterator[Finding]:
    """Where the workspace is, whose, on what kind of disk, and whether that works; really tried out."""
    try:
        open_workspace(root)
        found = root.stat()
    except (OSError, ZoowizardError) as problem:
        yield Finding("workspace", "problem", str(problem), ELSEWHERE)
        return
    kind = file_system(root)
    network = kind in NETWORK
    where = f"{root}, on {kind or 'an unknown file system'}{' (of the network)' if network else ''}"
    if found.st_uid != os.geteuid():
        text = f"{where}: belongs to somebody else (user {found.st_uid})"
        yield Finding("workspace", "warning", text, "choose one of your own with --workspace")
    elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
        text = f"{where}: others may change what is in it"
        yield Finding("workspace", "warning", text, f"if it is yours alone: chmod go-w {root}")
    else:
        yield Finding("workspace", "ok", where)
    try:
        read_settings(root)
    except ZoowizardError as problem:
        yield Finding("settings", "problem", str(problem), "mend the file, or remove it: then the defaults hold")
    yield from _tried(root, network)


def file_system(path: Path) -> str:
    """The kind of the file system that a path lies on, as proc_pid_mountinfo(5) names it; empty where not known."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        real = path.resolve()
    except OSError:
        return ""
    kind, longest = "", -1
    for mount in mounts:
        before, _, after = mount.partition(" - ")
        point = before.split()[4].encode("latin-1", "replace").decode("unicode_escape")
        if real.is_relative_to(point) and len(point) >= longest:  # of two at one place the later one is seen
            kind, longest = after.split()[0], len(point)
    return kind


def _tried(root: Path, network: bool) -> Iterator[Finding]:
    try:
        scratch = Path(tempfile.mkdtemp(prefix=".doctor-", dir=root))
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        yield Finding("workspace", "problem", f"{root}: nothing can be saved there ({reason})", ELSEWHERE)
        return
    try:
        yield _locks(scratch, network)
        yield _saving(scratch)
        yield _clock(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _locks(scratch: Path, network: bool) -> Finding:
    """Whether another process sees that a lock is held, and that it is free again."""
    try:
        holder = claim(scratch / "lock", "doctor")
        while_held = _seen_by_another(scratch / "lock")
        os.close(holder)
        afterwards = _seen_by_another(scratch / "lock")
    except (OSError, subprocess.SubprocessError) as problem:
        return Finding("locks", "problem", f"file locks do not work in {scratch.parent}: {problem}", ELSEWHERE)
    if (while_held, afterwards) != ("True", "False"):
        text = f"file locks do not hold between processes in {scratch.parent}"
        return Finding("locks", "problem", text, ELSEWHERE)
    if network:
        text = "work between processes of this computer; between computers they were not tried"
        mend = "run `zoowizard doctor` on the other computer too, and look at a job of this one there: zoowizard jobs"
        return Finding("locks", "ok", text, mend)
    return Finding("locks", "ok", "work between processes")


def _seen_by_another(lock: Path) -> str:
    command = [sys.executable, "-P", "-c", LOOK, str(lock)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()


def _saving(scratch: Path) -> Finding:
    """Whether a file can be replaced as a whole and brought to the disk, and how long that takes."""
    started = time.monotonic()
    try:
        for text in ("old", "new"):
            write_text(scratch / "saved", text)
        is_new = (scratch / "saved").read_text() == "new"
    except (OSError, ZoowizardError) as problem:
        return Finding("saving", "problem", str(problem), ELSEWHERE)
    seconds = (time.monotonic() - started) / 2
    if not is_new or [path.name for path in scratch.iterdir() if path.name.startswith(".saving-")]:
        return Finding("saving", "problem", f"a file in {scratch.parent} is not replaced as a whole", ELSEWHERE)
    if seconds > 1:
        text = f"a small file takes {seconds:.1f} s to be saved: the disk is slow, or busy"
        return Finding("saving", "warning", text, ELSEWHERE)
    return Finding("saving", "ok", f"a file is replaced as a whole, in {seconds * 1000:.0f} ms")


def _clock(scratch: Path) -> Finding:
    """How far the clock of the disk is from the one of this computer."""
    before = time.time()
    try:
        (scratch / "clock").touch()
    except OSError:
        return Finding("clock", "warning", "not compared: nothing can be saved", ELSEWHERE)
    after, there = time.time(), (scratch / "clock").stat().st_mtime
    apart = max(0.0, before - there, there - after)
    if apart < CLOCK_WARNING_S:
        return Finding("clock", "ok", "the disk and this computer have the same time")
    text = f"the clock of the disk is {apart:.0f} s from that of this computer"
    mend = "set the clocks by NTP, on this computer and on the file server"
    return Finding("clock", "problem" if apart > CLOCK_PROBLEM_S else "warning", text, mend)
