import difflib
import json
import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import Demo

from zoowizard.assets import asset
from zoowizard.board.columns import COLUMNS
from zoowizard.board.event import claim, event_rows, export_document, import_document
from zoowizard.board.lines import BoardLine, EventRow, ModelRow, merged
from zoowizard.board.memory import keep
from zoowizard.board.rows import Row
from zoowizard.drafts.draft import with_given
from zoowizard.drafts.store import Workspace, drafts, load, open_workspace, save, start_draft
from zoowizard.errors import WrongUse, ZoowizardError
from zoowizard.families.identify import identify
from zoowizard.workflow import board_lines, take

EMPTY = Row("nuclei", "", "", "Not Started", "No", "No", "No", "")
TESTED = replace(EMPTY, status="Tested", metadata_complete="Yes", exported="Yes", notes="parity: IoU 1.000")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "workspace")


@pytest.fixture
def document(tmp_path: Path) -> Path:
    return Path(shutil.copy(asset("uploathon.md"), tmp_path / "uploathon.md"))


def lines_of(workspace: Workspace, *models: ModelRow) -> list[BoardLine]:
    return merged(event_rows(workspace)[0], models)


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def changes(before: str, after: str) -> list[str]:
    differ = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in differ if not line.startswith(("---", "+++", "@@"))]


def test_the_events_document_comes_in_and_goes_out_byte_for_byte(workspace: Workspace, document: Path) -> None:
    imported = import_document(workspace, document)
    assert len(imported.rows) == 9
    assert (imported.new, imported.known, imported.gone, imported.oddities) == (9, 0, 0, ())
    lines, problems = board_lines(workspace)
    assert [line.row.model_name for line in lines][:2] == ["Ashesh's Model", "Nuno's Model"]
    assert (lines[6].row.status, lines[6].draft_id, problems) == ("In Progress", None, [])
    before = document.stat()
    assert export_document(workspace, document, lines).cells_changed == 0
    assert document.read_bytes() == asset("uploathon.md").read_bytes()
    assert document.stat() == before


def test_a_claimed_row_and_a_model_of_ones_own_are_the_only_lines_that_change(
    workspace: Workspace, document: Path, sample_run: Path
) -> None:
    rows = import_document(workspace, document).rows
    draft = claim(workspace, rows[1])
    assert claim(workspace, rows[1]) == draft
    assert {name: known.value for name, known in draft.values.items()} == {
        "name": "Nuno's Model",
        "category": "Participant Models",
        "description": "Custom model",
    }
    assert draft.found["name"].origin == "uploathon.md"
    untouched = board_lines(workspace)[0]
    assert untouched[1].draft_id == draft.id
    assert export_document(workspace, document, untouched) == export_document(workspace, document, untouched)
    assert document.read_bytes() == asset("uploathon.md").read_bytes()

    save(workspace, with_given(draft, {"name": "Nuclei in 2D", "license": "MIT"}))
    other = start_draft(workspace, "yolo", sample_run / "weights" / "best.pt", "other")
    save(workspace, with_given(other, {"name": "Mine | [x](http://a.org)"}))
    start_draft(workspace, "yolo", sample_run / "weights" / "last.pt", "only looked at")
    lines = board_lines(workspace)[0]
    assert {line.draft_id for line in lines[9:]} == {"other", "only-looked-at"}
    done = export_document(workspace, document, lines)
    assert (done.cells_changed, done.rows_changed, done.rows_added) == (2, 1, 1)
    note, others_note = (line.row.notes for line in lines if line.draft_id in (draft.id, "other"))
    assert note.startswith("missing: model, authors") and others_note.startswith("name: holds")
    old, new, added = changes(asset("uploathon.md").read_text(), document.read_text())
    assert old == "-" + asset("uploathon.md").read_text().splitlines()[62]
    assert new == "+" + old[1:].replace("Not Started", "In Progress").replace(" " * 26 + "|", f" {note} |")
    assert added.startswith(r"+| Mine \| \[x\](http://a.org) | ") and added.count(" | ") == 7

    text = document.read_bytes()
    assert export_document(workspace, document, board_lines(workspace)[0]).cells_changed == 0
    assert document.read_bytes() == text
    again = import_document(workspace, document)
    assert (again.new, again.known, again.gone) == (1, 9, 0)
    assert again.rows[9].row.model_name == "Mine | [x](http://a.org)"
    assert [line.draft_id for line in board_lines(workspace)[0]][9:] == ["other", "only-looked-at"]


