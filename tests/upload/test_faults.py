"""Bad networks and bad moments: the upload ends whole, or with one sentence and what arrived kept."""

import http.client
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
from doors import Asked
from hypha_server import COLLECTION, Zoo
from uploads import MIB, QUICK, Sent, a_package

from zoowizard.errors import ZoowizardError
from zoowizard.upload.receipts import receipts
from zoowizard.upload.web import Patience

Upload = Callable[..., Sent]
EXPIRED = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
FULL = b"<Error><Code>XMinioStorageFull</Code><Message>Storage backend has reached its limit</Message></Error>"


def is_part(asked: Asked) -> bool:
    return asked.method == "PUT" and "partNumber" in asked.path


def sent_parts(server: Zoo) -> list[Asked]:
    return [one for one in server.storage_door.asked if is_part(one) and one.status == 200]


def test_a_network_on_which_everything_fails_once(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    package = a_package(tmp_path / "built", 11 * MIB)
    sent = upload(package)
    door, storage = server.door, server.storage_door
    door.fails("parse_token", status=502)
    door.fails("read", drop_after=0)
    door.fails("create", status=503, headers={"Retry-After": "0.1"})
    door.fails("put_file", lose_answer=True)
    door.fails("create-multipart-upload", status=500, body=b'{"detail": "database is locked"}')
    door.fails("complete-multipart-upload", lose_answer=True)
    door.fails("list_files", status=504)
    door.fails("get_file", drop_after=5)
    storage.fails("README.md", method="PUT", status=500, times=2)
    storage.fails("empty.txt", method="PUT", drop_after=0)
    storage.fails(meets=is_part, drop_after=1 * MIB)
    storage.fails(meets=is_part, lose_answer=True)
    storage.fails("weights.onnx", method="GET", status=503)
    sent.go()
    assert [fault.times for fault in (*door.faults, *storage.faults)] == [0] * 13
    sent.is_whole(package)


def test_addresses_that_have_ended_are_asked_for_anew(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    package = a_package(tmp_path / "built", 11 * MIB)
    sent = upload(package)
    server.storage_door.fails("README.md", method="PUT", status=403, body=EXPIRED)
    server.storage_door.fails(meets=is_part, status=403, body=EXPIRED)
    sent.go()
    sent.is_whole(package)
    assert server.door.names().count("put_file") == server.door.names().count("create-multipart-upload") == 2

    for one in (server.door, server.storage_door):
        one.clear()
    small = a_package(tmp_path / "small", 1000)
    other = upload(small, model="small")
    server.storage_door.fails("README.md", method="PUT", status=403, body=EXPIRED, times=9)
    with pytest.raises(ZoowizardError, match=r"did not let README.md in .*clock of this computer"):
        other.go()


def test_a_server_that_forgot_the_parts_gets_them_again(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    package = a_package(tmp_path / "built", 6 * MIB)
    sent = upload(package)
    forgot = b'{"detail": "Upload session expired or not found"}'
    server.door.fails(
        "complete-multipart-upload", status=400, body=forgot, headers={"Content-Type": "application/json"}
    )
    sent.go()
    sent.is_whole(package)


def test_what_the_storage_only_claims_to_have_is_sent_again(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    package = a_package(tmp_path / "built", 1000)
    sent = upload(package)
    server.storage_door.fails("weights.onnx", method="PUT", status=200, headers={"ETag": f'"{"0" * 32}"'})
    server.storage_door.fails("README.md", method="PUT", status=200, headers={"ETag": '"not-an-md5"'})
    sent.go()
    sent.is_whole(package)
    assert sent.told.steps == ["check", "draft", "send", "verify", "send", "verify"]


def test_a_full_storage_is_told_at_once_and_what_arrived_stays(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    package = a_package(tmp_path / "built", 11 * MIB)
    sent = upload(package)
    server.storage_door.fails(meets=lambda one: is_part(one) and "partNumber=3" in one.path, status=507, body=FULL)
    with pytest.raises(ZoowizardError, match=r"has no room for weights.onnx"):
        sent.go()
    assert sent.record.pending and "no room" in sent.record.problem
    [receipt] = receipts(sent.workspace, "nuclei")
    assert (receipt.state, receipt.confirmed) == ("begun", False)
    before = len(sent_parts(server))
    sent.go()
    sent.is_whole(package)
    assert len(sent_parts(server)) <= before + 2


def test_a_login_that_ends_and_another_one(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    package = a_package(tmp_path / "built", 1000)
    sent = upload(package)
    ended, good = server.token(days=-1), server.token()
    sent.token = lambda: ended
    with pytest.raises(ZoowizardError, match="does not take your token: it is expired"):
        sent.go()

    sent.token = lambda: good
    server.door.fails("put_file", status=401, times=9)
    with pytest.raises(ZoowizardError, match="run `zoowizard login`"):
        sent.go()
    server.door.clear()

    tokens = iter([ended, server.token("random-7f3a", "ada@example.org", parent="github|1001")])
    sent.token = lambda: next(tokens)  # logged in again while it runs
    sent.go()
    sent.is_whole(package)

    stranger = upload(package)
    stranger.token = lambda: server.token("github|2002", "eve@example.org")
    record = stranger.record
    record.phase, record.files = "sending", []
    (stranger.folder / "upload.json").write_text(record.model_dump_json())
    with pytest.raises(ZoowizardError, match="your account may not get addresses for the files"):
        stranger.go()


def test_an_account_that_may_not_make_drafts(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    sent = upload(a_package(tmp_path / "built", 1000))
    collection = server.asks("read", server.root, artifact_id=COLLECTION, silent=True)["config"]
    closed = {**collection, "permissions": {**collection["permissions"], "@": "r"}}
    server.asks("edit", server.root, artifact_id=COLLECTION, config=closed)
    try:
        with pytest.raises(
            ZoowizardError, match=r"your account may not make a draft at .* ask the zoo's team for the r"
        ):
            sent.go()
    finally:
        server.asks("edit", server.root, artifact_id=COLLECTION, config=collection)
    assert (sent.record.phase, sent.record.pending, sent.drafts()) == ("queued", True, [])
    sent.go()
    assert sent.drafts() == [sent.record.artifact_id]


def test_a_slow_link_is_no_failure(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    package = a_package(tmp_path / "built", 100_000)
    sent = upload(package)
    fault = server.storage_door.fails("weights.onnx", method="PUT", bytes_per_s=50_000.0)
    sent.go(Patience(tries_for_s=1.0, first_s=0.05))  # less than it takes
    assert fault.times == 0
    sent.is_whole(package)


class Proxy(BaseHTTPRequestHandler):
    """Passes on what is asked of others, as the proxy of an institute does."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]] = []

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _any(self) -> None:
        parts = urlsplit(self.path)
        self.asked.append(parts.netloc)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        behind = http.client.HTTPConnection(parts.netloc, timeout=60)
        behind.request(self.command, f"{parts.path}?{parts.query}", body, dict(self.headers))
        answer = behind.getresponse()
        content = answer.read()
        behind.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = _any  # noqa: N815  (the names are given)


def test_through_a_proxy(server: Zoo, upload: Upload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = a_package(tmp_path / "built", 6 * MIB)
    sent = upload(package)
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
        with monkeypatch.context() as only_here:
            for name in ("NO_PROXY", "no_proxy"):
                only_here.delenv(name, raising=False)
            only_here.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.server_port}")
            sent.go()
        proxy.shutdown()
    assert set(Proxy.asked) == {f"127.0.0.1:{server.door.port}", f"127.0.0.1:{server.storage_door.port}"}
    sent.is_whole(package)


def test_without_a_network_it_stays_queued(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    package = a_package(tmp_path / "built", 1000)
    sent = upload(package)
    server.door.fails(drop_after=0, times=10_000)
    with pytest.raises(ZoowizardError, match=r"the connection to .* broke off"):
        sent.go(Patience(tries_for_s=0.5, first_s=0.05))
    assert (sent.record.phase, sent.record.pending) == ("queued", True)
    server.door.clear()
    sent.go()
    sent.is_whole(package)


def test_a_draft_is_not_taken_for_gone_because_a_server_is_confused(
    server: Zoo, upload: Upload, tmp_path: Path
) -> None:
    sent = upload(a_package(tmp_path / "built", 1000))
    draft = sent.go().artifact_id
    plain = {"Content-Type": "application/json"}
    starting = b'{"success": false, "detail": "KeyError: Service not found: public/*:artifact-manager@*"}'
    server.door.fails("read", status=404, body=starting, headers=plain)
    assert sent.go().artifact_id == draft
    server.door.fails("read", status=404, body=b"<h1>gateway</h1>", headers={"Content-Type": "text/html"})
    with pytest.raises(ZoowizardError, match="is no server of a model zoo"):
        sent.go()
    assert sent.go().artifact_id == draft and sent.drafts() == [draft]

    key = sent.record.key
    server.asks("delete", server.root, artifact_id=draft)  # by the zoo's team
    sent.go()
    assert sent.record.key != key and len(sent.drafts()) == 1, "it begins anew"


def test_storage_that_checks_signatures(strict: Zoo, tmp_path: Path) -> None:
    package = a_package(tmp_path / "built", 11 * MIB)
    sent = Sent.maker(strict, tmp_path)(package)
    strict.storage_door.fails(meets=lambda one: is_part(one) and "partNumber=3" in one.path, status=507, body=FULL)
    strict.storage_door.fails("README.md", method="PUT", status=400, body=b"", times=1)
    with pytest.raises(ZoowizardError, match=r"did not take README.md \(HTTP 400\)"):
        sent.go()
    record = json.loads((sent.folder / "upload.json").read_text())
    for file in record["files"]:
        file["urls"] = {number: url.replace("Expires=17", "Expires=16") for number, url in file["urls"].items()}
    (sent.folder / "upload.json").write_text(json.dumps(record))
    with pytest.raises(ZoowizardError, match="has no room"):  # it really is signed, and got new addresses
        sent.go()
    strict.stop("storage")
    strict.start_storage()
    before = len(sent_parts(strict))
    sent.go()
    sent.is_whole(package)
    assert len(sent_parts(strict)) <= before + 2


def test_nothing_that_is_kept_or_said_holds_the_token(server: Zoo, upload: Upload, tmp_path: Path) -> None:
    package = a_package(tmp_path / "built", 1000)
    sent, token = upload(package), server.token()
    sent.token = lambda: token
    body = json.dumps({"detail": f"RemoteException: ValueError: token {token} is bad"}).encode()
    server.door.fails("put_file", status=400, body=body, headers={"Content-Type": "application/json"})
    with pytest.raises(ZoowizardError) as caught:
        sent.go()
    sent.go(QUICK)
    said = repr((caught.value, caught.value.__cause__, caught.value.__context__, sent.told))
    kept = b"".join(path.read_bytes() for path in sent.workspace.root.rglob("*") if path.is_file())
    assert token not in said and token.encode() not in kept
    assert (sent.folder / "upload.json").stat().st_mode & 0o077 == 0
