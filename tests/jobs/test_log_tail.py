"""The end of a log, as lines."""

from pathlib import Path

import pytest

from zoowizard.jobs.log_tail import LONGEST_LINE, MOST_BYTES, MOST_LINES, LogTail, is_error, shown


def test_follows_a_log_that_grows(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    tail = LogTail(log)
    assert tail.read() == []
    log.write_text("one\ntw")
    assert tail.read() == ["one"]
    with log.open("a") as file:
        file.write("o\nthree")
    assert tail.read() == ["two"]
    assert tail.read() == []
    assert tail.read(over=True) == ["three"]


def test_a_log_that_was_replaced_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("old\nolder\n")
    tail = LogTail(log)
    tail.read()
    log.write_text("new\n")
    assert tail.read() == ["new"]


def test_of_a_long_log_only_the_end_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with log.open("w") as file:
        file.writelines(f"line {number} {'x' * 90}\n" for number in range(3 * MOST_BYTES // 100))
    tail = LogTail(log)
    lines = tail.read()
    assert tail.shortened
    assert len(lines) <= MOST_LINES
    assert lines[-1].startswith(f"line {3 * MOST_BYTES // 100 - 1} ")
    assert all(line.startswith("line ") for line in lines)
    assert tail.read() == []


@pytest.mark.parametrize(
    ("printed", "line"),
    [
        ("\x1b[31mred\x1b[0m \x1b[2Jtext", "red text"),
        ("  0%|  | 0/9\r 50%|## | 4/9\r100%|####| 9/9", "100%|####| 9/9"),
        ("windows line\r", "windows line"),
        ("\x1b]0;a title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\tb\x00c\x07", "a   bc"),
        ("细胞核 [bold]x[/]", "细胞核 [bold]x[/]"),
    ],
)
def test_nothing_in_a_line_steers_the_terminal(printed: str, line: str) -> None:
    assert shown(printed) == line


def test_a_line_without_end_is_cut() -> None:
    assert len(shown("x" * 100_000)) == LONGEST_LINE


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\xff\xfe ok\n")
    assert LogTail(tmp_path / "log").read() == ["\ufffd\ufffd ok"]


def test_knows_an_error_when_it_sees_one() -> None:
    assert is_error("Traceback (most recent call last):")
    assert is_error("RuntimeError: no")
    assert not is_error("0 errors so far")
