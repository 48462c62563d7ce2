"""The step Model: which checkpoint is it? What lies near is found, or a path is pasted, or looked for in folders."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from zoowizard.errors import ZoowizardError
from zoowizard.screens.children import lines_of
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.situation import DraftChosen, ModelChosen, Situation
from zoowizard.screens.steps.candidates import Candidate, from_line, in_order, tail, two_lines
from zoowizard.screens.steps.step import Step
from zoowizard.screens.widgets.file_browser import FileBrowser
from zoowizard.screens.widgets.path_input import PathInput, from_home, in_words, pasted, typed_path
from zoowizard.terminal import printable

DRAW_EVERY_S: Final = 0.5
NOTHING: Final = (
    "No model was found {place}.\n\n"
    "zoowizard looks for what a training leaves behind: a run folder of Ultralytics YOLO (args.yaml beside "
    "weights/best.pt), a model of Cellpose (in models/, without an ending), or a checkpoint alone (.pt, .pth, "
    ".ckpt).\n\n"
    "Paste the path of yours below, or press b to look for it in your folders."
)


class CandidateList(OptionList):
    """The models that were found. `touched` is whether the person has begun to choose."""

    touched = False
    _width = 0

    class Rewidened(Message):
        """There is another width to draw in."""

    def __init__(self, id: str) -> None:
        super().__init__(id=id, compact=True, markup=False)

    def on_key(self) -> None:
        """From now on the highlight stays on the model on which it is."""
        self.touched = True

    def on_resize(self, event: events.Resize) -> None:
        """The lines are made for one width."""
        if event.size.width != self._width:
            self._width = event.size.width
            self.post_message(self.Rewidened())


class NothingFound(Static, can_focus=True):
    """Stands in the place of the list, and takes its keys."""


class ModelStep(Step):
    """Posts ModelChosen, or DraftChosen where another draft holds that model already."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("b", "browse", "Browse", id="model.browse"),
        Binding("r", "again", "Look again", id="model.again"),
    ]

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since 1970; ages are told from it."""
        super().__init__()
        self._clock = clock
        self._situation: Situation | None = None
        self._root: Path | None = None
        self._found: dict[str, Candidate] = {}
        self._shown: list[Candidate] = []
        self._drawn: dict[str, tuple[tuple[Candidate, int], Content]] = {}
        self._looked = 0
        self._ended = ""

    def compose(self) -> ComposeResult:
        """The question, what was found, and a place for a path."""
        yield Static("Which model do you want to share?", id="model-question", markup=False)
        yield Static(id="model-chosen", markup=False)
        yield Static(id="model-search", markup=False)
        yield CandidateList("model-found")
        yield NothingFound(id="model-nothing", markup=False)
        yield FileBrowser("model-browser")
        yield Static(id="model-reason", markup=False)
        with Horizontal(id="model-paste"):
            yield Static("or paste a path", markup=False)
            yield PathInput("model-path", "of a run folder or a checkpoint, then Enter")

    def on_mount(self) -> None:
        """Nothing is known yet."""
        for name in ("chosen", "nothing", "browser", "reason"):
            self._part(name).display = False

    def show(self, situation: Situation) -> None:
        """Begin to look around `situation.here` when it comes up first; say which model is chosen."""
        self._situation = situation
        self.query_one(PathInput).here = situation.here
        self._say_chosen(situation)
        if self._root is None:
            self._look(situation.here)

    def focus_first(self) -> None:
        """The list, in which the newest model is highlighted."""
        places = (self.query_one(FileBrowser), self._part("nothing"), self.query_one(CandidateList))
        next(place for place in places if place.display).focus()

    def advance(self) -> bool:
        """Take the highlighted model, where none was chosen yet."""
        place = self.query_one(CandidateList).highlighted
        draft = self._situation.draft if self._situation else None
        if (draft is None or draft.checkpoint is None) and place is not None and place < len(self._shown):
            self._choose(self._shown[place])
            return False
        return True

    def _part(self, name: str) -> Static:
        return self.query_one(f"#model-{name}")  # type: ignore[return-value]

    def _say_chosen(self, situation: Situation) -> None:
        draft, chosen = situation.draft, self._part("chosen")
        lines = [Content.styled(printable(situation.read_only), "$text-warning")] if situation.read_only else []
        if draft is not None and draft.checkpoint is not None:
            name = printable(str(draft.get("architecture") or draft.family))
            place = tail(
                printable(in_words(draft.checkpoint, situation.here)), max(8, self.size.width - 16 - len(name))
            )
            lines.insert(0, Content.styled(f"{GLYPHS.done} chosen: {place} ({name})", "$text-success"))
            if not situation.read_only:
                lines.append(Content.styled("  Enter on another one changes it; your answers stay.", "dim"))
        chosen.display = bool(lines)
        chosen.update(Content("\n").join(lines))

    # Looking for models

    def _look(self, root: Path, take_one: bool = False) -> None:
        self._root, self._found, self._looked, self._ended = root, {}, 0, ""
        self._drawn = {}
        self.query_one(CandidateList).touched = False
        self._say_reason("")
        self._draw()
        self._search(root, take_one)

    @work(exclusive=True, group="search")
    async def _search(self, root: Path, take_one: bool) -> None:
        assert self._situation is not None
        drawn = 0.0
        try:
            async for line in lines_of(
                "zoowizard.families.nearby", str(root), "--workspace", str(self._situation.workspace.root)
            ):
                if "family" in line:
                    one = from_line(line)
                    self._found[one.key] = one
                else:
                    self._looked = int(line["looked"])
                    if "complete" in line:
                        self._ended = "all" if line["complete"] else "not all"
                if time.monotonic() - drawn > DRAW_EVERY_S:
                    drawn = time.monotonic()
                    self._draw()
        except ZoowizardError as problem:
            self._ended = "failed"
            self._say_reason(str(problem))
        self._ended = self._ended or "not all"
        self._draw()
        if take_one and self._ended != "failed":
            self._take_the_one()

    def _take_the_one(self) -> None:
        """What a path led to is chosen at once where there is nothing to choose from."""
        if len(self._found) == 1:
            self._choose(next(iter(self._found.values())))
        elif self._found:
            self.query_one(CandidateList).focus()

    def _draw(self) -> None:
        if not self.can_draw:  # the search may still tell something while the app ends
            return
        assert self._situation is not None
        here, listed = self._situation.here, self.query_one(CandidateList)
        nothing, browsing = self._part("nothing"), self._part("browser").display
        empty = not self._found and self._ended in ("all", "not all")
        had_focus = listed.has_focus or nothing.has_focus
        nothing.display, listed.display = empty and not browsing, not empty and not browsing
        if had_focus and not browsing:
            (nothing if empty else listed).focus()
        self._part("search").update(Content(self._searched(here)))
        if empty:
            nothing.update(Content(NOTHING.format(place=self._place(here, 200))))
        ordered = in_order(self._found.values())
        if ordered != self._shown:
            self._list(ordered)

    def _list(self, ordered: list[Candidate]) -> None:
        """Show these; the highlight stays on its model, or on the first one as long as nobody has moved it."""
        assert self._situation is not None
        listed = self.query_one(CandidateList)
        keys, place = [one.key for one in ordered], listed.highlighted
        before = self._shown[place].key if place is not None and place < len(self._shown) else ""
        self._shown = ordered
        width = max(20, listed.size.width - 2)
        listed.set_options([Option(self._lines_of(one, width)) for one in ordered])
        if ordered:
            listed.highlighted = keys.index(before) if listed.touched and before in keys else 0

    def _lines_of(self, candidate: Candidate, width: int) -> Content:
        """Made once for a width: hundreds of candidates come one after the other."""
        assert self._situation is not None
        known = self._drawn.get(candidate.key)
        if known is None or known[0] != (candidate, width):
            lines = two_lines(candidate, self._situation.here, self._clock(), width)
            known = self._drawn[candidate.key] = ((candidate, width), lines)
        return known[1]

    def _place(self, here: Path, room: int) -> str:
        assert self._root is not None
        root = from_home(here) if self._root == here else in_words(self._root, here)
        return f"at or below {tail(printable(root), max(10, room))}"

    def _searched(self, here: Path) -> str:
        """What the search has come to, in one line."""
        good = sum(one.obstacle is None for one in self._found.values())
        others = len(self._found) - good
        count, place = f"{good} model{'' if good == 1 else 's'}", self._place(here, self.size.width - 50)
        looked = f"{self._looked} folder{'' if self._looked == 1 else 's'}"
        if not self._ended:
            return f"Looking{GLYPHS.ellipsis} {count} {place} ({looked})"
        if self._ended == "failed":
            return f"Nothing was found {place}"
        if self._ended == "not all":
            return f"{count} {place}, and there is more: paste the path of a folder in it"
        if not self._found:
            return f"{looked} looked at"
        order = ", newest first" if good > 1 else ""
        return f"{count} {place}{order}" + (f" ({others} cannot be packaged)" if others else "")

    @on(CandidateList.Rewidened)
    def _redraw(self) -> None:
        if self._situation is not None:
            self._say_chosen(self._situation)
            self._list(self._shown)

    # Choosing

    @on(OptionList.OptionSelected, "#model-found")
    def _on_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option_index < len(self._shown):
            self._choose(self._shown[event.option_index])

    @on(OptionList.OptionHighlighted, "#model-found")
    def _on_highlighted(self) -> None:
        if self.query_one(CandidateList).touched:
            self._say_reason("")

    def _choose(self, candidate: Candidate) -> None:
        situation = self._situation
        assert situation is not None
        is_claim = situation.draft is not None and situation.draft.checkpoint is None
        if situation.read_only:
            self._say_reason(situation.read_only)
        elif candidate.obstacle is not None:
            place = printable(in_words(candidate.recognition.path, situation.here))
            self._say_reason(f"{tail(place, 60)} cannot be packaged. {candidate.obstacle}")
        elif candidate.draft and not (situation.draft and situation.draft.id == candidate.draft) and not is_claim:
            self.post_message(DraftChosen(candidate.draft))
        else:
            self.post_message(ModelChosen(candidate.recognition))

    def _say_reason(self, sentence: str) -> None:
        if not self.can_draw:
            return
        reason = self._part("reason")
        reason.display = bool(sentence)
        reason.update(Content(f"{GLYPHS.failed} {printable(sentence)}" if sentence else ""))
        if sentence:  # which takes lines from the list
            self.call_after_refresh(self.query_one(CandidateList).scroll_to_highlight)

    # Other ways to a model

    @on(PathInput.Submitted, "#model-path")
    def _on_path(self, event: PathInput.Submitted) -> None:
        event.stop()
        self._go_to(event.value, take_one=True)

    @on(PathInput.Pasted)
    def _on_pasted(self, event: PathInput.Pasted) -> None:
        event.stop()
        self._go_to(event.control.value, take_one=False)

    def on_key(self, event: events.Key) -> None:
        """A path may be typed wherever the cursor is: what begins one goes where paths go."""
        path = self.query_one(PathInput)
        if event.character in ("/", "~", ".") and not path.has_focus and not self._part("browser").display:
            event.stop()
            path.value = event.character
            path.focus()
            path.cursor_position = 1

    def on_paste(self, event: events.Paste) -> None:
        """A path may be pasted wherever the cursor is."""
        if text := pasted(event.text):
            event.stop()
            self.query_one(PathInput).focus()
            self.query_one(PathInput).take(text)

    def look_at(self, path: Path) -> None:
        """Look there instead; where one model is all there is, it is chosen."""
        self._go_to(str(path), take_one=True)

    def _go_to(self, text: str, take_one: bool) -> None:
        if self._situation is None:
            return
        self._stop_browsing()
        path = typed_path(text, self._situation.here) or self._situation.here
        if take_one and path == self._root and self._ended == "all" and self._found:
            self._take_the_one()
        else:
            self._look(path, take_one)

    def action_again(self) -> None:
        """Look once more: a training may have ended meanwhile."""
        if self._root is not None:
            self._look(self._root)

    def action_browse(self) -> None:
        """Look through the folders by hand."""
        if self._situation is None:
            return
        browser = self.query_one(FileBrowser)
        browser.display = True
        self._part("nothing").display = False
        self.query_one(CandidateList).display = False
        browser.open(self._situation.here)
        browser.focus()

    @on(FileBrowser.Left)
    def _stop_browsing(self) -> None:
        if self._part("browser").display:
            self._part("browser").display = False
            self._draw()
            self.focus_first()

    @on(FileBrowser.Picked)
    def _on_picked(self, event: FileBrowser.Picked) -> None:
        event.stop()
        self._stop_browsing()
        self._look(event.path, take_one=True)
