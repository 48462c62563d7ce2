"""Logging in by link and code, where the token is kept, and who one is; the browser's part is played by the test."""

import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import keyring
import keyring.backend
import keyring.backends.null
import pytest
from hypha_server import Zoo

from zoowizard.errors import WrongUse, ZoowizardError
from zoowizard.upload.answers import TokenRefused
from zoowizard.upload.hypha import Hypha
from zoowizard.upload.login import log_in, who_am_i
from zoowizard.upload.servers import Server, server_of
from zoowizard.upload.tokens import Token, expiry_of, file_of_tokens, forget_token, keep_token, token_for
from zoowizard.upload.web import Patience

ONCE = Patience(tries_for_s=0.0)


class Ring(keyring.backend.KeyringBackend):
    """A keyring that keeps what it is given."""

    priority = 5  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


class Broken(Ring):
    """A keyring that nobody has opened."""

    def get_password(self, service: str, username: str) -> str | None:
        raise RuntimeError("locked")

    def set_password(self, service: str, username: str, password: str) -> None:
        raise RuntimeError("locked")


@pytest.fixture(autouse=True)
def no_ring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    before = keyring.get_keyring()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("ZOOWIZARD_TOKEN", raising=False)
    keyring.set_keyring(keyring.backends.null.Keyring())
    yield
    keyring.set_keyring(before)


def test_a_login_by_link(server: Zoo) -> None:
    shown: list[str] = []

    def browser(link: str) -> None:
        shown.append(link)
        page = httpx.get(link, follow_redirects=True)
        assert page.status_code == 200 and "<html" in page.text
        key = link.partition("key=")[2].partition("&")[0]
        report = {"key": key, "token": server.token(), "email": "ada@example.org"}
        httpx.post(f"{server.base}/public/services/hypha-login/report", json=report).raise_for_status()

    known = log_in(server_of(), lambda link: threading.Timer(0.5, browser, [link]).start(), looks_every_s=0.2)
    assert known.person.email == "ada@example.org" and known.person.account == "github|1001"
    assert not known.ends_soon and str(datetime.now().year) in known.ends
    path = file_of_tokens()
    assert known.source == str(path) and path.stat().st_mode & 0o777 == 0o600
    again = who_am_i(server_of())
    assert (again.person, again.source) == (known.person, known.source)
    assert server.token() not in repr((known, token_for(server_of())))
    assert forget_token(server_of()) and not path.exists() and not forget_token(server_of())
    with pytest.raises(TokenRefused, match="not logged in"):
        who_am_i(server_of())

    with pytest.raises(ZoowizardError, match="nobody logged in by the link in time"):
        log_in(server_of(), lambda link: None, waits_s=0.1, looks_every_s=0.1)
    with Hypha(server_of(), lambda: "", ONCE) as hypha, pytest.raises(ZoowizardError, match="not valid any more"):
        hypha.check_login("made-up")


def test_the_keyring_comes_first_and_a_broken_one_is_none(tmp_path: Path) -> None:
    server, other = Server("https://zoo.example.org"), Server("https://other.example.org")
    keyring.set_keyring(Broken())
    assert keep_token(server, "first") == str(file_of_tokens())
    ring = Ring()
    keyring.set_keyring(ring)
    assert keep_token(server, "second") == "the keyring of this computer"
    assert not file_of_tokens().exists(), "an older token must not come back"
    assert ring.kept == {("zoowizard", server.base): "second"}
    kept = token_for(server)
    assert kept is not None and kept.secret == "second"
    assert token_for(other) is None
    assert token_for(server, {"ZOOWIZARD_TOKEN": " third\n"}) == Token("third", "the variable ZOOWIZARD_TOKEN")
    assert forget_token(server) and token_for(server) is None


def test_a_file_that_others_can_read_is_not_used() -> None:
    server = Server("https://zoo.example.org")
    keep_token(server, "secret-of-mine")
    path = file_of_tokens()
    path.chmod(0o644)
    with pytest.raises(ZoowizardError, match="chmod 600") as caught:
        token_for(server)
    assert "secret-of-mine" not in str(caught.value)
    path.chmod(0o600)
    path.write_text("{")
    with pytest.raises(ZoowizardError, match="is damaged; remove it"):
        token_for(server)
    keep_token(server, "another")
    assert token_for(server) == Token("another", str(path))


