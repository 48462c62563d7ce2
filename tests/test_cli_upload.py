"""Uploading from the command line: a real package of the sample, a real server, jobs that outlive the terminal."""

import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from commands import Demo, run_zoowizard
from doors import Asked
from hypha_server import Zoo, an_open_zoo
from uploads import a_package, contents_of

from zoowizard.jobs.engines import engine_of
from zoowizard.jobs.folder import create
from zoowizard.jobs.state import read_job
from zoowizard.upload.package import Package

DONE, FAILED, WRONG_USE = range(3)
MODEL = "nuclei-yolo11n"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Zoo]:
    for zoo in an_open_zoo("moto"):
        monkeypatch.setenv("ZOOWIZARD_SERVER", zoo.base)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("ZOOWIZARD_WORKSPACE", str(tmp_path / "workspace"))
        monkeypatch.delenv("ZOOWIZARD_TOKEN", raising=False)
        yield zoo


@pytest.fixture
def built(demo: Demo, tmp_path: Path) -> Path:
    """A workspace in which the sample was built."""
    return Path(shutil.copytree(demo.workspace, tmp_path / "workspace"))


def test_from_login_to_review(server: Zoo, built: Path, demo: Demo, tmp_path: Path) -> None:
    refused = run_zoowizard(["upload"])
    assert refused.code == FAILED
    assert "you are not logged in" in refused.err and "zoowizard login" in refused.err
    [queued] = run_zoowizard(["uploads", "--json"]).json()
    assert (queued["model"], queued["phase"], queued["pending"]) == (MODEL, "queued", True)

    login = subprocess.Popen([sys.executable, "-m", "zoowizard", "login"], stdout=subprocess.PIPE, text=True)
    assert login.stdout is not None
    link = next(line.strip() for line in login.stdout if line.strip().startswith("http"))
    report = {"key": link.partition("key=")[2], "token": server.token(), "email": "ada@example.org"}
    httpx.post(f"{server.base}/public/services/hypha-login/report", json=report).raise_for_status()
    out = login.stdout.read()
    assert login.wait(60) == DONE and "logged in at 127.0.0.1" in out and "ada@example.org" in out
    who = run_zoowizard(["whoami", "--json"])
    assert who.json()["email"] == "ada@example.org" and server.token() not in who.out + who.err + out

    sent = run_zoowizard(["upload", "--pending", "--json"])
    assert sent.code == DONE, sent.err
    [answer] = sent.json()
    assert (answer["confirmed"], answer["submitted"], answer["status"]) == (True, False, "draft")
    assert "+ verify" in sent.err
    stored, wanted = server.files(answer["id"]), contents_of(Package(demo.package, "", ""))
    described = yaml.safe_load(stored.pop("bioimageio.yaml"))
    assert answer["id"] == f"bioimage-io/{described['id']}"
    assert {key: described[key] for key in ("name", "weights")} == {
        key: yaml.safe_load(wanted["rdf.yaml"])[key] for key in ("name", "weights")
    }
    del wanted["rdf.yaml"]
    assert stored == wanted
    [row] = run_zoowizard(["board", "--json"]).json()
    assert (row["Uploaded"], row["Status"]) == ("Yes", "Uploaded")

    submitted = run_zoowizard(["upload", MODEL, "--submit"])
    assert submitted.code == DONE and "the reviewers have been asked" in submitted.err
    assert answer["page"] in submitted.out
    server.says(answer["id"], {"userName": "Rita", "content": "More\nwords"}, status="in-revision")
    listed = run_zoowizard(["uploads"])
    assert f"in revision  {answer['id']}\n    {answer['page']}\n" in listed.out
    assert "    Rita: More\n        words\n" in listed.out and "this server offers none" in listed.out
    [listed_as_json] = run_zoowizard(["uploads", "--json"]).json()
    assert listed_as_json["said"] == [{"by": "Rita", "at": None, "text": "More\nwords"}]
    assert (listed_as_json["status"], listed_as_json["zoo_test"]) == ("in-revision", None)
    assert server.published() == []
    assert run_zoowizard(["upload", "--pending"]).err == "nothing is queued\n"

    unsure = run_zoowizard(["uploads", "--withdraw", MODEL])
    assert unsure.code == WRONG_USE and "say --yes" in unsure.err
    back = run_zoowizard(["uploads", "--withdraw", MODEL, "--reason", "a mistake", "--yes", "--json"])
    assert back.json()["status"] == "deletion-requested" and "only they can" in back.json()["said"]
    wish = server.asks("read", artifact_id=answer["id"], stage=True)["manifest"]["request_deletion"]
    assert wish["reason"] == "a mistake"
    assert f"to be deleted  {answer['id']}" in run_zoowizard(["uploads"]).out

    assert "logged out" in run_zoowizard(["logout"]).out
    assert run_zoowizard(["whoami"]).code == FAILED
    kept = b"".join(path.read_bytes() for path in built.rglob("*") if path.is_file())
    assert server.token().split(".")[2].encode() not in kept and report["token"].encode() not in kept


