"""Saves what the wizard knows, one thing after the other, in a thread: a slow disk must not stop the screen."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from zoowizard.errors import ZoowizardError

RETRY_AFTER_S = 5.0


@dataclass
class Keeper:
    """Keeps the newest of each kind of thing (`draft`, `place`): what is replaced before it was saved is never written.

    `said` is called with a sentence where saving failed, and with an empty one when all is saved. What failed is tried
    again every few seconds, and whenever something new is to be kept.
    """

    said: Callable[[str], None]
    _waiting: dict[str, Callable[[], None]] = field(default_factory=dict)
    _task: "asyncio.Task[None] | None" = None
    _hurry: asyncio.Event = field(default_factory=asyncio.Event)
    _failed: bool = False

    def keep(self, kind: str, save: Callable[[], None]) -> None:
        """Save soon: `save` is called in a thread, and raises ZoowizardError where it cannot save."""
        self._waiting[kind] = save
        self._hurry.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._save_all())

    async def flush(self, seconds: float = 5.0) -> bool:
        """Wait until all is saved, or saving has failed once more, so many seconds at most; gives whether it is."""
        self._failed = False
        self._hurry.set()
        until = asyncio.get_running_loop().time() + seconds
        while self._waiting and not self._failed and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.01)
        return not self._waiting

    async def _save_all(self) -> None:
        while self._waiting:
            self._hurry.clear()
            problem = ""
            for kind in tuple(self._waiting):
                save = self._waiting[kind]
                try:
                    await asyncio.to_thread(save)
                except ZoowizardError as one:  # which must not keep the others from being saved
                    problem = problem or str(one)
                else:
                    if self._waiting.get(kind) is save:
                        del self._waiting[kind]
            if problem:
                self._failed = True
                self.said(problem)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._hurry.wait(), RETRY_AFTER_S)
        self.said("")
