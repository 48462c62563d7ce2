"""What the wizard knows, handed to its steps as one frozen value; and what the steps say back, as messages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textual.message import Message

from zoowizard.board.uploads import Standing
from zoowizard.drafts.draft import Draft
from zoowizard.drafts.fields import Field
from zoowizard.drafts.store import Workspace
from zoowizard.families.family import Recognition
from zoowizard.jobs.state import Job


@dataclass(frozen=True)
class Situation:
    """All that is known of the model in the wizard, at one moment.

    `here` is the folder in which zoowizard was started. `draft` is None until a model was chosen; a claimed row of the
    event's table is a draft without a checkpoint. `recognition` is what looking at the checkpoint told this time, None
    until it was looked at. `typed` is what stands in the inputs without being a right answer yet, by field name.
    `job` is the newest build, `built` the newest one that passed, `job_from` and `built_from` the values that they had,
    by field name. `receipts` say what became of the package so far, `uploads` how it stands with what goes, or went, to
    servers, the newest first. `zoo` is the newest test of what was built with the zoo's versions. `read_only` is empty,
    or the sentence that says why nothing can be changed here.
    """

    workspace: Workspace
    here: Path
    draft: Draft | None = None
    recognition: Recognition | None = None
    fields: tuple[Field, ...] = ()
    typed: Mapping[str, str] = field(default_factory=dict)
    job: Job | None = None
    job_from: Mapping[str, Any] | None = None
    built: Job | None = None
    built_from: Mapping[str, Any] | None = None
    receipts: tuple[Any, ...] = ()
    uploads: tuple[Standing, ...] = ()
    zoo: Job | None = None
    read_only: str = ""

    @property
    def outdated(self) -> bool:
        """Whether answers were changed since the package was built."""
        return self._differs_from(self.built_from)

    @property
    def changed(self) -> bool:
        """Whether answers were changed since the newest build began."""
        return self._differs_from(self.job_from)

    def _differs_from(self, values: Mapping[str, Any] | None) -> bool:
        if self.draft is None or values is None:
            return False
        return {name: known.value for name, known in self.draft.values.items()} != values


@dataclass
class ModelChosen(Message):
    """The person chose this model."""

    recognition: Recognition


@dataclass
class DraftChosen(Message):
    """The person chose a model that has a draft already: go on with that one."""

    draft_id: str


@dataclass
class Answered(Message):
    """Checked answers by field name, to be kept; None takes an answer back."""

    answers: Mapping[str, Any]


@dataclass
class Typed(Message):
    """What stands in the input of a field without being a right answer yet; None where nothing stands there."""

    name: str
    text: str | None


@dataclass
class BuildAsked(Message):
    """Start a build; with `resume`, go on from the step in which that job failed."""

    resume: Job | None = None


@dataclass
class ZooTestAsked(Message):
    """Test what was built with the versions of the zoo's runner."""


@dataclass
class CancelAsked(Message):
    """End this job, or else the build that runs."""

    job: Path | None = None


@dataclass
class UploadChanged(Message):
    """Something became of an upload or a package: it stands in the workspace already."""


@dataclass
class StepAsked(Message):
    """Go to the step of this name."""

    name: str
