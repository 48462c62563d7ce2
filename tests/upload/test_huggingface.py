"""Uploads to Hugging Face: huggingface_hub itself, and a server that speaks its protocol."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from doors import Asked, Door
from hub_packages import MIB, ToHub, a_hub_package
from hub_server import Hub, a_hub

from zoowizard.drafts.store import Workspace
from zoowizard.errors import WrongUse, ZoowizardError
from zoowizard.upload.huggingface import place_of
from zoowizard.upload.package import Package
from zoowizard.upload.receipts import receipts
from zoowizard.upload.web import Patience

NAME = "ada/nuclei"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for hub in a_hub():
        monkeypatch.setenv("HF_ENDPOINT", hub.base)
        yield hub


@pytest.fixture
def to(hub: Hub, tmp_path: Path) -> ToHub:
    return ToHub(hub, Workspace(tmp_path / "workspace"), place_of(NAME))


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return a_hub_package(tmp_path / "built")


def test_a_package_with_its_card(to: ToHub, hub: Hub, package: Package) -> None:
    done = to.queue(package).go()
    to.is_whole(package)
    assert hub.repos[NAME].private and not done.public
    assert to.told.steps == ["check", "card", "repository", "send", "verify"]
    assert max(to.told.fractions) == 1.0 and len(set(to.told.fractions)) > 10
    assert (done.sent, done.page) == (done.total, f"{hub.base}/{NAME}")
    [receipt] = receipts(to.workspace, "nuclei")
    assert (receipt.kind, receipt.confirmed, receipt.sha256) == ("huggingface", True, package.sha256)
    assert receipt.where == done.page

    from huggingface_hub import ModelCard

    card = ModelCard(hub.files(NAME)["README.md"].decode())
    assert card.data.license == "cc-by-4.0" and card.data.library_name == "bioimageio"
    assert card.data.tags == sorted({"biology", "nuclei", "it's: a tag", "2d"})
    assert f'"huggingface/{NAME}"' in card.text and "draft" not in card.text
    assert "![mask sample](images/output_mask_sample.png)" in card.text
    before = len(hub.put())
    to.go()
    to.is_whole(package)  # and no other commit
    assert len(hub.put()) == before


def test_what_is_new_replaces_and_what_is_gone_goes(to: ToHub, hub: Hub, package: Package, tmp_path: Path) -> None:
    to.queue(package).go()
    newer = a_hub_package(tmp_path / "newer", **{"more.txt": b"more", "README.md": b"# New\n"})
    big = [path for path, _ in hub.put()]
    to.queue(newer).go()
    to.is_whole(newer, commits=2)
    assert [path for path, _ in hub.put()] == big  # the weights are the same
    smaller = a_hub_package(tmp_path / "smaller")
    to.queue(smaller).go()
    to.is_whole(smaller, commits=3)
    assert "package/more.txt" not in hub.files(NAME)


def test_a_file_that_was_changed_at_the_hub(to: ToHub, hub: Hub, package: Package) -> None:
    to.queue(package).go()
    hub.change(NAME, "package/README.md", b"edited there")
    hub.change(NAME, "notes.txt", b"somebody's own")
    to.go()
    assert hub.files(NAME).pop("notes.txt") == b"somebody's own"
    assert hub.files(NAME)["package/README.md"] != b"edited there"
    assert any("stays in its history" in note for note in to.told.notes)
    assert to.record.commit == hub.repos[NAME].head


@pytest.mark.parametrize("how", ["next page", "verify"])
def test_no_other_server_is_told_the_login(how: str, to: ToHub, hub: Hub, package: Package) -> None:
    elsewhere = f"http://127.0.0.1:{hub.storage.port}"
    link = {"Link": f'<{elsewhere}/0/1>; rel="next"'}
    if how == "verify":
        hub.verifies_at = elsewhere
    else:
        hub.door.fails(meets=lambda one: "/tree/" in one.path, status=200, body=b"[]", headers=link)
    with pytest.raises(ZoowizardError, match="must not be told your login"):
        to.queue(package).go()
    assert any(one.authorization for one in hub.door.asked)
    assert [one.path for one in hub.storage.asked if one.authorization] == []
    assert f"127.0.0.1:{hub.storage.port}" in to.record.problem and to.record.pending


def test_where_it_is_sent_on_the_login_stays_behind(to: ToHub, hub: Hub, package: Package) -> None:
    moved = {"Location": f"http://127.0.0.1:{hub.storage.port}/0/1"}
    hub.door.fails("whoami-v2", status=307, headers=moved)
    to.queue(package).go()
    sent_on = [one for one in hub.storage.asked if one.method == "GET"]
    assert sent_on and not any(one.authorization for one in hub.storage.asked)


KILLS = (
    ("create", "after"),
    ("batch", "after"),
    ("part", "after"),
    ("complete", "after"),
    ("commit", "after"),
)
"""What is asked for in the order of an upload, and whether it is killed before or after the hub did it."""
CHILD = """
import sys
from pathlib import Path
from uploads import QUICK, Told
from zoowizard.upload.huggingface_send import send
send(Path(sys.argv[1]), "hf_ada", Told(), QUICK)
"""


def meets_what(what: str) -> Callable[[Asked], bool]:
    def meets(asked: Asked) -> bool:
        words = asked.path.partition("?")[0].split("/")
        if what == "part":
            return asked.method == "PUT" and words[-1] == "2"
        return what in words

    return meets


def killed(to: ToHub, door: Door, what: str, when: str) -> None:
    """Let it go on in a process of its own, until it is killed at this moment."""
    child: list[subprocess.Popen[bytes]] = []

    def kill() -> None:
        child[0].send_signal(signal.SIGKILL)
        child[0].wait()

    class Killing:
        def wait(self, timeout: float) -> None:
            kill()

    how: dict[str, Any] = {"happened": kill} if when == "after" else {"hold": Killing(), "drop_after": 0}
    door.fails(meets=meets_what(what), **how)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    child.append(subprocess.Popen([sys.executable, "-c", CHILD, str(to.folder)], env=environment))
    assert child[0].wait(120) == -signal.SIGKILL, f"it was never killed {when} {what}"
    door.faults.clear()


def test_killed_at_every_step(to: ToHub, hub: Hub, package: Package) -> None:
    to.queue(package)
    for what, when in KILLS:
        killed(to, hub.storage if what == "part" else hub.door, what, when)
    assert to.record.pending
    to.go()
    to.is_whole(package)
    # one that arrived whole was never sent again; the one that was under way begins anew
    whole = {path: times for path, times in Counter(path for path, _ in hub.put()).items() if path.count("/") == 1}
    assert set(whole.values()) == {1}
    assert len(hub.put()) <= 2 * len(set(hub.put()))


def test_what_arrived_is_not_sent_again(to: ToHub, hub: Hub, package: Package) -> None:
    to.queue(package)
    hub.storage.fails(meets=lambda asked: asked.path.split("?")[0].endswith("/3"), times=999, status=400)
    with pytest.raises(ZoowizardError):
        to.go(Patience(tries_for_s=0.1, first_s=0.02))
    assert (to.record.phase, to.record.page) == ("sending", f"{hub.base}/{NAME}")
    arrived = {file.path for file in to.record.files if file.done}
    assert "package/more.pt" in arrived and "package/weights.onnx" not in arrived
    assert 0 < to.record.sent < to.record.total and hub.files(NAME) == {}
    [receipt] = receipts(to.workspace, "nuclei")
    assert (receipt.state, receipt.confirmed) == ("begun", False)
    hub.storage.clear()
    to.go()
    to.is_whole(package)
    assert sum(size for _, size in hub.put()) == 3 * MIB


BAD_DAYS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("batch", {"status": 429, "headers": {"Retry-After": "1"}}),
    ("create", {"status": 503}),
    ("commit", {"status": 502}),
    ("commit", {"lose_answer": True}),
    ("create", {"lose_answer": True}),
    ("complete", {"drop_after": 10}),
    ("part", {"drop_after": 100_000}),
    ("part", {"status": 500}),
    ("part", {"status": 403}),  # the address has ended
    ("main", {"status": 200, "body": b"<html>Log in to the hotel</html>"}),
)


def test_a_bad_network(to: ToHub, hub: Hub, package: Package) -> None:
    for what, how in BAD_DAYS:
        (hub.storage if what == "part" else hub.door).fails(meets=meets_what(what), **how)
    to.queue(package).go()
    to.is_whole(package)
    assert not [fault for fault in (*hub.door.faults, *hub.storage.faults) if fault.times]


def test_somebody_commits_at_the_same_time(to: ToHub, hub: Hub, package: Package) -> None:
    def edit() -> None:
        hub.change(NAME, "notes.txt", b"somebody's own")

    hub.door.fails(meets=meets_what("batch"), happened=edit)
    to.queue(package).go()
    assert hub.files(NAME)["notes.txt"] == b"somebody's own" and len(hub.repos[NAME].commits) == 3
    assert to.record.phase == "verified"


def test_what_the_hub_refuses(to: ToHub, hub: Hub, package: Package) -> None:
    def refused(sentence: str) -> None:
        with pytest.raises(ZoowizardError, match=sentence) as caught:
            to.go()
        assert to.record.problem == str(caught.value) and to.record.pending
        assert "hf_" not in str(caught.value) and "Signature" not in str(caught.value)

    to.queue(package)
    to.secret = ""
    refused("not logged in at 127.0.0.1.*hf auth login")
    assert to.record.waits == "login"
    to.secret = "hf_expired"
    refused("does not accept your login any more")
    hub.people["hf_reader"] = ("ada", "read")
    to.secret = "hf_reader"
    refused("may only read")
    hub.people["hf_eve"] = ("eve", "write")
    to.secret = "hf_eve"
    refused("you may not write to ada/nuclei.*namespace")
    to.secret = "hf_ada"
    hub.make(NAME, **{"model.bin": b"somebody's"})
    refused("holds files already.*model.bin.*another name")
    assert hub.files(NAME) == {"model.bin": b"somebody's"}
    del hub.repos[NAME]
    hub.room = MIB
    refused("no room for the files")
    hub.room = 10 * MIB
    to.go()
    to.is_whole(package)


def test_nothing_private_becomes_public(to: ToHub, hub: Hub, package: Package) -> None:
    hub.make(NAME, private=False)
    to.queue(package)
    with pytest.raises(ZoowizardError, match="is public, so nothing was sent"):
        to.go()
    assert hub.put() == [] and hub.files(NAME) == {}
    to.queue(package, public=True).go()
    to.is_whole(package)
    assert not hub.repos[NAME].private and to.record.public

    hub.repos[NAME].private = True
    to.queue(package, public=True).go()
    assert not to.record.public and any("is private, and stays so" in note for note in to.told.notes)


def test_a_public_one_is_loaded_by_its_name(
    to: ToHub, hub: Hub, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    to.queue(package, public=True).go()
    assert not hub.repos[NAME].private
    pattern = f"{hub.base}/{{repo_id}}/resolve/{{branch}}/package/bioimageio.yaml"
    load = """
