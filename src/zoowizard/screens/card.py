"""The model card, to be read before or after the package is built."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Markdown, Static

from zoowizard.errors import ZoowizardError
from zoowizard.screens.children import answer_of
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.terminal import printable

MODULE = "zoowizard.packaging.preview"


class CardScreen(ModalScreen[None]):
    """The card as a draft's answers make it, or as it stands in a package. Its links are not followed."""

    CSS_PATH: ClassVar = ["card.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+e,q", "dismiss", "Close", key_display="esc", id="card.close"),
        Binding("up", "scroll_up", "Up", show=False, id="card.up"),
        Binding("down", "scroll_down", "Down", show=False, id="card.down"),
    ]

    def __init__(self, values: Mapping[str, Any] | None = None, package: Path | None = None, family: str = "") -> None:
        """`values` are a draft's bare values by name, of `family`; where `package` is given, its own card is shown."""
        super().__init__()
        preview = {"values": dict(values or {}), "family": family}
        self._asked = preview if package is None else {"package": str(package)}
        self._title = (
            f"Model card of {package.name}" if package is not None else "Model card, a preview: not tested yet"
        )

    def compose(self) -> ComposeResult:
        """A title, and a place for the card."""
        yield Static(Content.styled(printable(self._title), "bold"), markup=False, id="card-title")
        with VerticalScroll(id="card-scroll"):
            yield Static("one moment", markup=False, id="card-wait")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Ask for the card; the screen is there already."""
        self.query_one("#card-scroll").focus()
        self._fetch()

    @work(exclusive=True)
    async def _fetch(self) -> None:
        wait = self.query_one("#card-wait", Static)
        try:
            told = json.dumps(self._asked, default=str).encode()
            card = (await answer_of(MODULE, told=told)).decode("utf-8", errors="replace")
        except ZoowizardError as problem:
            wait.update(Content(f"{GLYPHS.failed} {printable(str(problem))}"))
            return
        lines = "\n".join(printable(line) for line in card.splitlines())
        await self.query_one("#card-scroll").mount(Markdown(lines, open_links=False))
        wait.display = False
