"""Old jobs do not fill the disk, and nothing that somebody needs goes with them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from commands import run_zoowizard

from zoowizard.jobs import housekeeping
from zoowizard.jobs.build_steps import RECORDS
from zoowizard.jobs.folder import create
from zoowizard.jobs.housekeeping import _remove_job, clean, disk_use, job_parents, trim, use_in_words
from zoowizard.jobs.locks import claim
from zoowizard.jobs.state import list_jobs, read_job

Start = Callable[..., Path]
Until = Callable[..., None]

TOLD = {"job.json", "log.txt", "events.jsonl", "result.json", "report.json", "report.md"}
MEGABYTE = 1 << 20


def job(
    parent: Path,
    state: str | None,
    days_ago: float = 0.0,
    resume: Path | None = None,
    records: tuple[str, ...] = RECORDS[:2],
    kind: str = "build",
) -> Path:
    """A job as a build leaves it; `state` None is one that is about to start."""
    made = create(parent, kind, "nuclei", {"resume": None if resume is None else str(resume)})
    then = datetime.now(UTC) - timedelta(days=days_ago)
    folder = made.with_name(f"{then:%Y%m%d-%H%M%S}-{made.name[-4:]}")
    made.rename(folder)
    spec = {**json.loads((folder / "job.json").read_text()), "id": folder.name, "created": then.isoformat()}
    (folder / "job.json").write_text(json.dumps(spec))
    if state is None:
        return folder
    for name in TOLD - {"job.json", "result.json"}:
        (folder / name).write_text("told")
    result = {"status": state, "seconds": 1, "ended": then.isoformat()}
    (folder / "result.json").write_text(json.dumps(result))
    for name in records:
        (folder / name).write_text("{}")
    for name in ("weights", "tensors", "contents", "comparison", "bioimageio-cache"):
        (folder / name).mkdir()
    (folder / "weights" / "weights.onnx").write_bytes(b"w" * MEGABYTE)
    (folder / "contents" / "weights.onnx").hardlink_to(folder / "weights" / "weights.onnx")
    (folder / "contents" / "sample_labels.tif").write_bytes(b"l" * 1000)
    (folder / "comparison" / "input-0.npy").write_bytes(b"c" * MEGABYTE)
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def cleaned(parent: Path, keep_days: float = 30, everything: bool = False) -> int:
    freed, problems = clean(disk_use([parent], keep_days, everything), keep_days, everything)
    assert problems == []
    return freed


def test_what_goes_and_what_stays(tmp_path: Path) -> None:
    ancient = job(tmp_path, "failed", 50)
    passed_before = job(tmp_path, "passed", 40)
    old = job(tmp_path, "failed", 20)
    passed = job(tmp_path, "passed", 10)
    newest = job(tmp_path, "died", 1)
    goes_on_with = job(tmp_path, "cancelled", 30.5)
    underway = job(tmp_path, None, resume=goes_on_with)
    use = disk_use([tmp_path])
    assert use.jobs == 7
    assert cleaned(tmp_path) == use.freeable > 9 * MEGABYTE

    assert not ancient.exists() and not passed_before.exists()
    assert names(old) == TOLD | set(RECORDS[:2])
    assert names(passed) == TOLD | set(RECORDS[:2]) | {"contents"}
    assert names(passed / "contents") == {"sample_labels.tif"}
    for kept in (newest, goes_on_with):
        assert names(kept) == TOLD | set(RECORDS[:2]) | {"weights", "tensors"}
        assert (kept / "weights" / "weights.onnx").stat().st_size == MEGABYTE
    assert underway.exists()
    assert [one.state for one in list_jobs(tmp_path)] == ["starting", "died", "passed", "failed", "cancelled"]
    assert disk_use([tmp_path]).removals == ()
    assert "would free" not in use_in_words(disk_use([tmp_path]))


def test_all_that_nothing_needs(tmp_path: Path) -> None:
    folders = {state: job(tmp_path, state, days) for state, days in (("failed", 3), ("passed", 2), ("died", 1))}
    test = job(tmp_path, "passed", 2.5, kind="test")
    cleaned(tmp_path, everything=True)
    assert [folder.exists() for folder in (folders["failed"], test)] == [False, False]
    assert [folder.exists() for folder in (folders["passed"], folders["died"])] == [True, True]


def test_days_to_keep(tmp_path: Path) -> None:
    folders = [job(tmp_path, "failed", days) for days in (8, 6, 1)]
    cleaned(tmp_path, keep_days=7)
    assert [folder.exists() for folder in folders] == [False, True, True]


def test_what_earlier_runs_left_that_the_newest_has_not(tmp_path: Path) -> None:
    useless = job(tmp_path, "died", 5, records=())
    converted = job(tmp_path, "died", 4, useless, RECORDS[:1])
    packaged = job(tmp_path, "died", 3, converted, RECORDS[:3])
    compared = job(tmp_path, "died", 2, packaged, RECORDS[:2])
    newest = job(tmp_path, "cancelled", 1, compared, ())
    cleaned(tmp_path)
    runs = (useless, converted, packaged, compared, newest)
    assert [(run / "weights").exists() for run in runs] == [False, False, True, True, True]


def test_a_job_that_is_needed_since_the_look(tmp_path: Path) -> None:
    old, other = job(tmp_path, "failed", 50), job(tmp_path, "failed", 49)
    newest = job(tmp_path, "failed", 1)
    use = disk_use([tmp_path])
    assert {removal.folder for removal in use.removals if removal.whole} == {old, other}
    job(tmp_path, None, resume=old)
    clean(use)
    assert [folder.exists() for folder in (old, other, newest)] == [True, False, True]
    assert (old / "weights" / "weights.onnx").exists()


def test_links_are_never_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "workspace", tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    parent = root / "models" / "nuclei" / "jobs"
    old, newest = job(parent, "failed", 50), job(parent, "failed", 1)
    for folder in (old, newest):
        (folder / "linked").symlink_to(outside)
        (folder / "comparison" / "linked").symlink_to(outside)
    elsewhere = job(tmp_path / "elsewhere", "failed", 60)
    job(tmp_path / "elsewhere", "failed", 1)
    (root / "models" / "linked").mkdir()
    (root / "models" / "linked" / "jobs").symlink_to(tmp_path / "elsewhere")
    (root / "models" / "all").symlink_to(root / "models" / "nuclei")
    linked_job = parent / elsewhere.name
    linked_job.symlink_to(elsewhere)
    assert job_parents(root) == [parent]
    use = disk_use(job_parents(root), 0, everything=True)
    assert "is not a folder" in use.problems[0]
    clean(use, 0, everything=True)
    assert not old.exists() and newest.exists()
    assert (outside / "precious").read_text() == "mine"
    assert linked_job.is_symlink() and "weights" in names(elsewhere)


def test_what_was_left_half_made_or_half_removed(tmp_path: Path) -> None:
    newest = job(tmp_path, "failed", 1)
    (newest / ".removed-1234").mkdir()
    for name in (".removed-abcd", ".new-abcd", ".new-now", "notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "big").write_bytes(b"0" * MEGABYTE)
    two_days_ago = (newest / "job.json").stat().st_mtime - 2 * 86_400
    os.utime(tmp_path / ".new-abcd", (two_days_ago, two_days_ago))
    cleaned(tmp_path)
    assert names(tmp_path) == {newest.name, ".new-now", "notes"}
    assert ".removed-1234" not in names(newest)


@pytest.mark.parametrize("name", [".new-abcd", ".removed-1234", "job/.saving-1234"])
def test_what_is_finished_while_one_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    newest, old = job(tmp_path, "failed", 1), job(tmp_path, "failed", 2)
    half = Path(str(tmp_path / name).replace("/job/", f"/{old.name}/"))
    half.mkdir()
    entries = housekeeping._entries

    def then_finish(folder: Path) -> list[os.DirEntry[str]]:
        found = entries(folder)
        if any(Path(one.path) == half for one in found):
            half.rename(tmp_path / "whole")
        return found

    monkeypatch.setattr(housekeeping, "_entries", then_finish)
    use = disk_use([tmp_path])
    assert not half.exists()
    assert [removal.folder for removal in use.removals] == [newest, old]


def test_a_cleaner_that_is_killed_leaves_no_half_job(tmp_path: Path, until: Until) -> None:
    old = job(tmp_path, "failed", 50)
    for number in range(3000):
        (old / "contents" / f"{number}.npy").write_bytes(b"0")
    job(tmp_path, "failed", 1)
    program = (
        "import sys; from pathlib import Path; from zoowizard.jobs.housekeeping import *; "
        "clean(disk_use([Path(sys.argv[1])]))"
    )
    cleaner = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    until(lambda: any(tmp_path.glob(".removed-*")) or cleaner.poll() is not None, 60)
    cleaner.send_signal(signal.SIGKILL)
    cleaner.wait()
    assert not old.exists()
    assert [one.state for one in list_jobs(tmp_path)] == ["failed"]
    cleaned(tmp_path)
    assert not any(tmp_path.glob(".removed-*"))


def test_one_that_never_started_never_will(tmp_path: Path) -> None:
    waiting = job(tmp_path, None, 40)
    an_hour_ago = (waiting / "job.json").stat().st_mtime - 3600
    os.utime(waiting / "job.json", (an_hour_ago, an_hour_ago))
    newest = job(tmp_path, "failed", 1)
    assert read_job(waiting).state == "died"
    cleaned(tmp_path)
    assert not waiting.exists() and newest.exists()


def test_one_that_started_since_the_look_stays(tmp_path: Path) -> None:
    late = job(tmp_path, None, 40)
    an_hour_ago = (late / "job.json").stat().st_mtime - 3600
    os.utime(late / "job.json", (an_hour_ago, an_hour_ago))
    job(tmp_path, "failed", 1)
    [removal] = [one for one in disk_use([tmp_path]).removals if one.whole]
    assert removal.folder == late
    held = [claim(late / name, "{}" if name == "supervisor" else " ") for name in ("supervisor", "lock")]
    assert _remove_job(removal) == 0
    assert read_job(late).state == "starting"
    for descriptor in held:
        os.close(descriptor)


def test_two_cleaners_do_not_disturb_each_other(tmp_path: Path) -> None:
    for number in range(20):
        half = tmp_path / f".removed-{number:04}" / "contents"
        half.mkdir(parents=True)
        for name in range(100):
            (half / str(name)).touch()
    program = (
        "import sys; from pathlib import Path; from zoowizard.jobs.housekeeping import *; "
        "use = disk_use([Path(sys.argv[1])]); print(flush=True); input(); print(clean(use)[1])"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    pipe = subprocess.PIPE
    cleaners = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    for cleaner in cleaners:
        assert cleaner.stdout is not None and cleaner.stdout.readline() == "\n"
    for cleaner in cleaners:
        assert cleaner.stdin is not None
        cleaner.stdin.write("\n")
        cleaner.stdin.flush()
    assert [cleaner.communicate(timeout=60)[0] for cleaner in cleaners] == ["[]\n", "[]\n"]


def test_files_with_several_names_are_counted_once(tmp_path: Path) -> None:
    first, second = job(tmp_path, "died", 2), job(tmp_path, "died", 1)
    (second / "weights" / "weights.onnx").unlink()
    (second / "weights" / "weights.onnx").hardlink_to(first / "weights" / "weights.onnx")
    use = disk_use([tmp_path])
    told = subprocess.run(["du", "-s", "--block-size=1", str(tmp_path)], capture_output=True, text=True, check=True)
    assert use.held == int(told.stdout.split()[0])
    assert 3 * MEGABYTE < use.freeable < 4 * MEGABYTE  # two comparisons and one weights file; the first is shared
    before = use.held
    assert cleaned(tmp_path) <= before - disk_use([tmp_path]).held


def test_an_ended_job_bounds_what_its_model_holds(start: Start, until: Until, tmp_path: Path) -> None:
    old = job(tmp_path, "failed", 50)
    newest = job(tmp_path, "died", 1)
    folder = start({"write": 2 * MEGABYTE})
    until(lambda: read_job(folder).over and not (folder / "filler").exists(), 60)
    assert (read_job(folder).state, (folder / "log.txt").exists()) == ("passed", True)
    until(lambda: names(old) == TOLD | set(RECORDS[:2]), 60)
    until(lambda: names(newest) == TOLD | set(RECORDS[:2]) | {"weights", "tensors"}, 60)


def test_trimming_fails_in_silence(tmp_path: Path) -> None:
    trim(tmp_path / "not there")
    (tmp_path / "file").write_text("")
    trim(tmp_path / "file")


def test_the_command(tmp_path: Path) -> None:
    parent = tmp_path / "models" / "nuclei" / "jobs"
    old, newest = job(parent, "failed", 50), job(parent, "failed", 1)
    listed = run_zoowizard(["jobs", "--workspace", tmp_path])
    assert len(listed.out.splitlines()) == 2
    assert listed.err.startswith("2 jobs, ") and "`zoowizard jobs clean` would free " in listed.err
    dry = run_zoowizard(["jobs", "clean", "--dry-run", "--workspace", tmp_path, "--json"]).json()
    assert (dry["jobs"], dry["freed"], dry["problems"]) == (2, 0, [])
    assert [(Path(one["job"]).name, one["whole"]) for one in dry["removals"]] == [
        (newest.name, False),
        (old.name, True),
    ]
    assert old.exists() and (newest / "comparison").exists()
    done = run_zoowizard(["jobs", "clean", "--workspace", tmp_path])
    assert (done.code, done.out.splitlines()[-1].startswith("freed "), done.err) == (0, True, "")
    assert not old.exists() and not (newest / "comparison").exists()
    for arguments in (["clean", newest.name], ["clean", "--keep", "soon"], ["clean", "--keep", "-1"]):
        assert run_zoowizard(["jobs", *arguments, "--workspace", tmp_path]).code == 2
