"""A hub of our own, which speaks the protocol of Hugging Face as huggingface_hub's client speaks it: users with tokens,
repositories with commits, and a storage for large files on another port, for which it gives addresses that end.
"""

import base64
import contextlib
import hashlib
import json
import math
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import yaml
from doors import Door, _Server

ATTRIBUTES = b"*.onnx filter=lfs diff=lfs merge=lfs -text\n"
LARGE = (".onnx", ".pt", ".npy", ".tif", ".zip")
REGULAR_BYTES = 10_000_000
PART_BYTES = 1 << 20


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, sentence: str, code: str = "") -> None:
        super().__init__(sentence)
        self.status, self.code = status, code


@dataclass
class Stored:
    """A file in a commit: its content, and whether it is kept as a large one."""

    content: bytes
    large: bool

    def told(self, path: str) -> dict[str, Any]:
        blob = hashlib.sha1(f"blob {len(self.content)}\0".encode() + self.content).hexdigest()
        said: dict[str, Any] = {"type": "file", "path": path, "size": len(self.content), "oid": blob}
        if self.large:
            digest = hashlib.sha256(self.content).hexdigest()
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(self.content)}\n"
            said["oid"] = hashlib.sha1(f"blob {len(pointer)}\0{pointer}".encode()).hexdigest()
            said["lfs"] = {"oid": digest, "size": len(self.content), "pointerSize": len(pointer)}
        return said


@dataclass
class Repo:
    private: bool
    commits: list[tuple[str, dict[str, Stored]]] = field(default_factory=list)

    @property
    def head(self) -> str:
        return self.commits[-1][0]

    def at(self, revision: str) -> dict[str, Stored]:
        if revision == "main":
            return self.commits[-1][1]
        for commit, files in self.commits:
            if commit == revision:
                return files
        raise Refused(404, "no such revision", "RevisionNotFound")

    def add(self, files: dict[str, Stored]) -> str:
        told = [self.commits[-1][0] if self.commits else "", *(str(one.told(path)) for path, one in files.items())]
        self.commits.append((hashlib.sha1("".join(told).encode()).hexdigest(), files))
        return self.head


@dataclass
class Hub:
    """`people`: token → name and role. Who has a right to write: each below their own name and below `lab`."""

    people: dict[str, tuple[str, str]] = field(default_factory=lambda: {"hf_ada": ("ada", "write")})
    repos: dict[str, Repo] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    room: float = math.inf
    verifies_at: str = ""
    """Where large files are said to be verified, if not here."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    door: Door = field(init=False)
    storage: Door = field(init=False)

    def __post_init__(self) -> None:
        self.door, self.storage = Door(_listen(self, _Api)), Door(_listen(self, _Storage))

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.door.port}"

    def files(self, name: str) -> dict[str, bytes]:
        return {path: one.content for path, one in self.repos[name].at("main").items() if path != ".gitattributes"}

    def change(self, name: str, path: str, content: bytes) -> None:
        """Somebody edits a file on the hub's own pages."""
        repo = self.repos[name]
        repo.add({**repo.at("main"), path: Stored(content, False)})

    def make(self, name: str, private: bool = True, **files: bytes) -> None:
        repo = self.repos[name] = Repo(private)
        repo.add({".gitattributes": Stored(ATTRIBUTES, False)})
        for path, content in files.items():
            self.change(name, path, content)

    def put(self) -> list[tuple[str, int]]:
        """What was sent to the storage and arrived: which object, or part of one, and how many bytes."""
        return [(one.path, one.received) for one in self.storage.asked if one.method == "PUT" and one.status == 200]


def a_hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    for door in (hub.door, hub.storage):
        door._server.shutdown()
        door._server.server_close()


