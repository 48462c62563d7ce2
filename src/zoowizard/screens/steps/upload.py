"""The step Upload: what will be sent, and to which place."""

import asyncio
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static

from zoowizard.board.markdown import cut, padded, width_of
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.situation import Situation, StepAsked
from zoowizard.screens.steps.place import Place
from zoowizard.screens.steps.step import Step
from zoowizard.screens.steps.upload_folder import FolderPlace
from zoowizard.screens.steps.upload_hub import HubPlace
from zoowizard.screens.steps.upload_words import Contents, file_list, parcel_of, read_contents, what_is_sent, why_not
from zoowizard.screens.steps.upload_zoo import ZooPlace
from zoowizard.upload.huggingface import HubUpload
from zoowizard.upload.target import Parcel


class PlaceList(Static, can_focus=True):
    """The places, one of them chosen."""

    def show(self, places: list[Place], chosen: Place, width: int) -> None:
        """A line for each: whether it is the chosen one, what it is called, how it stands there."""
        wide = max(width_of(place.title) for place in places) + 2
        lines = []
        for place in places:
            here = place is chosen
            head = f"{GLYPHS.current if here else GLYPHS.open} {padded(place.title, wide)}"
            word = (cut(place.word, max(0, width - width_of(head))), "dim")
            lines.append(Content.assemble((head, "bold" if here else ""), word))
        text = Content("\n").join(lines)
        if self.content != text:
            self.update(text)


class UploadStep(Step):
    """Shows what would be sent, asks where to, and brings it there."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "test", "To Test", key_display="enter", id="upload.test", priority=True),
        *(
            Binding("enter", f"act('{name}')", words, key_display="enter", id=f"upload.{name}", priority=True)
            for name, words in (
                ("login", "Log in"),
                ("send", "Upload"),
                ("go_on", "Go on"),
                ("again", "Try again"),
                ("ask", "Ask for a review"),
                ("version", "Upload the new version"),
                ("save", "Save"),
            )
        ),
        Binding("p", "act('pause')", "Pause", id="upload.pause"),
        Binding("y", "act('yes')", "Yes, ask them", id="upload.yes"),
        Binding("escape", "act('no')", "Not yet", id="upload.no"),
        Binding("ctrl+l", "act('renew')", "Log in again", id="upload.renew", priority=True),
        Binding("up", "turn(-1)", "The place before", show=False, id="upload.up", priority=True),
        Binding("down", "turn(1)", "Place", key_display="up/down", id="upload.down", priority=True),
        Binding("ctrl+e", "card", "Card", id="upload.card", priority=True),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._situation: Situation | None = None
        self._contents = Contents()
        self._known: Parcel | None = None
        self._places: list[Place] = [ZooPlace(), HubPlace(), FolderPlace()]
        self._place = self._places[0]
        self._drawn: bool | None = None

    def compose(self) -> ComposeResult:
        """What is sent, where to, and what is in it."""
        with VerticalScroll(classes="upload-body"):
            yield Static(classes="upload-text", markup=False)
            with Vertical(classes="upload-to"):
                yield PlaceList(classes="upload-places", markup=False)
                for place in self._places:
                    place.display = place is self._place
                    yield place
            yield Static(classes="upload-files", markup=False)

    def show(self, situation: Situation) -> None:
        """Show the newest package that passed; what stands in the input stays."""
        first = self._situation is None
        self._situation = situation
        if not self.can_draw:
            return
        if (parcel := parcel_of(situation.built)) != self._known:
            self._known, self._contents = parcel, Contents()
            if parcel is not None:
                self.run_worker(self._read(parcel.archive), exclusive=True, group="contents")
        if self._parcel is not None:
            for place in self._places:
                place.show(situation, self._parcel)
            if first:
                self._place = self._places[_newest(situation)]
            if first or self._drawn is not False:
                self._place.chosen()
        self._draw()

    def focus_first(self) -> None:
        """The input of the place, or the list of places; where nothing can be sent yet the text."""
        if self._parcel is None:
            self.query_one(".upload-body").focus()
        else:
            (self._place.input or self.query_one(PlaceList)).focus()

    def on_resize(self) -> None:
        """There may be room for more or fewer words; what has the cursor stays in sight."""
        self._draw()
        held = self.app.focused
        if isinstance(held, Input | PlaceList) and held in self.walk_children():
            self.call_after_refresh(held.scroll_visible, animate=False)

    @property
    def _parcel(self) -> Parcel | None:
        if self._situation is None or why_not(self._situation):
            return None
        return parcel_of(self._situation.built)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now is offered; sending and the card need a package."""
        ready = self._parcel is not None
        match action:
            case "test":
                return not ready
            case "card" | "turn":
                return ready
            case "act":
                return ready and parameters[0] in self._place.offers
        return True

    def action_test(self) -> None:
        """Go where the package is made."""
        self.post_message(StepAsked("test"))

    def action_act(self, name: str) -> None:
        """Do what the place offers."""
        self._place.act(name)

    def action_turn(self, by: int) -> None:
        """Turn to another place."""
        number = self._places.index(self._place) + by
        if 0 <= number < len(self._places):
            self._place = self._places[number]
            self._place.chosen()
            self._draw()
            self.focus_first()
            self.refresh_bindings()

    def action_card(self) -> None:
        """Show the card as people will read it."""
        from zoowizard.screens.card import CardScreen

        if self._parcel is not None:
            self.app.push_screen(CardScreen(package=self._parcel.archive))

    def on_place_changed(self, event: Place.Changed) -> None:
        """Other keys work now."""
        event.stop()
        self._draw()
        self.refresh_bindings()

    async def _read(self, archive: Path) -> None:
        self._contents = await asyncio.to_thread(read_contents, archive)
        self._draw()

    def _draw(self) -> None:
        if not self.can_draw or self._situation is None:
            return
        width = max(20, self.content_size.width - 1)  # but for the scrollbar
        reason = why_not(self._situation)
        if reason:
            text = Content(f"{GLYPHS.open} {reason}\n\nPress Enter to go to the step Test.")
        else:
            text = what_is_sent(self._situation, self._contents, width)
        _update(self.query_one(".upload-text", Static), text)
        self.query_one(".upload-to").display = not reason
        self.query_one(PlaceList).show(self._places, self._place, width)
        for place in self._places:
            place.display = place is self._place
        _update(self.query_one(".upload-files", Static), Content("") if reason else file_list(self._contents, width))
        if (drawn := bool(reason)) != self._drawn:
            self._drawn = drawn
            self.refresh_bindings()


def _newest(situation: Situation) -> int:
    """The number of the place where something was sent, or saved, last; the zoo where nothing was."""
    record = situation.uploads[0].record if situation.uploads else None
    receipt = situation.receipts[0] if situation.receipts else None
    if record is not None and (receipt is None or receipt.kind != "folder" or record.at >= receipt.at):
        return 1 if isinstance(record, HubUpload) else 0
    return 2 if receipt is not None and receipt.kind == "folder" else 0


def _update(widget: Static, content: Content) -> None:
    if widget.content != content:
        widget.update(content)
