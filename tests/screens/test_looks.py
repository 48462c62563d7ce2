"""How every screen looks, in two sizes: a picture, and its text beside it, in `tests/looks`.

The text is what to read in a review. To take new ones after a change that is wanted:
`pytest tests/screens/test_looks.py --snapshot-update`.
"""

import difflib
import re
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_textual_snapshot
import recorded
from person import Person, rests_s
from scenes import SCENES, Scene, check_prediction, let_go, many, one
from terminal import PYTHON, Terminal
from textual.pilot import Pilot
from textual.widgets import Input

import zoowizard.jobs.history
from zoowizard.screens.app import ZoowizardApp
from zoowizard.screens.settings import Settings, write_settings

HEX = set("0123456789abcdef")
LOOKS = Path(__file__).parent.parent / "looks"
SIZES = {"80x24": (80, 24), "120x40": (120, 40)}


BACKGROUND = re.compile(
    r'<rect fill="(?P<colour>[^"]+)" x="(?P<x>[^"]+)" y="(?P<y>[^"]+)" width="(?P<width>[^"]+)" height="[^"]+" '
    r'shape-rendering="crispEdges"/>'
)


def to_be_seen(picture: str) -> str:
    """What a picture shows: into how many pieces a background of one colour falls is chance, and not to be seen."""
    pieces: list[tuple[str, str, float, float]] = []
    for found in BACKGROUND.finditer(picture):
        colour, y, x, right = found["colour"], found["y"], float(found["x"]), float(found["x"]) + float(found["width"])
        if pieces and pieces[-1][:2] == (colour, y) and abs(pieces[-1][3] - x) < 0.1:
            x = pieces.pop()[2]
        pieces.append((colour, y, round(x, 1), round(right, 1)))
    return "\n".join([BACKGROUND.sub("", picture), *map(str, pieces)])


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

    def matches(self, *, serialized_data: Any, snapshot_data: Any) -> bool:
        return to_be_seen(serialized_data) == to_be_seen(snapshot_data)

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
    for name, said in (
        ("ZOOWIZARD_SERVER", "http://127.0.0.1:9"),  # where nobody listens
        ("XDG_CONFIG_HOME", str(tmp_path / "config")),
        ("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring"),
        ("TZ", "UTC"),
    ):
        monkeypatch.setenv(name, said)
    for name in ("ZOOWIZARD_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    time.tzset()
    monkeypatch.chdir(tmp_path)
    recorded.folder_with_a_run()
    yield
    let_go()
    monkeypatch.undo()
    time.tzset()


def text_of(name: str) -> str:
    """The text that was kept; empty where there is none yet."""
    path = LOOKS / f"{name}.txt"
    return path.read_text() if path.exists() else ""


def picture_of(app: ZoowizardApp) -> str:
    """The screen as `snap_compare` would keep it now."""
    return pytest_textual_snapshot.normalize_svg(app.export_screenshot(title=app.title, simplify=True))


def same_text(name: str, shown: str, renew: bool) -> None:
    """Fail with the difference where the screen does not read as it did."""
    path = LOOKS / f"{name}.txt"
    if renew:
        LOOKS.mkdir(exist_ok=True)
        path.write_text(shown + "\n")
    difference = list(
        difflib.unified_diff(text_of(name).splitlines(), shown.splitlines(), f"{name} was", f"{name} is", lineterm="")
    )
    if difference:
        pytest.fail("\n".join(difference), pytrace=False)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scene", SCENES)
def test_look(scene: str, size: str, snap_compare: Callable[..., bool], pytestconfig: pytest.Config) -> None:
    begin, walk = SCENES[scene]
    begin()
    here = Path("empty") if scene == "model-nothing" else recorded.HERE
    shown = take(f"{scene}-{size}", here, walk, SIZES[size], snap_compare)
    same_text(f"{scene}-{size}", shown.text, pytestconfig.getoption("update_snapshots"))
    assert shown.same_picture


def test_light(snap_compare: Callable[..., bool], pytestconfig: pytest.Config) -> None:
    one("check", job="passed")()
    shown = take("light", recorded.HERE, check_prediction, (80, 24), snap_compare, theme="textual-light")
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
        board = at_rest(terminal, text_of(name))
        colours = {cell.fg for line in terminal.screen.buffer.values() for cell in line.values()}
        terminal.send("?")
        terminal.wait_for("The board shows one line a model")
        keys = at_rest(terminal, text_of(name))
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


def at_rest(terminal: Terminal, expected: str) -> str:
    """The screen when nothing more has come for a while; for a long while, where it is not yet what is expected."""
    before, since = -1, time.monotonic()
    while terminal.bytes > before or time.monotonic() - since < rests_s(terminal.text().strip() in expected):
        if terminal.bytes > before:
            before, since = terminal.bytes, time.monotonic()
        terminal.read(0.05)
    return terminal.text()


def take(
    name: str,
    here: Path,
    walk: Scene,
    size: tuple[int, int],
    snap_compare: Callable[..., bool],
    theme: str = "textual-dark",
) -> SimpleNamespace:
    """Walk to the screen, and compare its picture with the one that was kept."""
    write_settings(recorded.WORKSPACE, Settings(theme))
    app = ZoowizardApp(recorded.WORKSPACE, here, clock=lambda: recorded.NOON)
    text = ""
    path = LOOKS / f"{name}.svg"
    kept = to_be_seen(path.read_text()) if path.exists() else ""

    async def before(pilot: "Pilot[None]") -> None:
        nonlocal text
        person = Person(pilot)
        await walk(person)
        for typed in app.screen.query(Input):
            typed.cursor_blink = False  # else it would be chance whether the cursor is to be seen
        text = await person.at_rest(lambda: person.screen in text_of(name) and to_be_seen(picture_of(app)) == kept)

    same = snap_compare(app, terminal_size=size, run_before=before)
    return SimpleNamespace(text=text, same_picture=same)


def test_no_look_is_kept_that_nothing_shows() -> None:
    pictures = {f"{scene}-{size}" for scene in SCENES for size in SIZES} | {"light"}
    texts = pictures | {"ascii", "16-colours", "no-colour"}
    assert {path.name for path in LOOKS.iterdir()} == {f"{one}.svg" for one in pictures} | {
        f"{one}.txt" for one in texts
    }
