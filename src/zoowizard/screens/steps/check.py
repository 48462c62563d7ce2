"""The step Check: what was found, a picture of the test image and of the prediction, the curves of the training."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input, Static

from zoowizard.drafts.questions import FIELDS
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.state import Job
from zoowizard.screens.children import answer_of
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.situation import Answered, Situation, StepAsked, Typed
from zoowizard.screens.steps.findings import as_content, findings
from zoowizard.screens.steps.step import Step
from zoowizard.screens.widgets.curve_plot import CurvePlot
from zoowizard.screens.widgets.path_input import PathInput, in_words, typed_path
from zoowizard.screens.widgets.picture import PictureView
from zoowizard.terminal import printable

FIELD: Final = "test_image"
AXES: Final = "image_axes"
"""The question that is asked of a stack, in Describe."""
PICTURE_PX: Final = "128"
WAIT_S: Final = 0.5
"""So long nobody types before a path is looked at."""
WIDE, LEAST_WIDTH, LEAST_HEIGHT = 108, 60, 12
HELP: Final = "an image that the model was not trained on: 8-bit, grey or RGB, as PNG or TIFF"


class FindingsTable(Static):
    """What was found, in columns that fit."""

    class Rewidened(Message):
        """There is another width to draw in."""

    def on_resize(self) -> None:
        """Its lines are made for one width."""
        self.post_message(self.Rewidened())


class CheckSide(Vertical, can_focus=True):
    """Pictures and curves; it takes the keys where it stands in the place of what was found."""


class CheckStep(Step):
    """Shows what was found and asks for the test image: posts Answered or Typed for that field alone."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "picture", "Image/prediction", id="check.picture"),
        Binding("p", "curves", "Curves", id="check.curves"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._situation: Situation | None = None
        self._draft_id = ""
        self._looked_at: tuple[str, Path | None] = ("", None)
        self._drawn_with: set[str] = set()
        self._predicted: Path | None = None
        self._side = "image"
        self._timer: Timer | None = None
        self._pending = False
        self._labels: dict[str, Any] = {}

    def compose(self) -> ComposeResult:
        """What was found beside the pictures; below them the question for the test image."""
        yield Static("This was read from the files; nothing of them was run. Is it right?", id="check-head")
        with Horizontal(id="check-body"):
            with VerticalScroll(id="check-found"):
                yield FindingsTable(id="check-table", markup=False)
            with CheckSide(id="check-side"):
                with Horizontal(id="check-pictures"):
                    yield PictureView("check-image")
                    yield PictureView("check-labels", labels=True)
                yield CurvePlot("check-curves")
        with Horizontal(id="check-ask"):
            yield Static("Test image", markup=False)
            yield PathInput("check-path", "path of an image file")
        yield Static(id="check-told", markup=False)

    def show(self, situation: Situation) -> None:
        """Show what is known now; the input keeps what is being typed."""
        self._situation = situation
        draft = situation.draft
        if draft is None:
            return
        path_input = self.query_one(PathInput)
        path_input.here = situation.here
        path_input.disabled = bool(situation.read_only)
        self._draw_findings()
        self.query_one(CurvePlot).show({name: known.value for name, known in draft.values.items()})
        stands = situation.typed.get(FIELD) or self._short(str(draft.get(FIELD) or ""), situation.here)
        if draft.id != self._draft_id:
            self._draft_id = draft.id
            self._begin(stands)
        elif not self._pending and not path_input.has_focus and path_input.value != stands:
            self._put(stands)
        elif not self._pending and self._drawn_with and draft.get(AXES, "") not in self._drawn_with:
            self._look(path_input.value, anew=True)
        self._show_prediction(situation.built)

    def focus_first(self) -> None:
        """The test image where one is wanted, else what was found."""
        wanted = self._situation is not None and self._situation.draft and not self._situation.draft.get(FIELD)
        self.query_one(PathInput if wanted else "#check-found").focus()

    def unsaid(self) -> list[Answered | Typed]:
        """A path that is still being looked at, also where its last letter was not noticed yet."""
        text = self.query_one(PathInput).value
        return [Typed(FIELD, text)] if self._pending or text != self._looked_at[0] else []

    def _short(self, answer: str, here: Path) -> str:
        """The path as it would be typed, where that leads to the same file."""
        short = in_words(Path(answer), here) if answer else ""
        return short if typed_path(short, here) == Path(answer) else answer

    # What was found

    def on_resize(self, event: events.Resize) -> None:
        """There is room for other things."""
        tiny = event.size.width < LEAST_WIDTH or event.size.height < LEAST_HEIGHT
        self.set_class(event.size.width >= WIDE and event.size.height >= 2 * LEAST_HEIGHT, "-wide")
        self.set_class(tiny, "-tiny")
        if tiny != (self._side == "found"):
            self._side = "found" if tiny else "image"
        self._show_side()
        self.call_after_refresh(self._draw_findings)

    @on(FindingsTable.Rewidened)
    def _draw_findings(self) -> None:
        if self._situation is None or self._situation.draft is None:
            return
        width = max(20, self.query_one("#check-table").size.width)
        told = findings(self._situation.draft, self._situation.recognition, self._situation.fields)
        table, content = self.query_one("#check-table", Static), as_content(told, width)
        if not isinstance(table.content, Content) or not table.content.is_same(content):
            table.update(content)

    def _show_side(self) -> None:
        """In little room one of image, prediction and curves at a time, in very little instead of what was found."""
        wide, tiny = self.has_class("-wide"), self.has_class("-tiny")
        side = self._side
        found, beside = self.query_one("#check-found"), self.query_one(CheckSide)
        had_focus = found.has_focus or beside.has_focus
        found.display, beside.display = not tiny or side == "found", not tiny or side != "found"
        if had_focus:
            (found if found.display else beside).focus()
        self.query_one("#check-pictures").display = wide or side in ("image", "labels")
        self.query_one("#check-image").display = wide or side == "image"
        self.query_one("#check-labels").display = side == "labels" or (wide and self._predicted is not None)
        self.query_one("#check-curves").display = side == "curves" or (wide and not self.query_one(CurvePlot).is_empty)

    def action_picture(self) -> None:
        """Go from the test image to the prediction, and on."""
        places = ["image", "labels", *(["found"] if self.has_class("-tiny") else [])]
        self._side = places[(places.index(self._side) + 1) % len(places)] if self._side in places else places[0]
        if self._side == "labels" and self._predicted is None:
            self.query_one("#check-labels", PictureView).show(None, "prediction: after the step Test")
        self._show_side()

    def action_curves(self) -> None:
        """Show the curves of the training, or leave them."""
        if self.query_one(CurvePlot).is_empty:
            self.notify("No epochs are recorded, so there are no curves.", markup=False)
            return
        away = "found" if self.has_class("-tiny") else "image"
        self._side = "curves" if self._side != "curves" else away
        self._show_side()

    # The pictures

    def _show_prediction(self, built: Job | None) -> None:
        contents = None if built is None else built.folder / "contents"
        if contents != self._predicted:
            self._predicted, self._labels = contents, {}
            self._show_side()
            if contents is not None:
                self._draw_prediction(contents)
        elif self._labels:
            self.query_one("#check-labels", PictureView).show(self._labels, self._caption_of_prediction(self._labels))

    @work(exclusive=True, group="prediction")
    async def _draw_prediction(self, contents: Path) -> None:
        view = self.query_one("#check-labels", PictureView)
        try:
            self._labels = _read(await answer_of("zoowizard.thumbnail", "labels", str(contents), *2 * [PICTURE_PX]))
        except ZoowizardError as problem:
            view.show(None, f"prediction: {problem}")
            return
        view.show(self._labels, self._caption_of_prediction(self._labels))

    def _caption_of_prediction(self, answer: Mapping[str, Any]) -> str:
        situation = self._situation
        assert situation is not None and situation.draft is not None
        of = (situation.built_from or {}).get(FIELD)
        other = of is not None and of != situation.draft.get(FIELD)
        if other:
            return "prediction, of the image before"
        return f"prediction: {answer.get('max', 0):.0f} objects" if answer.get("objects", True) else "prediction"

    # The test image

    def _begin(self, text: str) -> None:
        """Another draft came up: nothing of what was seen before is of it."""
        self._looked_at, self._pending = ("", None), False
        self.query_one("#check-image", PictureView).show(None, "test image: none yet")
        self._put(text)

    def _put(self, text: str) -> None:
        path_input = self.query_one(PathInput)
        with path_input.prevent(Input.Changed):
            path_input.value = text
            path_input.cursor_position = len(text)
        self._look(text)

    @on(Input.Changed, "#check-path")
    def _on_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._pending = True
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(WAIT_S, self._look_now)

    @on(Input.Submitted, "#check-path")
    def _on_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._is_answer(event.value):
            self.post_message(StepAsked("describe"))
        else:
            self._look_now()

    def _is_answer(self, text: str) -> bool:
        """Whether this is the test image that was looked at and is right."""
        situation = self._situation
        if situation is None or situation.draft is None or self._pending or "test_image" in situation.typed:
            return False
        return bool(str(typed_path(text, situation.here)) == situation.draft.get("test_image"))

    def _look_now(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._look(self.query_one(PathInput).value)

    def _look(self, text: str, anew: bool = False) -> None:
        """Look at the image in another process, and take it as the answer where it is right; `anew` even if known."""
        assert self._situation is not None
        path = typed_path(text, self._situation.here)
        if path is None:
            self._looked_at = (text, None)
            self._say_image("", _wanted(self._situation))
            self.query_one("#check-image", PictureView).show(None, "test image: none yet")
            if self._pending:
                self._pending = False
                self.post_message(Typed(FIELD, None))
                self.post_message(Answered({FIELD: None}))
        elif anew or self._pending or (text, path) != self._looked_at:
            self._looked_at = (text, path)
            self._say_image("", f"looking at it{GLYPHS.ellipsis}")
            draft = self._situation.draft
            assert draft is not None
            axes = draft.get(AXES, "") if str(path) == draft.get(FIELD) else ""
            self._drawn_with = set()
            self._draw_image(text, path, draft.family, axes)

    @work(exclusive=True, group="image")
    async def _draw_image(self, text: str, path: Path, family: str, axes: str) -> None:
        view = self.query_one("#check-image", PictureView)
        of = (*(("--family", family) if family else ()), *(("--axes", axes) if axes else ()))
        try:
            answer = _read(await answer_of("zoowizard.thumbnail", "image", str(path), *2 * [PICTURE_PX], *of))
        except ZoowizardError as problem:
            answer = {"problem": str(problem)}
        self._pending = self.query_one(PathInput).value != text
        if wrong := answer.get("problem"):
            view.show(None, "test image: none that will do")
            self._say_image(GLYPHS.failed, str(wrong))
            self._post(Typed(FIELD, text))
            return
        self._drawn_with = {axes, str(answer["axes"])} if answer.get("axes") else set()
        view.show(answer, "test image, middle plane" if "z" in str(answer.get("axes")) else "test image")
        self._say_image(GLYPHS.done, _facts(answer))
        self._post(Answered({FIELD: str(path)}))

    def _post(self, message: Answered | Typed) -> None:
        """Say it where it is news."""
        situation = self._situation
        assert situation is not None and situation.draft is not None
        if situation.read_only:
            return
        if isinstance(message, Typed):
            news = situation.typed.get(FIELD) != message.text and situation.draft.get(FIELD) != message.text
        else:
            news = FIELD in situation.typed or situation.draft.get(FIELD) != message.answers[FIELD]
        if news:
            self.post_message(message)

    def _say_image(self, glyph: str, sentence: str) -> None:
        style = {GLYPHS.failed: "$text-error", GLYPHS.done: "$text-success"}.get(glyph, "dim")
        said = f"{glyph} {printable(sentence)}" if glyph else sentence
        self.query_one("#check-told", Static).update(Content.styled(said, style))


def _read(answer: bytes) -> dict[str, Any]:
    told = json.loads(answer)
    return told if isinstance(told, dict) else {}


def _wanted(situation: Situation) -> str:
    """Which image is asked for: a family that takes others than 8-bit ones says so in its own words."""
    own = next((one for one in situation.fields if one.name == FIELD and one not in FIELDS), None)
    return own.help.partition(". ")[0] if own else HELP


def _facts(answer: Mapping[str, Any]) -> str:
    shape = answer.get("shape") or [0, 0]
    if len(shape) > 2 and answer.get("axes"):
        return _facts_of_stack(answer, shape, str(answer["axes"]))
    channels = {2: "grey"}.get(len(shape)) or {3: "RGB"}.get(shape[-1]) or f"{shape[-1]} channels"
    return f"{shape[1]} x {shape[0]} pixels, {channels}, {_values(answer)}"


def _facts_of_stack(answer: Mapping[str, Any], shape: Sequence[int], axes: str) -> str:
    size = dict(zip(axes, shape, strict=True))
    parts = [f"{size['x']} x {size['y']} pixels"]
    parts += [f"{size['z']} planes"] if "z" in size else []
    parts += [f"{size['c']} channels"] if "c" in size else []
    asked = "" if answer.get("axes_told") else f", if its axes are {axes}"
    return f"{', '.join(parts)}{asked}, {_values(answer)}"


def _values(answer: Mapping[str, Any]) -> str:
    depth = {"uint8": "8-bit", "uint16": "16-bit"}.get(answer.get("dtype", ""), str(answer.get("dtype")))
    values = " to ".join(f"{answer.get(end, 0):.{3 if depth == 'float32' else 0}f}" for end in ("min", "max"))
    return f"{depth}, values {values}"
