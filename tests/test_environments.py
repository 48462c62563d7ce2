"""Environments beside ours: built once, whole or not at all, and told in a sentence where they cannot be had."""

import multiprocessing
import subprocess
from pathlib import Path

import pytest

from zoowizard import environments
from zoowizard.environments import NoEnvironment, clean_variables, interpreter


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Environments in a folder of this test's, with nothing to install unless it says so; no network is needed."""
    pins = tmp_path / "environment_empty.txt"
    pins.write_text("# nothing\n")
    monkeypatch.setattr(environments, "_pins", lambda name: pins)
    monkeypatch.setenv("ZOOWIZARD_ENVIRONMENTS", str(tmp_path / "environments"))
    return tmp_path / "environments"


def _ask(queue: "multiprocessing.Queue[tuple[str, int]]") -> None:
    told: list[str] = []
    python = interpreter("empty", lambda fraction, note: told.append(note))
    queue.put((str(python), sum("making" in note for note in told)))


def test_it_is_built_once_however_many_ask() -> None:
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[tuple[str, int]] = context.Queue()
    asking = [context.Process(target=_ask, args=(queue,)) for _ in range(3)]
    for one in asking:
        one.start()
    answers = [queue.get(timeout=60) for _ in asking]
    assert len({python for python, _ in answers}) == 1
    assert sum(made for _, made in answers) == 1


def test_it_has_the_version_asked_for_and_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("VIRTUAL_ENV", "/nowhere")
    python = interpreter("empty")
    code = "import sys; print(sys.version_info[:2], any('tests' in one for one in sys.path), sys.prefix)"
    said = subprocess.check_output([python, "-c", code], env=clean_variables(), text=True).split()
    assert said[:3] == ["(3,", "11)", "False"]
    assert Path(said[3]) == python.parents[1]


def test_what_a_killed_building_left_is_thrown_away(place: Path) -> None:
    python = interpreter("empty")
    folder = python.parents[1]
    (folder / environments.COMPLETE).unlink()
    (folder / "half a package").touch()
    assert interpreter("empty") == python
    assert not (folder / "half a package").exists()
    assert (folder / environments.COMPLETE).exists()


def test_where_its_own_python_was_removed_it_is_built_again() -> None:
    python = interpreter("empty")
    python.unlink()
    python.symlink_to("/nowhere/python")
    assert interpreter("empty").exists()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ZOOWIZARD_ENVIRONMENTS": "0"}, "forbids"),
        ({"PATH": "/nowhere"}, "uv is not installed"),
        ({"UV_OFFLINE": "1"}, "could not be fetched: no network"),
        ({"UV_INDEX_URL": "http://127.0.0.1:9", "UV_HTTP_RETRIES": "0"}, "could not be fetched: no network"),
        ({"ZOOWIZARD_ENVIRONMENTS": "/proc/nowhere"}, "cannot be used"),
    ],
)
def test_why_it_cannot_be_had_is_said_and_nothing_stays(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    (tmp_path / "environment_empty.txt").write_text("a-package-that-is-nowhere==1.0\n")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NoEnvironment, match=said):
        interpreter("empty")
    assert not [one for one in place.glob("*") if one.is_dir()]


def test_a_full_disk_is_said() -> None:
    assert "disk is full" in environments._why(["error: failed to write: No space left on device (os error 28)"])


def test_the_zoos_pins_name_no_registry() -> None:
    pins = Path(environments.__file__).with_name("environment_zoo.txt").read_text()
    assert "cellpose==3.1.1.2" in pins
    assert "://" not in pins
    assert "--" not in pins