def _listen(hub: Hub, kind: type["_Handler"]) -> int:
    server = _Server(("127.0.0.1", 0), type("Handler", (kind,), {"hub": hub}))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return int(server.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[Hub]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:  # it broke off
            self.close_connection = True
            return
        try:
            with self.hub.lock:
                status, headers, answer = 200, *self.answer(unquote(urlsplit(self.path).path), body)
        except Refused as refused:
            status, answer = refused.status, json.dumps({"error": str(refused)}).encode()
            headers = {"X-Error-Message": str(refused), **({"X-Error-Code": refused.code} if refused.code else {})}
        self.send_response_only(status)
        for name, value in {**headers, "Content-Length": str(len(answer))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):
                self.wfile.write(answer)

    do_GET = do_HEAD = do_POST = do_PUT = _any  # noqa: N815  (the names are given)

    def answer(self, path: str, body: bytes) -> tuple[dict[str, str], bytes]:
        raise NotImplementedError


class _Storage(_Handler):
    def answer(self, path: str, body: bytes) -> tuple[dict[str, str], bytes]:
        [_, oid, *number] = path.split("/")
        if sum(map(len, self.hub.objects.values())) + len(body) > self.hub.room:
            raise Refused(507, "no room left")
        if number:
            self.hub.parts[oid, int(number[0])] = body
        elif hashlib.sha256(body).hexdigest() == oid:
            self.hub.objects[oid] = body
        else:
            raise Refused(400, "this is another content")
        return {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}, b""


class _Api(_Handler):
    def answer(self, path: str, body: bytes) -> tuple[dict[str, str], bytes]:
        ways = {
            r"/api/whoami-v2": self.whoami,
            r"/api/repos/create": self.create,
            r"/api/validate-yaml": self.validate,
            r"/api/models/([^/]+/[^/]+)": self.info,
            r"/api/models/([^/]+/[^/]+)/revision/([^/]+)": self.info,
            r"/api/models/([^/]+/[^/]+)/tree/([^/]+)": self.tree,
            r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)": self.preupload,
            r"/api/models/([^/]+/[^/]+)/commit/([^/]+)": self.commit,
            r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch": self.batch,
            r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)": self.resolve,
            r"/complete/([^/]+)": self.complete,
            r"/verify/([^/]+)": self.verify,
        }
        for pattern, way in ways.items():
            if match := re.fullmatch(pattern, path):
                said = way(body, *match.groups())
                if isinstance(said, bytes):
                    return {"Content-Type": "application/octet-stream"}, said
                return {"Content-Type": "application/json"}, json.dumps(said).encode()
        raise Refused(404, f"there is no {path}")

    def person(self) -> tuple[str, str]:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.hub.people:
            raise Refused(401, "Invalid credentials in Authorization header")
        return self.hub.people[token]

    def repo(self, name: str, writes: bool = False) -> Repo:
        person, role = self.person()
        found = self.hub.repos.get(name)
        mine = name.partition("/")[0] in (person, "lab")
        if found is None or (found.private and not mine):
            raise Refused(404, "Repository not found", "RepoNotFound")
        if writes and not (mine and role == "write"):
            raise Refused(403, f"You don't have the rights to write to {name}")
        return found

    def whoami(self, body: bytes) -> Any:
        name, role = self.person()
        return {"type": "user", "name": name, "orgs": [{"name": "lab"}], "auth": {"accessToken": {"role": role}}}

    def create(self, body: bytes) -> Any:
        asked, (person, role) = json.loads(body), self.person()
        owner = asked["organization"] or person
        name = f"{owner}/{asked['name']}"
        if owner not in (person, "lab") or role != "write":
            raise Refused(403, f'You don\'t have the rights to create a model under the namespace "{owner}"')
        if name in self.hub.repos:
            raise Refused(409, "You already created this model repo")
        self.hub.make(name, private=asked.get("visibility") == "private")
        return {"url": f"{self.hub.base}/{name}", "name": name}

    def validate(self, body: bytes) -> Any:
        _, header, _ = json.loads(body)["content"].split("---\n", 2)
        try:
            told = yaml.safe_load(header)
        except yaml.YAMLError:
            raise Refused(400, "Invalid metadata") from None
        return {"errors": [], "warnings": [] if told.get("license") else [{"message": "no license"}]}

    def info(self, body: bytes, name: str, revision: str = "main") -> Any:
        repo = self.repo(name)
        siblings = [{"rfilename": path} for path in repo.at(revision)]
        return {
            "_id": "1",
            "id": name,
            "modelId": name,
            "sha": repo.head,
            "private": repo.private,
            "siblings": siblings,
        }

    def tree(self, body: bytes, name: str, revision: str) -> Any:
        return [one.told(path) for path, one in self.repo(name).at(revision).items()]

    def resolve(self, body: bytes, name: str, revision: str, path: str) -> bytes:
        """A file, for everybody where the repository is public."""
        found = self.hub.repos.get(name)
        files = found.at(revision) if found is not None and not found.private else self.repo(name).at(revision)
        if path not in files:
            raise Refused(404, "Entry not found", "EntryNotFound")
        return files[path].content

    def preupload(self, body: bytes, name: str, revision: str) -> Any:
        repo = self.repo(name, writes=True)
        answers = []
        for one in json.loads(body)["files"]:
            is_binary = b"\0" in base64.b64decode(one["sample"])
            is_large = one["path"].endswith(LARGE) or one["size"] > REGULAR_BYTES or is_binary
            there = repo.at(revision).get(one["path"])
            oid = None if there is None else there.told("").get("lfs", there.told(""))["oid"]
            mode = "lfs" if is_large else "regular"
            answers.append({"path": one["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": answers}

    def batch(self, body: bytes, name: str) -> Any:
        self.repo(name, writes=True)
        asked = json.loads(body)
        assert asked["operation"] == "upload" and asked["hash_algo"] == "sha256" and "xet" not in asked["transfers"]
        told = []
        for one in asked["objects"]:
            oid, size = one["oid"], one["size"]
            storage = f"http://127.0.0.1:{self.hub.storage.port}/{oid}"
            if oid in self.hub.objects:
                told.append(one)
                continue
            upload: dict[str, Any] = {"href": f"{storage}?X-Amz-Signature=secret"}
            if size > PART_BYTES:
                parts = range(1, math.ceil(size / PART_BYTES) + 1)
                upload = {
                    "href": f"{self.hub.base}/complete/{oid}",
                    "header": {
                        "chunk_size": str(PART_BYTES),
                        **{f"{number:05}": f"{storage}/{number}?X-Amz-Signature=secret" for number in parts},
                    },
                }
            told.append(
                {
                    **one,
                    "actions": {
                        "upload": upload,
                        "verify": {"href": f"{self.hub.verifies_at or self.hub.base}/verify/{oid}"},
                    },
                }
            )
        return {"objects": told, "transfer": "basic"}

    def complete(self, body: bytes, oid: str) -> Any:
        parts = json.loads(body)["parts"]
        content = b"".join(self.hub.parts.pop((oid, one["partNumber"])) for one in parts)
        if hashlib.sha256(content).hexdigest() != oid:
            raise Refused(400, "the parts make another content")
        self.hub.objects[oid] = content
        return {}

    def verify(self, body: bytes, oid: str) -> Any:
        self.person()
        if len(self.hub.objects.get(oid, b"")) != json.loads(body)["size"]:
            raise Refused(404, "it is not there")
        return {}

    def commit(self, body: bytes, name: str, revision: str) -> Any:
        repo = self.repo(name, writes=True)
        [header, *lines] = [json.loads(line) for line in body.splitlines()]
        if header["value"].get("parentCommit", repo.head) != repo.head:
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repo.at(revision))
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "file":
                    files[value["path"]] = Stored(base64.b64decode(value["content"]), False)
                case "lfsFile":
                    if value["oid"] not in self.hub.objects:
                        raise Refused(400, "a file was not uploaded")
                    files[value["path"]] = Stored(self.hub.objects[value["oid"]], True)
                case "deletedFile":
                    del files[value["path"]]
        commit = repo.add(files)
        return {"success": True, "commitOid": commit, "commitUrl": f"{self.hub.base}/{name}/commit/{commit}"}
