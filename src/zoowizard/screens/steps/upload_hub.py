"""Hugging Face as a place for a package: which repository, private or public, and how far it is."""

from collections.abc import Iterator
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static

from zoowizard.board.uploads import Standing
from zoowizard.errors import ZoowizardError
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.situation import Situation
from zoowizard.screens.steps.sending_words import Line, pending_lines
from zoowizard.screens.steps.server_place import ServerPlace
from zoowizard.terminal import printable
from zoowizard.upload.huggingface import HubUpload, Place, place_of
from zoowizard.upload.target import Parcel

PRIVATE: Final = "private, for you and whom you let (tab, then space: public)"
PUBLIC: Final = "public, for everybody (tab, then space: private)"


class Visibility(Static, can_focus=True):
    """Who shall see the repository: space changes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space,left,right", "change", "Private or public", key_display="space", id="upload.visibility")
    ]

    class Changed(Message):
        """It is the other one now."""

    public = False

    def on_mount(self) -> None:
        """Begin as private."""
        self.choose(False)

    def choose(self, public: bool) -> None:
        """Show this choice."""
        self.public = public
        self.update(Content(PUBLIC if public else PRIVATE))

    def action_change(self) -> None:
        """Take the other one."""
        self.choose(not self.public)
        self.post_message(self.Changed())


class HubPlace(ServerPlace):
    """Sends the package to a repository of Hugging Face, with the login that `hf auth login` keeps."""

    title = "Hugging Face"

    def __init__(self) -> None:
        super().__init__()
        self._drawn: object = None

    def compose(self) -> ComposeResult:
        """Where to, for whom, and what came of it."""
        with Horizontal(classes="upload-row"):
            yield Static("  Repository", classes="upload-label", markup=False)
            yield Input(id="upload-repository", compact=True, select_on_focus=False, placeholder="OWNER/NAME")
        with Horizontal(classes="upload-row"):
            yield Static("  Visible", classes="upload-label", markup=False)
            yield Visibility(id="upload-visibility", markup=False)
        yield Static(classes="place-bar", markup=False)
        yield Static(classes="place-text", markup=False)

    def on_mount(self) -> None:
        """No blinking."""
        self.query_one(Input).cursor_blink = False

    def show(self, situation: Situation, parcel: Parcel) -> None:
        """What stands in the input stays; at first it is where the newest upload went."""
        newest = next((one.record for one in situation.uploads if isinstance(one.record, HubUpload)), None)
        if self.situation is None and newest is not None and not self.query_one(Input).value:
            self.query_one(Input).value = newest.repository
            self.query_one(Visibility).choose(newest.public)
        super().show(situation, parcel)

    def standing_in(self, situation: Situation) -> Standing | None:
        """The upload to the repository that stands in the input."""
        try:
            mark = place_of(self.query_one(Input).value).mark
        except ZoowizardError:
            return None
        return next((one for one in situation.uploads if one.folder.name == mark), None)

    @property
    def input(self) -> Widget | None:
        """The repository; not while it is sent there."""
        return None if self._is_sending else self.query_one(Input)

    @property
    def _is_sending(self) -> bool:
        return self.starting or (self.standing is not None and self.standing.state == "sending")

    @property
    def _is_there(self) -> bool:
        """Whether this package is there, as it shall be seen."""
        record = None if self.standing is None or self.standing.state != "uploaded" else self.standing.record
        if not isinstance(record, HubUpload) or self.parcel is None:
            return False
        return record.sha256 == self.parcel.sha256 and record.public == self.query_one(Visibility).public

    @property
    def offers(self) -> frozenset[str]:
        """Sending, where the name is right; pausing, where it is under way."""
        if self.situation is None or self.situation.read_only or self.starting:
            return frozenset()
        if self._is_sending:
            return frozenset({"pause"})
        state = "" if self.standing is None else self.standing.state
        sends = {"paused": "go_on", "failed": "again", "queued": "again"}.get(state, "send")
        return frozenset() if self._is_there or isinstance(self._asked_for(), str) else frozenset({sends})

    def act(self, name: str) -> None:
        """Do what was offered."""
        if name == "pause":
            self.pause()
        elif isinstance(place := self._asked_for(), Place):
            public = ("--public",) if self.query_one(Visibility).public else ()
            self.start("--to", f"huggingface:{place.repository}", *public)

    def _asked_for(self) -> Place | str:
        """The repository, or why it is none."""
        try:
            return place_of(self.query_one(Input).value)
        except ZoowizardError as problem:
            return str(problem)

    @on(Input.Changed)
    @on(Visibility.Changed)
    def _on_changed(self, event: Message) -> None:
        event.stop()
        self.problem = ""
        if self.situation is not None and self.parcel is not None:
            super().show(self.situation, self.parcel)

    def draw(self) -> None:
        """Draw anew what changed."""
        if not self.can_draw or self.situation is None:
            return
        self.query_one(Input).disabled = self.query_one(Visibility).disabled = self._is_sending
        self.draw_words(Content("\n").join(Content.styled(printable(text), style) for text, style in self._lines()))
        if (drawn := (self.offers, self.word)) != self._drawn:
            self._drawn = drawn
            self.post_message(self.Changed())

    def _lines(self) -> Iterator[Line]:
        place = self._asked_for()
        record = None if self.standing is None else self.standing.record
        if self.starting:
            yield f"{GLYPHS.current} one moment", ""
        elif isinstance(place, str):
            empty = not self.query_one(Input).value.strip()
            what = "write the repository that it shall go to, such as ada/nuclei-unet" if empty else place
            yield f"{GLYPHS.open if empty else GLYPHS.failed} {what}", "" if empty else "$text-error"
        elif self._is_there:
            yield f"{GLYPHS.done} There: Hugging Face has every byte.", "$text-success"
            yield place.page, "dim"
        elif self.standing is not None and self.standing.state != "uploaded" and self._is_the_same(record):
            yield from pending_lines(self.standing)
            if self.standing.waits == "login":
                yield "Log in with `hf auth login` in a terminal, or set HF_TOKEN.", ""
        else:
            seen = "everybody" if self.query_one(Visibility).public else "only you, and whom you let,"
            yield f"{self.amount} will be sent to {place.host}, into {place.repository}; {seen} can see it.", ""
            yield "Enter: upload it, with the login of `hf auth login`.", ""

    def _is_the_same(self, record: object) -> bool:
        return isinstance(record, HubUpload) and self.parcel is not None and record.sha256 == self.parcel.sha256
