"""How one is logged in: whether jobs outlive the terminal, the cluster, the terminal itself, and uploading."""

import importlib.util
import locale
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from zoowizard.doctor.finding import Finding, State
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.settings import read_settings
from zoowizard.jobs.slurm_says import SlurmMissing, SlurmRefusal, SlurmTrouble, ask

SMALLEST: Final = (80, 24)
LOGIND: Final = (
    "/usr/lib/systemd/logind.conf.d",
    "/run/systemd/logind.conf.d",
    "/etc/systemd/logind.conf.d",
)
"""Where systemd reads how logins are handled, the weakest first; /etc/systemd/logind.conf comes before them."""


def session(root: Path) -> Iterator[Finding]:
    """Whether the jobs of this computer outlive the terminal, and what is known of uploading."""
    if job := os.environ.get("SLURM_JOB_ID"):
        text = f"this shell is part of the cluster's job {job}: jobs that run on this computer end with it"
        yield Finding("session", "warning", text, "start them from the login node with --engine slurm")
    elif os.geteuid() != 0 and _ends_with_session():  # systemd spares root
        text = "this computer ends all processes of a person who logs out (KillUserProcesses=yes), jobs too"
        mend = "`loginctl enable-linger`, then start with `systemd-run --user --scope zoowizard`"
        yield Finding("session", "warning", text, mend)
    else:
        within = next((name for name in ("TMUX", "STY") if os.environ.get(name)), None)
        inside = {"TMUX": " (inside tmux)", "STY": " (inside screen)", None: ""}[within]
        yield Finding("session", "ok", f"jobs go on when the terminal closes{inside}")
    yield Finding("uploading", "ok", "no login is needed: packages are saved to a folder, and the zip uploaded by hand")


def _ends_with_session() -> bool:
    """Whether logging out ends a person's processes: as logind says, or else as its files do."""
    command = ["busctl", "get-property", "org.freedesktop.login1", "/org/freedesktop/login1"]
    try:
        done = subprocess.run(
            [*command, "org.freedesktop.login1.Manager", "KillUserProcesses"], capture_output=True, text=True, timeout=5
        )
        if done.returncode == 0:
            return done.stdout.split() == ["b", "true"]
    except (OSError, subprocess.SubprocessError):
        pass
    if not Path("/run/systemd/system").is_dir():
        return False
    files = [Path("/etc/systemd/logind.conf"), *(path for one in LOGIND for path in sorted(Path(one).glob("*.conf")))]
    said = "no"
    for path in files:
        try:
            told = re.findall(r"^\s*KillUserProcesses\s*=\s*(\w+)", path.read_text(errors="replace"), re.MULTILINE)
        except OSError:
            continue
        said = told[-1].lower() if told else said
    return said in ("yes", "true", "1", "on")


def slurm(root: Path) -> Iterator[Finding]:
    """Whether the cluster's commands are there and answer, and whether jobs can be sent to it."""
    try:
        is_wanted = read_settings(root).engine == "slurm"
    except ZoowizardError:
        is_wanted = False
    state: State = "problem" if is_wanted else "warning"
    try:
        nodes = ask(["sinfo", "-h", "-o", "%P|%a|%D|%T"], 10)
        ask(["squeue", "--me", "-h", "-o", "%i"], 10)
    except SlurmMissing as problem:
        if is_wanted:
            mend = "call zoowizard on a login node of the cluster, or `zoowizard settings engine local`"
            yield Finding("SLURM", "problem", str(problem), mend)
        else:
            yield Finding("SLURM", "ok", "not on this computer, and not asked for")
        return
    except (SlurmTrouble, SlurmRefusal) as problem:
        yield Finding("SLURM", state, str(problem), "ask those who run the cluster; jobs there are not lost")
        return
    if importlib.util.find_spec("submitit") is None:
        mend = "install zoowizard with its extra slurm: `uv sync --extra slurm`, or `pip install 'zoowizard[slurm]'`"
        yield Finding("SLURM", state, "answers, but jobs cannot be sent to it: submitit is not installed", mend)
        return
    rows = [row.split("|") for row in nodes.splitlines() if row.count("|") == 3]
    partitions = {name.rstrip("*"): up for name, up, _, _ in rows}
    closed = [name for name, up in partitions.items() if up != "up"]
    yield Finding(
        "SLURM",
        "ok",
        f"answers; partitions: {', '.join(name for name in partitions if name not in closed) or 'none is up'}"
        + (f"; closed: {', '.join(closed)}" if closed else ""),
    )


def terminal() -> Iterator[Finding]:
    """What the terminal of this very process can show."""
    coding = (sys.stdout.encoding if sys.stdout else "") or locale.getpreferredencoding(False)
    if coding.lower().replace("-", "") != "utf8":
        text = f"its coding is {coding}: names in other scripts are shown as codes"
        yield Finding("terminal", "warning", text, "set LANG to one that ends in UTF-8, such as C.UTF-8")
    if not (sys.stdout and sys.stdout.isatty()):
        yield Finding("terminal", "ok", "none here; the commands work without one")
        return
    term, size = os.environ.get("TERM", ""), shutil.get_terminal_size()
    if term in ("", "dumb"):
        text = f"TERM is {term or 'not set'}: the screens cannot be shown"
        yield Finding("terminal", "warning", text, "set TERM, for example to xterm-256color, or use --plain")
        return
    colours = (
        "16 million" if os.environ.get("COLORTERM") in ("truecolor", "24bit") else "256" if "256" in term else "16"
    )
    colours = "no" if os.environ.get("NO_COLOR") else colours
    text = f"{term}, {size.columns}x{size.lines}, {colours} colours, {coding}"
    if size.columns < SMALLEST[0] or size.lines < SMALLEST[1]:
        yield Finding("terminal", "warning", text, f"make it {SMALLEST[0]}x{SMALLEST[1]} or larger")
    else:
        yield Finding("terminal", "ok", text)
