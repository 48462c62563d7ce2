"""New versions of published models, on a real server: asked for, never published, and what is published stays."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypha_server import Zoo
from uploads import QUICK, Sent, a_package

from zoowizard.errors import WrongUse, ZoowizardError
from zoowizard.upload.hypha import Hypha
from zoowizard.upload.news import ask
from zoowizard.upload.package import Package
from zoowizard.upload.zoo import submit

Upload = Callable[..., Sent]


@pytest.fixture
def first(tmp_path: Path) -> Package:
    return a_package(tmp_path / "first", 1000, **{"old.txt": b"old"})


@pytest.fixture
def second(tmp_path: Path) -> Package:
    return a_package(tmp_path / "second", 2000, **{"new.txt": b"new"})


@pytest.fixture
def published(server: Zoo, upload: Upload, first: Package) -> Iterator[Sent]:
    """A model whose first version is published; gone afterwards, since all tests share the server."""
    sent = upload(first, ask=True)
    sent.go()
    assert server.publish(sent.record.artifact_id) == "v0"
    yield sent
    server.asks("delete", server.root, artifact_id=sent.record.artifact_id)


def status(sent: Sent) -> str:
    with Hypha(sent.record.server, sent.token, QUICK) as hypha:
        return ask(sent.record, hypha).status


def test_a_new_version_is_sent_where_it_is_asked_for(
    server: Zoo, upload: Upload, published: Sent, first: Package, second: Package
) -> None:
    sent = upload(second)
    with pytest.raises(ZoowizardError, match=r"is published already; `zoowizard upload --new-version` sends"):
        sent.go()
    assert not sent.draft()["staging"], "nothing was touched"

    server.door.clear()
    sent = upload(second, new_version=True)
    assert sent.record.pending
    record = sent.go()
    assert (record.phase, record.status, record.artifact_id) == ("verified", "draft", published.record.artifact_id)
    sent.holds(second)
    published.holds(first, "v0")
    assert not {"create", "commit", "publish"} & set(server.door.names())
    draft = sent.draft()
    assert [one["version"] for one in draft["versions"]] == ["v0"]
    assert draft["manifest"]["status"] == "draft"

    # for whoever does not ask for what is staged nothing has changed
    seen = server.asks("read", artifact_id=record.artifact_id, silent=True)["manifest"]
    assert (seen["status"], seen["zoowizard"]["package_sha256"]) == ("published", first.sha256)

    assert submit(sent.folder, sent.token, QUICK).status == "in-review"
    assert status(sent) == "in-review"
    assert server.publish(record.artifact_id) == "v1"
    assert status(sent) == "published"
    sent.holds(second, "v1")
    published.holds(first, "v0")


def test_asked_for_once_one_version_is_made(
    server: Zoo, upload: Upload, published: Sent, second: Package, tmp_path: Path
) -> None:
    sent = upload(second, new_version=True, ask=True)
    sent.go()
    server.says(sent.record.artifact_id, {"content": "a cover, please", "userName": "Rev"}, status="in-revision")
    better = a_package(tmp_path / "better", 3000)
    assert upload(better).go().status == "in-revision", "a better package goes into the version that is reviewed"
    sent.server.asks("remove_file", artifact_id=sent.record.artifact_id, file_path="comments.json")
    sent.holds(better)
    assert server.publish(sent.record.artifact_id) == "v1"

    third = upload(a_package(tmp_path / "third", 4000))
    with pytest.raises(ZoowizardError, match=r"was published meanwhile as v1; ask again with --new-version"):
        third.go()
    assert not third.draft()["staging"]
    upload(better, new_version=True)
    with pytest.raises(ZoowizardError, match="is published with this very package"):
        third.go()
    assert not third.draft()["staging"]


def test_the_right_to_make_a_new_version_may_be_missing(
    server: Zoo, upload: Upload, published: Sent, second: Package
) -> None:
    config = published.draft()["config"]
    for account in ("ada@example.org", "github|1001"):
        del config["permissions"][account]
    server.asks("edit", artifact_id=published.record.artifact_id, config=config)
    sent = upload(second, new_version=True)
    with pytest.raises(ZoowizardError, match=r"does not let ada@example.org make a new version of .* right to edit it"):
        sent.go()
    assert sent.record.pending

    config["permissions"]["ada@example.org"] = "rw"
    server.asks("edit", artifact_id=published.record.artifact_id, config=config)
    sent.go()
    sent.holds(second)


def test_what_others_are_changing_is_left_to_them(
    server: Zoo, upload: Upload, published: Sent, first: Package, second: Package
) -> None:
    manifest = published.draft()["manifest"]
    server.asks("edit", artifact_id=published.record.artifact_id, manifest={**manifest, "name": "Other"}, stage=True)
    sent = upload(second, new_version=True)
    with pytest.raises(ZoowizardError, match=r"somebody is changing .* in the zoo already"):
        sent.go()
    assert sent.draft()["manifest"]["name"] == "Other"
    assert status(sent) == "published"
    published.holds(first, "v0")


def test_a_new_version_of_what_is_not_published(server: Zoo, upload: Upload, first: Package, second: Package) -> None:
    with pytest.raises(WrongUse, match="nothing of it was uploaded from here"):
        upload(first, new_version=True)
    upload(first).go()
    sent = upload(second, new_version=True)
    record = sent.go()
    assert (record.new_version, record.phase) == (False, "verified")
    [note] = sent.told.notes
    assert note == f"{record.artifact_id} is not published yet, so the package goes into the draft that is there."
    sent.is_whole(second)
