"""What the step Upload says of the way into the zoo, from what is known of the upload and of the person alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Final

from textual.content import Content

from zoowizard.board.markdown import cut
from zoowizard.board.uploads import PENDING, Standing
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.steps.sending_words import Line, moment, pending_lines
from zoowizard.terminal import printable
from zoowizard.upload.receipts import Receipt
from zoowizard.upload.servers import Server
from zoowizard.upload.target import Parcel

KNOWN: Final = ("draft", "in-review", "in-revision", "published", "gone")
LONGEST_WORDS: Final = 600
MOST_WORDS: Final = 3
"""So many of the reviewers' remarks are shown, the newest ones."""


class State(Enum):
    """What is shown of the zoo, which decides what the keys do."""

    ASKING = auto()
    LOGGED_OUT = auto()
    READY = auto()
    STARTING = auto()
    SENDING = auto()
    PAUSED = auto()
    QUEUED = auto()
    FAILED = auto()
    DRAFT = auto()
    SURE = auto()
    IN_REVIEW = auto()
    IN_REVISION = auto()
    PUBLISHED = auto()
    NEW_VERSION = auto()
    OTHER = auto()


TELLS_WHO: Final = (
    State.READY,
    State.PAUSED,
    State.QUEUED,
    State.FAILED,
    State.DRAFT,
    State.IN_REVISION,
    State.NEW_VERSION,
)
IS_PENDING: Final = (State.SENDING, State.PAUSED, State.QUEUED, State.FAILED)


@dataclass(frozen=True)
class Account:
    """Who is logged in and until when; `known` is False where nobody is, None where the zoo could not be asked."""

    known: bool | None
    name: str = ""
    ends: str = ""
    soon: bool = False
    why: str = ""


def state_of(standing: Standing | None, parcel: Parcel, account: Account | None, sure: bool) -> State:
    """Which one it is; `sure` says that the person was asked whether the reviewers shall be asked."""
    if standing is not None and standing.state == "sending":
        return State.SENDING
    record = None if standing is None else standing.zoo
    is_same = record is not None and record.sha256 == parcel.sha256
    logged_out = account is not None and account.known is False
    if standing is not None and record is not None and standing.state not in PENDING:
        if standing.state == "in-review":
            return State.IN_REVIEW
        if is_same and standing.state in ("draft", "in-revision"):
            here = State.DRAFT if standing.state == "draft" else State.IN_REVISION
            return State.LOGGED_OUT if logged_out else State.SURE if sure else here
        if standing.state == "published" and is_same:
            return State.PUBLISHED
        if standing.state not in KNOWN:
            return State.OTHER
    if account is None:
        return State.ASKING
    if logged_out:
        return State.LOGGED_OUT
    if standing is not None and standing.state == "published":
        return State.NEW_VERSION
    if standing is None or standing.state not in PENDING or not is_same:
        return State.READY  # of what is gone as well: it begins anew
    if standing.state == "queued":
        return State.QUEUED if standing.problem else State.READY
    return State.PAUSED if standing.state == "paused" else State.FAILED


