import random
from itertools import pairwise

import pytest
from markdown_it import MarkdownIt

from zoowizard.board.cells import escaped, one_line, plain
from zoowizard.board.markdown import width_of
from zoowizard.board.tables import Table, cells_put, content, edited, rows_put, tables

GITHUB = MarkdownIt("commonmark").enable("table")
HTML_LINES = ("<td>", "<hr>", "<iframe>", "<!DOCTYPE html>", "<?xml", "<?a ?>", "<![CDATA[", "]]>", "<!-->", "<col>")
TABLE_ENDS = ("-", "1.", "* ", "+      code", "<option>", "<?php", "***", "+ - - -", "- * - * *", "- - - a", "- - -")

LINES = (
    *("| a | b |", "|---|---|", "| - | :-: |", "--- | ---", "a | b", "| x \\| y | `p|q` |", "| x |", "| x | y | z |"),
    *("", "", "text", "```", "~~~", "<!-- c", "-->", "<!-- c -->", "    | i | j |", "# head", "***", "|", "||", "| |"),
    *(
        "<div>",
        "</div>",
        "<pre>",
        "   | a | b |",
        "| a\\\\| b |",
        "a",
        "   |---|---|",
        "| 核 | b |",
        "  ```",
    ),
)
CELLS = (
    "",
    " ",
    "  ",
    " a ",
    "b",
    " 核分割 ",
    " x \\| y ",
    "\tt ",
    " `c` ",
    " [l](https://a.org/b) ",
    " \\\\ ",
    " é\udcff ",
)


def cells_of(text: str, table: Table) -> list[list[str]]:
    """Each line of a table as a renderer shows it: as many cells as there are columns."""
    columns = len(table.header.cells)
    shown = []
    for line in (table.header, *table.rows):
        cells = [content(text, cell).replace("\\|", "|") for cell in line.cells]
        shown.append([*cells, *[""] * columns][:columns])
    return shown


def rendered(text: str) -> list[list[list[str]]]:
    found: list[list[list[str]]] = []
    tokens = GITHUB.parse(text)
    for token, after in pairwise(tokens):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in ("th_open", "td_open"):
            found[-1][-1].append(after.content)
    return found


def test_tables_are_those_that_a_renderer_finds() -> None:
    found = 0
    for seed in range(4000):
        choose = random.Random(seed)
        text = "\n".join(choose.choices(LINES, k=choose.randint(2, 9))) + "\n"
        mine = [cells_of(text, table) for table in tables(text)]
        assert mine == rendered(text), text
        found += len(mine)
    assert found > 300


@pytest.mark.parametrize("line", HTML_LINES)
def test_what_stands_in_html_is_no_table(line: str) -> None:
    table = "| a | b |\n|---|---|\n| 1 | 2 |\n"
    for text in (f"{line}\n{table}\n{table}", f"{line}\n\n{table}", f"{line}\n{table}]]>\n\n{table}"):
        assert [cells_of(text, found) for found in tables(text)] == rendered(text), text


@pytest.mark.parametrize("line", TABLE_ENDS)
def test_a_table_ends_where_something_else_begins(line: str) -> None:
    text = f"| a | b |\n|---|---|\n| 1 | 2 |\n{line}\n"
    [table] = tables(text)
    assert [cells_of(text, table)] == rendered(text)
    after = edited(text, rows_put(text, table, [["3", "4"]]))
    assert after == f"| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n{line}\n"


def test_a_line_of_many_list_marks_is_read_in_one_go() -> None:
    """Where each mark looks at the rest of its line again, this takes hours."""
    table = "\n\n| a | b |\n|---|---|\n"
    for marks in ("- ", "* - ", "1. ", "+ ", "> - "):
        assert len(tables(marks * 200_000 + "a" + table)) == 1


