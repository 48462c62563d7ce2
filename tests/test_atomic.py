"""A file is the old one or the new one, whatever happens."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zoowizard.atomic import write_json, write_text
from zoowizard.errors import ZoowizardError


def test_text_and_json(tmp_path: Path) -> None:
    path = tmp_path / "核 [best].json"
    write_text(path, "old")
    write_json(path, {"name": "核", "path": "run \udcff.pt"})
    assert json.loads(path.read_text()) == {"name": "核", "path": "run \udcff.pt"}
    write_json(path, {"name": "核"})
    assert path.read_text() == '{\n  "name": "核"\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_json_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "draft.json"
    write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        write_json(path, {"new": object()})
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\udcff")
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ZoowizardError, match=r"could not save .*draft.json: no such file or directory"):
        write_text(tmp_path / "none" / "draft.json", "")


def test_no_room_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "draft.json"
    write_text(path, "old")
    program = f"""
import resource
from pathlib import Path
from zoowizard.atomic import write_text
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
write_text(Path({str(path)!r}), "x" * 5000)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert f"ZoowizardError: could not save {path}: file too large" in done.stderr
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_kill_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "draft.json"
    program = f"""
from pathlib import Path
from zoowizard.atomic import write_json
for number in range(10**9):
    write_json(Path({str(path)!r}), [number] * 2000)
"""
    for delay in (0.0, 0.003, 0.011, 0.023, 0.031):
        path.unlink(missing_ok=True)
        writer = subprocess.Popen([sys.executable, "-c", program])
        while not path.exists():
            assert writer.poll() is None
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        numbers = json.loads(path.read_text())
        assert len(numbers) == 2000 and len(set(numbers)) == 1
