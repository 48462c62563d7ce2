"""The step Describe: what people and the zoo want to know of the model, question by question."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from zoowizard.drafts.draft import Draft
from zoowizard.drafts.fields import Field, Need
from zoowizard.drafts.spoken import SEVERAL_LINES
from zoowizard.screens.card import CardScreen
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.keys import KeysScreen
from zoowizard.screens.normalisation import FIELD as NORMALISATION
from zoowizard.screens.normalisation import NormalisationScreen
from zoowizard.screens.situation import Answered, Situation, Typed
from zoowizard.screens.steps.step import Step
from zoowizard.screens.widgets.field_inputs import LeaveAsked
from zoowizard.screens.widgets.field_row import FieldRow, FileJudged, RowReached
from zoowizard.screens.widgets.field_state import FieldState, fitting, state_of
from zoowizard.workflow import answered, unready_to_probe

ASKED_ELSEWHERE: Final = ("test_image",)
"""The step Check asks these."""
NEEDS: Final = tuple(Need)
CHECK_HAS_IT: Final = "Test image (in Check)"
ALL_OF_IT: Final = "  f1 tells all"
"""Stands where the help of a question was cut."""


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
        Binding("ctrl+n", "normalisation", "Try all", id="describe.normalisation", priority=True),
        Binding("question_mark,f1", "explain", "Help", id="describe.explain"),
    ]

    def __init__(self) -> None:
        """A step that shows nothing yet."""
        super().__init__()
        self.situation: Situation | None = None
        self._rows: dict[str, FieldRow] = {}
        self._headings: dict[str, Static] = {}
        self._parts: list[Widget] = []
        self._built_for: object = None
        self._here = ""
        self._wanted = ""
        self._can_try = False

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
        built_for = (situation.draft and situation.draft.id, situation.read_only)
        if built_for != self._built_for:
            self._built_for = built_for
            self._clear()
        self._arrange(states, bool(situation.read_only))
        for name, state in states.items():
            row = self._rows[name]
            row.show(state)
            if state.doubtful:
                row.open()
        self._draw_head(states)
        self._judge_normalisation()

    def _clear(self) -> None:
        self.query_one("#describe-rows").remove_children()
        self._rows, self._headings, self._parts = {}, {}, []

    def _arrange(self, states: dict[str, FieldState], read_only: bool) -> None:
        """Bring the rows into the order of the questions: an answer may lead to others, and the cursor stays."""
        groups = dict.fromkeys(state.field.group for state in states.values())
        for row in [row for name, row in self._rows.items() if name not in states]:
            self._leave(row, states)
            row.remove()
        for group in [group for group in self._headings if group not in groups]:
            self._headings.pop(group).remove()
        self._rows = {name: self._rows.get(name) or FieldRow(state, read_only) for name, state in states.items()}
        wanted: list[Widget] = []
        for group in groups:
            wanted.append(self._headings.setdefault(group, Static(Content(group), classes="field-group")))
            wanted += [row for name, row in self._rows.items() if states[name].field.group == group]
        self._parts = _ordered(self.query_one("#describe-rows"), self._parts, wanted)

    def _leave(self, row: FieldRow, states: dict[str, FieldState]) -> None:
        """Take the cursor away from a question that is asked no more, to the one before it."""
        names = list(self._rows)
        if row.field.name == self._here:
            earlier = [name for name in names[: names.index(self._here)] if name in states]
            self.focus_field(earlier[-1] if earlier else next(iter(states)))

    def _draw_head(self, states: dict[str, FieldState]) -> None:
        assert self.situation is not None
        wanted = [state for state in states.values() if state.field.need is not Need.OPTIONAL]
        done = sum(state.usable and not self._rows[state.field.name].problem for state in wanted)
        count = len(wanted)
        image_wanted = [one for one in self.situation.fields if one.name in ASKED_ELSEWHERE and _is_required(one)]
        image_there = self.situation.draft is not None and bool(self.situation.draft.get("test_image"))
        count += len(image_wanted)
        done += len(image_wanted) if image_there else 0
        wrong = [name for name in states if self._rows[name].problem]
        missing = [
            state.field.label
            for name, state in states.items()
            if not state.answered and name not in wrong and state.field.need is Need.REQUIRED
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
            self.refresh_bindings()
        self._draw_help()

    @on(FileJudged)
    def _on_file_judged(self, event: FileJudged) -> None:
        event.stop()
        self._show()

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

    def action_explain(self) -> None:
        """Show all of what the question with the cursor is about, and the keys."""
        row = self._rows.get(self._here)
        about = Content("") if row is None else _explained(row.field)
        self.app.push_screen(KeysScreen(list(self.screen.active_bindings.values()), about))

    def action_take_back(self) -> None:
        """Let go of the answer to this question; what files tell stands again."""
        row = self._rows.get(self._here)
        if row is not None and not row.read_only:
            row.take_back()

    def action_card(self) -> None:
        """Show the model card as the answers would make it."""
        if (draft := self._settled()) is not None:
            values = {name: known.value for name, known in draft.values.items()}
            self.app.push_screen(CardScreen(values, family=draft.family))

    def _settled(self) -> Draft | None:
        """The draft with what was typed a moment ago, which is said by now."""
        draft = None if self.situation is None else self.situation.draft
        for message in self.unsaid() if draft is not None else ():
            self.post_message(message)
            if isinstance(message, Answered) and draft is not None:
                draft = answered(draft, message.answers)
        return draft

    # The normalisation

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Normalisations can be tried where they are asked for, once the network and the test image are known."""
        return action != "normalisation" or (self._here == NORMALISATION and self._can_try)

    def _judge_normalisation(self) -> None:
        """Whether there is all that trying needs, and no mean and spread in the place of a normalisation."""
        situation = self.situation
        draft = None if situation is None or situation.read_only else situation.draft
        can_try = (
            draft is not None
            and draft.checkpoint is not None
            and not draft.get("normalisation_mean")
            and not draft.get("normalisation_std")
            and unready_to_probe(draft) == {}
        )
        if can_try != self._can_try:
            self._can_try = can_try
            self.refresh_bindings()

    def action_normalisation(self) -> None:
        """Show what the network gives after each normalisation."""
        draft = self._settled()
        if draft is not None and self.situation is not None:
            self.app.push_screen(NormalisationScreen(self.situation.workspace, draft), self._take)

    def _take(self, answers: Mapping[str, Any] | None) -> None:
        """Answer with what was chosen among the pictures."""
        if answers:
            self.post_message(Answered(answers))
            for name, answer in answers.items():
                if name in self._rows:
                    self._rows[name].put(answer)


