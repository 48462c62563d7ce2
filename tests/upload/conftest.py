"""A real server of the zoo for these tests, and packages to bring there."""

import hashlib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypha_server import Zoo, an_open_zoo
from uploads import Sent, a_package

from zoowizard.upload.package import Package
from zoowizard.upload.servers import VARIABLE


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Zoo]:
    """The zoo: a real Hypha server, with storage in memory that checks no signatures."""
    yield from _alone(an_open_zoo("moto"), monkeypatch, tmp_path)


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Zoo]:
    """The same with storage on the disk that checks signatures and expiry."""
    yield from _alone(an_open_zoo("s3rver"), monkeypatch, tmp_path)


def _alone(zoos: Iterator[Zoo], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Zoo]:
    """No settings or keyring of the person who runs the tests; the server is the only one there is."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.delenv("ZOOWIZARD_TOKEN", raising=False)
    for zoo in zoos:
        monkeypatch.setenv(VARIABLE, zoo.base)
        yield zoo


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return a_package(tmp_path / "built")


@pytest.fixture
def upload(server: Zoo, tmp_path: Path) -> Callable[..., Sent]:
    """A way to bring packages to the server as one person."""
    return Sent.maker(server, tmp_path)


@pytest.fixture
def deflated(tmp_path: Path, package: Package) -> Package:
    """The same package as somebody else's program would write it."""
    path = tmp_path / "deflated.zip"
    with zipfile.ZipFile(package.archive) as stored, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in stored.namelist():
            archive.writestr(name, stored.read(name))
    return Package(path, "Nuclei", hashlib.sha256(path.read_bytes()).hexdigest())