def test_tables_in_quotes_and_lists_are_found_with_what_quotes_them() -> None:
    quote = "> | a | b |\n> |---|---|\n> | 1 | 2 |\n\n"
    text = quote + "- item\n\n  | c | d |\n  |---|---|\n  | 3 | 4 |\n\n- | e | f |\n  |---|---|\n"
    assert [cells_of(text, table) for table in tables(text)] == rendered(text)
    quoted, in_list, _ = tables(text)
    edits = [*rows_put(text, quoted, [["5", "6"]]), *cells_put(text, in_list, in_list.rows[0], {1: "7"})]
    after = edited(text, edits)
    assert "> | 1 | 2 |\n> | 5 | 6 |\n\n" in after
    assert "  | 3 | 7 |\n\n" in after


def a_document(choose: random.Random) -> str:
    """A table with odd cells of any line ending, with or without outer pipes, with short and long rows."""
    opened, closed, columns = choose.random() < 0.7, choose.random() < 0.7, choose.randint(2, 4)
    ending, ruler = choose.choice(("\n", "\r\n", "\r")), choose.choice(("---", " :-: ", "---:", " - "))

    def line(cells: list[str]) -> str:
        inner = "|".join(cells)
        return choose.choice(("", " ", "   ")) + ("|" if opened else "x") + inner + ("|" if closed else "x")

    lines = [line([" h "] * columns), "|".join(["", *[ruler] * columns, ""])]
    lines += [
        line([choose.choice(CELLS) for _ in range(choose.choice((columns, columns, columns, 1, columns + 2)))])
        for _ in range(choose.randint(0, 4))
    ]
    before = choose.choice(
        ("", "\ufeff# Title" + ending * 2, "```" + ending + "| a | b |" + ending + "```" + ending * 2)
    )
    after = choose.choice(("", ending, ending * 2 + "The end, without a table | here"))
    return before + ending.join(lines) + after


def test_one_cell_replaced_changes_nothing_else() -> None:
    replaced = 0
    for seed in range(1500):
        choose = random.Random(seed)
        text = a_document(choose)
        [table] = tables(text)
        assert edited(text, []) == text
        if not table.rows:
            continue
        row = choose.choice(table.rows)
        column, said = (
            choose.randrange(len(table.header.cells)),
            escaped(choose.choice(("No", "a|b\\", "核" * 9, "- x"))),
        )
        after = edited(text, cells_put(text, table, row, {column: said}))
        [again] = tables(after)
        was, now = cells_of(text, table), cells_of(after, again)
        was[1 + table.rows.index(row)][column] = said.replace("\\|", "|")
        assert now == was, (text, after)
        lines, lines_after = text.splitlines(keepends=True), after.splitlines(keepends=True)
        differ = [
            number for number, pair in enumerate(zip(lines, lines_after, strict=True), start=1) if len(set(pair)) > 1
        ]
        assert differ in ([], [row.block.number]), (text, after)
        extra = [cell.end - cell.start for cell in row.cells[len(table.header.cells) :]]
        new_row = again.rows[table.rows.index(row)]
        assert [cell.end - cell.start for cell in new_row.cells[len(table.header.cells) :]] == extra
        replaced += 1
    assert replaced > 1000


def test_rows_added_stand_at_the_end_of_the_table() -> None:
    for seed in range(1500):
        choose = random.Random(seed)
        text = a_document(choose)
        [table] = tables(text)
        columns = len(table.header.cells)
        new = [
            [escaped(choose.choice(("Yes", "1. a", "> b", "核", "c\\"))), *["" if n % 2 else "d"] * (columns - 1)]
            for n in (1, 2)
        ]
        after = edited(text, rows_put(text, table, new))
        [again] = tables(after)
        assert cells_of(after, again) == [*cells_of(text, table), *new], (text, after)
        at = next(place for place, (a, b) in enumerate(zip(text + "\0", after, strict=False)) if a != b)
        assert after.startswith(text[:at]) and after.endswith(text[at:])
        assert after.endswith(("\n", "\r")) == text.endswith(("\n", "\r"))


