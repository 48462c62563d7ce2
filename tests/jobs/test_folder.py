"""Job folders are private, whole, and ours."""

import json
import os
from pathlib import Path

import pytest

from zoowizard.errors import ZoowizardError
from zoowizard.jobs.engines import LocalEngine, environment
from zoowizard.jobs.folder import create, read_spec
from zoowizard.jobs.state import follow, list_jobs, read_job


def started(folder: Path) -> None:
    LocalEngine().start([folder])


def test_create(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        folders = [create(tmp_path / "a" / "jobs", "build", "nuclei", {"path": "best.pt"}, 90) for _ in range(20)]
    finally:
        os.umask(previous)
    assert len({folder.name for folder in folders}) == 20
    assert sorted(path.name for path in (tmp_path / "a" / "jobs").iterdir()) == sorted(
        folder.name for folder in folders
    )
    assert folders[0].stat().st_mode & 0o777 == 0o700
    spec = read_spec(folders[0])
    assert (spec.kind, spec.model, spec.work, spec.time_limit_s) == ("build", "nuclei", {"path": "best.pt"}, 90)


@pytest.mark.parametrize(
    ("kind", "work", "limit", "sentence"),
    [
        ("dance", {}, None, "kind is wrong"),
        ("build", {}, 0, "time_limit_s is wrong: input should be greater than 0"),
        ("build", {}, float("nan"), "time_limit_s is wrong"),
        ("build", {"tensor": object()}, None, "its work is no JSON"),
        ("build", {"scale": float("inf")}, None, "its work is no JSON"),
    ],
)
def test_wrong_jobs_are_refused(
    tmp_path: Path, kind: str, work: dict[str, object], limit: float | None, sentence: str
) -> None:
    with pytest.raises(ZoowizardError, match=sentence):
        create(tmp_path, kind, "nuclei", work, limit)
    assert list(tmp_path.iterdir()) == []


def test_no_place_for_jobs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ZoowizardError, match="could not make a job in"):
        create(tmp_path / "file" / "jobs", "build", "nuclei", {})


def test_a_folder_that_is_open_to_others(tmp_path: Path) -> None:
    folder = create(tmp_path, "selftest", "nuclei", {})
    folder.chmod(0o750)
    for look in (read_spec, read_job, started, lambda folder: list(follow(folder))):
        with pytest.raises(ZoowizardError, match="is open to others"):
            look(folder)
    assert [job.state for job in list_jobs(tmp_path)] == ["unreadable"]
    assert [path.name for path in folder.iterdir()] == ["job.json"]


def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    folder = Path("/")
    if os.geteuid() == 0:
        folder = create(tmp_path, "selftest", "nuclei", {})
        os.chown(folder, 65534, 65534)
    for look in (read_spec, started):
        with pytest.raises(ZoowizardError, match="belongs to somebody else"):
            look(folder)


def test_a_link_to_a_folder(tmp_path: Path) -> None:
    folder = create(tmp_path / "jobs", "selftest", "nuclei", {})
    link = tmp_path / folder.name
    link.symlink_to(folder)
    with pytest.raises(ZoowizardError, match="is not a folder"):
        read_spec(link)


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    folder = create(tmp_path, "build", "nuclei", {"path": "run \udcff [best].pt"})
    assert read_spec(folder).work == {"path": "run \udcff [best].pt"}
    assert json.loads((folder / "job.json").read_text())["work"] == {"path": "run \udcff [best].pt"}


def test_no_secret_reaches_a_job() -> None:
    ours = {"HF_TOKEN": "x", "HYPHA_API_KEY": "x", "AWS_SECRET_ACCESS_KEY": "x", "PATH": "/bin", "KEYBOARD": "de"}
    ours |= {"PGPASSWORD": "x", "SMTP_PASS": "x", "GITHUB_PAT": "x"}
    theirs = environment({**ours, "COLUMNS": "80", "TOKENIZERS_PARALLELISM": "false"})
    assert set(theirs) & set(ours) == {"PATH", "KEYBOARD"}
    assert theirs["PYTHONUNBUFFERED"] == "1" and theirs["TOKENIZERS_PARALLELISM"] == "false"
