from dataclasses import replace
from pathlib import Path

from zoowizard.board.markdown import render, render_plain, width_of
from zoowizard.board.rows import Row

ROW = Row("Ashesh's Model", "Participant Models", "Microscopic image splitting", "Not Started", "No", "No", "No", "")
DOCUMENT = Path(__file__).parents[2] / "assets" / "uploathon.md"


def test_a_row_looks_as_in_the_events_document() -> None:
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| Model Name"))
    assert render([ROW]).splitlines() == lines[start : start + 3]


def test_whatever_a_cell_holds_it_stays_one_cell() -> None:
    awkward = replace(ROW, model_name="a|b\\|c", description="two\nlines\r\n\x1b[31m<script>", notes="核" * 20)
    lines = render([ROW, awkward]).splitlines()
    assert len(lines) == 4
    row = lines[3].replace("\\\\", "").replace("\\|", "")
    assert row.count("|") == 9
    assert "\x1b" not in lines[3] and "<script" not in lines[3]
    assert len({width_of(line) for line in lines}) == 1


def test_no_rows_is_still_a_table() -> None:
    assert len(render([]).splitlines()) == 2
    assert render_plain([]).startswith("Model Name")


def test_a_terminal_of_any_width_is_kept() -> None:
    long = replace(ROW, model_name="核分割" * 10, description="d " * 80, notes="missing: a, b, c " * 9)
    for width in (80, 100, 160):
        lines = render_plain([ROW, long], width).splitlines()
        assert len(lines) == 3
        assert all(width_of(line) <= width for line in lines)
    assert "…" in render_plain([long], 80)
    wide = render_plain([ROW], 200)
    assert "Meta-data Complete" in wide and "Microscopic image splitting" in wide
    assert "\x1b" not in render_plain([replace(ROW, notes="\x1b[2Jx")], 200)
