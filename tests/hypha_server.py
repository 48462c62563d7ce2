"""A real Hypha server on loopback, with real storage behind it and a collection that is shaped like the zoo's.

Its environments are built once and kept in the person's cache folder. In front of server and storage stands a `Door`
each, through which all goes, so that a test can see what was asked for, and let things go wrong on the way.
"""

import atexit
import base64
import contextlib
import fcntl
import functools
import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
import platformdirs
from doors import Door

HERE = Path(__file__).parent / "hypha"
STARTS_WITHIN_S = 180.0
COLLECTION = "bioimage-io/bioimage.io"
REVIEWER = "reviewer-1"
NAMES = "https://amun.ai/"
ADJECTIVES = (HERE / "adjectives.txt").read_text(encoding="utf-8").split()
"""So many that a name is rarely drawn twice: the server answers 500 then."""
ANIMALS = {
    "shark": "🦈",
    "panda": "🐼",
    "otter": "🦦",
    "lynx": "🐈",
    "heron": "🐦",
    "snail": "🐌",
    "whale": "🐳",
    "fox": "🦊",
}
Storage = Literal["moto", "s3rver"]


@dataclass
class Zoo:
    """The server. `base` is its address through the `door`; files go through `storage_door`."""

    folder: Path
    storage: Storage
    port: int
    storage_port: int
    door: Door
    storage_door: Door
    secret: str = "a-test-secret-that-is-not-a-real-key"
    root: str = "zw0-local-only-Xb7qTn5VYc3RkLm9pEwJ2s"
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.door.port}"

    def token(
        self,
        account: str = "github|1001",
        email: str = "ada@example.org",
        days: float = 1.0,
        parent: str = "",
        workspace: str = "",
    ) -> str:
        """A token as the server's own login makes it; with fewer than 0 days one that is expired.

        `workspace`: for that one instead of the account's own.
        """
        now, home = int(time.time()), workspace or f"ws-user-{parent or account}"
        claims = {
            "iss": NAMES,
            "aud": "https://amun-ai.eu.auth0.com/api/v2/",
            "sub": account,
            "iat": now,
            "exp": now + int(days * 86400),
            "scope": f"ws:{home}#a wid:{home}",
            "gty": "client-credentials",
            f"{NAMES}roles": [],
            **({f"{NAMES}email": email} if email else {}),
            **({f"{NAMES}parent": parent} if parent else {}),
        }
        head = _coded({"alg": "HS256", "typ": "JWT"})
        signed = f"{head}.{_coded(claims)}"
        sign = hmac.new(self.secret.encode(), signed.encode(), hashlib.sha256).digest()
        return f"{signed}.{base64.urlsafe_b64encode(sign).rstrip(b'=').decode()}"

    @property
    def reviewer(self) -> str:
        """The token of one who may do anything with the collection."""
        return self.token(REVIEWER, "reviewer@example.org")

    def asks(self, function: str, token: str | None = None, service: str = "artifact-manager", **arguments: Any) -> Any:
        """What the server answers, asked past the door; as the reviewer, if nobody else is named."""
        where = f"http://127.0.0.1:{self.port}/public/services/{service}/{function}"
        bearer = {"Authorization": f"Bearer {self.reviewer if token is None else token}"}
        answer = httpx.post(where, json=arguments, headers=bearer, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def staged(self) -> list[dict[str, Any]]:
        """All drafts, with their manifest as it was when they were made."""
        found: list[dict[str, Any]] = self.asks("list", parent_id=COLLECTION, stage=True, limit=1000, silent=True)
        return found

    def published(self) -> list[dict[str, Any]]:
        """What stands there without a reviewer having accepted it, in this test or in one before."""
        found: list[dict[str, Any]] = self.asks("list", parent_id=COLLECTION, stage=False, limit=1000, silent=True)
        return [one for one in found if one["id"] not in self.accepted]

    def files(self, artifact_id: str, version: str = "") -> dict[str, bytes]:
        """What is stored of a draft, or of a published version: path → content."""
        paths = self.paths(artifact_id, version=version)
        if not paths:
            return {}
        which = {"version": version or "stage"}
        where = self.asks("get_file", artifact_id=artifact_id, file_path=paths, silent=True, **which)
        return {path: httpx.get(where[path], timeout=60).content for path in paths}

    def paths(self, artifact_id: str, folder: str = "", version: str = "") -> list[str]:
        """The files of a draft, or of a published version."""
        paths: list[str] = []
        which = {"version": version or "stage"}
        for entry in self.asks("list_files", artifact_id=artifact_id, dir_path=folder or None, **which):
            path = f"{folder}/{entry['name']}" if folder else entry["name"]
            paths += self.paths(artifact_id, path, version) if entry["type"] == "directory" else [path]
        return paths

    def start(self) -> None:
        """Start storage and server, and wait until they are ready."""
        environment = {
            **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
            "HYPHA_JWT_SECRET": self.secret,
            "HYPHA_LOGLEVEL": "WARNING",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.start_storage(environment)
        key = "moto" if self.storage == "moto" else "S3RVER"
        s3 = f"http://127.0.0.1:{self.storage_door.port}"
        told = ["--host", "127.0.0.1", "--port", str(self.port), "--public-base-url", self.base, "--enable-s3"]
        told += ["--endpoint-url", s3, "--endpoint-url-public", s3, "--access-key-id", key, "--secret-access-key", key]
        told += ["--region-name", "us-east-1", "--root-token", self.root]
        told += ["--database-uri", f"sqlite+aiosqlite:///{self.folder}/hypha.db"]
        self._start("hypha", [str(python_environment() / "bin" / "python"), "-m", "hypha.server", *told], environment)
        self._wait("hypha", f"http://127.0.0.1:{self.port}/health/readiness")

    def start_storage(self, environment: dict[str, str] | None = None) -> None:
        at = str(self.storage_port)
        if self.storage == "moto":
            command = [str(python_environment() / "bin" / "moto_server"), "-H", "127.0.0.1", "-p", at]
        else:
            disk = self.folder / "s3"
            disk.mkdir(exist_ok=True)
            command = [str(storage_environment() / "node_modules" / ".bin" / "s3rver")]
            command += ["-a", "127.0.0.1", "-p", at, "-d", str(disk), "--no-vhost-buckets"]
        self._start("storage", command, environment or dict(os.environ))
        self._wait("storage", f"http://127.0.0.1:{at}/")

    def stop(self, *names: str) -> None:
        """End the processes of these names, or all."""
        for name in names or ("hypha", "storage"):
            process = self.processes.pop(name, None)
            if process is not None:
                process.send_signal(signal.SIGTERM if name == "hypha" else signal.SIGKILL)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    @contextlib.contextmanager
    def runner(self) -> Iterator[None]:
        """With a service that tests models, as the zoo has one; see `hypha/runner.py`."""
        command = [str(python_environment() / "bin" / "python"), str(HERE / "runner.py")]
        told = [f"http://127.0.0.1:{self.port}", self.token("runner", "", workspace="bioimage-io")]
        with (self.folder / "runner.log").open("ab") as log:
            child = subprocess.Popen([*command, *told], stdout=subprocess.PIPE, stderr=log)
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n", (self.folder / "runner.log").read_text()[-3000:]
            yield
        finally:
            child.kill()
            child.communicate()

    def publish(self, artifact_id: str) -> str:
        """What a reviewer does on the zoo's website to accept a model; gives the name of the new version."""
        accepted = self.asks("commit", artifact_id=artifact_id, comment="accepted")
        self.accepted.add(accepted["id"])
        manifest = {**accepted["manifest"], "status": "published"}
        self.asks("edit", artifact_id=artifact_id, manifest=manifest)
        return str(accepted["versions"][-1]["version"])

    def says(self, artifact_id: str, *comments: dict[str, Any], status: str = "") -> None:
        """What a reviewer does there to say something of a model, and to give it another status."""
        self.puts(artifact_id, "comments.json", json.dumps({"comments": comments, "lastUpdated": ""}).encode())
        if status:
            manifest = self.asks("read", artifact_id=artifact_id, stage=True, silent=True)["manifest"]
            self.asks("edit", artifact_id=artifact_id, manifest={**manifest, "status": status}, stage=True)

    def puts(self, artifact_id: str, path: str, content: bytes, token: str | None = None) -> None:
        """Put a file into what is staged."""
        where = self.asks("put_file", token, artifact_id=artifact_id, file_path=path)
        httpx.put(where, content=content, headers={"Content-Type": ""}, timeout=60).raise_for_status()

    def make_collection(self) -> None:
        """What the live collection is like: `@` must hold "draft", or nobody can contribute."""
        owned = {
            "name": "bioimage-io",
            "id": "bioimage-io",
            "description": "zoo",
            "persistent": True,
            "owners": ["root"],
        }
        self.asks("create_workspace", self.root, service="ws", config=owned, overwrite=True)
        everybody = ["read", "get_file", "list", "list_files", "create", "draft"]
        self.asks(
            "create",
            self.root,
            artifact_id=COLLECTION,
            type="collection",
            manifest={"name": "BioImage Model Zoo", "description": "for tests", "id": COLLECTION},
            config={
                "permissions": {"*": "r", "@": everybody, REVIEWER: "rw+", "root": "*"},
                "id_parts": {
                    "animal_adjective": ADJECTIVES,
                    "animal": list(ANIMALS),
                    "animal_emoji": list(ANIMALS.values()),
                },
            },
        )

    def _start(self, name: str, command: Sequence[str], environment: dict[str, str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _wait(self, name: str, where: str) -> None:
        end = time.monotonic() + STARTS_WITHIN_S
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(where, timeout=5).status_code < 500:
                    return
            log = self.folder / f"{name}.log"
            assert self.processes[name].poll() is None and time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.1)


@functools.cache
def zoo(storage: Storage = "moto") -> Zoo:
    """The server of this session, started when it is first asked for."""
    folder = Path(tempfile.mkdtemp(prefix="zoowizard-zoo-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    port, storage_port = free_ports(2)
    made = Zoo(folder, storage, port, storage_port, Door(port), Door(storage_port))
    atexit.register(made.stop)
    made.start()
    made.make_collection()
    return made


def python_environment() -> Path:
    """The folder of the server's own Python environment."""
    pins = HERE / "requirements.txt"

    def build(folder: Path) -> None:
        uv = shutil.which("uv")
        assert uv is not None, "the tests of uploads need uv (https://docs.astral.sh/uv/)"
        subprocess.run([uv, "venv", "--quiet", "--python", "3.11", str(folder)], check=True)
        into = ["--no-config", "--python", str(folder / "bin" / "python")]  # else with what zoowizard is pinned to
        subprocess.run([uv, "pip", "install", "--quiet", *into, "-r", str(pins)], cwd=folder, check=True)

    return _built_once("hypha", pins.read_bytes(), build)


def storage_environment() -> Path:
    """The folder of a storage that checks signatures and expiry, and keeps its files on the disk."""
    pins = HERE / "package.json"

    def build(folder: Path) -> None:
        npm = shutil.which("npm")
        assert npm is not None, "the tests of uploads need npm, of Node.js 18 or newer"
        folder.mkdir()
        shutil.copy(pins, folder)
        quietly = ["--silent", "--no-audit", "--no-fund", "--no-package-lock"]
        subprocess.run([npm, "install", *quietly], cwd=folder, check=True)

    return _built_once("s3rver", pins.read_bytes(), build)


@functools.cache
def _built_once(name: str, pins: bytes, build: Any) -> Path:
    """Build an environment where nobody did before; one that was not finished begins anew."""
    root = Path(platformdirs.user_cache_dir("zoowizard-tests", appauthor=False))
    root.mkdir(parents=True, exist_ok=True)
    folder = root / f"{name}-{hashlib.sha256(pins).hexdigest()[:12]}"
    marker = folder / "complete"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not marker.exists():
            shutil.rmtree(folder, ignore_errors=True)
            build(folder)
            marker.touch()
    return folder


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on now."""
    with contextlib.ExitStack() as held:
        found = []
        for _ in range(number):
            listener = held.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            found.append(listener.getsockname()[1])
        return found


def _coded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part, separators=(",", ":")).encode()).rstrip(b"=").decode()


def an_open_zoo(storage: Storage = "moto") -> Iterator[Zoo]:
    """The server for one test: its doors are without faults before and after."""
    server = zoo(storage)
    for door in (server.door, server.storage_door):
        door.clear()
    yield server
    for door in (server.door, server.storage_door):
        door.clear()
