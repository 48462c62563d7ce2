"""The same terminal for all of these tests, whatever they are run in."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from prepared import PYTHON, Open, Prepared
from terminal import Terminal

from zoowizard.drafts.answers import changed, read_answers
from zoowizard.drafts.draft import with_given
from zoowizard.drafts.place import Place, write_place
from zoowizard.drafts.store import open_workspace, save
from zoowizard.workflow import choose_one, fields_of, open_draft


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal with all colours; a test that wants another one says so."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORFGBG", "COLUMNS", "LINES", "ZOOWIZARD_ASCII", "ZOOWIZARD_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    for name in [one for one in os.environ if one.startswith("TEXTUAL_") and one != "TEXTUAL_SNAPSHOT_TEMPDIR"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")


@pytest.fixture
def prepared(run: Path, tmp_path: Path) -> Prepared:
    workspace = open_workspace(tmp_path / "workspace")
    draft = open_draft(workspace, choose_one(run))
    answers = read_answers(run.parent / "answers.yaml", fields_of(draft.family))
    save(workspace, with_given(draft, changed(draft, answers)))
    write_place(workspace, draft.id, Place("test"))
    return Prepared(workspace, draft.id, run)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Open]:
    """Opens terminals, with the screens over a workspace unless it is told what to run."""
    for name in [one for one in os.environ if one.startswith("LC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LANG", "C.UTF-8")
    terminals: list[Terminal] = []

    def open_one(*arguments: object, command: list[str] = PYTHON, **more: object) -> Terminal:
        terminals.append(Terminal([*command, *map(str, arguments)], tmp_path, **more))  # type: ignore[arg-type]
        return terminals[-1]

    yield open_one
    for terminal in terminals:
        terminal.kill()
