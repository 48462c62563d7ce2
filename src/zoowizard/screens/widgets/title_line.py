"""The two lines at the top of the wizard: which model and whether it is saved, and the five steps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.content import Content
from textual.widgets import Static

from zoowizard.board.markdown import cut, width_of
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.situation import Situation
from zoowizard.terminal import printable

if TYPE_CHECKING:
    from zoowizard.screens.steps.plan import StepPlan


class TitleLine(Static):
    """The name of the model on the left, a word on saving on the right."""

    def show(self, situation: Situation, word: str) -> None:
        """`word` is said at the right end."""
        draft = situation.draft
        name = "new model" if draft is None else draft.get("name") or draft.id
        self._said = (printable(str(name)), printable(word))
        self._draw()

    def on_resize(self) -> None:
        """The right end has moved."""
        self._draw()

    def _draw(self) -> None:
        name, word = getattr(self, "_said", ("", ""))
        left, width = "zoowizard  ", self.size.width
        word = cut(word, max(0, width - len(left) - 12))
        name = cut(name, max(8, width - len(left) - width_of(word) - 2))
        gap = " " * max(1, width - width_of(left + name + word))
        self.update(Content.assemble((left, "bold"), name, gap, (word, "dim")))


class StepLine(Static):
    """Where the person is on the way: `✓ 1 Model ── ● 2 Check ── ○ 3 Describe …`."""

    def __init__(self, plans: "Sequence[StepPlan]") -> None:
        """`plans` are the steps in their order."""
        super().__init__()
        self._plans = plans
        self._now: tuple[Situation, str] | None = None

    def show(self, situation: Situation, current: str) -> None:
        """Mark what is done, and the step `current`."""
        self._now = (situation, current)
        self._draw()

    def on_resize(self) -> None:
        """There may be room for more or fewer words."""
        self._draw()

    def _draw(self) -> None:
        if self._now is None:
            return
        situation, current = self._now
        parts: list[tuple[str, str]] = []
        for number, plan in enumerate(self._plans, start=1):
            here = plan.name == current
            done = not here and plan.done(situation)
            glyph = GLYPHS.current if here else GLYPHS.done if done else GLYPHS.open
            parts.append(
                (f"{glyph} {number} {plan.title}", "bold $text-primary" if here else "$text-success" if done else "dim")
            )
        between = f" {GLYPHS.line * 2} "
        if sum(len(text) for text, _ in parts) + len(between) * (len(parts) - 1) > self.size.width - 2:
            number = next((i for i, plan in enumerate(self._plans) if plan.name == current), 0)
            self.update(Content.assemble(parts[number], (f"  ({number + 1} of {len(parts)})", "dim")))
            return
        pieces: list[tuple[str, str]] = []
        for part in parts:
            pieces += [part, (between, "dim")]
        self.update(Content.assemble(*pieces[:-1]))
