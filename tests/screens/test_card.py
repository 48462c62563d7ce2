import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from commands import Demo
from screens_text import screen_text
from textual.app import App
from textual.pilot import Pilot

from zoowizard.screens.card import CardScreen

DEADLINE_S = 120.0


class Reading(App[None]):
    def __init__(self, **asked: Any) -> None:
        super().__init__()
        self.animation_level = "none"
        self.asked = asked
        self.opened: list[str] = []

    def on_mount(self) -> None:
        self.push_screen(CardScreen(**self.asked))

    def open_url(self, url: str, *, new_tab: bool = True) -> None:
        self.opened.append(url)


async def until(pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, screen_text(pilot.app)
        await pilot.pause(0.02)


HOSTILE = {
    "name": "[b]Nuclei[/b] 细胞核",
    "description": "A [link=x]text[/link] with \x1b[31m escapes\x9b and ![a picture](https://x.org/a.png).",
    "git_repo": "https://github.com/ada/x",
    "authors": [{"name": "<script>alert(1)</script> W" + "w" * 300}],
}


async def test_the_card_is_shown_as_text_and_closes_with_escape() -> None:
    app = Reading(values=HOSTILE)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "[b]Nuclei[/b] 细胞核" in screen_text(app) and "with" in screen_text(app))
        assert "Model card, a preview: not tested yet" in screen_text(app)
        assert "A [link=x]text[/link] with" in screen_text(app)
        assert "\x1b" not in screen_text(app)
        assert "\x9b" not in screen_text(app)
        top = screen_text(app)
        await pilot.press("down", "down", "down", "pagedown")
        await until(pilot, lambda: screen_text(app) != top)
        await pilot.press("end")
        await until(pilot, lambda: "Nothing was built or tested yet" in " ".join(screen_text(app).split()))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, CardScreen))


async def test_links_are_not_followed() -> None:
    app = Reading(values={"name": "Nuclei", "git_repo": "https://github.com/ada/x"})
    async with app.run_test(size=(80, 40)) as pilot:
        await until(pilot, lambda: "github.com/ada/x" in screen_text(app))
        row = next(place for place, line in enumerate(screen_text(app).splitlines()) if "github.com/ada" in line)
        column = screen_text(app).splitlines()[row].index("github")
        await pilot.click(offset=(column + 2, row))
        await pilot.pause()
        assert app.opened == []


async def test_a_package_shows_its_own_card(demo: Demo) -> None:
    app = Reading(package=demo.package)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "Model Description" in screen_text(app))
        assert "preview" not in screen_text(app)


async def test_a_package_that_is_gone_says_so(tmp_path: Path) -> None:
    app = Reading(package=tmp_path / "gone.zip")
    async with app.run_test(size=(40, 10)) as pilot:
        await until(pilot, lambda: "✗ gone.zip: no such file" in screen_text(app))
