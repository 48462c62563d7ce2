"""One question as one row: folded to a line, or open with its input and what is wrong with what stands in it."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input, Static, TextArea

from zoowizard.drafts.fields import Field
from zoowizard.drafts.spoken import SEVERAL_LINES, as_line, understood
from zoowizard.screens.situation import Answered, Typed
from zoowizard.screens.widgets.field_inputs import FieldChoice, FieldLine, FieldText, LeaveAsked
from zoowizard.screens.widgets.field_look import Judged, columns_of, head_line, note
from zoowizard.screens.widgets.field_state import LONGEST_SHOWN, FieldState, fitting

SETTLES_S: Final = 0.4
"""So long after the last key an answer is posted."""

Editor = FieldLine | FieldText


@dataclass
class RowReached(Message):
    """The cursor came to this row, or the row changed while it was there."""

    row: "FieldRow"


@dataclass
class FileJudged(Message):
    """A file that was typed into a row was looked at."""


class FieldRow(Widget, can_focus=True):
    """One question. It says itself what was typed into it, as `Answered` or `Typed`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "leave(-1)", "Field before", show=False, id="field.up"),
        Binding("down", "leave(1)", "Next field", show=False, id="field.down"),
        Binding("enter,space", "open", "Change", key_display="enter", id="field.open"),
    ]

    def __init__(self, state: FieldState, read_only: bool = False) -> None:
        """A folded row; `read_only` ones never open."""
        super().__init__()
        self.state = state
        self.read_only = read_only
        self.editor: Editor | None = None
        self._note = Static("", markup=False, classes="field-note")
        self._composed = False
        self._current = False
        self._text = ""
        self._unsaid = False
        self._timer: Timer | None = None
        self._looked_at: tuple[str, str] | None = None
        """The path that was looked at last, and what was wrong with it."""

    @property
    def field(self) -> Field:
        """The question."""
        return self.state.field

    def compose(self) -> ComposeResult:
        """The input, where the row is open from the beginning."""
        self._composed = True
        yield from self._parts()

    def on_mount(self) -> None:
        """A path that was typed another day was not looked at today."""
        self._look_again()

    # What is shown

    def show(self, state: FieldState) -> None:
        """Show the question as it stands now; what is being typed stays."""
        if state == self.state:
            return
        form = (self.field.kind, tuple(self.field.choices))
        self.state = state
        if self.editor is not None and form != (self.field.kind, tuple(self.field.choices)):
            self._change_form(self.editor)
        if self.editor is not None and not self._is_typing:
            self._fill(state.text)
        self._draw()

    def _change_form(self, editor: Editor) -> None:
        """Another answer made another question of this one, with other choices: what is typed and the cursor stay."""
        self._catch_up()
        had_focus = editor.has_focus
        place = editor.cursor_position if isinstance(editor, FieldLine) else len(self._text)
        self.editor = self._new_editor()
        self._note = Static("", markup=False, classes="field-note")
        if self._composed:
            self.remove_children()
            self.mount(*self._parts())
            self._place()
        if had_focus:
            self.editor.focus(scroll_visible=False)
            if isinstance(self.editor, FieldLine):
                self.editor.cursor_position = place

    @property
    def _is_typing(self) -> bool:
        return self._unsaid or (self.editor is not None and self.editor.has_focus)

    def _fill(self, text: str) -> None:
        """A list that was typed in other words than ours, but means the same, is left as the person wrote it."""
        if self.editor is None or text == self._text:
            return
        if self.field.kind in SEVERAL_LINES and self._text and self.state.typed is None:
            answer, problem = understood(self.field, self._text)
            if problem is None and answer == self.state.answer:
                return
        self._text = text
        self.editor.fill(text)

    def _draw(self) -> None:
        if self.editor is not None:
            words = note(self.state, self.judged(), self._text)
            self._note.display = bool(words)
            self._note.update(words)
            self._hold_place(self.editor)
        self.refresh()

    def _hold_place(self, editor: Editor) -> None:
        """What an empty input shows: the answer that stands all the same, or else an example."""
        text = self.state.shown if self.state.answered else f"e.g. {self.field.example}"
        if isinstance(editor, FieldText):
            editor.placeholder = Content(text)
        else:
            editor.placeholder = fitting(text, columns_of(self.size.width).value or LONGEST_SHOWN)

    def judged(self) -> Judged:
        """What is wrong with what stands here now, and what could be better."""
        if self.editor is None or not self._text.strip():
            return Judged("" if self._unsaid else self.state.problem, self.state.hint)
        if self.field.kind == "path":
            return self._judged_path()
        answer, problem = understood(self.field, self._text)
        if problem:
            return Judged(problem)
        return Judged(hint=(self.state.hint if answer == self.state.answer else self.field.hint(answer)) or "")

    def _judged_path(self) -> Judged:
        """A path is right once its file was looked at: now, or when it became the answer."""
        if self._looked_at is not None and self._looked_at[0] == self._text:
            return Judged(self._looked_at[1], "" if self._looked_at[1] else self.state.hint)
        is_answer = self.state.answered and self._text == self.state.line
        return Judged(hint=self.state.hint) if is_answer else Judged(unknown=True)

    @property
    def problem(self) -> str:
        """What is wrong with the answer, as it was said, or with the file that stands here."""
        return self._judged_path().problem if self._is_path_typed else self.state.problem

    @property
    def _is_path_typed(self) -> bool:
        return self.field.kind == "path" and self.editor is not None and bool(self._text.strip())

    def render(self) -> Content:
        """The line with label, sign, answer (where folded) and origin."""
        text = None if self.editor is None else self._text
        return head_line(self.state, self.judged(), self.size.width, text, self._current)

    def on_resize(self) -> None:
        """The input keeps its place between label and origin."""
        self._place()
        if self.editor is not None:
            self._hold_place(self.editor)
        if self._current:
            self.post_message(RowReached(self))

    def _place(self) -> None:
        columns = columns_of(self.size.width)
        for part in self.children:
            right = columns.origin if part is self.editor else 0
            part.styles.margin = (0, right, 0, columns.left)

    # Folding

    def open(self, focus: bool = False) -> None:
        """Show the input; with `focus`, put the cursor into it."""
        if self.read_only:
            if focus:
                self.focus(scroll_visible=False)
            return
        if self.editor is None:
            focus = focus or self.has_focus
            self._text = self.state.text
            self.editor = self._new_editor()
            self.can_focus = False
            self.add_class("-open")
            if self._composed:
                self.mount(*self._parts())
                self._place()
                self._look_again()
            self._draw()
        if focus:
            self.editor.focus(scroll_visible=False)

    def fold(self) -> None:
        """Show one line again, unless the cursor is in it."""
        if self.editor is None or self._is_typing:
            return
        self.editor, self.can_focus = None, True
        self.remove_class("-open")
        self.remove_children()
        self._note = Static("", markup=False, classes="field-note")
        self.refresh(layout=True)

    @property
    def is_ready(self) -> bool:
        """Whether the cursor can be put here."""
        return self.is_attached and (self.editor is None or self.editor.is_attached)

    def reach(self) -> None:
        """Put the cursor here."""
        if self.editor is not None:
            self.open(focus=True)
        else:
            self.focus(scroll_visible=False)

    def _new_editor(self) -> Editor:
        if self.field.kind in SEVERAL_LINES:
            return FieldText(self._text)
        if self.field.choices:
            return FieldChoice(self._text, tuple(self.field.choices))
        return FieldLine(self._text)

    def _parts(self) -> Iterable[Widget]:
        if self.editor is not None:
            yield self.editor
            yield self._note
            if isinstance(self.editor, FieldChoice):
                yield self.editor.listed

    # What the person does

    def action_open(self) -> None:
        """Open the row."""
        self.open(focus=True)

    def action_leave(self, by: int) -> None:
        """Go to the row after or before."""
        self.post_message(LeaveAsked(by))

    def on_click(self) -> None:
        """A mouse does what enter does."""
        self.open(focus=True)

    def on_key(self, event: events.Key) -> None:
        """A letter opens a folded row, and goes into it where nothing stands there yet."""
        letter = event.character or ""
        if self.editor is None and not self.read_only and letter.isalnum():
            event.stop()
            self.open(focus=True)
            self._type_first(letter)

    def _type_first(self, letter: str) -> None:
        if self.editor is not None and not self._text:
            self.editor.fill(letter)
            self._take(letter)

    def put(self, text: str) -> None:
        """Have an answer that was given elsewhere stand in the input, also where the cursor is in it."""
        self._quiet()
        self._fill(text)
        self._draw()

    def take_back(self) -> None:
        """Let go of what was answered and typed here; what files tell stands again."""
        self._quiet()
        found = self.state.found
        self._text = "" if found is None else as_line(self.field, found.value) or ""
        if self.editor is not None:
            self.editor.fill(self._text)
        self._draw()
        self.post_message(Answered({self.field.name: None}))
        self.post_message(Typed(self.field.name, None))

    @on(Input.Changed)
    @on(TextArea.Changed)
    def _on_changed(self, event: Message) -> None:
        event.stop()
        self._catch_up()

    def _catch_up(self) -> None:
        """The last key may have reached the input and not yet the row."""
        if self.editor is not None and self.editor.typed != self._text:
            self._take(self.editor.typed)

    def _take(self, text: str) -> None:
        """Judge what stands in the input at once, and say it a moment later."""
        self._text, self._unsaid = text, True
        self._draw()
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(SETTLES_S, self.say)

    def unsaid(self) -> list[Answered | Typed]:
        """What was typed and not said yet; it counts as said from now on."""
        self._catch_up()
        if not self._unsaid:
            return []
        self._quiet()
        name, text = self.field.name, self._text
        if self.field.kind == "path" and text.strip():
            self._look_at_file(text)
            return [Typed(name, text)]
        answer, problem = understood(self.field, text)
        return [Typed(name, text)] if problem else self._answered(answer)

    def _answered(self, answer: Any) -> list[Answered | Typed]:
        """What files tell as well need not be kept as an answer."""
        found = self.state.found
        kept = None if found is not None and found.value == answer else answer
        cleared = [Typed(self.field.name, None)] if kept is None or self.state.typed is not None else []
        return [Answered({self.field.name: kept}), *cleared]

    def _quiet(self) -> None:
        self._unsaid = False
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def say(self) -> None:
        """Post what was typed. A path is looked at when it is complete only: when the row is left."""
        if self.field.kind == "path" and self.editor is not None and self.editor.has_focus:
            self.post_message(Typed(self.field.name, self._text))
            return
        for message in self.unsaid():
            self.post_message(message)

    def _look_again(self) -> None:
        if self._is_path_typed and self.state.typed == self._text:
            self._look_at_file(self._text)

    @work(exclusive=True)
    async def _look_at_file(self, text: str) -> None:
        answer, problem = await asyncio.to_thread(understood, self.field, text)
        if text != self._text:
            return
        self._looked_at = (text, problem or "")
        if not problem:
            for message in self._answered(answer):
                self.post_message(message)
        self._draw()
        self.post_message(FileJudged())

    # Coming and going

    def on_focus(self) -> None:
        """The cursor is on the folded row."""
        self._reached(True)

    def on_blur(self) -> None:
        """The cursor left it."""
        self._reached(False)

    def on_descendant_focus(self) -> None:
        """The cursor is in the input."""
        self._reached(True)

    def on_descendant_blur(self) -> None:
        """What was typed is said when the input is left, and then stands there as it was understood."""
        self._reached(False)
        self._catch_up()
        if self._unsaid:
            self.say()
        else:
            self._fill(self.state.text)
            self._draw()

    def _reached(self, current: bool) -> None:
        self._current = current
        self.refresh()
        if current:
            self.post_message(RowReached(self))
