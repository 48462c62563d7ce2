"""Sending to the zoo from the screen: the whole app, a real server, and jobs that outlive both."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from doors import Asked
from hypha_server import Zoo, an_open_zoo
from person import Person
from prepared import Open
from sendable import MODEL, built_anew, ready_to_send
from uploads import MIB

from zoowizard.drafts.store import Workspace
from zoowizard.jobs.state import list_jobs
from zoowizard.screens.app import ZoowizardApp
from zoowizard.upload import state
from zoowizard.upload.servers import server_of
from zoowizard.upload.state import Upload

SIZE = (80, 24)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Zoo]:
    for zoo in an_open_zoo("moto"):
        monkeypatch.setenv("ZOOWIZARD_SERVER", zoo.base)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.delenv("ZOOWIZARD_TOKEN", raising=False)
        yield zoo


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return ready_to_send(tmp_path / "workspace")[0]


def app_over(workspace: Workspace) -> ZoowizardApp:
    return ZoowizardApp(workspace.root, workspace.root)


def record(workspace: Workspace) -> Upload:
    found = state.read(state.folder_of(workspace, server_of(), MODEL, ""))
    assert found is not None
    return found


async def to_step(person: Person) -> None:
    await person.until(lambda: any(line.startswith(">") for line in person.screen.splitlines()))
    await person.press("u")
    await person.sees("● 5 Upload", "The BioImage Model Zoo")


def logs_in(server: Zoo, screen: str, token: str = "") -> None:
    """What the person does in a browser, with the link as it stands on the screen."""
    [link] = re.findall(r"^http\S+key=\S+$", screen, re.MULTILINE)
    assert httpx.get(link, follow_redirects=True).status_code == 200
    report = {"key": link.partition("key=")[2], "token": token or server.token(), "email": "ada@example.org"}
    httpx.post(f"{server.base}/public/services/hypha-login/report", json=report).raise_for_status()


def slow(server: Zoo) -> None:
    """Let the weights in so slowly that there is time to look."""

    def is_big(asked: Asked) -> bool:
        return asked.method == "PUT" and asked.function == "weights.onnx"

    server.storage_door.fails(meets=is_big, times=99, bytes_per_s=1_000_000.0)


async def test_from_login_to_review_and_back(
    server: Zoo, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoowizard.screens.news.EVERY_S", 1.0)
    app = app_over(workspace)
    async with app.run_test(size=SIZE) as pilot:
        person = Person(pilot)
        await to_step(person)
        await person.sees("You are not logged in at 127.0.0.1", "enter Log in")
        await person.press("enter")
        await person.sees("Open this link in a browser", "key=")
        await person.press("escape")
        await person.sees("You are not logged in")
        await person.press("enter")
        logs_in(server, await person.sees("waiting until that is done", "key="))
        await person.sees("✓ ada@example.org, logged in until", "5 files, 7.3 MB will be sent", "as a new draft")
        assert server.staged() == [] or record_is_missing(workspace), "nothing is sent before that is said"
        await person.press("enter")
        await person.sees("✓ Uploaded as the draft", "the server has every byte", "enter Ask for a review")
        now = record(workspace)
        assert (now.phase, now.status) == ("verified", "draft")
        await person.sees(f"{server.base}/bioimage-io/artifacts/{now.alias}")

        await person.press("enter")
        await person.sees(f"Shall the zoo's reviewers look at {now.alias} now?")
        await person.press("enter")
        await person.press("escape")
        await person.sees("enter Ask for a review")
        assert record(workspace).phase == "verified"
        await person.press("enter")
        await person.sees("y Yes, ask them")
        await person.press("y")
        await person.sees(f"{now.alias} is in review since")
        assert server.asks("read", artifact_id=now.artifact_id, stage=True)["manifest"]["status"] == "in-review"
        await person.press("ctrl+o")
        await person.sees("✓ In Review", f"in review: {now.alias}")

        words = {"userName": "Rita Reviewer", "createdAt": "2026-11-21T12:00:00.000Z", "content": "Please add a cover."}
        server.says(now.artifact_id, words, status="in-revision")
        await person.sees("○ In Revision", "in revision: Please add a cover.")
        await person.press("u")
        await person.sees("the reviewers ask for changes", "Rita Reviewer on 21 November 2026", "Please add a cover.")
        await person.sees("The zoo was asked last on")

        built_anew(workspace, 2 * MIB, number=1)
        await person.sees(f"into the draft {now.alias}, in place of the package that was there", "2.1 MB")
        await person.press("enter")
        await person.until(lambda: record(workspace).phase == "verified" and record(workspace).sha256 != now.sha256)
        await person.sees("enter Ask for a review")
        server.publish(now.artifact_id)
        await person.sees(f"✓ {now.alias} is published.")
        built_anew(workspace, MIB, number=2)
        await person.sees(f"upload it as a new version of {now.alias}", "enter Upload the new version")
        await person.press("ctrl+o")
        await person.sees("✓ Published", "the newest package is not uploaded yet")
    assert now.artifact_id in server.accepted and server.published() == []


def record_is_missing(workspace: Workspace) -> bool:
    return state.read(state.folder_of(workspace, server_of(), MODEL, "")) is None


async def test_paused_and_gone_on(server: Zoo, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOOWIZARD_TOKEN", server.token())
    slow(server)
    app = app_over(workspace)
    async with app.run_test(size=SIZE) as pilot:
        person = Person(pilot)
        await to_step(person)
        await person.sees("will be sent to")
        await person.press("enter")
        await person.sees("sending the files", "MB/s", "left", "p Pause", "█░")
        await person.press("ctrl+o")
        await person.until(lambda: re.search(r"● Sending \d+%", person.screen))
        await person.sees("upload: send", "1 sending", "on the way to the zoo")
        await person.press("u")
        await person.sees("sending the files")
        await person.press("p")
        await person.sees("Paused: the server has", "enter Go on")
        assert record(workspace).pending and [job.state for job in uploads(workspace)] == ["cancelled"]
        await person.press("ctrl+o")
        await person.sees("○ Paused", "the upload is paused at")
        await person.press("r")
        await person.until(lambda: re.search(r"● Sending \d+%", person.screen))
        await person.press("c")
        await person.sees("press c again to pause its upload")
        await person.press("c")
        await person.sees("○ Paused")
        server.storage_door.clear()
        await person.press("u")
        await person.sees("enter Go on")
        await person.press("enter")
        await person.sees("✓ Uploaded as the draft")
    marks = [one["manifest"].get("zoowizard", {}).get("upload") for one in server.staged()]
    assert marks.count(record(workspace).key) == 1


def uploads(workspace: Workspace) -> list[object]:
    return [job for job in list_jobs(workspace.jobs(MODEL)) if job.kind == "upload"]


async def test_a_killed_screen_leaves_the_upload_alone(
    server: Zoo, workspace: Workspace, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOOWIZARD_TOKEN", server.token())
    slow(server)
    terminal = opened("--workspace", workspace.root)
    terminal.wait_for(">Nuclei")
    terminal.send("u")
    terminal.wait_for("will be sent to")
    terminal.send("enter")
    terminal.wait_for("sending the files")
    terminal.kill()
    again = opened("--workspace", workspace.root)
    again.wait_for("Sending")
    again.send("u")
    again.wait_for("sending the files")
    again.wait_for("Uploaded as the draft")
    assert record(workspace).phase == "verified" and len(uploads(workspace)) == 1


async def test_a_login_that_ended_and_one_that_ends_on_the_way(
    server: Zoo, workspace: Workspace, tmp_path: Path
) -> None:
    tokens = tmp_path / "config" / "zoowizard" / "tokens.json"
    tokens.parent.mkdir(parents=True)
    tokens.write_text(f'{{"{server.base}": "{server.token(days=-1)}"}}')
    tokens.chmod(0o600)
    app = app_over(workspace)
    async with app.run_test(size=SIZE) as pilot:
        person = Person(pilot)
        await to_step(person)
        await person.sees("ended on", "enter Log in")
        await person.press("enter")
        logs_in(server, await person.sees("waiting until that is done", "key="))
        await person.sees("logged in until", "enter Upload")
        refused = server.door.fails("create", status=401, times=99)
        tokens.write_text(f'{{"{server.base}": "{server.token(days=-1)}"}}')
        await person.press("enter")
        await person.sees("ended on", "The package is queued; what arrived is kept.", "enter Log in")
        refused.times = 0
        await person.press("ctrl+o")
        await person.sees("○ Queued", "it waits for your login")
        await person.press("u")
        await person.sees("enter Log in")
        await person.press("enter")
        logs_in(server, await person.sees("waiting until that is done", "key="))
        await person.sees("✓ Uploaded as the draft")  # it was asked for already, so it goes on by itself


async def test_without_a_network_it_is_queued(
    server: Zoo, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOOWIZARD_TOKEN", server.token())
    monkeypatch.setenv("ZOOWIZARD_SERVER", "http://127.0.0.1:9")
    app = app_over(workspace)
    async with app.run_test(size=SIZE) as pilot:
        person = Person(pilot)
        await to_step(person)
        await person.sees("could not be reached: nobody answers there", "queue it, to be sent when there is a network")
        await person.press("enter")
        await person.sees("Queued: 127.0.0.1:9 could not be reached", "zoowizard upload --pending", "enter Try again")
        await person.press("ctrl+o")
        await person.sees("○ Queued", "queued for the zoo: there was no network", "1 queued")


async def test_an_address_that_is_none(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOOWIZARD_SERVER", "zoo")
    app = app_over(workspace)
    async with app.run_test(size=SIZE) as pilot:
        person = Person(pilot)
        await to_step(person)
        await person.sees("ZOOWIZARD_SERVER: zoo is no address of a server")
        await person.press("down", "down")
        await person.sees("● A folder", "will be saved in this folder")
