"""How every screen looks, in two sizes: a picture, and its text beside it, in `tests/looks`.

The text is what to read in a review. To take new ones after a change that is wanted:
`pytest tests/screens/test_looks.py --snapshot-update`.
"""

import difflib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_textual_snapshot
import recorded
from person import RESTS_S, Person
from scenes import SCENES, Scene, check_prediction, let_go, many, one
from terminal import PYTHON, Terminal
from textual.pilot import Pilot

import zoowizard.jobs.history
from zoowizard.screens.app import ZoowizardApp
from zoowizard.screens.settings import Settings, write_settings

HEX = set("0123456789abcdef")
LOOKS = Path(__file__).parent.parent / "looks"
SIZES = {"80x24": (80, 24), "120x40": (120, 40)}


class Picture(pytest_textual_snapshot.SVGImageExtension):  # type: ignore[misc]
    """A picture beside its text, under the same name."""

    @classmethod
    def dirname(cls, *, test_location: Any) -> str:
        return str(LOOKS)

    @classmethod
    def write_snapshot(cls, **given: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it lies in another folder than syrupy would choose: we know
            super().write_snapshot(**given)

    @classmethod
    def _get_file_basename(cls, *, test_location: Any, index: Any) -> str:
        name, _, parameters = str(test_location.snapshot_name).partition("[")
        return parameters.rstrip("]") or name.removeprefix("test_")


@pytest.fixture(autouse=True)
def a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of one's own to be in, and a clock that stands still."""
    monkeypatch.setattr(pytest_textual_snapshot, "SVGImageExtension", Picture)
    now = recorded.NOON.timestamp()
    monkeypatch.setattr(zoowizard.jobs.history, "time", SimpleNamespace(time=lambda: now + 14.0))
    monkeypatch.chdir(tmp_path)
    recorded.folder_with_a_run()
    yield
    let_go()


def same_text(name: str, shown: str, renew: bool) -> None:
    """Fail with the difference where the screen does not read as it did."""
    path = LOOKS / f"{name}.txt"
    if renew:
        LOOKS.mkdir(exist_ok=True)
        path.write_text(shown + "\n")
    before = path.read_text().splitlines() if path.exists() else []
    difference = list(difflib.unified_diff(before, shown.splitlines(), f"{name} was", f"{name} is", lineterm=""))
    if difference:
        pytest.fail("\n".join(difference), pytrace=False)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scene", SCENES)
def test_look(scene: str, size: str, snap_compare: Callable[..., bool], pytestconfig: pytest.Config) -> None:
    begin, walk = SCENES[scene]
    begin()
    here = Path("empty") if scene == "model-nothing" else recorded.HERE
    shown = take(here, walk, SIZES[size], snap_compare)
    same_text(f"{scene}-{size}", shown.text, pytestconfig.getoption("update_snapshots"))
    assert shown.same_picture


def test_light(snap_compare: Callable[..., bool], pytestconfig: pytest.Config) -> None:
    one("check", job="passed")()
    shown = take(recorded.HERE, check_prediction, (80, 24), snap_compare, theme="textual-light")
    same_text("light", shown.text, pytestconfig.getoption("update_snapshots"))
    assert shown.same_picture


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("ascii", {"ZOOWIZARD_ASCII": "1"}),
        ("16-colours", {"TERM": "xterm", "COLORTERM": ""}),
        ("no-colour", {"NO_COLOR": "1"}),
    ],
)
def test_poor_terminal(name: str, variables: dict[str, str], pytestconfig: pytest.Config) -> None:
    """The board in a real terminal that can do less: every state has its word."""
    many()
    terminal = Terminal([*PYTHON, "zoowizard", "--workspace", recorded.WORKSPACE], Path(), **variables)
    try:
        terminal.wait_for("Uploaded")
        terminal.wait_for("nuclei-testing: compare 3/6")
        board = at_rest(terminal)
        colours = {cell.fg for line in terminal.screen.buffer.values() for cell in line.values()}
        terminal.send("?")
        terminal.wait_for("The board shows one line a model")
        keys = at_rest(terminal)
        same_text(name, f"{board}\n\n{keys}", pytestconfig.getoption("update_snapshots"))
        exact = {colour for colour in colours if len(colour) == 6 and set(colour) <= HEX}
        if name == "ascii":
            assert (board + keys).isascii()
        elif name == "16-colours":
            assert not exact
        else:
            assert all(colour[:2] == colour[2:4] == colour[4:] for colour in exact), exact
        terminal.send("q")
        terminal.wait_for("nuclei-testing: compare 3/6")
        terminal.send("q")
        assert terminal.ended() == 0
    finally:
        terminal.kill()


def at_rest(terminal: Terminal) -> str:
    """The screen when nothing more comes."""
    before = -1
    while terminal.bytes > before:
        before = terminal.bytes
        terminal.read(RESTS_S)
    return terminal.text()


def take(
    here: Path, walk: Scene, size: tuple[int, int], snap_compare: Callable[..., bool], theme: str = "textual-dark"
) -> SimpleNamespace:
    """Walk to the screen, and compare its picture with the one that was kept."""
    write_settings(recorded.WORKSPACE, Settings(theme))
    app = ZoowizardApp(recorded.WORKSPACE, here, clock=lambda: recorded.NOON)
    text = ""

    async def before(pilot: "Pilot[None]") -> None:
        nonlocal text
        person = Person(pilot)
        await walk(person)
        text = await person.at_rest()

    same = snap_compare(app, terminal_size=size, run_before=before)
    return SimpleNamespace(text=text, same_picture=same)


def test_no_look_is_kept_that_nothing_shows() -> None:
    pictures = {f"{scene}-{size}" for scene in SCENES for size in SIZES} | {"light"}
    texts = pictures | {"ascii", "16-colours", "no-colour"}
    assert {path.name for path in LOOKS.iterdir()} == {f"{one}.svg" for one in pictures} | {
        f"{one}.txt" for one in texts
    }