@pytest.mark.parametrize(
    ("line", "said", "becomes"),
    [
        ("| nuclei | No          |", "In Progress", "| nuclei | In Progress |"),
        ("| nuclei | In Progress |", "No", "| nuclei | No          |"),
        ("| nuclei | No |", "In Progress", "| nuclei | In Progress |"),
        ("|nuclei|No|", "Yes", "|nuclei|Yes|"),
        ("|nuclei||", "Yes", "|nuclei| Yes |"),
        ("| nuclei | 核分割 |", "Yes", "| nuclei | Yes    |"),
        ("nuclei | No", "Yes", "nuclei | Yes"),
        ("nuclei | Failed", "No", "nuclei | No"),
        ("| nuclei |", "Yes", "| nuclei | Yes    |"),
        ("| nuclei", "Yes", "| nuclei | Yes"),
        ("|nuclei|No|", "a\\\\", "|nuclei|a\\\\ |"),
    ],
)
def test_a_cell_keeps_its_width_where_its_content_fits(line: str, said: str, becomes: str) -> None:
    text = f"| Model Name | Status |\n|---|---|\n{line}"
    [table] = tables(text)
    after = edited(text, cells_put(text, table, table.rows[0], {1: said}))
    assert after.split("\n")[2] == becomes
    assert cells_of(after, tables(after)[0])[1] == ["nuclei", said]


def test_what_is_aligned_to_the_right_stays_there() -> None:
    text = "| a |     b |\n|---|------:|\n| 1 |    22 |\n"
    [table] = tables(text)
    after = edited(text, cells_put(text, table, table.rows[0], {1: "4444"}))
    assert after.split("\n")[2] == "| 1 |  4444 |"


def test_a_large_document_is_read_in_a_moment() -> None:
    text = "| a | b | c |\n|---|---|---|\n" + "| model | No | notes \\| more |\n" * 20_000 + "[" * 100_000
    [table] = tables(text)
    assert len(table.rows) == 20_001
    assert plain("[" * 100_000 + "`" * 100_000 + "*a" * 100_000)


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("**[YOLO \\| best](https://a.org/x_(y))** `x*y`", "YOLO | best x*y"),
        ("[![alt](a.png)](https://a.org) [ref][1]", "alt ref"),
        ("2 * 3 * 4 my_model_name __bold__ _it_ ~~gone~~ *", "2 * 3 * 4 my_model_name bold it gone *"),
        ("a<br>b <b>c</b> <https://a.org> 5 &lt; 6 &amp;amp;", "a b c https://a.org 5 < 6 &amp;"),
        ("\\*not\\* \\[a\\](b) p < 0.05 [ ] todo", "*not* [a](b) p < 0.05 [ ] todo"),
        ("\x1b[31mred\udcff", "?[31mred?"),
    ],
)
def test_the_text_of_a_cell(markdown: str, text: str) -> None:
    assert plain(markdown) == text


def test_any_text_is_shown_as_it_is_and_as_nothing_else() -> None:
    signs = [
        "*",
        "_",
        "`",
        "[",
        "]",
        "(",
        ")",
        "<",
        ">",
        "|",
        "\\",
        "~",
        "&",
        "&lt;",
        "!",
        "a",
        "b1",
        " ",
        "核",
        "#",
        "<b>",
    ]
    for seed in range(4000):
        text = "".join(random.Random(seed).choices(signs, k=8))
        assert plain(escaped(text)) == one_line(text), escaped(text)
        table = f"| h |\n|---|\n| {escaped(text)} |\n"
        [block] = [token for token in GITHUB.parse(table) if token.type == "inline"][1:] or [None]
        shown = "" if block is None or block.children is None else "".join(part.content for part in block.children)
        assert {part.type for part in (block.children or ())} <= {"text", "text_special"} if block else not text.strip()
        assert shown == one_line(text), escaped(text)
    assert escaped("~a~ and ~~b~~, ~5") == r"~a\~ and ~\~b\~\~, ~5"
    assert width_of(escaped("plain words, my_model 3 > 2")) == 27
