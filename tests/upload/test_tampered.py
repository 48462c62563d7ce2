"""Records that somebody else has written: a token goes to no server that stands only there, and nothing waits."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from commands import run_zoowizard
from uploads import Told, a_package

from zoowizard.atomic import write_json
from zoowizard.cli import main
from zoowizard.drafts.workspace import Workspace
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.folder import OUTCOME, Result, create
from zoowizard.upload import huggingface, huggingface_send, state, zoo
from zoowizard.upload.huggingface import HubUpload, Place
from zoowizard.upload.package import Package
from zoowizard.upload.servers import Server
from zoowizard.upload.state import Upload

DONE, FAILED = range(2)
SECRET = "hf_a-secret-of-mine"
KEPT = "a-login-at-that-server"


class Listener(ThreadingHTTPServer):
    """A server that somebody else runs: it hears tokens, and answers that there is nothing."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Listening)
        self.heard: list[str] = []

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def tokens(self) -> set[str]:
        """The tokens that it was told since it was asked for the last time."""
        told, self.heard = {one.removeprefix("Bearer ") for one in self.heard if one}, []
        return told


class _Listening(BaseHTTPRequestHandler):
    server: Listener

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.heard.append(self.headers.get("Authorization", ""))
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *given: Any) -> None:
        """Nothing is to be read here."""


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Listener]:
    """Nobody named this server, though tokens for others are set."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("ZOOWIZARD_SERVER", "HF_ENDPOINT", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("ZOOWIZARD_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("ZOOWIZARD_TOKEN", SECRET)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    with Listener() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return a_package(tmp_path / "built", 1000)


def to_the_zoo(base: str, package: Package, **more: Any) -> Upload:
    size = package.archive.stat().st_size
    return Upload(
        key="0" * 32, base=base, title="Nuclei", package=str(package.archive), sha256=package.sha256, size=size,
        at=datetime.now(UTC), **more,
    )  # fmt: skip


def to_a_hub(base: str, package: Package) -> HubUpload:
    size = package.archive.stat().st_size
    return HubUpload(
        base=base, repository="ada/nuclei", title="Nuclei", package=str(package.archive), sha256=package.sha256,
        size=size, at=datetime.now(UTC),
    )  # fmt: skip


def ended_job(tmp_path: Path, folder: Path, target: str) -> str:
    """A job that failed at what is recorded in `folder`."""
    parent = tmp_path / "workspace" / "jobs"
    parent.mkdir(parents=True)
    job = create(parent, "upload", "x", {"folder": str(folder), "target": target})
    result = Result(status="failed", reason="network", seconds=1, ended=datetime.now(UTC))
    write_json(job / OUTCOME, result.model_dump(mode="json"))
    return job.name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "workspace" / "uploads" / "somebody-elses"
    path.mkdir(parents=True)
    return path


def test_the_variables_token_goes_to_the_server_that_was_named(
    listener: Listener,
    folder: Path,
    package: Package,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state.write(folder, to_the_zoo(listener.base, package, artifact_id="bioimage-io/x"))
    job, withdraw = ended_job(tmp_path, folder, "zoo"), ["uploads", "--withdraw", "Nuclei", "--yes"]
    assert main(["uploads"]) == DONE
    assert capsys.readouterr().out.startswith("Nuclei  queued  bioimage-io/x")
    assert main(withdraw) == FAILED
    no_login = f"you are not logged in at {listener.base[7:]}; run `zoowizard login --server {listener.base}`\n"
    assert capsys.readouterr().err == no_login
    assert main(["jobs", "retry", job]) == FAILED
    assert "you are not logged in at" in capsys.readouterr().err
    assert listener.tokens() == set()

    tokens = tmp_path / "config" / "zoowizard" / "tokens.json"
    tokens.parent.mkdir(parents=True)
    tokens.write_text(f'{{"{listener.base}": "{KEPT}"}}')
    tokens.chmod(0o600)
    for named, token in (("https://zoo.example.org", KEPT), (listener.base, SECRET)):
        monkeypatch.setenv("ZOOWIZARD_SERVER", named)
        for command in (["uploads"], withdraw, ["jobs", "retry", job]):
            main(command)
            assert listener.tokens() == {token}, command


def test_a_login_of_hugging_face_goes_to_the_hub_that_was_named(
    listener: Listener, folder: Path, package: Package, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    huggingface.write(folder, to_a_hub(listener.base, package))
    job = ended_job(tmp_path, folder, "huggingface")
    assert main(["uploads"]) == DONE
    assert f"Nuclei  queued  {listener.base[7:]}/ada/nuclei" in capsys.readouterr().out
    assert main(["jobs", "retry", job]) == FAILED
    refused = capsys.readouterr().err
    assert refused.count("\n") == 1
    assert refused.startswith(f"{folder / 'huggingface.json'}: base is {listener.base}, and your login is for http")
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text(SECRET)  # as `hf auth login` leaves it
    for secret in (SECRET, ""):
        with pytest.raises(ZoowizardError, match=r"huggingface\.json: base is .* set HF_ENDPOINT to its address"):
            huggingface_send.send(folder, secret, Told())
    assert listener.heard == []
    run_zoowizard(["jobs", "retry", job], HF_ENDPOINT=listener.base)
    assert listener.tokens() == {SECRET}


def test_what_is_queued_goes_where_it_was_meant_to(listener: Listener, package: Package, tmp_path: Path) -> None:
    workspace, server = Workspace(tmp_path / "workspace"), Server("https://zoo.example.org")
    place = Place("https://hub.example.org", "ada/nuclei")
    folder = state.folder_of(workspace, server, None, package.sha256)
    zoo.queue(folder, server, package)
    state.write(folder, to_the_zoo(listener.base, package))
    with pytest.raises(ZoowizardError, match=r"upload\.json: base and collection say .* https://zoo.example.org was"):
        zoo.queue(folder, server, package)
    folder = huggingface.folder_of(workspace, place, None, package.sha256)
    huggingface.queue(folder, place, package)
    huggingface.write(folder, to_a_hub(listener.base, package))
    with pytest.raises(ZoowizardError, match=r"huggingface\.json: base and repository say .* was meant"):
        huggingface.queue(folder, place, package)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def far_too_large(path: Path) -> None:
    os.truncate(path, 1 << 40)


def based(base: str) -> Callable[[Path], None]:
    return lambda path: write_json(path, {**json.loads(path.read_bytes()), "base": base})


@pytest.mark.parametrize(
    ("tamper", "sentence"),
    [
        (based("http://192.0.2.2:44267"), "base: http://192.0.2.2:44267 is without encryption, so others could read"),
        (based("http://[x"), "base: http://[x is no address of a server; write for example https://"),
        (based("https://ada:word@zoo.example.org"), "base: zoo.example.org is no address of a server"),
        (based(""), "base:  is no address of a server"),
        (a_pipe, "is no record of an upload: no plain file"),
        (a_folder, "is no record of an upload: no plain file"),
        (far_too_large, "or far too large; move it away"),
    ],
)
@pytest.mark.parametrize("room", [state, huggingface])
def test_a_record_that_is_told_in_one_sentence(
    room: Any, tamper: Callable[[Path], None], sentence: str, folder: Path, package: Package, tmp_path: Path
) -> None:
    record = (to_the_zoo if room is state else to_a_hub)("https://zoo.example.org", package)
    room.write(folder, record)
    path = folder / room.FILE
    tamper(path)
    workspace = Workspace(tmp_path / "workspace")
    found, [problem] = state.all_uploads(workspace) if room is state else huggingface.all_hub_uploads(workspace)
    assert found == []
    assert problem.startswith(str(path)) and sentence in problem and "\n" not in problem
