"""The draft that a wizard has open: its lock, the place in it, and the saving of both; and what others do to it."""

import contextlib
import json
from collections.abc import Callable, Mapping
from functools import partial

from zoowizard.drafts.draft import Draft
from zoowizard.drafts.place import Place, read_place, write_place
from zoowizard.drafts.store import DraftBusy, Workspace, editing, load, save
from zoowizard.errors import ZoowizardError
from zoowizard.screens.keeper import Keeper


class Holding:
    """Holds at most one draft at a time; `said` is called after each try to save, with what is wrong, if anything."""

    def __init__(self, workspace: Workspace, said: Callable[[str], None]) -> None:
        """Nothing is held yet."""
        self._workspace = workspace
        self._keeper = Keeper(said)
        self._lock = contextlib.ExitStack()
        self.place = Place()
        """Where the person is in the draft, and what was typed without being an answer yet."""

    def take(self, draft_id: str) -> tuple[Draft, str]:
        """Open a draft: gives it, and why nothing can be changed in it, where another terminal has it.

        What was held before must be let go. Raises ZoowizardError where the draft cannot be read.
        """
        try:
            draft, reason = self._lock.enter_context(editing(self._workspace, draft_id)), ""
        except DraftBusy as problem:
            draft, reason = load(self._workspace, draft_id), str(problem)
        self.place = read_place(self._workspace, draft_id)
        return draft, reason

    def keep(self, draft: Draft) -> None:
        """Save the draft in the background."""
        self._keeper.keep("draft", partial(save, self._workspace, draft))

    def keep_place(self, place: Place, draft_id: str) -> None:
        """The person is there now; that is saved in the background, but where `draft_id` is empty."""
        if place != self.place and draft_id:
            self._keeper.keep("place", partial(write_place, self._workspace, draft_id, place))
        self.place = place

    async def flush(self) -> bool:
        """Wait until all is saved, some seconds at most; gives whether it is."""
        return await self._keeper.flush()

    def let_go(self) -> None:
        """Let others change the draft."""
        self._lock.close()


def is_free(workspace: Workspace, draft_id: str) -> bool:
    """Whether nobody is editing the draft."""
    try:
        with editing(workspace, draft_id):
            return True
    except ZoowizardError:
        return False


def unsaved_words(draft: Draft, typed: Mapping[str, str], problem: str) -> list[str]:
    """What a person gets to keep of a draft that could not be saved because of `problem`."""
    answers = {name: known.value for name, known in draft.given.items()} | dict(typed)
    return [f"{draft.id} could not be saved ({problem}); these are its answers:", json.dumps(answers, indent=2)]


def traces(workspace: Workspace, draft_id: str) -> object:
    """What changes on disk when another process works on the draft: cheap to look at every few seconds."""
    folder = workspace.folder(draft_id)
    found: list[object] = []
    for path in (folder / "draft.json", folder / "jobs", folder / "receipts", *(folder / "uploads").glob("*")):
        with contextlib.suppress(OSError):
            found.append((path.name, path.stat().st_mtime_ns))
    return found
