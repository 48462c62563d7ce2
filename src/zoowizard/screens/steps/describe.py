"""The step Describe: what people and the zoo want to know of the model, question by question."""

import textwrap
from dataclasses import dataclass
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from zoowizard.drafts.draft import with_given
from zoowizard.drafts.fields import Field, Need
from zoowizard.drafts.spoken import SEVERAL_LINES
from zoowizard.screens.card import CardScreen
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.situation import Answered, Situation, Typed
from zoowizard.screens.steps.step import Step
from zoowizard.screens.widgets.field_inputs import LeaveAsked
from zoowizard.screens.widgets.field_row import FieldRow, RowReached
from zoowizard.screens.widgets.field_state import FieldState, fitting, state_of

ASKED_ELSEWHERE: Final = ("test_image",)
"""The step Check asks these."""
NEEDS: Final = tuple(Need)
CHECK_HAS_IT: Final = "Test image (in Check)"


@dataclass
class FieldFocused(Message):
    """The cursor came to the question of this name."""

    name: str


class DescribeStep(Step):
    """The questions in groups; open is only what is missing or doubtful, the rest is folded to a line each."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f6", "next_problem", "Next gap", id="describe.next_problem", priority=True),
        Binding("ctrl+r", "take_back", "Take back", id="describe.take_back", priority=True),
        Binding("ctrl+e", "card", "Card", id="describe.card", priority=True),
    ]

    def __init__(self) -> None:
        """A step that shows nothing yet."""
        super().__init__()
        self.situation: Situation | None = None
        self._rows: dict[str, FieldRow] = {}
        self._built_for: object = None
        self._here = ""
        self._wanted = ""

    def compose(self) -> ComposeResult:
        """The count, the questions, and what the one with the cursor is about."""
        yield Static("", markup=False, id="describe-head")
        yield VerticalScroll(id="describe-rows", can_focus=False)
        yield Static("", markup=False, id="describe-help")

    # What is shown

    def show(self, situation: Situation) -> None:
        """Show the answers as they are now."""
        self.situation = situation
        if not self.is_attached or not self.query("#describe-rows"):
            self.call_after_refresh(self._show)
        else:
            self._show()

    def _show(self) -> None:
        situation = self.situation
        if situation is None or not self.is_attached:
            return
        states = {one.name: state_of(one, situation) for one in _asked(situation)}
        built_for = (situation.draft and situation.draft.id, situation.read_only, tuple(states))
        if built_for != self._built_for:
            self._built_for = built_for
            self._build(states, bool(situation.read_only))
        for name, state in states.items():
            row = self._rows[name]
            row.show(state)
            if state.doubtful:
                row.open()
        self._draw_head(states)

    def _build(self, states: dict[str, FieldState], read_only: bool) -> None:
        container = self.query_one("#describe-rows")
        container.remove_children()
        self._rows = {name: FieldRow(state, read_only) for name, state in states.items()}
        parts: list[Static | FieldRow] = []
        group = ""
        for name, state in states.items():
            if state.field.group != group:
                group = state.field.group
                parts.append(Static(Content(group), classes="field-group"))
            parts.append(self._rows[name])
            if state.doubtful:
                self._rows[name].open()
        container.mount(*parts)

    def _draw_head(self, states: dict[str, FieldState]) -> None:
        assert self.situation is not None
        wanted = [state for state in states.values() if state.field.need is not Need.OPTIONAL]
        done, count = sum(state.usable for state in wanted), len(wanted)
        image_wanted = [one for one in self.situation.fields if one.name in ASKED_ELSEWHERE]
        image_there = self.situation.draft is not None and bool(self.situation.draft.get("test_image"))
        count += len(image_wanted)
        done += len(image_wanted) if image_there else 0
        wrong = [state.field.label for state in states.values() if state.problem]
        missing = [
            state.field.label
            for state in states.values()
            if not state.answered and not state.problem and state.field.need is Need.REQUIRED
        ]
        missing += [CHECK_HAS_IT] if image_wanted and not image_there else []
        said = f"{done}/{count} answered"
        rest = f"   {GLYPHS.failed} {len(wrong)} to mend" if wrong else ""
        names = f"   {GLYPHS.open} missing: {', '.join(missing)}" if missing else ""
        if not wrong and not missing:
            names = f"   {GLYPHS.done} all that is required is there"
        width = self.size.width - 2
        names = fitting(names, width - len("Describe   ") - len(said) - len(rest))
        head = Content.assemble(("Describe   ", "bold"), said, (rest, "$text-error"), (names, "dim"))
        self.query_one("#describe-head", Static).update(head)

    def on_resize(self) -> None:
        """Little room means no help; the keys and the labels still tell."""
        self.set_class(self.size.height < 12, "-low")
        self.set_class(self.size.height >= 28, "-high")
        self._show()
        self._draw_help()

    def _draw_help(self) -> None:
        row = self._rows.get(self._here)
        text = Content("") if row is None else _help(row, self.size.width - 2, 5 if self.has_class("-high") else 3)
        self.query_one("#describe-help", Static).update(text)

    # Where the cursor is

    def focus_first(self) -> None:
        """The step comes up: fold what is done, and go to the first gap."""
        for row in self._rows.values():
            if not row.state.doubtful:
                row.fold()
        gaps = [row for row in self._rows.values() if row.state.doubtful]
        for row in [*gaps, *self._rows.values()][:1]:
            self.focus_field(row.field.name)

    def focus_field(self, name: str) -> None:
        """Go to the question of this name, where there is one."""
        if name in self._rows:
            self._wanted = name
            self.call_after_refresh(self._go)

    def _go(self) -> None:
        """Rows that were made a moment ago are not there yet; what was asked for last counts."""
        row = self._rows.get(self._wanted)
        if row is not None and not row.is_ready:
            self.call_after_refresh(self._go)
        elif row is not None:
            self._wanted = ""
            row.reach()

    def unsaid(self) -> list[Answered | Typed]:
        """What was typed and not yet posted."""
        return [message for row in self._rows.values() for message in row.unsaid()]

    @on(LeaveAsked)
    def _on_leave_asked(self, event: LeaveAsked) -> None:
        event.stop()
        rows = list(self._rows.values())
        names = list(self._rows)
        if self._here in names:
            place = names.index(self._here) + event.by
            if 0 <= place < len(rows):
                rows[place].reach()

    @on(RowReached)
    def _on_row_reached(self, event: RowReached) -> None:
        event.stop()
        self.call_after_refresh(self._bring_up, event.row)
        if event.row.field.name != self._here:
            self._here = event.row.field.name
            self.post_message(FieldFocused(self._here))
        self._draw_help()

    def _bring_up(self, row: FieldRow) -> None:
        container = self.query_one("#describe-rows", VerticalScroll)
        if row is next(iter(self._rows.values()), None):
            container.scroll_home(animate=False)
        else:
            container.scroll_to_widget(row, animate=False)

    def action_next_problem(self) -> None:
        """Go to the next question that is wrong or missing; those that stop a build come first."""
        rows = list(self._rows.values())
        names = list(self._rows)
        start = names.index(self._here) + 1 if self._here in names else 0
        around = [*rows[start:], *rows[:start]]
        stops = [row for row in around if row.judged().problem or (not row.state.answered and _is_required(row.field))]
        gaps = stops or [row for row in around if row.state.doubtful]
        if gaps:
            gaps[0].reach()
        else:
            self.notify("nothing is missing here", timeout=3, markup=False)

    def action_take_back(self) -> None:
        """Let go of the answer to this question; what files tell stands again."""
        row = self._rows.get(self._here)
        if row is not None and not row.read_only:
            row.take_back()

    def action_card(self) -> None:
        """Show the model card as the answers would make it."""
        if self.situation is None or self.situation.draft is None:
            return
        draft = self.situation.draft
        for message in self.unsaid():
            self.post_message(message)
            if isinstance(message, Answered):
                draft = with_given(draft, message.answers)
        self.app.push_screen(
            CardScreen({name: known.value for name, known in draft.values.items()}, family=draft.family)
        )


def _asked(situation: Situation) -> list[Field]:
    """The questions of this step in the order of their groups; in a group what is required comes first."""
    asked = [one for one in situation.fields if one.name not in ASKED_ELSEWHERE]
    groups = list(dict.fromkeys(one.group for one in asked))
    return sorted(asked, key=lambda one: (groups.index(one.group), NEEDS.index(one.need)))


def _is_required(field: Field) -> bool:
    return field.need is Need.REQUIRED


def _help(row: FieldRow, width: int, most: int) -> Content:
    field = row.field
    title = f"{field.label} ({field.need.value})"
    if row.read_only:
        keys = ""
    elif row.editor is None:
        keys = "Enter changes it."
    elif field.choices:
        keys = "Down and enter choose."
    elif field.kind in SEVERAL_LINES:
        keys = "Tab goes on." if field.kind == "paragraph" else "One a line; tab goes on."
    else:
        keys = ""
    words = " ".join(part for part in (keys, field.help, f"Example: {field.example}") if part)
    lines = textwrap.wrap(f"{title}  {words}", max(width, 20), break_on_hyphens=False)
    if len(lines) > most:
        lines = [*lines[: most - 1], fitting(" ".join(lines[most - 1 :]), width)]
    text = "\n".join(lines)
    return Content.assemble((text[: len(title)], "bold"), (text[len(title) :], "dim"))
