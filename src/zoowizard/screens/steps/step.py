"""What the wizard asks of a step."""

from textual.widget import Widget

from zoowizard.screens.situation import Answered, Situation, Typed


class Step(Widget):
    """One step of the wizard. It shows the situation that it is given, posts messages, and changes nothing itself."""

    def show(self, situation: Situation) -> None:
        """Show this situation: called when the step comes up and after every change, so it must be quick.

        What the person is typing at this moment must stay as it is.
        """
        raise NotImplementedError

    def focus_first(self) -> None:
        """Put the cursor where the person goes on; called when the step comes up."""
        raise NotImplementedError

    @property
    def can_draw(self) -> bool:
        """Whether its parts are there: not before it is mounted, nor while the app ends."""
        return self.is_mounted and self.is_attached and self.app.is_running

    def advance(self) -> bool:
        """Asked before the next step is shown: whether to go on, or whether something was done here instead."""
        return True

    def unsaid(self) -> list[Answered | Typed]:
        """What was typed and not yet posted, because the person may go on typing: asked for before the step is left."""
        return []