@dataclass(frozen=True)
class Said:
    """What the words are made of: `size` is what would be sent, in words; `since` when the reviewers were asked."""

    state: State
    server: Server
    standing: Standing | None
    account: Account | None
    size: str
    page: str
    since: datetime | None

    def words(self) -> Content:
        """All of it."""
        return Content("\n").join(Content.styled(printable(text), style) for text, style in self._lines())

    @property
    def _name(self) -> str:
        return "" if self.standing is None else self.standing.name

    def _lines(self) -> Iterator[Line]:
        if self.state in TELLS_WHO:
            yield from self._who()
        if self.state in IS_PENDING and self.standing is not None:
            yield from pending_lines(self.standing)
        elif self.state in (State.LOGGED_OUT, State.ASKING, State.STARTING, State.READY):
            yield from self._before()
        else:
            yield from self._there()
        revised = self.state is State.READY and self.standing is not None and self.standing.state == "in-revision"
        if revised or self.state not in (*IS_PENDING, State.READY, State.STARTING, State.SURE):
            yield from self._seen()
        if self.state is State.IN_REVISION:
            yield "Build it again with the changes and upload that, or Enter: ask for the review again.", ""
        if self.page and self.state not in (State.READY, State.SURE, State.STARTING, State.LOGGED_OUT):
            yield self.page, "dim"

    def _who(self) -> Iterator[Line]:
        account = self.account
        if account is not None and account.known:
            until = f" until {account.ends.removeprefix('on ')}" if account.ends.startswith("on ") else ""
            yield f"{GLYPHS.done} {account.name}, logged in{until}", "dim"
            if account.soon:
                yield f"{GLYPHS.warning} It may end during an upload; ctrl+l logs in again.", "$text-warning"
        elif account is not None and self.state is not State.QUEUED:
            yield f"{GLYPHS.warning} {_sentence(account.why)}", "$text-warning"

    def _before(self) -> Iterator[Line]:
        host, account, standing = self.server.host, self.account, self.standing
        match self.state:
            case State.ASKING:
                yield f"{GLYPHS.open} asking {host} who you are", ""
            case State.LOGGED_OUT:
                if account is not None and "not logged in" not in account.why:
                    yield f"{GLYPHS.failed} {_sentence(account.why)}", "$text-warning"
                else:
                    yield f"{GLYPHS.open} You are not logged in at {host}.", ""
                if standing is not None and standing.state in PENDING:
                    yield "The package is queued; what arrived is kept.", ""
                yield "Enter: log in by a link, which can be opened in a browser on any computer.", ""
            case State.READY:
                yield f"{self.size} will be sent to {host}, {self._as_what()}.", ""
                yield "Nobody is asked to look at it yet, and nothing is published. Others may see a draft.", "dim"
                queues = account is not None and account.known is None
                yield "Enter: queue it, to be sent when there is a network." if queues else "Enter: upload it.", ""
            case State.STARTING:
                yield f"{GLYPHS.current} one moment", ""

    def _as_what(self) -> str:
        if self.standing is None or not self._name:
            return "as a new draft"
        if self.standing.state == "gone":
            return f"as a new draft, for {self._name} is not there any more"
        if self.standing.state in PENDING:
            return f"into the draft {self._name}, which it goes on with"
        return f"into the draft {self._name}, in place of the package that was there"

    def _there(self) -> Iterator[Line]:
        name, problem = self._name, "" if self.standing is None else self.standing.problem
        match self.state:
            case State.DRAFT:
                yield f"{GLYPHS.done} Uploaded as the draft {name}: the server has every byte.", "$text-success"
                if problem:
                    yield f"{GLYPHS.failed} {problem}", "$text-error"
                yield "Enter: ask the zoo's reviewers to look at it.", ""
            case State.SURE:
                yield f"Shall the zoo's reviewers look at {name} now?", "bold"
                yield "They are people, who will read and run it; meanwhile it cannot be changed from here.", ""
                yield "y: yes, ask them    esc: not yet", ""
            case State.IN_REVIEW:
                since = f" since {moment(self.since).removeprefix('on ')}" if self.since else ""
                yield f"{GLYPHS.done} {name} is in review{since}.", "$text-success"
            case State.IN_REVISION:
                yield f"{GLYPHS.warning} {name}: the reviewers ask for changes.", "$text-warning"
            case State.PUBLISHED:
                yield f"{GLYPHS.done} {name} is published.", "$text-success"
            case State.NEW_VERSION:
                yield f"{GLYPHS.done} {name} is published; the package was built anew since.", "$text-success"
                yield f"Enter: upload it as a new version of {name}, {self.size}, as a draft.", ""
            case _ if self.standing is not None and self.standing.state == "deletion-requested":
                yield f"{GLYPHS.warning} You asked the zoo's team to delete {name}.", "$text-warning"
                yield "`zoowizard upload` takes that back, as long as they have not done it.", ""
            case _ if self.standing is not None:
                yield f"{GLYPHS.warning} {name} in the zoo: {self.standing.state}.", "$text-warning"

    def _seen(self) -> Iterator[Line]:
        """The reviewers' words, and when the zoo was asked last."""
        record = None if self.standing is None else self.standing.zoo
        if record is None:
            return
        for said in record.said[-MOST_WORDS:]:
            when = f" {moment(said.at)}" if said.at else ""
            yield f"{GLYPHS.current} {_one_line(said.by)}{when}: {cut(_one_line(said.text), LONGEST_WORDS)}", ""
        if record.tested is not None and record.tested.said:
            yield f"{GLYPHS.none} the zoo's own test: {_one_line(record.tested.said)}", ""
        if record.seen is not None:
            yield f"The zoo was asked last {moment(record.seen)}.", "dim"


def page_of(server: Server, receipts: tuple[Receipt, ...]) -> str:
    """Where the draft is to be found, as the newest receipt says; empty where there is none yet."""
    return next((one.where for one in receipts if one.kind == "zoo" and one.where.startswith(server.base)), "")


def _sentence(why: str) -> str:
    """The sentence without the advice that is for a command line: here Enter does that."""
    plain = why.removesuffix("; run `zoowizard login`").rstrip(".?")
    return f"{plain[:1].upper()}{plain[1:]}."


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))
