"""What SLURM itself says of jobs: its commands asked with care, for it may be down, slow, or not there at all."""

import contextlib
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Generic, TypeVar

from zoowizard.errors import ZoowizardError
from zoowizard.terminal import printable

ANSWERS_WITHIN_S: Final = 10.0
REMEMBERED_S: Final = 2.0
"""So long an answer holds for all who ask in this process."""
TROUBLE_REMEMBERED_S: Final = 5.0
"""A SLURM that does not answer takes ten seconds each time, so it is not asked at once again."""
OUTDATED_S: Final = 30.0
"""Trouble that is older than this is not told any more, without asking first."""
_STEERING: Final = ("SQUEUE_", "SACCT_", "SCANCEL_", "SINFO_", "SCONTROL_", "SLURM_TIME_FORMAT", "SLURM_BITSTR_LEN")
"""Beginnings of variables with which a person changes what the commands print or do."""
_NO_ACCOUNTING: Final = "accounting storage is disabled"
_FIELDS: Final = "%i|%T|%e|%j|%r"

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Row:
    """One job as SLURM lists it: `state` and `reason` in SLURM's words, `ended` where that is known."""

    id: str
    name: str
    state: str
    reason: str = ""
    ended: datetime | None = None

    @property
    def index(self) -> int | None:
        """Its number in its array; None where it belongs to none."""
        number = self.id.partition("_")[2]
        return int(number) if number.isascii() and number.isdecimal() else None


class SlurmTrouble(ZoowizardError):
    """SLURM does not answer, or its commands are not there: nothing is known, and nothing is lost."""


class SlurmMissing(SlurmTrouble):
    """This computer has no such command of SLURM."""


class SlurmRefusal(ZoowizardError):
    """SLURM answered, and the answer is no; the message is in SLURM's own words."""


def ask(
    command: Sequence[str],
    within_s: float = ANSWERS_WITHIN_S,
    told: str = "",
    environment: Mapping[str, str] | None = None,
) -> str:
    """What a command of SLURM prints; `told` is its standard input, `environment` is ours where none is given.

    Raises SlurmTrouble where SLURM does not answer within so many seconds, SlurmRefusal where it says no.
    """
    ours = os.environ if environment is None else environment
    plain = {name: value for name, value in ours.items() if not name.startswith(_STEERING)}
    try:
        done = subprocess.run(command, input=told.encode(), capture_output=True, timeout=within_s, env=plain)
    except FileNotFoundError as problem:
        sentence = f"SLURM's command {command[0]} is not found on this computer; look from a login node of the cluster"
        raise SlurmMissing(sentence) from problem
    except subprocess.TimeoutExpired as problem:
        raise SlurmTrouble(f"SLURM did not answer within {within_s:g} seconds; it is asked again") from problem
    except OSError as problem:
        raise SlurmTrouble(f"SLURM's command {command[0]} could not be started: {problem.strerror}") from problem
    if done.returncode == 0:
        return done.stdout.decode(errors="replace")
    said = _last_line(done.stderr.decode(errors="replace"))
    if re.search(r"contact|timed out|connect|communication|configuration source|not respond", said, re.IGNORECASE):
        raise SlurmTrouble(f"SLURM does not answer ({said}); it is asked again")
    raise SlurmRefusal(said or f"{command[0]} ended with exit code {done.returncode}")


class _Remembered(Generic[Answer]):
    """An answer that holds for a while, for all threads. While SLURM does not answer, it is asked again beside."""

    def __init__(self, question: Callable[[], Answer]) -> None:
        self._question = question
        self._lock = threading.Lock()
        self._holds_until = 0.0
        self._answer: Answer | SlurmTrouble | None = None
        self._is_asked_again = False

    def __call__(self, fresh: bool = False) -> Answer:
        """The answer, `fresh` where it may not be one from before. Raises SlurmTrouble."""
        with self._lock:
            answer = self._answer
            if fresh or answer is None or time.monotonic() >= self._holds_until:
                is_recent = time.monotonic() < self._holds_until + OUTDATED_S
                if isinstance(answer, SlurmTrouble) and is_recent and not fresh:
                    self._ask_again()
                else:
                    answer = self._keep(self._asked())
        if isinstance(answer, SlurmTrouble):
            raise answer
        return answer

    def _asked(self) -> Answer | SlurmTrouble:
        try:
            return self._question()
        except SlurmTrouble as problem:
            return problem
        except ZoowizardError as problem:
            return SlurmTrouble(f"SLURM does not say ({problem}); it is asked again")

    def _keep(self, answer: Answer | SlurmTrouble) -> Answer | SlurmTrouble:
        holds = TROUBLE_REMEMBERED_S if isinstance(answer, SlurmTrouble) else REMEMBERED_S
        self._answer, self._holds_until = answer, time.monotonic() + holds
        return answer

    def _ask_again(self) -> None:
        if not self._is_asked_again:
            self._is_asked_again = True
            threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self) -> None:
        try:
            answer = self._asked()
            with self._lock:
                self._keep(answer)
        finally:
            self._is_asked_again = False


def _queue() -> tuple[Row, ...]:
    return _rows(ask(["squeue", "--me", "-h", "-r", "-t", "all", "-o", _FIELDS]))


listed: Final = _Remembered(_queue)
"""All jobs of ours that SLURM's controller knows, ended ones too for some minutes. Raises SlurmTrouble.

One question for all jobs, asked every two seconds at most. It can take ten seconds: never ask where a screen is drawn.
"""


def _keeps_accounts() -> bool:
    try:
        ask(["sacct", "-X", "-n", "-S", "now", "-o", "JobID"])
    except SlurmRefusal as problem:
        if _NO_ACCOUNTING in str(problem):
            return False
        raise
    except SlurmMissing:
        return False
    return True


_accounting: Final = _Remembered(_keeps_accounts)


def accounted(name: str, submitted: datetime) -> tuple[Row, ...]:
    """The jobs of this name in SLURM's accounting; none where it keeps no accounts. Raises SlurmTrouble."""
    try:
        if not _accounting():
            return ()
        day = (submitted - timedelta(days=1)).astimezone().strftime("%Y-%m-%d")
        return _accounts(name, day, int(time.monotonic() / TROUBLE_REMEMBERED_S))
    except ZoowizardError as problem:
        raise SlurmTrouble(f"the accounting of the cluster: {problem}") from problem


@lru_cache(1024)
def _accounts(name: str, day: str, moment: int) -> tuple[Row, ...]:
    """`moment` makes that it is asked again after a while."""
    return _rows(ask(["sacct", "-X", "-n", "-P", "--name", name, "-S", day, "-o", "JobID,State,End,JobName"]))


def _rows(printed: str) -> tuple[Row, ...]:
    found = []
    for line in printed.splitlines():
        number, state, ended, name, reason = [*line.split("|", 4), "", "", "", ""][:5]
        word = state.split()[0] if state.split() else ""  # sacct says `CANCELLED by 1000`
        found.append(Row(number, name, word, printable(reason.strip()), _moment(ended)))
    return tuple(found)


def _moment(text: str) -> datetime | None:
    with contextlib.suppress(ValueError, OverflowError):
        return datetime.fromisoformat(text).astimezone(UTC)  # SLURM prints the time of the computer
    return None


def _last_line(said: str) -> str:
    lines = [printable(line).strip() for line in said.strip().splitlines()]
    return re.sub(r"^(\w+: )?(error: |fatal: )?|^slurm_\w+ error: ", "", lines[-1]) if lines else ""
