"""The command `settings`, and the options with which a command asks for other ones: where jobs run, and with what."""

import argparse
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from zoowizard.cli.output import print_json, printable_lines, workspace_of
from zoowizard.errors import ExitCode, WrongUse

if TYPE_CHECKING:
    from pathlib import Path

    from zoowizard.jobs.settings import JobSettings

DEFAULT: Final = "default"
_OF_CLUSTER: Final[Mapping[str, tuple[str, str, str]]] = {
    "partition": ("partition", "NAME", "the partition of the cluster"),
    "account": ("account", "NAME", "the account that the cluster charges"),
    "qos": ("qos", "NAME", "the quality of service on the cluster"),
    "memory": ("memory_gb", "GB", "gigabytes of memory for a job"),
    "cores": ("cores", "N", "CPU cores for a job"),
    "gpus": ("gpus", "N", "GPUs for a job"),
}
"""What is asked of a cluster: name → field of `jobs.folder.Slurm`, sign of its value, help."""
_RIGHT: Final[Mapping[str, str]] = {
    "engine": "local (this computer) or slurm (a cluster)",
    "partition": "the name of one partition, as sinfo lists them",
    "account": "the name of an account",
    "qos": "the name of a quality of service",
    "memory": "a number of gigabytes above 0, for example 16",
    "cores": "a whole number from 1, for example 4",
    "gpus": "a whole number from 0, for example 1",
    "at-once": "a whole number from 1, for example 2",
}
"""The settings in their order: name → what a value must be."""


def settings(given: argparse.Namespace) -> int:
    """Print the settings of the workspace, or change one."""
    from zoowizard.jobs.settings import read_settings, write_settings

    workspace = workspace_of(given)
    now = read_settings(workspace.root)
    if given.value is not None:
        now = changed(now, given.name, given.value)
        write_settings(workspace.root, now)
    elif given.name is not None and given.name not in _RIGHT:
        raise _no_setting(given.name)
    shown = {name: value for name, value in _values(now).items() if given.name in (None, name)}
    if given.json:
        print_json(shown)
    else:
        for name, value in shown.items():
            print(printable_lines(f"{name:<10} {DEFAULT if value in ('', None) else value}"))
    return ExitCode.DONE


def add_engine_flags(flags: argparse._ArgumentGroup) -> None:
    """The options of a command that starts jobs."""
    flags.add_argument("--detach", action="store_true", help="only start it, print its id, and let it go on by itself")
    flags.add_argument("--engine", choices=("local", "slurm"), help="on this computer, or on a SLURM cluster")
    for name, (_, sign, text) in _OF_CLUSTER.items():
        flags.add_argument(f"--{name}", metavar=sign, help=text)


def asked_of(given: argparse.Namespace) -> dict[str, str]:
    """Which of the options of `add_engine_flags` that say where a job runs were given: name → value."""
    return {name: value for name in ("engine", *_OF_CLUSTER) if (value := getattr(given, name, None)) is not None}


def settings_of(given: argparse.Namespace, root: "Path", now: "JobSettings | None" = None) -> "JobSettings":
    """The settings `now`, or else those of the workspace `root`, with what was asked for on the command line.

    Says so where what runs here would end with an allocation of a cluster. Raises WrongUse for what cannot be.
    """
    from zoowizard.jobs.settings import read_settings

    now = now or read_settings(root)
    asked = asked_of(given)
    for name, value in asked.items():
        now = changed(now, name, value, "--")
    if now.engine == "local":
        if wrong := next((name for name in asked if name in _OF_CLUSTER), None):
            raise WrongUse(f"--{wrong}: is asked of a cluster, but the job would run here; add --engine slurm")
        if number := os.environ.get("SLURM_JOB_ID"):
            where = f"this shell is part of the SLURM job {printable_lines(number)}"
            print(f"! {where}: what it starts ends with it, unless it is started with --engine slurm", file=sys.stderr)
    return now


def changed(now: "JobSettings", name: str, value: str, dashes: str = "") -> "JobSettings":
    """The settings with another value of one; `default` or nothing takes it back. Raises WrongUse for a wrong one."""
    from pydantic import ValidationError

    from zoowizard.jobs.settings import JobSettings

    if name not in _RIGHT:
        raise _no_setting(name)
    told: dict[str, Any] = now.model_dump(exclude_unset=False)
    place = told["slurm"] if name in _OF_CLUSTER else told
    field = _OF_CLUSTER[name][0] if name in _OF_CLUSTER else name.replace("-", "_")
    place[field] = value
    if value in ("", DEFAULT):
        del place[field]
    try:
        return JobSettings.model_validate(told)
    except ValidationError:
        raise WrongUse(f"{dashes}{name}: {value} cannot be; give {_RIGHT[name]}") from None


def _values(now: "JobSettings") -> dict[str, Any]:
    asked = {name: getattr(now.slurm, field) for name, (field, _, _) in _OF_CLUSTER.items()}
    return {"engine": now.engine, **asked, "at-once": now.at_once}


def _no_setting(name: str) -> WrongUse:
    return WrongUse(f"{name}: is no setting; there are {', '.join(_RIGHT)}")
