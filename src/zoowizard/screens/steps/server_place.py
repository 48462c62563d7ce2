"""A place behind a network: what is sent there is sent by a job, which this starts, follows and ends."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Final

from textual import work
from textual.content import Content
from textual.widgets import Static

from zoowizard.board.uploads import STATUS, Standing, status_of
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.reader import JobReader
from zoowizard.jobs.state import Job
from zoowizard.screens.children import answer_of
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.situation import CancelAsked, Situation, UploadChanged
from zoowizard.screens.steps.place import Place
from zoowizard.screens.steps.sending_words import bar_of, in_words
from zoowizard.screens.steps.upload_words import read_contents
from zoowizard.terminal import printable
from zoowizard.upload.target import Parcel

LOOK_EVERY_S: Final = 0.5


class ServerPlace(Place):
    """`standing` is how it stands there, `amount` what would be sent, in words, `problem` what went wrong at last."""

    def __init__(self) -> None:
        super().__init__(classes="upload-place")
        self.situation: Situation | None = None
        self.parcel: Parcel | None = None
        self.standing: Standing | None = None
        self.amount = self.problem = ""
        self.starting = False
        self._reader: JobReader | None = None
        self._over: Path | None = None

    def show(self, situation: Situation, parcel: Parcel) -> None:
        """Show the upload; one that runs is followed, whoever started it."""
        if self.parcel != parcel:
            self.amount = ""
            self._measure(parcel)
        is_first = self.situation is None
        self.situation, self.parcel = situation, parcel
        self.standing = self.standing_in(situation)
        job = None if self.standing is None else self.standing.job
        if job is None or job.over:
            self._reader = None
            if job is not None and job.folder != self._over:
                self._over = job.folder
                if not is_first:  # it was over before it was seen at work
                    self.ended(job)
        elif self._reader is None or self._reader.folder != job.folder:
            self._reader = JobReader(job.folder)
            self.run_worker(self._follow(self._reader), exclusive=True, group="job")
        self.draw()

    def standing_in(self, situation: Situation) -> Standing | None:
        """Which of the uploads is the one to this place."""
        raise NotImplementedError

    def draw(self) -> None:
        """Draw anew what changed."""
        raise NotImplementedError

    def ended(self, job: Job) -> None:
        """A job that was started while this is shown has ended."""

    @property
    def word(self) -> str:
        """The state of the upload, as the board has it."""
        if self.standing is None:
            return ""
        known = self.standing.state in STATUS or self.standing.state == "sending"
        return status_of(self.standing).lower() if known else self.standing.state

    def pause(self) -> None:
        """End the job; what has arrived is kept."""
        if self._reader is not None:
            self.post_message(CancelAsked(self._reader.folder))

    @work(exclusive=True, group="start")
    async def start(self, *flags: str) -> None:
        """Queue it and start its job, in a process of its own: the package is read for that, and a keyring asked."""
        if self.situation is None or self.situation.draft is None or self.starting:
            return
        self.starting, self.problem = True, ""
        self.draw()
        command = ("upload", self.situation.draft.id, *flags, "--detach", "--json")
        try:
            await answer_of("zoowizard", *command, "--workspace", str(self.situation.workspace.root))
        except ZoowizardError as problem:
            self.problem = str(problem)
        self.starting = False
        self.post_message(UploadChanged())

    async def _follow(self, reader: JobReader) -> None:
        """Look at the job until it has ended."""
        while reader is self._reader and self.standing is not None:
            try:
                job = await asyncio.to_thread(reader.read)
            except ZoowizardError as problem:
                self.problem = str(problem)
                return
            if reader is not self._reader or self.standing is None:
                return
            self.standing = replace(self.standing, job=job)
            if job.over:
                self._over = job.folder
                self.post_message(UploadChanged())
                self.ended(job)
                return
            self.draw()
            await asyncio.sleep(LOOK_EVERY_S)

    @work(exclusive=True, group="measure")
    async def _measure(self, parcel: Parcel) -> None:
        contents = await asyncio.to_thread(read_contents, parcel.archive)
        self.amount = in_words(contents.size, len(contents.files))
        self.draw()

    def draw_words(self, text: Content) -> None:
        """Draw the bar of what is being sent and the text below, each only where it changed."""
        if self.problem:
            said = Content.styled(f"{GLYPHS.failed} {printable(self.problem)}", "$text-error")
            text = Content("\n").join([said, text])
        words = self.query_one(".place-text", Static)
        if words.content != text:
            words.update(text)
        bar = self.query_one(".place-bar", Static)
        line = "" if self.standing is None else bar_of(self.standing)
        bar.display = bool(line)
        if bar.content != (content := Content(line)):
            bar.update(content, layout=False)
