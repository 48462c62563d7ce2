"""Other processes that look things up for the screens, so that nothing heavy is done where the screen is drawn.

They end when what asked for them is cancelled, when the app ends, and when the app is killed: each reads its standard
input, which then is at its end.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from zoowizard.errors import ZoowizardError

LONGEST_LINE: Final = 64 * 1024 * 1024


async def lines_of(module: str, *arguments: str) -> AsyncIterator[Any]:
    """Run `python -m MODULE ARGUMENTS…` and give each line of its answer, read as JSON, as it comes.

    Raises ZoowizardError with the last line of its standard error where it fails. Its standard input stays open and
    empty until it ends. Cancelling the task that iterates, or closing the iterator, ends it.
    """
    child = await _started(module, arguments)
    assert child.stdout is not None and child.stderr is not None
    errors = asyncio.create_task(child.stderr.read())
    try:
        async for line in child.stdout:
            yield json.loads(line)
        if await child.wait() != 0:
            said = (await errors).decode(errors="replace").strip().splitlines()
            raise ZoowizardError(said[-1] if said else f"{module} ended with code {child.returncode}")
    finally:
        errors.cancel()
        await _ended(child)


async def answer_of(module: str, *arguments: str, told: bytes = b"") -> bytes:
    """Run `python -m MODULE ARGUMENTS…` with `told` on its standard input; gives what it printed.

    Raises ZoowizardError with the last line of its standard error where it fails.
    """
    child = await _started(module, arguments)
    try:
        answer, errors = await child.communicate(told)
    finally:
        await _ended(child)
    if child.returncode != 0:
        said = errors.decode(errors="replace").strip().splitlines()
        raise ZoowizardError(said[-1] if said else f"{module} ended with code {child.returncode}")
    return answer


async def _started(module: str, arguments: Sequence[str]) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", module, *arguments)
    return await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe, limit=LONGEST_LINE)


async def _ended(child: asyncio.subprocess.Process) -> None:
    """End a child, if it lives, and wait for it: however often the wait is cancelled, for the loop ends after that."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
    if child.stdin is not None:
        child.stdin.close()
    while child.returncode is None:
        with contextlib.suppress(asyncio.CancelledError):
            await child.wait()
