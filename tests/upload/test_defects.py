"""What went wrong with the uploads of bioimageio.spec, one test for each."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import yaml
from hypha_server import COLLECTION, Zoo
from uploads import Sent, a_package, contents_of

from zoowizard.errors import ZoowizardError
from zoowizard.upload.contents import as_json, described, members, with_id
from zoowizard.upload.zoo import page_of

Upload = Callable[..., Sent]


def test_one_upload_and_what_its_ancestors_got_wrong(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    package = a_package(tmp_path / "built", 1000)
    sent = upload(package, ask=True)
    server.asks("list", server.token(), parent_id=COLLECTION)  # whoever logs in gets a place of their own there
    sent.token = lambda: server.token("random-1", "", parent="github|1001")
    record = sent.go()

    # bodies were multipart forms, so that every stored file was corrupt
    assert server.files(record.artifact_id)["README.md"] == contents_of(package)["README.md"]

    # the last request was a commit, which is refused to contributors and publishes at once for reviewers
    assert "commit" not in server.door.names()
    assert sent.draft()["versions"] == [] and server.published() == []

    # the status was one that the zoo does not list
    assert sent.draft()["manifest"]["status"] == "in-review"

    # the draft belonged to a random id of the token, so that the next token was locked out
    renewed = server.token("random-2", "", parent="github|1001")
    answer = server.asks("put_file", renewed, artifact_id=record.artifact_id, file_path="x.txt")
    assert answer.startswith("http")

    # the address that was told was wrong
    page = httpx.get(page_of(record), headers={"Authorization": f"Bearer {renewed}"})
    assert page.status_code == 200 and page.json()["manifest"]["name"] == "Nuclei"

    # file and manifest said different things, and the file said a status
    stored = yaml.safe_load(server.files(record.artifact_id)["bioimageio.yaml"])
    assert {key: sent.draft()["manifest"][key] for key in stored} == as_json(stored)
    assert "status" not in stored


def test_a_refused_file_ends_the_upload(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    sent = upload(a_package(tmp_path / "built", 1000))
    server.storage_door.fails(
        "weights.onnx", method="PUT", status=404, body=b"<Error><Code>NoSuchBucket</Code></Error>"
    )
    with pytest.raises(ZoowizardError, match=r"did not take weights.onnx"):
        sent.go()
    assert sent.record.pending


def test_slow_answers_and_the_id_of_the_draft(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    sent = upload(a_package(tmp_path / "built", 1000))
    server.door.fails("put_file", status=400)
    with pytest.raises(ZoowizardError):
        sent.go()
    assert sent.record.artifact_id == sent.drafts()[0]


def test_the_id_is_written_without_touching_the_rest(tmp_path: Path) -> None:
    text = "# by hand\nname: Nuclei\nid: old\nstatus: draft\nid_emoji: 🦊\nat: 2026-11-21\nnote: |\n  id: not this\n"
    told = yaml.safe_load(text)
    written = with_id(text, told, "brave-fox", "🦈")
    assert written.startswith("# by hand\nname: Nuclei\nat: 2026-11-21\nnote: |\n  id: not this\n")
    assert yaml.safe_load(written) == {
        "name": "Nuclei",
        "at": told["at"],
        "note": "id: not this\n",
        "id": "brave-fox",
        "id_emoji": "🦈",
    }
    strange = "{name: Nuclei, id: old, status: draft}"
    assert yaml.safe_load(with_id(strange, yaml.safe_load(strange), "a-b", "")) == {"name": "Nuclei", "id": "a-b"}
    assert as_json({"a": datetime(2026, 1, 1, tzinfo=UTC), "b": float("inf"), "c": (1, 2)}) == {
        "a": "2026-01-01T00:00:00+00:00",
        "b": None,
        "c": [1, 2],
    }


@pytest.mark.parametrize("damage", ["no zip", "cut off", "no description", "climbs", "no yaml"])
def test_what_is_no_package(tmp_path: Path, damage: str) -> None:
    files = {"../up.txt": b"x"} if damage == "climbs" else {}
    if damage == "no yaml":
        files["bioimageio.yaml"] = b"- a\n- b\n"
    package = a_package(tmp_path / "built", 1000, **files).archive
    if damage == "no zip":
        package.write_bytes(b"hello")
    elif damage == "cut off":
        package.write_bytes(package.read_bytes()[:-100])
    elif damage == "no description":
        content = package.read_bytes()
        package.write_bytes(content.replace(b"bioimageio.yaml", b"bioimageio.yamx"))
    with pytest.raises(ZoowizardError) as caught:
        described(members(package, tmp_path / "scratch"), package)
    assert str(package) in str(caught.value) and "\n" not in str(caught.value)
