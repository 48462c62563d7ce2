"""The screens, one by one: what there is, and how a person gets to see it. The clock stands still."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import recorded
from person import Person

from zoowizard.drafts.store import save

Scene = Callable[[Person], Awaitable[None]]
LOCKS: list[int] = []
"""Of the jobs that are at work: closed by `let_go`."""


def let_go() -> None:
    """The jobs are at work no longer."""
    while LOCKS:
        os.close(LOCKS.pop())


# How a person gets there


async def board_empty(person: Person) -> None:
    await person.sees("No model is here yet.")


async def board(person: Person) -> None:
    await person.sees("Testing", "Failed", "Tested", "Uploaded", "In Progress", "Not Started", "0:00")


async def board_filtered(person: Person) -> None:
    await board(person)
    await person.press("slash")
    await person.write("nuclei")
    await person.sees("nuclei-testing", gone="Ashesh")


async def model(person: Person) -> None:
    await person.press("n")
    await person.sees("1 model at or below models", "3 h ago")


async def model_nothing(person: Person) -> None:
    await person.press("n")
    await person.sees("No model was found at or below empty")


async def opened(person: Person) -> None:
    await person.until(lambda: any(line.startswith(">") for line in person.screen.splitlines()))
    await person.press("enter")


async def check(person: Person) -> None:
    await opened(person)
    await person.sees("✓ 512 x 512 pixels", "✓ epochs")
    await person.until(lambda: "▀" in person.screen)


async def check_curves(person: Person) -> None:
    await check(person)
    await person.press("p")
    await person.sees("loss")


async def check_prediction(person: Person) -> None:
    await check(person)
    await person.press("v")
    await person.sees("prediction: 64 objects")


async def describe(person: Person) -> None:
    await opened(person)
    await person.sees("Describe 4/18 answered")
    await person.until(lambda: ">" in person.line_with("Model name ○"))


async def describe_problem(person: Person) -> None:
    await describe(person)
    await person.write("nuc")
    await person.sees("is too short", "1 to mend")


async def card(person: Person) -> None:
    await opened(person)
    await person.sees("all that is required is there")
    await person.press("ctrl+e")
    await person.sees("Model card, a preview", gone="one moment")


async def build_ready(person: Person) -> None:
    await opened(person)
    await person.sees("Ready to be built and tested")


async def build_running(person: Person) -> None:
    await opened(person)
    await person.sees("● Testing", "step 3 of 6", "45%")


async def build_failed(person: Person) -> None:
    await opened(person)
    await person.sees("✗ Failed", "What to do")


async def build_log(person: Person) -> None:
    await build_failed(person)
    await person.press("l")
    await person.sees("ParityError")


async def build_passed(person: Person) -> None:
    await opened(person)
    await person.sees("✓ Passed", "Press Enter to go on to Upload.")


async def upload(person: Person) -> None:
    await opened(person)
    await person.sees("In the package: 10 files", "You are not logged in")


async def upload_sending(person: Person) -> None:
    await opened(person)
    await person.sees("In the package: 10 files", "42%", "4 s left")


async def upload_in_review(person: Person) -> None:
    await opened(person)
    await person.sees("In the package: 10 files", "is in review", "Rita Reviewer")


async def upload_hub(person: Person) -> None:
    await upload(person)
    await person.press("down")
    await person.at_input()
    await person.write("ada/nuclei-yolo11n")
    await person.sees("10 files", "will be sent to huggingface.co")


async def upload_folder(person: Person) -> None:
    await upload(person)
    await person.press("down", "down")
    await person.at_input()
    await person.press(*["backspace"] * len("models"))
    await person.write("to-share")
    await person.sees("the folder will be made")


async def log(person: Person) -> None:
    await person.until(lambda: any(line.startswith(">") for line in person.screen.splitlines()))
    await person.press("l")
    await person.sees("✗ failed", "loading ultralytics")


async def keys(person: Person) -> None:
    await model(person)
    await person.press("question_mark")
    await person.sees("The board shows one line a model", "Browse")


async def palette(person: Person) -> None:
    await board_empty(person)
    await person.press("f2")
    await person.sees("Change the colours")


# What there is


def many() -> None:
    _, locks = recorded.many_models()
    LOCKS.extend(locks)


def one(step: str, answered: bool = True, job: str = "") -> Callable[[], None]:
    """A workspace with the sample's draft, left in this step; with a build as it stands in `job`."""

    def begin() -> None:
        workspace = recorded.empty_workspace()
        draft = recorded.sample_draft(answered)
        save(workspace, draft)
        recorded.write_place(workspace, step)
        if job == "passed":
            recorded.passed(workspace, draft)
        elif job == "failed":
            reason = recorded.FAILED[-1].reason  # type: ignore[union-attr]
            recorded.job(workspace, draft, recorded.FAILED, "failed", reason)
        elif job in ("sending", "in-review"):
            recorded.passed(workspace, draft)
            if job == "sending":
                folder = recorded.uploaded(workspace, draft, "sending")
                lock = recorded.job(workspace, draft, recorded.SENDING, number=1, uploads_from=folder)
                LOCKS.append(recorded.held(lock))
            else:
                folder = recorded.uploaded(workspace, draft, "submitted", "in-review", recorded.SAID)
                told = {"submitted": True, "confirmed": True}
                recorded.job(workspace, draft, (), "passed", outcome=told, number=1, uploads_from=folder)
        elif job == "running":
            LOCKS.append(recorded.held(recorded.job(workspace, draft, recorded.RUNNING)))

    return begin


def empty() -> None:
    recorded.empty_workspace()
    Path("empty").mkdir()


SCENES: dict[str, tuple[Callable[[], None], Scene]] = {
    "board-empty": (empty, board_empty),
    "board": (many, board),
    "board-filtered": (many, board_filtered),
    "model": (empty, model),
    "model-nothing": (empty, model_nothing),
    "check": (one("check"), check),
    "check-curves": (one("check"), check_curves),
    "check-prediction": (one("check", job="passed"), check_prediction),
    "describe": (one("describe", answered=False), describe),
    "describe-problem": (one("describe", answered=False), describe_problem),
    "card": (one("describe"), card),
    "test-ready": (one("test"), build_ready),
    "test-running": (one("test", job="running"), build_running),
    "test-failed": (one("test", job="failed"), build_failed),
    "test-log": (one("test", job="failed"), build_log),
    "test-passed": (one("test", job="passed"), build_passed),
    "upload": (one("upload", job="passed"), upload),
    "upload-sending": (one("upload", job="sending"), upload_sending),
    "upload-in-review": (one("upload", job="in-review"), upload_in_review),
    "upload-hub": (one("upload", job="passed"), upload_hub),
    "upload-folder": (one("upload", job="passed"), upload_folder),
    "log": (one("test", job="failed"), log),
    "keys": (empty, keys),
    "palette": (empty, palette),
}