def test_an_upload_outlives_what_started_it(server: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = a_package(tmp_path, 1000)
    token = server.token()
    monkeypatch.setenv("ZOOWIZARD_TOKEN", token)
    refused = run_zoowizard(["upload", package.archive])
    assert refused.code == WRONG_USE and "was not tested here" in refused.err

    def is_file(asked: Asked) -> bool:
        return asked.function == "weights.onnx" and asked.method == "PUT"

    # work for which this computer has one place only does not keep an upload waiting
    busy = create(tmp_path / "workspace" / "jobs", "selftest", "busy", {"do": [{"wait": 600}]})
    monkeypatch.setenv("ZOOWIZARD_AT_ONCE", "1")
    engine_of(busy).start([busy])
    until(lambda: read_job(busy).state == "running")
    server.storage_door.fails(meets=is_file, bytes_per_s=100.0)
    started = run_zoowizard(["upload", package.archive, "--insist", "--detach", "--json"])
    assert started.code == DONE, started.err
    job = Path(started.json()["folder"])
    until(lambda: any(is_file(one) for one in server.storage_door.asked))
    again = run_zoowizard(["upload", package.archive, "--insist"])
    assert again.code == FAILED and "is being uploaded already" in again.err
    for part in job.iterdir():
        assert token.encode() not in part.read_bytes(), part
    words = subprocess.run(["ps", "axeww"], capture_output=True, check=True).stdout
    mine = [line for line in words.splitlines() if str(job).encode() in line]
    assert mine and not any(token.encode() in line for line in mine)

    assert "being uploaded already" in run_zoowizard(["upload", "--pending"]).err
    group = int((job / "worker").read_text())
    os.killpg(group, signal.SIGKILL)
    until(lambda: (job / "result.json").exists())
    [one] = run_zoowizard(["uploads", "--json"]).json()
    assert one["pending"] and one["phase"] == "sending"
    done = run_zoowizard(["upload", "--pending"])
    assert done.code == DONE, done.err
    [one] = run_zoowizard(["uploads", "--json"]).json()
    assert (one["phase"], one["status"], one["tests"], one["model"]) == ("verified", "draft", "unknown", None)
    assert server.files(one["id"])["weights.onnx"] == contents_of(package)["weights.onnx"]
    assert read_job(busy).state == "running"
    engine_of(busy).cancel(busy)


def test_an_upload_that_is_cancelled_goes_on_later(
    server: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = a_package(tmp_path, 1000)
    monkeypatch.setenv("ZOOWIZARD_TOKEN", server.token())
    server.storage_door.fails("weights.onnx", method="PUT", bytes_per_s=100.0)
    job = Path(run_zoowizard(["upload", package.archive, "--insist", "--detach", "--json"]).json()["folder"])
    until(lambda: any(one.function == "weights.onnx" for one in server.storage_door.asked))
    cancelled = run_zoowizard(["jobs", "cancel", job.name])
    assert cancelled.code == DONE and "cancelled" in cancelled.out
    again = run_zoowizard(["jobs", "retry", job.name, "--json"])
    assert again.code == DONE, again.err
    assert again.json()["confirmed"] and again.json()["job"] != job.name
    [one] = run_zoowizard(["uploads", "--json"]).json()
    assert (one["phase"], one["problem"], one["id"]) == ("verified", None, again.json()["id"])


def test_what_cannot_be_uploaded(server: Zoo, tmp_path: Path) -> None:
    for arguments, sentence in (
        (["upload"], "there is no package that is not there yet"),
        (["upload", "nothing-here"], "is no model"),
        (["upload", "x", "--pending"], "give it alone"),
        (["upload", "--pending", "--submit"], "give it alone"),
        (["upload", "--pending", "--new-version"], "give it alone"),
        (["uploads", "--withdraw", "nothing-here"], "no upload is called nothing-here"),
        (["uploads", "--reason", "x"], "is for --withdraw"),
        (["upload", "--server", "zoo", "x"], "is no address of a server"),
    ):
        ran = run_zoowizard(arguments)
        assert ran.code == WRONG_USE and sentence in ran.err and ran.err.count("\n") == 1, ran.err


def test_a_log_does_not_steer_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    log = create(tmp_path / "jobs", "selftest", "x", {"do": []}) / "log.txt"
    written = "\x1b]52;c;cm0gLXJmIH4K\x07\x1b[2Jfirst\na\tb\n\x1b]0;title\x07second\n"
    log.write_text(written)
    command = ["jobs", "log", "--workspace", str(tmp_path)]
    assert run_zoowizard(command).out == written, "a file or a program gets what was written"
    reader, terminal = pty.openpty()
    subprocess.run([sys.executable, "-m", "zoowizard", *command], stdout=terminal, check=True)
    os.close(terminal)
    shown = os.read(reader, 1 << 16)
    os.close(reader)
    assert shown == b"]52;c;cm0gLXJmIH4K[2Jfirst\r\na       b\r\n]0;titlesecond\r\n"


def until(holds: object) -> None:
    end = time.monotonic() + 120
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)
