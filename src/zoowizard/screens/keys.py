"""The list of the keys that work on a screen."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from zoowizard.screens.glyphs import GLYPHS

WORDS = (
    "The board shows one line a model. The wizard takes a model through five steps: Model, Check, Describe, Test, "
    "Upload. Every answer is saved when it is given, and jobs go on when you leave: come back any time, from any "
    "terminal."
)
NOTHING = Content("")


class KeysScreen(ModalScreen[None]):
    """The keys of the screen below, with what they do."""

    CSS_PATH: ClassVar = ["keys.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,f1,q", "dismiss", "Close", id="keys.close")]

    def __init__(self, bindings: Sequence[ActiveBinding], about: Content = NOTHING) -> None:
        """`bindings` are those that work on the screen below; `about` explains the place where the cursor is there."""
        super().__init__()
        self._listed, self._about = bindings, about

    def compose(self) -> ComposeResult:
        """The list, once."""
        with VerticalScroll():
            if self._about:
                yield Static(self._about, id="keys-about")
            yield Static(Content(WORDS), id="keys-words")
            yield Static(self._table(), id="keys-table")
        yield Footer(compact=True, show_command_palette=False)

    def _table(self) -> Content:
        lines: dict[str, list[str]] = {}
        ours = [active.binding for active in self._listed if active.binding.id]
        for binding in ours:
            if binding.description:
                keys = lines.setdefault(binding.description, [])
                shown = self.app.get_key_display(binding)
                if not GLYPHS.blocks and not shown.isascii():
                    shown = binding.key
                if shown not in keys:
                    keys.append(shown)
        width = max((len(" ".join(keys)) for keys in lines.values()), default=0)
        parts: list[tuple[str, str]] = []
        for description, keys in lines.items():
            parts += [(" ".join(keys).rjust(width), "bold"), (f"  {description}\n", "")]
        return Content.assemble(*parts)