def test_a_built_model_fills_the_row_that_was_claimed_for_it(demo: Demo, tmp_path: Path, document: Path) -> None:
    workspace = Workspace(Path(shutil.copytree(demo.workspace, tmp_path / "workspace", symlinks=True)))
    [built], _ = drafts(workspace)
    assert built.checkpoint is not None
    [recognition] = identify(built.checkpoint)
    claimed = claim(workspace, import_document(workspace, document).rows[0])
    joined = take(workspace, recognition, claimed)
    assert joined.id == built.id and [draft.id for draft in drafts(workspace)[0]] == [built.id]
    assert (joined.given, joined.get("name")) == (built.given, built.get("name"))
    lines = board_lines(workspace)[0]
    assert len(lines) == 9
    assert lines[0].row.notes.startswith("parity: IoU")
    done = export_document(workspace, document, lines)
    assert (done.cells_changed, done.rows_changed, done.rows_added) == (4, 1, 0)
    old, new = changes(asset("uploathon.md").read_text(), document.read_text())
    assert old == "-" + asset("uploathon.md").read_text().splitlines()[61]
    expected = old[1:].replace("Not Started | No                 | No ", "Tested      | Yes                | Yes")
    assert new == "+" + expected.replace(" " * 26 + "|", f" {lines[0].row.notes} |")


def test_what_people_wrote_is_kept_and_what_came_from_here_is_renewed(workspace: Workspace, tmp_path: Path) -> None:
    head = "| Model Name | Notes | Description | Status |\n|---|---|---|---|\n"
    path = written(tmp_path / "a.md", head + "| nuclei | ask Ada | | |\n| cells | | | |\n")
    import_document(workspace, path)
    models = [ModelRow("nuclei", TESTED), ModelRow("cells", replace(TESTED, model_name="cells", description="Cells."))]
    lines = lines_of(workspace, *models)
    assert [line.row.notes for line in lines] == ["ask Ada · parity: IoU 1.000", "parity: IoU 1.000"]
    export_document(workspace, path, lines)
    assert "| nuclei | ask Ada | | Tested |" in path.read_text()
    assert "| cells | parity: IoU 1.000 | Cells. | Tested |" in path.read_text()

    written(path, path.read_text().replace("Cells.", "All *our* cells"))
    failed = replace(models[1].row, status="Failed", notes="onnx differs", description="New.")
    later = lines_of(workspace, ModelRow("cells", failed))
    assert export_document(workspace, path, later).cells_changed == 2
    assert "| cells | onnx differs      | All *our* cells | Failed |" in path.read_text()
    import_document(workspace, path)
    [_, cells] = lines_of(workspace, ModelRow("cells", failed))
    assert (cells.row.description, cells.row.notes) == ("All our cells", "onnx differs")
    good = ModelRow("cells", replace(failed, status="Tested", notes=""))
    export_document(workspace, path, lines_of(workspace, good))
    assert "| cells |                   | All *our* cells | Tested |" in path.read_text()


def test_a_claim_without_work_says_less_than_the_document(workspace: Workspace, tmp_path: Path) -> None:
    text = "|Model name|Uploaded|Exported|\n|-|-|-|\n|nuclei|by hand|yes|\n"
    path = written(tmp_path / "a.md", text)
    [row] = import_document(workspace, path).rows
    draft = claim(workspace, row)
    [line] = board_lines(workspace)[0]
    assert (line.draft_id, line.row.uploaded, line.row.status) == (draft.id, "by hand", "Not Started")
    export_document(workspace, path, [line])
    assert path.read_text() == text
    save(workspace, with_given(draft, {"license": "MIT"}))
    export_document(workspace, path, board_lines(workspace)[0])
    assert path.read_text() == text.replace("by hand", "No     ").replace("yes", "No ")


ODD = (
    "\ufeff# Models\r\n\r\n| Person | Notes |\r\n|---|---|\r\n| Ada | x |\r\n\r\n"
    "```\r\n| Model Name | Status |\r\n|---|---|\r\n| in code | No |\r\n```\r\n\r\n"
    "  exported | **Model name** | What | Metadata  complete?\r\n  :-- | --- | --- | :-:\r\n"
    "  no | [核分割](https://a.org) | a \\| b | No\r\n  no | cells\r\n  no | cells | x | No | more | cells\r\n\r\n"
    "Model Name|Status\r\n-|-\r\nlast|"
)


