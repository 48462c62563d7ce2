"""The zoo as a place for a package: who sends it, how far that is, the question for a review, and what became of it."""

from datetime import datetime
from typing import Final

from textual import work
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from zoowizard.board.uploads import PENDING, Standing
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.state import Job
from zoowizard.screens.children import lines_of
from zoowizard.screens.login import MODULE, LoginScreen, account_of
from zoowizard.screens.situation import Situation
from zoowizard.screens.steps.server_place import ServerPlace
from zoowizard.screens.steps.zoo_words import Account, Said, State, page_of, state_of
from zoowizard.terminal import printable
from zoowizard.upload.servers import Server, server_of

OFFERS: Final = {
    State.LOGGED_OUT: {"login"},
    State.READY: {"send"},
    State.SENDING: {"pause"},
    State.PAUSED: {"go_on"},
    State.QUEUED: {"again"},
    State.FAILED: {"again"},
    State.DRAFT: {"ask"},
    State.IN_REVISION: {"ask"},
    State.SURE: {"yes", "no"},
    State.NEW_VERSION: {"version"},
}
"""What can be done in each state."""


class ZooPlace(ServerPlace):
    """Sends the package as a draft, and asks for its review where that is said."""

    title = "The BioImage Model Zoo"

    def __init__(self) -> None:
        super().__init__()
        self._account: Account | None = None
        self._server: Server | None = None
        self._sure = False
        self._drawn: object = None
        try:
            self._server = server_of()
        except ZoowizardError as problem:
            self.problem = str(problem)

    def compose(self) -> ComposeResult:
        """The bar of what is being sent, and what there is to say."""
        yield Static(classes="place-bar", markup=False)
        yield Static(classes="place-text", markup=False)

    def standing_in(self, situation: Situation) -> Standing | None:
        """The upload to the server that is meant."""
        mark = "" if self._server is None else self._server.mark
        return next((one for one in situation.uploads if one.folder.name == mark), None)

    def chosen(self) -> None:
        """Ask who is logged in, where that is not known."""
        if self._account is None or not self._account.known:
            self._ask_who()

    @property
    def state(self) -> State:
        """What is shown, which decides what the keys do."""
        if self.starting:
            return State.STARTING
        if self.parcel is None:
            return State.ASKING
        return state_of(self.standing, self.parcel, self._account, self._sure)

    @property
    def offers(self) -> frozenset[str]:
        """What can be done now; nothing where another terminal has the model."""
        if self.situation is None or self.situation.read_only or self._server is None:
            return frozenset()
        renew = {"renew"} if self._account is not None and self._account.soon else set()
        return frozenset(OFFERS.get(self.state, set()) | renew)

    def act(self, name: str) -> None:
        """Do what was offered."""
        match name:
            case "login" | "renew":
                self._log_in()
            case "send" | "again" | "go_on":
                self.start()
            case "version":
                self.start("--new-version")
            case "ask" | "no":
                self._sure = name == "ask"
                self.draw()
            case "yes":
                self._sure = False
                self.start("--submit")
            case "pause":
                self.pause()

    @work(exclusive=True, group="who")
    async def _ask_who(self) -> None:
        if self._server is None:
            return
        self._account = None
        self.draw()
        try:
            async for line in lines_of(MODULE, "who", self._server.base):
                self._account = account_of(line)
        except (ZoowizardError, ValueError) as problem:
            self._account = Account(None, why=printable(str(problem)))
        self.draw()

    @work(exclusive=True, group="login")
    async def _log_in(self) -> None:
        if self._server is None or await self.app.push_screen_wait(LoginScreen(self._server)) is None:
            return
        self.problem = ""
        await self._ask_who().wait()
        waits = self.standing is not None and self.standing.state in PENDING and self.standing.waits == "login"
        if waits and self._account is not None and self._account.known:
            self.start()

    def ended(self, job: Job) -> None:
        """Where the login was not taken, that is found out by asking."""
        if job.state == "failed":
            self._ask_who()

    @property
    def _since(self) -> datetime | None:
        """When the reviewers were asked, as the job tells that asked them."""
        job = None if self.standing is None else self.standing.job
        return job.ended if job is not None and (job.outcome or {}).get("submitted") else None

    def draw(self) -> None:
        """Draw anew what changed."""
        if not self.can_draw or self.situation is None:
            return
        state, text = self.state, Content("")
        if self._server is not None:
            page = page_of(self._server, self.situation.receipts)
            said = Said(state, self._server, self.standing, self._account, self.amount, page, self._since)
            text = said.words()
        self.draw_words(text)
        if (drawn := (self.offers, self.word)) != self._drawn:
            self._drawn = drawn
            self.post_message(self.Changed())
