"""What the zoo says of one's uploads, as the screens and `zoowizard uploads` ask for it: on a real server."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypha_server import Zoo
from uploads import Sent, a_package

from zoowizard.drafts.workspace import Workspace
from zoowizard.upload import state
from zoowizard.upload.news import news
from zoowizard.upload.receipts import receipts
from zoowizard.upload.servers import Server

Upload = Callable[..., Sent]
ASK = {
    "id": "1",
    "userName": "Rita Reviewer",
    "userId": "github|7",
    "createdAt": "2026-11-21T12:00:00.000Z",
    "content": "Please add a cover.\r\n\x1b[31mAnd say\u202e more.",
    "replies": [{"id": "2", "userId": "github|1001", "content": "Done", "createdAt": "gestern"}],
}


@pytest.fixture(autouse=True)
def login(server: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOOWIZARD_TOKEN", server.token())


def asked(workspace: Path) -> list[dict[str, Any]]:
    """What the child process says that a screen starts."""
    command = [sys.executable, "-m", "zoowizard.upload.news", str(workspace)]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_state_and_the_reviewers_words(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    sent = upload(a_package(tmp_path / "built", 1000), ask=True)
    upload(a_package(tmp_path / "built", 1000), model="only-queued")
    name = sent.go().artifact_id
    assert asked(sent.workspace.root) == [{"model": "nuclei", "status": "in-review", "problem": None}]
    assert sent.record.seen is not None and sent.record.said == []

    server.says(
        name, ASK, {"content": 7}, {"content": "  "}, {"userName": "B", "content": "x" * 9000}, status="in-revision"
    )
    assert asked(sent.workspace.root) == [{"model": "nuclei", "status": "in-revision", "problem": None}]
    first, answer, long = sent.record.said
    assert (first.by, first.text) == ("Rita Reviewer", "Please add a cover.\n[31mAnd say more.")
    assert first.at is not None and first.at.isoformat() == "2026-11-21T12:00:00+00:00"
    assert (answer.by, answer.at, answer.text, len(long.text)) == ("github|1001", None, "Done", 5000)

    # a better package goes into the same draft, and the words stay there
    better = a_package(tmp_path / "better", 2000)
    upload(better)
    assert sent.go().status == "in-revision"
    assert "comments.json" in server.files(name)
    asked(sent.workspace.root)
    assert len(sent.record.said) == 3 and sent.record.phase == "verified"

    for damage in (b"[]", b"{", b'{"comments": {"a": 1}}', b"[" * 100_000, b'{"comments": ["x"]}' + b" " * 1_100_000):
        server.puts(name, "comments.json", damage)
        one = next(one for one in news(sent.workspace)[0] if one.folder == sent.folder)
        assert (one.upload.status, one.upload.said, one.problem) == ("in-revision", [], "")

    server.publish(name)
    assert asked(sent.workspace.root) == [{"model": "nuclei", "status": "published", "problem": None}]
    assert sent.record.zoo_version == "v0"
    assert [one.confirmed for one in receipts(sent.workspace, "nuclei")] == [True]
    server.asks("delete", server.root, artifact_id=name)
    assert asked(sent.workspace.root) == [{"model": "nuclei", "status": "gone", "problem": None}]
    assert [one.confirmed for one in receipts(sent.workspace, "nuclei")] == [False]


def test_what_older_pages_of_the_zoo_called_a_state(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    sent = upload(a_package(tmp_path / "built", 1000))
    name = sent.go().artifact_id
    for theirs, ours in (("request-review", "in-review"), ("revision", "in-revision"), ("", "draft"), ("new", "new")):
        manifest = {**sent.draft()["manifest"], "status": theirs}
        server.asks("edit", artifact_id=name, manifest=manifest, stage=True)
        [one], _ = news(sent.workspace)
        assert one.upload.status == ours


def test_servers_that_do_not_answer_are_asked_once(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    sent = upload(a_package(tmp_path / "built", 1000))
    sent.go()
    upload(a_package(tmp_path / "built", 1000), model="second").go()
    before = sent.record.model_dump()
    server.door.clear()
    server.door.fails("read", times=1000, drop_after=0)
    said = asked(sent.workspace.root)
    assert [one["status"] for one in said] == ["draft", "draft"]
    assert all("broke off" in one["problem"] for one in said)
    assert sent.record.model_dump() == before
    answered_by = len(server.door.asked)
    server.door.clear()
    server.door.fails("read", times=1000, status=401)
    said = asked(sent.workspace.root)
    assert all("run `zoowizard login`" in one["problem"] for one in said)
    assert answered_by < 12, "the second upload did not ask a server that is silent"


def test_an_upload_that_is_under_way_is_left_alone(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    sent = upload(a_package(tmp_path / "built", 1000), ask=True)
    name = sent.go().artifact_id
    server.says(name, ASK, status="in-revision")
    with state.locked(sent.folder):
        before = sent.record.model_dump()
        assert asked(sent.workspace.root) == [{"model": "nuclei", "status": "in-review", "problem": None}]
        assert sent.record.model_dump() == before
    assert asked(sent.workspace.root)[0]["status"] == "in-revision"


def test_nothing_was_uploaded_and_what_is_damaged(tmp_path: Path, server: Zoo) -> None:
    assert asked(tmp_path / "nowhere") == []
    folder = state.folder_of(Workspace(tmp_path), Server("https://zoo.example"), "a", "0" * 64)
    folder.mkdir(parents=True)
    (folder / "upload.json").write_text("{")
    assert asked(tmp_path) == []
    assert "is damaged" in news(Workspace(tmp_path))[1][0]


def test_the_zoos_own_test(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    def test_of(sent: Sent) -> str:
        found = {one.folder: one for one in news(sent.workspace)[0]}[sent.folder]
        assert not found.problem
        tested = found.upload.tested
        return "none" if tested is None else f"{tested.state} {tested.said}".strip()

    sent = upload(a_package(tmp_path / "built", 1000))
    sent.go()
    assert test_of(sent) == "none", "this server has no such service, and nothing breaks"
    with server.runner():
        assert [test_of(sent) for _ in range(4)] == ["asked", "asked", "passed", "passed"]
        assert server.door.names().count("test") == 1

        # another package is another test
        described = b"name: Broken nuclei\ntype: model\n"
        upload(a_package(tmp_path / "broken", 2000, **{"bioimageio.yaml": described}))
        sent.go()
        said = [test_of(sent) for _ in range(3)]
        assert said == ["asked", "asked", "failed Reproduce test outputs: outputs differ by 0.3"]

        upload(a_package(tmp_path / "third", 3000))
        sent.go()
        assert test_of(sent) == "asked"

    # the service is gone with what it knew; the report that it left in the zoo is still there
    assert test_of(sent) == "asked"
    alias = sent.record.alias
    report = {"name": "test", "status": "passed", "tested_at": 1.0}
    made = server.asks(
        "create", server.root, artifact_id=f"bioimage-io/test-report-{alias}", type="staged-model",
        manifest={"name": "report"}, config={"permissions": {"*": "r"}}, stage=True,
    )  # fmt: skip
    for tested_at, state_then in ((1.0, "asked"), (4e9, "passed")):
        report["tested_at"] = tested_at
        if tested_at > 1:
            server.asks("edit", server.root, artifact_id=made["id"], stage=True)
        server.puts(made["id"], "staged/test_report.json", json.dumps(report).encode(), server.root)
        server.asks("commit", server.root, artifact_id=made["id"])
        assert test_of(sent) == state_then
    server.asks("delete", server.root, artifact_id=made["id"])