def test_any_shape_of_table_is_understood_and_only_its_cells_change(workspace: Workspace, tmp_path: Path) -> None:
    raw = ODD.encode() + b"\xff\r\n|||\r\n"
    path = written(tmp_path / "odd.md", raw)
    imported = import_document(workspace, path)
    assert [row.row.model_name for row in imported.rows] == ["核分割", "cells", "cells", "last"]
    assert imported.rows[0].row.cells()[4:6] == ("No", "no")
    assert [problem.split(":")[0] for problem in imported.oddities] == [f"line {n}" for n in (13, 16, 17, 19)]
    assert "line 16: 2 cells where the table has 4" in imported.oddities
    assert export_document(workspace, path, lines_of(workspace)).cells_changed == 0
    assert path.read_bytes() == raw
    tested = replace(TESTED, model_name="Cells")
    models = (ModelRow("a", tested), ModelRow("b", tested), ModelRow("c", replace(tested, model_name="1. new")))
    assert [line.draft_id for line in lines_of(workspace, *models)] == [None, "a", "b", None, "c"]
    done = export_document(workspace, path, lines_of(workspace, *models))
    assert (done.cells_changed, done.rows_changed, done.rows_added) == (4, 2, 1)
    after = raw.replace(b"  no | cells\r\n", b"  Yes | cells |      | Yes\r\n").replace(
        b"  no | cells | x | No | more | cells", b"  Yes | cells | x | Yes | more | cells"
    )
    assert path.read_bytes() == after + b"| 1. new    |Tested\r\n"
    assert export_document(workspace, path, lines_of(workspace, *models)).rows_added == 0


def test_a_document_edited_by_others_is_imported_again(workspace: Workspace, document: Path) -> None:
    rows = import_document(workspace, document).rows
    draft = claim(workspace, rows[3])
    text = document.read_text().replace("| OpenCall Cellpose Model 2   |", "|  **opencall  CellPose model 2** |")
    text = text.replace(
        "| Nuno's Model                | Participant Models        | Custom model  ", "| Mito | | Custom"
    )
    written(document, text)
    again = import_document(workspace, document)
    assert (again.new, again.known, again.gone) == (1, 8, 1)
    assert again.oddities == ("`Nuno's Model` is no longer in the document",)
    lines = board_lines(workspace)[0]
    assert [line.draft_id for line in lines].index(draft.id) == 3
    assert lines[3].row.model_name == "opencall CellPose model 2"


def test_of_many_oddities_the_first_are_told(workspace: Workspace, tmp_path: Path) -> None:
    text = "| Model Name | Status |\n|---|---|\n" + "".join(f"| m{number} |\n" for number in range(50))
    oddities = import_document(workspace, written(tmp_path / "a.md", text)).oddities
    assert (len(oddities), oddities[1]) == (21, "line 3: 1 cell where the table has 2")
    assert oddities[-1] == "and 31 more"


def test_another_copy_of_the_document_can_be_written(workspace: Workspace, document: Path, tmp_path: Path) -> None:
    import_document(workspace, document)
    copy = written(tmp_path / "team.md", "Model Name | Status\n--- | ---\nNUNO'S model | No\n")
    os.chmod(copy, 0o640)  # noqa: PTH101
    link = tmp_path / "link.md"
    link.symlink_to(copy)
    lines = lines_of(workspace, ModelRow("n", TESTED, rows_key := "nuno's model #1"))
    assert lines[1].key == rows_key
    assert export_document(workspace, link, lines).cells_changed == 1
    assert copy.read_text().endswith("NUNO'S model | Tested\n")
    assert link.is_symlink() and stat.S_IMODE(copy.stat().st_mode) == 0o640
    assert document.read_bytes() == asset("uploathon.md").read_bytes()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"# Nothing\n", "no table in it tracks models; one needs the columns Model Name and at least one of Category"),
        (b"| Model Name | Who |\n|-|-|\n| a | b |\n", "no table in it tracks models"),
        (b"| Model Name | Status |\n|-|-|\n\0", "no Markdown text"),
        (b"x" * 10_000_001, "10 MB"),
        (b"\r\n" * 200_001, "200001 lines"),
        (b"", "no table"),
    ],
)
def test_a_file_without_the_table_is_told_apart(
    workspace: Workspace, tmp_path: Path, content: bytes, says: str
) -> None:
    path = written(tmp_path / "a.md", content)
    for attempt in (lambda: import_document(workspace, path), lambda: export_document(workspace, path, [])):
        with pytest.raises(WrongUse, match=says) as raised:
            attempt()
        assert str(raised.value).startswith(f"{path}: ") and "\n" not in str(raised.value)
    assert event_rows(workspace) == ((), [])


def test_what_is_no_file_is_told(workspace: Workspace, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, says in (("missing.md", "no such file"), ("", "is a folder"), ("pipe", "no regular file")):
        with pytest.raises(WrongUse, match=says):
            import_document(workspace, tmp_path / name)


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 2}', '{"version": 1, "rows": [{"key": "a"}]}', "\0"])
def test_damaged_records_are_one_sentence_and_importing_mends_them(
    workspace: Workspace, document: Path, content: str
) -> None:
    import_document(workspace, document)
    (workspace.root / "event.json").write_text(content)
    rows, [problem] = event_rows(workspace)
    assert rows == () and "event.json is damaged" in problem and "\n" not in problem
    assert board_lines(workspace) == ([], [problem])
    with pytest.raises(ZoowizardError, match=r"event\.json is damaged"):
        export_document(workspace, document, [])
    assert (workspace.root / "event.json").read_text() == content
    imported = import_document(workspace, document)
    assert imported.new == 9 and "event.json.damaged" in imported.oddities[0]
    assert (workspace.root / "event.json.damaged").read_text() == content
    assert len(event_rows(workspace)[0]) == 9