import sys
from bioimageio.spec import load_model_description
from bioimageio.spec.utils import load_array
model = load_model_description(sys.argv[1], perform_io_checks=False)
print(model.name, load_array(model.outputs[0].test_tensor).shape)
"""
    monkeypatch.setenv("BIOIMAGEIO_HUGGINGFACE_HTTP_PATTERN", pattern)
    ran = subprocess.run(
        [sys.executable, "-c", load, f"huggingface/{NAME}"], capture_output=True, text=True, timeout=120
    )
    assert ran.stdout == "Nuclei (1, 1, 16, 16)\n", ran.stderr


def test_an_untested_package_says_so(to: ToHub, hub: Hub, package: Package) -> None:
    untested = Package(package.archive, package.title, package.sha256, "failed")
    with pytest.raises(WrongUse, match=r"did not pass its tests.*--insist: the model card then says so"):
        to.queue(untested)
    to.queue(untested, insist=True).go()
    assert "**Not tested.**" in hub.files(NAME)["README.md"].decode()
    to.queue(package).go()
    assert "Not tested" not in hub.files(NAME)["README.md"].decode()
    with package.archive.open("ab") as file:
        file.write(b"x")
    with pytest.raises(ZoowizardError, match="was changed since it was tested"):
        to.go()


def test_no_network(to: ToHub, hub: Hub, package: Package) -> None:
    to.queue(package)
    hub.door._server.shutdown()
    hub.door._server.server_close()
    with pytest.raises(ZoowizardError, match="could not be reached; is there a network"):
        to.go(Patience(tries_for_s=0.1, first_s=0.02))
    assert (to.record.waits, to.record.phase) == ("network", "queued")


def test_names_that_the_hub_would_not_take() -> None:
    for name in ("nuclei", "", "a/b/c", "a/", "/b", "a b/c", "ada/nuclei.git", "ada/a--b", "ada/../x", "ada/-x", "ä/b"):
        with pytest.raises(WrongUse, match="write OWNER/NAME"):
            place_of(name, {})
    assert place_of("ada/nuclei_2.0", {}).page == "https://huggingface.co/ada/nuclei_2.0"
    with pytest.raises(WrongUse, match=r"HF_ENDPOINT: http://example.org is without encryption"):
        place_of("ada/nuclei", {"HF_ENDPOINT": "http://example.org"})


def test_a_damaged_record(to: ToHub, package: Package) -> None:
    to.queue(package)
    path = to.folder / "huggingface.json"
    path.write_text(path.read_text().replace('"queued"', '"lost"'))
    with pytest.raises(ZoowizardError, match=r"huggingface.json: phase is wrong.*mend it or move it away"):
        to.go()
    assert yaml.safe_load(path.read_text())["phase"] == "lost"
