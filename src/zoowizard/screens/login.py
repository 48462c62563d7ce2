"""Logging in at the zoo by a link: shown as text that can be copied out of any terminal, also over SSH."""

from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from zoowizard.errors import ZoowizardError
from zoowizard.screens.children import lines_of
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.steps.zoo_words import Account
from zoowizard.terminal import printable
from zoowizard.upload.servers import Server

MODULE = "zoowizard.upload.account"
BEFORE = "Open this link in a browser, on any computer, and log in there. This screen then goes on by itself."
WAITS = "waiting until that is done; the link is good for a few minutes"


class LoginScreen(ModalScreen[Account | None]):
    """Shows the link and waits in a process of its own; gives who has logged in, or None where the person left."""

    CSS_PATH: ClassVar = ["login.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", id="login.leave"),
        Binding("enter", "again", "Another link", key_display="enter", id="login.again"),
        Binding("c", "copy", "Copy the link", id="login.copy"),
    ]

    def __init__(self, server: Server) -> None:
        """`server` is where to log in."""
        super().__init__()
        self._server = server
        self._link = self._problem = ""

    def compose(self) -> ComposeResult:
        """A title, and a place for the link: the whole width, so that it stays in one piece where it can."""
        yield Static(
            Content.styled(f"Log in at {printable(self._server.host)}", "bold"), markup=False, id="login-title"
        )
        with VerticalScroll(id="login-body"):
            yield Static(Content(BEFORE), id="login-before", markup=False)
            yield Static("", id="login-link", markup=False)
            yield Static(Content(f"{GLYPHS.open} asking for a link"), id="login-word", markup=False)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Ask for a link; the screen is there already."""
        self.query_one("#login-body").focus()
        self._log_in()

    @work(exclusive=True)
    async def _log_in(self) -> None:
        self._link = self._problem = ""
        self.refresh_bindings()
        try:
            async for line in lines_of(MODULE, "login", self._server.base):
                if "link" in line:
                    self._link = str(line["link"])
                    self.query_one("#login-link", Static).update(Content(printable(self._link)))
                    self._say(f"{GLYPHS.current} {WAITS}")
                elif line["known"]:
                    self.dismiss(account_of(line))
                    return
                else:
                    raise ZoowizardError(str(line["why"]))
        except ZoowizardError as problem:
            self._link, self._problem = "", str(problem).removesuffix("; run `zoowizard login` again")
            self.query_one("#login-link", Static).update("")
            self._say(f"{GLYPHS.failed} {self._problem}. Enter: try it again.")
        self.refresh_bindings()

    def _say(self, words: str) -> None:
        self.query_one("#login-word", Static).update(Content(printable(words)))
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A link can be copied where there is one, and asked for where that failed."""
        return bool(self._link) if action == "copy" else bool(self._problem) if action == "again" else True

    def action_leave(self) -> None:
        """Nobody logs in."""
        self.dismiss(None)

    def action_again(self) -> None:
        """Ask for another link."""
        self._say(f"{GLYPHS.open} asking for a link")
        self._log_in()

    def action_copy(self) -> None:
        """Give the link to the terminal, which puts it where one pastes from, if it knows how to."""
        self.app.copy_to_clipboard(self._link)
        self.notify("the link was given to your terminal; where pasting brings nothing, mark it by hand", markup=False)


def account_of(line: dict[str, object]) -> Account:
    """What the child process told."""
    known = line["known"]
    return Account(
        known if isinstance(known, bool) else None,
        printable(str(line.get("name", ""))),
        str(line.get("ends", "")),
        bool(line.get("soon")),
        printable(str(line.get("why", ""))),
    )