def test_a_document_that_cannot_be_written_is_told_and_stays(workspace: Workspace, document: Path) -> None:
    import_document(workspace, document)
    lines = lines_of(workspace, ModelRow("n", TESTED, "nuno's model #1"))
    before = document.read_bytes()
    gone = document.with_name("gone") / "a.md"
    with pytest.raises(WrongUse, match="no such file"):
        export_document(workspace, gone, lines)
    (workspace.root / "event.json").unlink()
    (workspace.root / "event.json").mkdir()
    with pytest.raises(ZoowizardError, match=r"event\.json"):
        export_document(workspace, document, lines)
    assert document.read_bytes() == before


def test_what_somebody_saves_while_it_is_written_is_not_lost(
    workspace: Workspace, document: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_document(workspace, document)
    lines = lines_of(workspace, ModelRow("n", TESTED, "nuno's model #1"))
    theirs = document.read_bytes() + b"| a row of somebody else |\n"

    def saved_meanwhile(*given: Any) -> None:
        keep(*given)
        document.write_bytes(theirs)

    with monkeypatch.context() as patched:
        patched.setattr("zoowizard.board.event.keep", saved_meanwhile)
        with pytest.raises(ZoowizardError, match="was changed by somebody else just now"):
            export_document(workspace, document, lines)
    assert document.read_bytes() == theirs
    assert export_document(workspace, document, lines).rows_changed == 1
    assert document.read_bytes().endswith(b"| a row of somebody else |\n")


def test_names_with_markup_and_control_characters_stay_text(workspace: Workspace, tmp_path: Path) -> None:
    text = "| Model Name | Status |\n|---|---|\n| run \\[best\\].pt | \x1b[2J |\n| " + "x" * 300 + " | [/x] |\n"
    imported = import_document(workspace, written(tmp_path / "a.md", text))
    first, second = imported.rows
    assert (first.row.model_name, first.row.status) == ("run [best].pt", "?[2J")
    assert (len(second.row.model_name), second.row.status) == (300, "[/x]")
    assert len(claim(workspace, second).id) <= 48


def test_a_model_belongs_to_the_row_that_it_claims_else_to_that_of_its_name() -> None:
    rows = [
        EventRow("a #1", replace(EMPTY, model_name="A")),
        EventRow("b #1", replace(EMPTY, model_name="B"), linked="w"),
    ]
    named_a, renamed = ModelRow("n", replace(TESTED, model_name="a")), ModelRow("w", replace(TESTED, model_name="C"))
    assert ids(merged(rows, [named_a, renamed])) == ["n", "w"]
    claims_a = ModelRow("c", replace(TESTED, model_name="Z"), "a #1")
    assert ids(merged(rows, [named_a, renamed, claims_a])) == ["c", "w", "n"]
    lost = ModelRow("l", replace(TESTED, model_name="b"), "gone #1")
    assert ids(merged(rows, [claims_a, lost])) == ["c", "l"]
    assert len({line.key for line in merged(rows, [named_a, renamed, claims_a, lost])}) == 4
    assert merged([], []) == []


def ids(lines: Sequence[BoardLine]) -> list[str | None]:
    return [line.draft_id for line in lines]


def test_thousands_of_rows_and_models_are_merged_and_written(workspace: Workspace, tmp_path: Path) -> None:
    head = "| " + " | ".join(COLUMNS) + " |\n" + "|---" * 8 + "|\n"
    body = "".join(f"| model {number} | | | Not Started | No | No | No | |\n" for number in range(5000))
    path = written(tmp_path / "a.md", head + body)
    rows = import_document(workspace, path).rows
    models = [ModelRow(f"m{n}", replace(TESTED, model_name=f"Model {n + 2500}")) for n in range(5000)]
    lines = merged(rows, models)
    assert (len(lines), sum(line.draft_id is not None for line in lines)) == (7500, 5000)
    assert export_document(workspace, path, lines).rows_added == 2500
    assert path.read_text().startswith(head + body[: body.index("| model 2500 |")])


def test_the_records_are_readable_by_people(workspace: Workspace, document: Path) -> None:
    import_document(workspace, document)
    stored = json.loads((workspace.root / "event.json").read_text())
    assert stored["document"] == "uploathon.md"
    assert stored["rows"][0]["cells"][0] == "Ashesh's Model"
    assert (
        load(workspace, claim(workspace, event_rows(workspace)[0][0]).id).found["event_row"].value
        == "ashesh's model #1"
    )