def _ordered(container: Widget, there: Sequence[Widget], wanted: list[Widget]) -> list[Widget]:
    """Have the `wanted` ones stand in the container in their order; of those that are `there` already few are moved."""
    order = [one for one in there if one in wanted]
    if not order:
        container.mount(*wanted)
        return wanted
    for place, part in enumerate(wanted):
        if place < len(order) and order[place] is part:
            continue
        if part in order:
            order.remove(part)
            container.move_child(part, before=order[place])
        elif place < len(order):
            container.mount(part, before=order[place])
        else:
            container.mount(part, after=order[-1])
        order.insert(place, part)
    return wanted


def _asked(situation: Situation) -> list[Field]:
    """The questions of this step in the order of their groups; in a group what is required comes first."""
    asked = [one for one in situation.fields if one.name not in ASKED_ELSEWHERE]
    groups = list(dict.fromkeys(one.group for one in asked))
    return sorted(asked, key=lambda one: (groups.index(one.group), not one.leads, NEEDS.index(one.need)))


def _is_required(field: Field) -> bool:
    """Also of what required questions hang on, as long as it is wanted."""
    return field.need is Need.REQUIRED or (field.leads and field.need is Need.RECOMMENDED)


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
        rest = fitting(" ".join(lines[most - 1 :]), width - len(ALL_OF_IT))
        lines = [*lines[: most - 1], rest + ALL_OF_IT]
    text = "\n".join(lines)
    return Content.assemble((text[: len(title)], "bold"), (text[len(title) :], "dim"))


def _explained(field: Field) -> Content:
    """All that there is to say about a question."""
    choices = "" if not field.choices or field.open_choice else f"One of: {', '.join(field.choices)}\n"
    title = f"{field.label} ({field.need.value})\n"
    return Content.assemble((title, "bold"), f"{field.help}\n{choices}Example: {field.example}")
