"""What is to be kept is saved, in a thread; what cannot be is tried again, and never forgotten."""

import asyncio
from pathlib import Path

from zoowizard.errors import ZoowizardError
from zoowizard.screens.keeper import Keeper


async def test_the_newest_of_each_kind_is_saved() -> None:
    saved: list[str] = []
    said: list[str] = []
    keeper = Keeper(said.append)
    for text in ("a", "b", "c"):
        keeper.keep("draft", lambda text=text: saved.append(text))  # type: ignore[misc]
    keeper.keep("place", lambda: saved.append("here"))
    assert await keeper.flush()
    assert saved[-2:] == ["c", "here"]
    assert said[-1] == ""


async def test_what_failed_is_told_and_saved_when_there_is_room(tmp_path: Path) -> None:
    place = tmp_path / "folder" / "file"
    said: list[str] = []
    keeper = Keeper(said.append)

    def save() -> None:
        try:
            place.write_text("kept")
        except OSError as problem:
            raise ZoowizardError(f"could not save {place.name}") from problem

    keeper.keep("draft", save)
    assert not await keeper.flush()
    assert said == ["could not save file"]
    started = asyncio.get_running_loop().time()
    assert not await keeper.flush(), "it fails again, at once"
    assert asyncio.get_running_loop().time() - started < 2
    place.parent.mkdir()
    assert await keeper.flush()
    assert (place.read_text(), said[-1]) == ("kept", "")
