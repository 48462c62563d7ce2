"""The way into the zoo, on a real server: what arrives, what it says, who may do what with it."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypha_server import REVIEWER, Zoo
from uploads import MIB, QUICK, Sent, a_package

from zoowizard.drafts.store import Workspace
from zoowizard.errors import WrongUse, ZoowizardError
from zoowizard.upload.package import Package
from zoowizard.upload.receipts import receipts
from zoowizard.upload.servers import server_of
from zoowizard.upload.state import folder_of
from zoowizard.upload.target import Parcel
from zoowizard.upload.zoo import submit
from zoowizard.upload.zoo_target import ZooTarget

Upload = Callable[..., Sent]


def test_every_byte_arrives_and_the_receipt_says_so(server: Zoo, upload: Upload, package: Package) -> None:
    sent = upload(package)
    record = sent.go()
    sent.is_whole(package)
    assert (record.phase, record.status, record.problem) == ("verified", "draft", "")
    [receipt] = receipts(sent.workspace, "nuclei")
    assert (receipt.kind, receipt.confirmed, receipt.state, receipt.sha256) == ("zoo", True, "done", package.sha256)
    assert sent.told.steps == ["check", "draft", "send", "verify"]
    assert sent.told.fractions[-1] == 1
    draft = sent.draft()
    manifest, permissions = draft["manifest"], draft["config"]["permissions"]
    assert (manifest["id"], manifest["id_emoji"]) == (record.alias, record.emoji)
    assert (manifest["status"], manifest["uploader"]) == ("draft", {"email": "ada@example.org"})
    assert manifest["name"] == "Nuclei" and manifest["weights"]["onnx"]["source"] == "weights.onnx"
    assert permissions["ada@example.org"] == "*" and permissions[REVIEWER] == "rw+"

    # a submission is an act of its own
    assert server.door.names().count("edit") == 0
    assert submit(sent.folder, sent.token, QUICK).status == "in-review"
    assert sent.draft()["manifest"] == {**manifest, "status": "in-review"}
    submit(sent.folder, sent.token, QUICK)
    assert server.door.names().count("edit") == 1, "what was asked once is not asked again"

    # once more: nothing is sent, and all is looked at again
    before = len([one for one in server.storage_door.asked if one.method == "PUT" and "Signature" in one.path])
    assert sent.go().phase == "submitted"
    after = len([one for one in server.storage_door.asked if one.method == "PUT" and "Signature" in one.path])
    assert after == before

    # what reviewers look at does not change under them
    other = a_package(sent.folder / "other", 1000)
    upload(other)
    with pytest.raises(ZoowizardError, match="is being reviewed"):
        sent.go()
    assert server.published() == []


def test_a_token_of_a_reviewer_publishes_nothing_either(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    small = a_package(tmp_path / "small", 1000)
    sent = upload(small, token=server.reviewer, ask=True)
    assert sent.go().phase == "submitted"
    sent.is_whole(small)
    draft = sent.draft()
    assert (draft["versions"], draft["manifest"]["status"]) == ([], "in-review")
    assert not {"commit", "publish", "delete"} & set(server.door.names())


def test_a_later_package_takes_the_place_of_the_first(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    first = a_package(tmp_path / "first", 1000, **{"old.txt": b"old"})
    sent = upload(first)
    sent.go()
    server.storage_door.clear()
    second = a_package(tmp_path / "second", 2000, **{"new.txt": b"new"})
    again = upload(second)
    assert again.folder == sent.folder
    [receipt] = receipts(sent.workspace, "nuclei")
    assert receipt.confirmed and receipt.sha256 == first.sha256
    again.go()
    again.is_whole(second)
    put = {one.function for one in server.storage_door.asked if one.method == "PUT" and "Signature" in one.path}
    assert put == {"weights.onnx", "new.txt"}, "the same files are not sent twice"
    [receipt] = receipts(sent.workspace, "nuclei")
    assert receipt.confirmed and receipt.sha256 == second.sha256


def test_a_deflated_package_and_one_with_another_name_for_its_description(
    server: Zoo, upload: Upload, tmp_path: Path, deflated: Package
) -> None:
    sent = upload(deflated)
    sent.go()
    sent.is_whole(deflated)
    assert not (sent.folder / "unpacked").exists()


def test_a_package_that_did_not_pass_is_refused_unless_insisted(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    small = a_package(tmp_path / "small", 1000)
    for tests, sentence in (("failed", "did not pass its tests"), ("unknown", "was not tested here")):
        with pytest.raises(WrongUse, match=f"{sentence}.*--insist"):
            upload(Package(small.archive, "Nuclei", small.sha256, tests))  # type: ignore[arg-type]
    sent = upload(Package(small.archive, "Nuclei", small.sha256, "failed"), insist=True)
    sent.go()
    mark = sent.draft()["manifest"]["zoowizard"]
    assert mark["tests"] == "failed" and "did not pass" in mark["insisted"]


def test_a_package_that_was_changed_since_its_tests_is_refused(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    small = a_package(tmp_path / "small", 1000)
    sent = upload(small)
    with small.archive.open("ab") as file:
        file.write(b"x")
    with pytest.raises(ZoowizardError, match="was changed since it was tested; build it again"):
        sent.go()
    with pytest.raises(ZoowizardError, match="was changed since it was tested; build it again"):
        upload(small)
    assert sent.drafts() == [] and "changed since" in sent.record.problem


def test_two_at_once_are_one_upload(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    small = a_package(tmp_path / "small", 1000)
    sent = upload(small)
    met, go_on = threading.Event(), threading.Event()

    def held() -> None:
        met.set()

    server.door.fails("create", hold=go_on)
    server.door.fails("read", happened=held)
    first = threading.Thread(target=sent.go)
    first.start()
    assert met.wait(60)
    with pytest.raises(ZoowizardError, match="is being uploaded already"):
        sent.go()
    go_on.set()
    first.join()
    sent.is_whole(small)


def test_a_name_that_is_taken_is_left_to_others(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    small = a_package(tmp_path / "small", 1000)
    first, second = upload(small, model="a"), upload(small, model="b")
    taken = first.go().alias
    record = second.record
    record.alias = taken  # as if chance had chosen it
    (second.folder / "upload.json").write_text(record.model_dump_json())
    assert second.go().alias != taken
    first.is_whole(small)
    second.is_whole(small)


def test_as_a_place_beside_folders(server: Zoo, tmp_path: Path) -> None:
    small = a_package(tmp_path / "small", 8 * MIB)
    folder = folder_of(Workspace(tmp_path / "ws"), server_of(), "nuclei", small.sha256)
    target = ZooTarget(folder, server_of(), server.token, "Nuclei", patience=QUICK)
    parcel = Parcel(small.archive, small.archive, small.sha256)
    first, second = target.summary(parcel)
    assert "8.4 MB" in first and "as ada@example.org, as a draft" in first and "nothing is published" in second
    said: list[float] = []
    receipt = target.send(parcel, lambda fraction, words: said.append(fraction))
    assert receipt.confirmed and receipt.where.startswith(server.base)
    assert said == sorted(said) and said[0] > 0 and 0.9 < said[-1] <= 1
