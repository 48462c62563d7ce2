"""What the step Upload asks of each place that a package can go to."""

from textual.containers import Vertical
from textual.message import Message
from textual.widget import Widget

from zoowizard.screens.situation import Situation
from zoowizard.upload.target import Parcel


class Place(Vertical):
    """What is shown of one place, and what can be done there."""

    class Changed(Message):
        """Other keys work now, or the line of the place in the list reads otherwise."""

    title = ""

    def show(self, situation: Situation, parcel: Parcel) -> None:
        """Show how it stands with this package there: called after every change, so it must be quick."""
        raise NotImplementedError

    def chosen(self) -> None:
        """The person has turned to this place."""

    @property
    def word(self) -> str:
        """How it stands there, in a few words for the list of places; empty where nothing went there."""
        return ""

    @property
    def offers(self) -> frozenset[str]:
        """What can be done now, by the names that `act` takes."""
        raise NotImplementedError

    def act(self, name: str) -> None:
        """Do what was offered."""
        raise NotImplementedError

    @property
    def input(self) -> Widget | None:
        """Where something can be typed now."""
        return None

    @property
    def can_draw(self) -> bool:
        """Whether its parts are there: not before it is mounted, nor while the app ends."""
        return self.is_mounted and self.is_attached and self.app.is_running
