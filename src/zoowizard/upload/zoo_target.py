"""The zoo as a place that a package can go to, beside a folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

from zoowizard.upload.hypha import Hypha
from zoowizard.upload.package import Package, Tests
from zoowizard.upload.receipts import Receipt
from zoowizard.upload.servers import Server
from zoowizard.upload.target import Parcel, Progress
from zoowizard.upload.telling import Bar, readable
from zoowizard.upload.web import Patience
from zoowizard.upload.zoo import FIRST_CONTACT, KIND, STEPS, queue, receipt_of, send


class ZooTarget:
    """The zoo of a server. What became of the upload is recorded in `folder`; `title` is what people call the model."""

    kind = KIND
    label = "Upload the package to the BioImage Model Zoo, as a draft"

    def __init__(
        self,
        folder: Path,
        server: Server,
        token: Callable[[], str],
        title: str,
        tests: Tests = "passed",
        insist: bool = False,
        patience: Patience | None = None,
    ) -> None:
        self._folder, self._server, self._token = folder, server, token
        self._title, self._tests, self._insist, self._patience = title, tests, insist, patience

    def summary(self, parcel: Parcel) -> Sequence[str]:
        """What will go where, and who will see it. Raises ZoowizardError where it cannot go there now."""
        with Hypha(self._server, self._token, self._patience) as hypha:
            person, collection = hypha.who(FIRST_CONTACT), hypha.collection()
        size = readable(parcel.archive.stat().st_size)
        return [
            f"{self._title}, {size}, goes to {self._server.host} as {person.name}, as a draft",
            f"its reviewers ({len(collection.reviewers)}) can see and change it, besides you; nothing is published",
        ]

    def send(self, parcel: Parcel, progress: Progress) -> Receipt:
        """Bring it there; what was brought before is not brought again. Raises ZoowizardError with one sentence."""
        queue(
            self._folder, self._server, Package(parcel.archive, self._title, parcel.sha256, self._tests), self._insist
        )
        bar = Bar(progress, dict(STEPS), "send")
        return receipt_of(send(self._folder, self._token, bar, patience=self._patience))
