"""Uploads that are killed: at whatever moment, calling again ends with one draft, whole, and nothing sent twice."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from doors import Asked, Door
from hypha_server import Zoo
from uploads import MIB, Sent, a_package

from zoowizard.upload.package import Package

Upload = Callable[..., Sent]
CHILD = """
import os, sys
from pathlib import Path
from uploads import QUICK, SMALL, Told
from zoowizard.upload import zoo
zoo.send(Path(sys.argv[1]), lambda: os.environ["TOKEN_OF_TEST"], Told(), SMALL, QUICK)
"""
KILLS = (
    ("read", "before"),
    ("create", "before"),
    ("create", "after"),
    ("put_file", "after"),
    ("README.md", "after"),
    ("create-multipart-upload", "after"),
    ("part", "after"),
    ("part", "before"),
    ("complete-multipart-upload", "before"),
    ("complete-multipart-upload", "after"),
    ("list_files", "after"),
    ("get_file", "after"),
)
"""What is asked for in the order of an upload, and whether it is killed before or after the server did it."""

NEW_VERSION_KILLS = (
    ("edit", "before"),
    ("edit", "after"),
    ("README.md", "after"),
    ("list_files", "after"),
    ("edit", "before"),
    ("edit", "after"),
)
"""The same for a new version: the first edit stages it, the last one asks for the review."""


def killed(sent: Sent, door: Door, what: str, when: str) -> None:
    """Let it go on in a process of its own, until it is killed at this moment."""
    child: list[subprocess.Popen[bytes]] = []

    def kill() -> None:
        child[0].send_signal(signal.SIGKILL)
        child[0].wait()

    def meets(asked: Asked) -> bool:
        is_part = "partNumber" in asked.path and asked.method == "PUT"
        return is_part if what == "part" else asked.function == what and not is_part

    if when == "after":
        door.fails(meets=meets, happened=kill)
    else:

        class Killing:
            def wait(self, timeout: float) -> None:
                kill()

        door.fails(meets=meets, hold=Killing(), drop_after=0)
    environment = {**os.environ, "TOKEN_OF_TEST": sent.token(), "PYTHONPATH": str(Path(__file__).parent.parent)}
    child.append(subprocess.Popen([sys.executable, "-c", CHILD, str(sent.folder)], env=environment))
    assert child[0].wait(120) == -signal.SIGKILL, f"it was never killed {when} {what}"
    door.faults.clear()


def test_killed_at_every_step(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    package = a_package(tmp_path / "built", 12 * MIB)  # three parts
    sent = upload(package)
    for what, when in KILLS:
        storage = what in ("README.md", "part")
        killed(sent, server.storage_door if storage else server.door, what, when)
    sent.go()
    sent.is_whole(package)
    put = Counter(
        one.path.partition("Signature")[0]
        for one in server.storage_door.asked
        if one.method == "PUT" and one.status == 200 and ("Signature" in one.path)
    )
    parts = {path: times for path, times in put.items() if "partNumber" in path}
    kills_at_parts, at_once = 2, 2
    assert len({path.partition("partNumber=")[2] for path in parts}) == 3
    assert sum(parts.values()) <= 3 * 2 + kills_at_parts * at_once, "finished parts are not sent again"
    made = [one.status for one in server.door.asked if one.function == "create" and one.status]
    assert [status for status in made if status != 500] == [200], made  # 500: a name that it drew was taken


def test_a_new_version_killed_at_every_step(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    first, second = a_package(tmp_path / "first", 1000), a_package(tmp_path / "second", 2000)
    sent = upload(first)
    name = sent.go().artifact_id
    server.publish(name)
    server.door.clear()
    upload(second, new_version=True, ask=True)
    for what, when in NEW_VERSION_KILLS:
        killed(sent, server.storage_door if what == "README.md" else server.door, what, when)
        sent.holds(first, "v0")
    record = sent.go()
    assert (record.phase, record.status) == ("submitted", "in-review")
    sent.holds(second)
    sent.holds(first, "v0")
    assert [one["version"] for one in sent.draft()["versions"]] == ["v0"]
    edits = [one.status for one in server.door.asked if one.function == "edit" and one.status]
    assert edits == [200, 200], "one new version, asked once to be reviewed"
    assert not {"create", "commit"} & set(server.door.names())
    server.asks("delete", server.root, artifact_id=name)


def test_what_has_arrived_is_not_sent_again(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    package = a_package(tmp_path / "built", 24 * MIB)  # five parts, two at once
    sent = upload(package)
    seen: list[str] = []

    def third(asked: Asked) -> bool:
        if "partNumber" in asked.path and asked.method == "PUT":
            seen.append(asked.path)
            return len(seen) == 4
        return False

    fault = server.storage_door.fails(meets=third, bytes_per_s=100_000.0)
    environment = {**os.environ, "TOKEN_OF_TEST": sent.token(), "PYTHONPATH": str(Path(__file__).parent.parent)}
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(sent.folder)], env=environment)
    end = time.monotonic() + 60
    while sum(bool(part.etag) for file in sent.record.files for part in file.parts if len(file.parts) > 1) < 4:
        assert time.monotonic() < end
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert fault.times == 0
    arrived = {part.md5 for file in sent.record.files for part in file.parts if part.etag}
    server.storage_door.clear()
    server.door.clear()
    started = time.monotonic()
    sent.go()
    resumed_s = time.monotonic() - started
    sent.is_whole(package)
    bodies = sum(one.received for one in server.storage_door.asked if one.method == "PUT" and "partNumber" in one.path)
    missing = sum(part.size for file in sent.record.files for part in file.parts if part.md5 not in arrived)
    assert bodies == missing <= 5 * MIB
    assert not {"create", "create-multipart-upload", "put_file"} & set(server.door.names())
    assert resumed_s < 60


@pytest.mark.parametrize("when", ["lost", "never came"])
def test_a_draft_whose_answer_was_lost_is_not_made_twice(
    server: Zoo, upload: Upload, package: Package, when: str, tmp_path: Path
) -> None:
    small = a_package(tmp_path / "small", 100)
    sent = upload(small)
    if when == "lost":
        server.door.fails("create", lose_answer=True)
    else:
        server.door.fails("create", drop_after=10)
    sent.go()
    assert sent.drafts() == [sent.record.artifact_id]
