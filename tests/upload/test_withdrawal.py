"""Taking back what went to the zoo: from review to a draft, from a draft to a wish for deletion; on a real server."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypha_server import Zoo
from uploads import QUICK, Sent, a_package

from zoowizard.errors import WrongUse, ZoowizardError
from zoowizard.upload.hypha import Hypha
from zoowizard.upload.news import ask
from zoowizard.upload.withdrawal import Withdrawn, withdraw
from zoowizard.upload.zoo import submit

Upload = Callable[..., Sent]


def taken_back(sent: Sent, reason: str = "a mistake") -> Withdrawn:
    return withdraw(sent.folder, sent.token, reason, QUICK)


def status(sent: Sent) -> str:
    with Hypha(sent.record.server, sent.token, QUICK) as hypha:
        return ask(sent.record, hypha).status


def test_from_review_to_a_draft_to_its_deletion(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    package = a_package(tmp_path / "built", 1000)
    sent = upload(package, ask=True)
    name = sent.go().artifact_id
    done = taken_back(sent)
    assert (done.status, done.sentence) == ("draft", f"{name} is a draft again, which the reviewers do not look at")
    assert (sent.draft()["manifest"]["status"], status(sent), sent.record.pending) == ("draft", "draft", False)
    sent.is_whole(package)

    done = taken_back(sent)
    assert f"was asked to delete {name}; only they can" in done.sentence
    wish = sent.draft()["manifest"]["request_deletion"]
    assert (wish["requested_by_email"], wish["reason"]) == ("ada@example.org", "a mistake")
    assert wish["requested_at"] > 1_700_000_000_000, "milliseconds, as the zoo's website reads it"
    assert (status(sent), sent.record.pending) == ("deletion-requested", False)
    assert taken_back(sent, "twice").status == "deletion-requested"
    assert sent.draft()["manifest"]["request_deletion"] == wish, "asked once"
    with pytest.raises(ZoowizardError, match=r"is to be deleted; `zoowizard upload` takes that back"):
        submit(sent.folder, sent.token, QUICK)

    # who uploads it again wants it back
    upload(package)
    sent.go()
    assert "request_deletion" not in sent.draft()["manifest"] and status(sent) == "draft"
    assert any("that is taken back" in note for note in sent.told.notes)
    assert not {"delete", "discard", "commit"} & set(server.door.names())

    taken_back(sent)
    server.asks("delete", server.root, artifact_id=name)  # by the zoo's team
    assert status(sent) == "gone"
    assert "is not in the zoo any more" in taken_back(sent).sentence


def test_half_an_upload_is_taken_back_and_does_not_go_on(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    package = a_package(tmp_path / "built", 1000)
    sent = upload(package)
    server.storage_door.fails("weights.onnx", method="PUT", status=507, body=b"")
    with pytest.raises(ZoowizardError, match="no room"):
        sent.go()
    assert sent.record.pending
    assert taken_back(sent).status == "deletion-requested"
    assert (sent.record.pending, sent.record.problem) == (False, "")
    sent.go()
    sent.is_whole(package)

    queued = upload(package, model="queued")
    assert "was not in the zoo yet" in taken_back(queued).sentence
    assert not queued.record.pending


def test_what_others_want_deleted_is_theirs(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    sent = upload(a_package(tmp_path / "built", 1000))
    name = sent.go().artifact_id
    wish = {"requested_by": "reviewer-1", "requested_by_email": "", "reason": "a copy of another", "requested_at": 1}
    manifest = sent.draft()["manifest"]
    server.asks("edit", artifact_id=name, manifest={**manifest, "request_deletion": wish}, stage=True)
    upload(a_package(tmp_path / "other", 2000))
    with pytest.raises(ZoowizardError, match=r"is to be deleted in the zoo: reviewer-1 asked for it \(a copy of anoth"):
        sent.go()


def test_what_is_published_stays(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    sent = upload(a_package(tmp_path / "built", 1000), ask=True)
    name = sent.go().artifact_id
    server.publish(name)
    with pytest.raises(WrongUse, match="is published, so it cannot be taken back from here"):
        taken_back(sent)
    upload(a_package(tmp_path / "second", 2000), new_version=True, ask=True)
    sent.go()
    assert taken_back(sent).status == "draft"
    done = taken_back(sent)
    assert "the version that is published stays as it is" in done.sentence and not sent.record.pending
    assert "request_deletion" not in sent.draft()["manifest"]
    server.asks("delete", server.root, artifact_id=name)