def test_when_a_token_ends(server: Zoo) -> None:
    ends = expiry_of(server.token(days=2))
    assert ends is not None and abs(ends - datetime.now(UTC) - timedelta(days=2)) < timedelta(minutes=1)
    for strange in ("", "opaque", "a.b.c", "a.e30.c", "a.W10.c"):
        assert expiry_of(strange) is None
    with pytest.raises(TokenRefused, match=r"your login at .* ended on .*; run `zoowizard login`"):
        who_am_i(server_of(), Token(server.token(days=-1), "here"))
    assert who_am_i(server_of(), Token(server.token(days=0.01), "here")).ends_soon


def test_tokens_that_a_server_does_not_take(server: Zoo) -> None:
    head, claims, sign = server.token().split(".")
    for wrong in (f"{head}.{claims}.{sign[::-1]}", "nonsense", "ä", "two words"):
        with pytest.raises(TokenRefused, match="run `zoowizard login`") as caught:
            who_am_i(server_of(), Token(wrong, "here"))
        assert len(wrong) < 5 or wrong not in str(caught.value)


def test_which_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZOOWIZARD_SERVER", raising=False)
    assert server_of() == Server("https://hypha.aicell.io", "bioimage-io/bioimage.io")
    assert server_of(environment={"ZOOWIZARD_SERVER": "https://zoo.example.org/"}).base == "https://zoo.example.org"
    assert server_of("http://127.0.0.1:9527").host == "127.0.0.1:9527"
    for wrong in (
        "zoo",
        "ftp://zoo.example.org",
        "https://",
        "https://a:b@zoo.org",
        "https://zoo.org:x",
        "https://[::",
    ):
        with pytest.raises(WrongUse, match=r"--server: .* is no address of a server"):
            server_of(wrong)
    with pytest.raises(WrongUse, match="without encryption"):
        server_of("http://zoo.example.org")


def says(base: str, **variables: str) -> str:
    with (
        pytest.MonkeyPatch.context() as patched,
        pytest.raises(ZoowizardError) as caught,
    ):
        for name, value in variables.items():
            patched.setenv(name, value)
        who_am_i(Server(base), Token("some-token", "here")) if base else None
    assert "some-token" not in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_no_server_of_a_zoo(server: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoowizard.upload.login.QUICK", ONCE)
    server.door.fails("parse_token", status=404, body=b"<h1>Not here</h1>", headers={"Content-Type": "text/html"})
    assert "is no server of a model zoo; check --server" in says(server.base)
    server.door.fails("parse_token", status=500)
    assert "could not ask who you are (HTTP 500: it did not say why)" in says(server.base)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        assert "could not be reached: nobody answers there" in says(f"http://127.0.0.1:{port}")
        assert "its name is not known here" in says("https://no-such-zoo.invalid")
        assert "proxy" in says("https://zoo.example.org", HTTPS_PROXY="nonsense://here").lower()
        assert "SSL_CERT_DIR names cannot be read" in says("https://zoo.example.org", SSL_CERT_FILE="/etc/hostname")
        through = says("https://zoo.example.org", HTTPS_PROXY=f"http://127.0.0.1:{port}")
        assert "could not be reached" in through
        refusing = says("https://zoo.example.org", HTTPS_PROXY=server.base)
        assert "the proxy on the way to zoo.example.org refused" in refusing
    portal = b"<html>Welcome to Hotel Beaulac</html>"
    server.door.fails("parse_token", status=200, body=portal, headers={"Content-Type": "text/html"})
    assert "may want a login in a browser first" in says(server.base)
    server.door.fails("parse_token", status=302, headers={"Location": "http://hotel.example"})
    assert "may want a login in a browser first" in says(server.base)
    server.door.fails("parse_token", status=200, body=b'{"id": ', headers={"Content-Type": "application/json"})
    assert "was cut off" in says(server.base)


def test_a_certificate_that_is_not_to_be_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoowizard.upload.login.QUICK", ONCE)
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(connection, server_side=True) as secured:
                    while b'"token"' not in secured.recv(65536):
                        pass
                    secured.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            except OSError:
                connection.close()

    threading.Thread(target=answer, daemon=True).start()
    base = f"https://localhost:{listener.getsockname()[1]}"
    assert "certificate of localhost" in says(base) and "SSL_CERT_FILE" in says(base)
    assert "is no server of a model zoo" in says(base, SSL_CERT_FILE=str(certificate)), "an own authority is heeded"
    listener.close()


def self_signed(folder: Path) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return certificate, secret
