"""A person at the whole app: presses keys, reads the screen, and waits for what should come."""

import time
from collections.abc import Callable
from pathlib import Path

from screens_text import screen_text
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from zoowizard.screens.widgets.field_row import FieldRow

PATIENCE_S = 120.0
"""So long a person waits for what normally takes a second: computers on which tests run may be busy."""
RESTS_S, STILL_S = 0.4, 15.0
NAMES = {"\n": "enter", " ": "space"}
INPUTS = (Input, TextArea)


def rests_s(is_expected: bool) -> float:
    """So long a screen must not change before it counts as complete: other processes may still find something out."""
    return RESTS_S if is_expected else STILL_S


class Person:
    """Knows nothing of the app but its screen and its keys."""

    def __init__(self, pilot: "Pilot[None]") -> None:
        self._pilot = pilot

    @property
    def screen(self) -> str:
        return screen_text(self._pilot.app)  # type: ignore[arg-type]

    @property
    def words(self) -> str:
        """The screen as one line, however its lines are broken."""
        return " ".join(self.screen.split())

    async def press(self, *keys: str) -> None:
        await self._pilot.press(*keys)

    async def write(self, text: str) -> None:
        """Type quickly, as a terminal hands it over: without a look at the screen after each letter."""
        await self.until(lambda: isinstance(self._pilot.app.focused, (*INPUTS, FieldRow)))
        for letter in text:
            self._pilot.app.post_message(Key(NAMES.get(letter, letter), letter))
        await self._pilot.pause()

    async def at_input(self) -> None:
        """Wait until the cursor stands where text can be changed."""
        await self.until(lambda: isinstance(self._pilot.app.focused, INPUTS))

    async def until(self, condition: Callable[[], object], seconds: float = PATIENCE_S) -> None:
        """Wait until something is so; fails with the screen where it never is."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"it never came true; the screen is\n{self.screen}"
            await self._pilot.pause(0.02)

    async def sees(self, *words: str, gone: str = "", seconds: float = PATIENCE_S) -> str:
        """Wait until all the words stand on the screen, and `gone` does not; gives the screen."""
        try:
            await self.until(
                lambda: all(one in self.words for one in words) and not (gone and gone in self.words), seconds
            )
        except AssertionError as problem:
            raise AssertionError(f"{words} did not come up, or {gone!r} stayed; {problem}") from None
        return self.screen

    async def at_rest(self, is_expected: Callable[[], bool]) -> str:
        """The screen when it has not changed for a while; for a long while, where it is not yet what is expected."""
        before, since = "", time.monotonic()
        deadline = since + PATIENCE_S
        while before != (now := self.screen) or time.monotonic() - since < rests_s(is_expected()):
            assert time.monotonic() < deadline, f"it never comes to rest; the screen is\n{now}"
            if now != before:
                before, since = now, time.monotonic()
            await self._pilot.pause(0.05)
        return before

    def line_with(self, words: str) -> str:
        """The line of the screen with these words; empty where there is none."""
        return next((line for line in self.screen.splitlines() if words in line), "")

    def save_picture(self, path: Path) -> None:
        path.write_text(self._pilot.app.export_screenshot())
