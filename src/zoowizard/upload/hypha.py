"""The zoo's server, as far as an upload needs it: the artifact manager of a Hypha server, over HTTP.

There is no call here that publishes (`commit`, an edit that is not staged), nor one that replaces what is there
(`overwrite`): whatever a token may do, this cannot.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

from zoowizard.errors import ZoowizardError
from zoowizard.upload.answers import NotAllowed, NotThere, TokenRefused, answered, refused
from zoowizard.upload.servers import Server
from zoowizard.upload.values import JOINER, address, mapping, mappings, moment, text, texts
from zoowizard.upload.web import Passing, Patience, again, body_of, open_client, read_within, told_plainly

LONGEST_URL_S: Final = 604_800
"""Seven days: longer no server lets an address for an upload live."""
MANAGER: Final = "artifact-manager"
MOST_ABOUT_A_SERVICE: Final = 1_000_000
MOST_FOLDERS: Final = 10_000
MOST_FILES: Final = 500_000
DEEPEST_FOLDER: Final = 50
T = TypeVar("T")


@dataclass(frozen=True)
class Person:
    """Whom a token stands for. `account` stays the same with each new token of the person."""

    account: str
    email: str
    expires: datetime | None

    @property
    def name(self) -> str:
        """For people."""
        return self.email or self.account


@dataclass(frozen=True)
class Collection:
    """The zoo's collection: who reviews, and the words of which the models' names are made."""

    reviewers: tuple[str, ...]
    adjectives: tuple[str, ...]
    animals: Mapping[str, str]
    """Animal → emoji; the emoji may be empty."""


@dataclass(frozen=True)
class Draft:
    """A model on the server, as it is staged, with the names of its published versions, the oldest first.

    `in_place`: what is staged would change the newest version, and not be a new one.
    """

    id: str
    manifest: Mapping[str, Any]
    staged: bool
    versions: tuple[str, ...] = ()
    in_place: bool = False

    @property
    def published(self) -> bool:
        """Whether a version of it was ever published."""
        return bool(self.versions)


@dataclass(frozen=True)
class Multipart:
    """A big file that is sent in parts: part number → where it is sent to."""

    upload_id: str
    urls: Mapping[int, str] = field(repr=False)


class Hypha:
    """A connection to one server. `token` is asked for the token, and again where one was refused; empty is none.

    An answer may take `answer_s` seconds.
    """

    def __init__(
        self, server: Server, token: Callable[[], str], patience: Patience | None = None, answer_s: float = 60.0
    ) -> None:
        self.server = server
        self._ask_token, self._secret = token, ""
        self._patience = patience or Patience()
        self._client = open_client(answer_s=answer_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def _token(self, fresh: bool = False) -> str:
        """The token; asking for it may mean to ask a keyring, so that is not done for each call."""
        if fresh or not self._secret:
            self._secret = self._ask_token()
        return self._secret

    def who(self, patience: Patience | None = None) -> Person:
        """Whose token it is. Raises TokenRefused where the server does not take it."""
        said = None
        for _ in range(2):
            token = self._token()
            if not token:
                raise TokenRefused(f"you are not logged in at {self.server.host}; run `zoowizard login`")
            try:
                said = self._call("ws", "parse_token", {"token": token}, "ask who you are", patience)
                break
            except (NotAllowed, TokenRefused):
                if self._token() == token:  # else there is another one by now
                    raise refused(self.server.host) from None
        told = mapping(said)
        account = text(told.get("parent")) or text(told.get("id"))
        if not account or told.get("is_anonymous"):
            raise refused(self.server.host)
        return Person(account, text(told.get("email")), moment(told.get("expires_at")))

    def collection(self) -> Collection:
        """The zoo's collection. Raises NotThere where this server has no such collection."""
        said = self._manager("read", "read the zoo's collection", artifact_id=self.server.collection, silent=True)
        config = mapping(mapping(said).get("config"))
        permissions, parts = mapping(config.get("permissions")), mapping(config.get("id_parts"))
        adjectives, animals = texts(parts.get("animal_adjective")), texts(parts.get("animal"))
        emojis = texts(parts.get("animal_emoji"), JOINER)
        if not adjectives or not animals:
            raise ZoowizardError(
                f"{self.server.collection} at {self.server.host} gives no names to models; ask the zoo"
            )
        emojis += ("",) * (len(animals) - len(emojis))
        may_edit = ("rw", "rw+", "*")
        return Collection(
            reviewers=tuple(who for who, may in permissions.items() if may in may_edit and who not in ("*", "@")),
            adjectives=adjectives,
            animals=dict(zip(animals, emojis, strict=False)),
        )

    def create(self, alias: str, manifest: Mapping[str, Any], permissions: Mapping[str, str]) -> Draft:
        """Make a staged draft called `alias`. Raises AliasTaken where one of this name is there, be it ours."""
        said = self._manager(
            "create",
            "make a draft",
            parent_id=self.server.collection,
            alias=alias,
            type="model",
            manifest=manifest,
            config={"permissions": dict(permissions)},
            stage=True,
        )
        return _draft(said)

    def draft(self, artifact_id: str) -> Draft:
        """A model as it is staged. Raises NotThere."""
        found = _draft(self._manager("read", "read the draft", artifact_id=artifact_id, stage=True, silent=True))
        if found.id != artifact_id:  # what is done to a draft is done to the one that was asked for, and no other
            raise ZoowizardError(f"{self.server.host} was asked for {artifact_id}, and answered with {found.id}")
        return found

    def describe(self, artifact_id: str, manifest: Mapping[str, Any]) -> None:
        """Let the staged draft have this manifest; nothing is published."""
        self._manager("edit", "describe the draft", artifact_id=artifact_id, manifest=dict(manifest), stage=True)

    def new_version(self, artifact_id: str, manifest: Mapping[str, Any]) -> None:
        """Stage a new version of a published model, without files; what is published stays as it is."""
        self._manager(
            "edit",
            "make a new version of this model",
            artifact_id=artifact_id,
            manifest=dict(manifest),
            stage=True,
            version="new",
        )

    def put_urls(self, artifact_id: str, weights: Mapping[str, float], expires_s: int) -> dict[str, str]:
        """Where to send files to, all in one call: path → address. `weights`: path → share in the downloads."""
        said = self._manager(
            "put_file",
            "get addresses for the files",
            artifact_id=artifact_id,
            file_path=list(weights),
            download_weight=list(weights.values()),
            expires_in=expires_s,
        )
        return self._addresses(said, weights)

    def get_urls(self, artifact_id: str, paths: Sequence[str]) -> dict[str, str]:
        """Where to get staged files from: path → address. Raises NotThere where one is missing."""
        said = self._manager(
            "get_file", "look at the files", artifact_id=artifact_id, file_path=list(paths), stage=True, silent=True
        )
        return self._addresses(said, paths)

    def _addresses(self, said: Any, paths: Iterable[str]) -> dict[str, str]:
        urls = {path: address(mapping(said).get(path)) for path in paths}
        if not all(urls.values()):
            raise Passing(f"{self.server.host} gave no addresses for the files; try again later")
        return urls

    def sizes(self, artifact_id: str) -> dict[str, int]:
        """The staged files, those in folders too: path → bytes."""
        sizes: dict[str, int] = {}
        folders = [""]
        for folder in folders:
            for entry in self._listed(artifact_id, folder):
                size, path = entry.get("size"), f"{folder}/{entry.get('name')}".strip("/")
                if entry.get("type") != "directory":
                    sizes[path] = size if isinstance(size, int) else 0
                elif path.count("/") < DEEPEST_FOLDER:
                    folders.append(path)
            if len(folders) > MOST_FOLDERS or len(sizes) > MOST_FILES:
                raise ZoowizardError(f"{self.server.host} lists more in {artifact_id} than a package can have")
        return sizes

    def _listed(self, artifact_id: str, folder: str) -> Sequence[Mapping[str, Any]]:
        asked = {"dir_path": folder} if folder else {}
        return mappings(
            self._manager("list_files", "list the files", artifact_id=artifact_id, stage=True, limit=10_000, **asked)
        )

    def remove(self, artifact_id: str, path: str) -> None:
        """Take a file out of the staged draft. Raises NotThere."""
        self._manager("remove_file", "remove a file", artifact_id=artifact_id, file_path=path)

    def start_multipart(self, artifact_id: str, path: str, parts: int, weight: float, expires_s: int) -> Multipart:
        """Begin a file that comes in parts."""
        asked: dict[str, str | int | float] = {
            "path": path,
            "part_count": parts,
            "download_weight": weight,
            "expires_in": expires_s,
        }
        said = self._post(self._place(artifact_id, "create-multipart-upload"), f"begin {path}", params=asked)
        told = mapping(said)
        given = {str(part.get("part_number")): address(part.get("url")) for part in mappings(told.get("parts"))}
        urls = {number: given.get(str(number), "") for number in range(1, parts + 1)}
        if not all(urls.values()) or not (upload_id := text(told.get("upload_id"), most=20_000)):
            raise Passing(f"{self.server.host} gave no addresses for all parts of {path}; try again later")
        return Multipart(upload_id, urls)

    def complete_multipart(self, artifact_id: str, upload_id: str, etags: Mapping[int, str]) -> None:
        """End a file that came in parts: part number → ETag. Raises ZoowizardError where the server knows it no more.

        The server does not see when a part is missing: the caller has to.
        """
        parts = [{"part_number": number, "etag": etag} for number, etag in sorted(etags.items())]
        body = {"upload_id": upload_id, "parts": parts}
        self._post(self._place(artifact_id, "complete-multipart-upload"), "put the parts together", json_body=body)

    def small_file(self, artifact_id: str, path: str, most_bytes: int, staged: bool = False) -> bytes | None:
        """A file of a model, as it is staged or published; None where there is none, or only a bigger one."""
        stage = {"stage": "true"} if staged else {}
        where = self._place(artifact_id, f"files/{quote(path)}")
        return self._get(where, f"read {path}", most_bytes, {"use_proxy": "true", "silent": "true", **stage})

    def service(self, name: str) -> str | None:
        """The full name of a service of the zoo that is called `name`; None where nobody offers it now."""
        found = self._get(self._service(name), f"look for {name}", MOST_ABOUT_A_SERVICE)
        try:
            told = mapping(json.loads(found or b"{}"))
        except (ValueError, RecursionError):
            return None
        return text(told.get("id"), most=200).rpartition("/")[2] or None

    def serve(self, service: str, function: str, arguments: Mapping[str, Any], what: str) -> Any:
        """What a function of a service answers. `service`: its full name, `what`: what is asked for, in words."""
        return self._post(f"{self._service(service)}/{function}", what, json_body=arguments)

    def _service(self, name: str) -> str:
        return f"{self.server.base}/{self.server.collection.partition('/')[0]}/services/{quote(name)}"

    def start_login(self) -> tuple[str, str]:
        """Begin a login without a browser here: the link for the person, and the key to ask with."""
        said = self._call("hypha-login", "start", {}, "begin a login", None)
        link, key = address(mapping(said).get("login_url")), text(mapping(said).get("key"))
        if not link or not key:
            raise ZoowizardError(f"{self.server.host} offers no login; is it the server of a model zoo?")
        return link, key

    def check_login(self, key: str) -> str:
        """The token, where the person has logged in by now; empty where not yet. Raises NotThere when it is late."""
        try:
            said = self._call("hypha-login", "check", {"key": key, "timeout": 0}, "finish the login", None)
        except (NotThere, TokenRefused):
            raise
        except Passing:
            return ""
        except ZoowizardError as problem:
            if "key" in str(problem).lower():
                raise NotThere("the link is not valid any more; run `zoowizard login` again") from None
            raise
        return said if isinstance(said, str) else ""

    def _place(self, artifact_id: str, end: str) -> str:
        return f"{place(self.server, artifact_id)}/{end}"

    def _manager(self, function: str, what: str, **arguments: Any) -> Any:
        return self._call(MANAGER, function, arguments, what, None)

    def _call(
        self, service: str, function: str, arguments: Mapping[str, Any], what: str, patience: Patience | None
    ) -> Any:
        where = f"{self.server.base}/public/services/{service}/{function}"
        return self._post(where, what, json_body=dict(arguments), patience=patience, login=service != "hypha-login")

    def _post(
        self,
        where: str,
        what: str,
        json_body: Mapping[str, Any] | None = None,
        params: Mapping[str, str | int | float] | None = None,
        patience: Patience | None = None,
        login: bool = True,
    ) -> Any:
        body = None if json_body is None else body_of(json_body, self.server.host, what)
        kind = {} if body is None else {"Content-Type": "application/json"}

        def ask(token: str) -> Any:
            headers = {**kind, **_bearer(token)}
            stream = self._client.stream("POST", where, content=body, params=params, headers=headers)
            with told_plainly(self.server.host), stream as response:
                return answered(response, self.server.host, what, token)

        return self._asked(ask, patience, login)

    def _get(
        self, where: str, what: str, most_bytes: int, params: Mapping[str, str | int | float] | None = None
    ) -> bytes | None:
        """What is there; None where that is nothing, or more than `most_bytes`."""

        def ask(token: str) -> bytes | None:
            stream = self._client.stream("GET", where, params=params, headers=_bearer(token))
            with told_plainly(self.server.host), stream as response:
                if response.status_code == 200:
                    return read_within(response, most_bytes)
                if response.status_code != 404:
                    answered(response, self.server.host, what, token)
            return None

        return self._asked(ask, None, login=True)

    def _asked(self, ask: Callable[[str], T], patience: Patience | None, login: bool) -> T:
        """What `ask` gives with the token; again with another one, where the person has logged in meanwhile."""
        used = [self._token() if login else ""]
        if not used[0].isascii() or not used[0].isprintable():
            raise refused(self.server.host)

        def ask_or_renew() -> T:
            try:
                return ask(used[0])
            except TokenRefused:
                fresh = self._token(fresh=True) if login else ""
                if fresh in ("", used[0]):
                    raise
                used[0] = fresh
                return ask(used[0])

        return again(ask_or_renew, patience or self._patience)


def place(server: Server, artifact_id: str) -> str:
    """The address of a model on its server."""
    workspace, _, alias = artifact_id.partition("/")
    return f"{server.base}/{workspace}/artifacts/{alias}"


def page(server: Server, artifact_id: str) -> str:
    """The address at which a draft is to be found."""
    return f"{place(server, artifact_id)}?stage=true"


def _draft(said: Any) -> Draft:
    told = mapping(said)
    manifest, name = told.get("manifest"), text(told.get("id"))
    if not isinstance(manifest, dict) or not name or name != told["id"]:
        raise Passing("the server's answer about the draft was not to be understood; try again later")
    staging = told.get("staging")
    return Draft(
        id=name,
        manifest=manifest,
        staged=staging is not None,
        versions=tuple(text(one.get("version"), most=100) or "?" for one in mappings(told.get("versions"))),
        in_place=isinstance(staging, list) and {"_intent": "edit_version"} in staging,
    )


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}
