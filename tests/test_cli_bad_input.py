"""A bad day at the command line: whatever is given, one clear sentence, the right exit code, nothing half-written."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from commands import Ran, run_zoowizard
from imageio import v3 as iio

from zoowizard.assets import asset

DONE, FAILED, WRONG_USE, ANSWERS_MISSING, UNSAFE = range(5)
REQUIRED = ["name", "description", "authors", "modality", "training_data_name", "test_image", "bit_depth"]
Restricted = Callable[..., Ran]


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch exploded",)


def one_sentence(ran: Ran) -> str:
    """What standard error says, which must be one line and no traceback."""
    assert "Traceback" not in ran.err
    [line] = ran.err.splitlines()
    return line


def pickled(path: Path, content: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)


def sparse(path: Path, head: bytes) -> None:
    path.write_bytes(head)
    os.truncate(path, 10 << 30)


def answers_with(run: Path, **changed: object) -> Path:
    known = yaml.safe_load((run.parent / "answers.yaml").read_text())
    path = run.parent / "changed.yaml"
    path.write_text(yaml.safe_dump({**known, **changed}))
    return path


@pytest.fixture
def restricted() -> Restricted:
    """Runs a command with no more rights than the files give, also where the tests are run by root."""
    capabilities = "-dac_override,-dac_read_search"
    drop = ["setpriv", f"--bounding-set={capabilities}", f"--inh-caps={capabilities}"] if os.geteuid() == 0 else []

    def restricted(*arguments: object) -> Ran:
        command = [*drop, sys.executable, "-m", "zoowizard", *map(str, arguments)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        return Ran(done.returncode, done.stdout, done.stderr)

    return restricted


CHECKPOINTS: dict[str, tuple[Callable[[Path], object], str, int]] = {
    "cut.pt": (lambda path: path.write_bytes(asset("sample/nuclei-yolo11n/weights/best.pt").read_bytes()[:99999]),
               "is cut short", FAILED),
    "text.pt": (lambda path: path.write_text("hello"), "is no torch checkpoint", FAILED),
    "empty.pt": (lambda path: path.touch(), "is empty (0 bytes)", FAILED),
    "harmless.pt": (lambda path: pickled(path, pickle.dumps({"model": _Bomb()})), "system`, which would run", UNSAFE),
    "notes.txt": (lambda path: pickled(path, pickle.dumps([_Bomb()])), "system`, which would run", UNSAFE),
    "bomb.pt": (lambda path: pickled(path, bytes(1 << 28), zipfile.ZIP_DEFLATED), "of over 32 MB", FAILED),
    "loop.pt": (lambda path: path.symlink_to(path), "Too many levels of symbolic links", FAILED),
    "huge.pt": (lambda path: sparse(path, b"PK\x03\x04"), "is cut short", FAILED),
    "zeros.pt": (lambda path: sparse(path, b"\0"), "is no torch checkpoint", FAILED),
    "pipe.pt": (os.mkfifo, "is no regular file", FAILED),
    "模型 [best]\n\x1b[31m.pt": (lambda path: path.write_text("hello"), "is no torch checkpoint", FAILED),
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_bad_checkpoint_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    make, says, code = CHECKPOINTS[name]
    checkpoint = tmp_path / name
    make(checkpoint)
    output, workspace = tmp_path / "out", tmp_path / "workspace"
    ran = run_zoowizard(["build", checkpoint, "--output", output, "--workspace", workspace, "--json"], cwd=tmp_path)
    sentence = one_sentence(ran)
    assert ran.code == code
    assert says in sentence and name.split("\n")[0] in sentence
    assert "\x1b" not in sentence
    assert ran.json() == {"status": "failed", "reason": sentence}
    assert sorted(path.name for path in workspace.rglob("*")) == ["models"]
    assert not output.exists() and not (tmp_path / "exploded").exists()


def test_identify_goes_on_after_each_of_them(tmp_path: Path, run: Path) -> None:
    for name, (make, _, _) in CHECKPOINTS.items():
        make(run.parent / name)
    (run.parent / "again").symlink_to(run.parent)
    ran = run_zoowizard(["identify", run.parent, "--json"], cwd=tmp_path)
    assert ran.code == UNSAFE
    families = [one["family"] for one in ran.json()]
    assert families.count("yolo") == 1
    refused = [one["refused"] for one in ran.json() if one["refused"]]
    assert len(refused) >= 7
    assert ran.err.splitlines() == [f"! {sentence}" for sentence in refused]
    assert not (tmp_path / "exploded").exists()


def test_what_may_not_be_read_is_named(run: Path, tmp_path: Path, restricted: Restricted) -> None:
    workspace = tmp_path / "workspace"
    answers, weights = run.parent / "answers.yaml", run / "weights" / "best.pt"
    answers.chmod(0)
    ran = restricted("build", run, "--answers", answers, "--workspace", workspace)
    assert (ran.code, "answers.yaml: file: cannot be read (permission denied)" in one_sentence(ran)) == (
        WRONG_USE,
        True,
    )
    weights.chmod(0)
    for path in (weights, run):
        ran = restricted("build", path, "--workspace", workspace)
        assert (ran.code, "best.pt may not be read by you" in one_sentence(ran)) == (FAILED, True)
    run.chmod(0)
    ran = restricted("build", run, "--workspace", workspace)
    assert (ran.code, f"{run} cannot be read" in one_sentence(ran)) == (FAILED, True)
    run.chmod(0o700)
    ran = restricted("test", weights, "--workspace", workspace)
    assert (ran.code, "best.pt: cannot be read (permission denied)" in one_sentence(ran)) == (FAILED, True)


def test_a_workspace_that_cannot_be_written(run: Path, tmp_path: Path, restricted: Restricted) -> None:
    workspace = tmp_path / "workspace"
    assert restricted("build", run, "--workspace", workspace).code == ANSWERS_MISSING
    folders = [workspace, workspace / "models", *(workspace / "models").iterdir()]
    for path in (*folders, *(path for path in workspace.rglob("*") if path.is_file())):
        path.chmod(0o500)
    ran = restricted("build", run, "--workspace", workspace)
    assert (ran.code, "workspace cannot be written" in one_sentence(ran)) == (FAILED, True)
    ran = restricted("board", "--workspace", workspace, "--json")
    assert (ran.code, ran.json()[0]["Status"]) == (DONE, "Not Started")
    folders[-1].chmod(0)
    ran = restricted("board", "--workspace", workspace, "--json")
    assert (ran.code, ran.json()) == (FAILED, [])
    assert "draft.json cannot be read (permission denied)" in one_sentence(ran)
    folders[1].chmod(0)
    for command in ("board", "jobs"):
        ran = restricted(command, "--workspace", workspace)
        assert (ran.code, str(workspace) in one_sentence(ran), ran.out) == (WRONG_USE, True, "")
    for path in folders:
        path.chmod(0o700)


def test_an_output_that_cannot_be_written_is_found_before_the_work(
    run: Path, tmp_path: Path, restricted: Restricted
) -> None:
    answers, workspace, closed = run.parent / "answers.yaml", tmp_path / "workspace", tmp_path / "closed"
    closed.mkdir(mode=0o500)
    for output, code, says in (
        (answers, WRONG_USE, "is no folder"),
        (answers / "deep" / "deeper", WRONG_USE, "is no folder"),
        (closed / "new", FAILED, "you may not save anything"),
    ):
        ran = restricted("build", run, "--answers", answers, "--workspace", workspace, "--output", output)
        sentence = one_sentence(Ran(ran.code, ran.out, ran.err.splitlines()[-1]))
        assert (ran.code, says in sentence, "--output" in sentence) == (code, True, True)
    assert run_zoowizard(["jobs", "--workspace", workspace, "--json"]).json() == []
    ran = restricted("answers", run, "--workspace", workspace, "--output", closed / "answers.yaml")
    assert (ran.code, "closed/answers.yaml: permission denied" in one_sentence(ran)) == (FAILED, True)
    before = answers.read_bytes()
    ran = restricted("answers", run, "--workspace", workspace, "--output", answers)
    assert (ran.code, "is there already" in one_sentence(ran)) == (WRONG_USE, True)
    assert answers.read_bytes() == before


NAMES = ["ядра [best] 细胞", 'a"b;$(touch exploded)', "new\nline\x1b[31m", "--help", "نواة", "  "]


def test_names_in_any_script(run: Path, tmp_path: Path) -> None:
    runs, workspace = run.parent, tmp_path / "workspace"
    for name in NAMES:
        shutil.copytree(run, runs / name)
    for name in NAMES:
        answers = tmp_path / "answers.yaml"
        answers.unlink(missing_ok=True)
        given = ["--workspace", workspace]
        assert run_zoowizard(["answers", runs / name, "--output", answers, *given], cwd=tmp_path).code == DONE
        ran = run_zoowizard(["build", runs / name, "--answers", answers, "--json", *given], cwd=tmp_path)
        assert (ran.code, ran.json()["missing"]) == (ANSWERS_MISSING, REQUIRED)
    assert len(list((workspace / "models").iterdir())) == len(NAMES)
    board = run_zoowizard(["board", *given])
    assert board.code == DONE
    assert all(name in board.out for name in ("ядра-best-细胞", "a-b-touch-exploded", "new-line-31m", "نواة"))
    ascii_only = run_zoowizard(["board", *given], PYTHONIOENCODING="ascii")
    assert (ascii_only.code, ascii_only.err) == (DONE, "")

    ran = run_zoowizard(["build", runs, *given], cwd=tmp_path)
    assert ran.code == WRONG_USE
    assert ran.err.startswith(f"{runs}: {len(NAMES) + 1} models were found there; give one of them:")
    assert len(ran.err.splitlines()) == len(NAMES) + 2
    assert "\x1b" not in ran.err
    assert len(run_zoowizard(["identify", runs, "--json"]).json()) == len(NAMES) + 1
    assert not list(tmp_path.rglob("exploded"))


ANSWERS = {
    "naem: A name": "naem (line 1): is no field; did you mean name?",
    "authors: 3": "authors (line 1): is the number 3",
    "bit_depth: 12": "bit_depth (line 1): the number 12 is none of the choices",
    "confidence: lots": "confidence (line 1): is a text; write a number from 0 to 1",
    "max_objects: [1]": "max_objects (line 1): is a list",
    "test_image: {a: 1}": "test_image (line 1): is a group of named values",
    "test_image: nope.png": "nope.png does not exist",
    "name: [": "line 2: is no YAML",
    "- name": "is no list of answers",
    "name: &a [*a]": "name (line 1): holds a YAML reference",
    "name: !!python/object/apply:os.system ['touch exploded']": "name (line 1): is a list; write one text",
    "\xff\xfe": "file: is not UTF-8",
}


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answers_file_that_is_wrong(text: str, run: Path, tmp_path: Path) -> None:
    answers = tmp_path / "mine.yaml"
    answers.write_bytes(f"{text}\n".encode("latin-1"))
    given = ["--workspace", tmp_path / "workspace", "--json"]
    ran = run_zoowizard(["build", run, "--answers", answers, *given], cwd=tmp_path)
    sentence = one_sentence(ran)
    assert ran.code == WRONG_USE
    assert sentence.startswith(f"{answers}: ") and ANSWERS[text] in sentence
    assert ran.json() == {"status": "failed", "reason": sentence}
    assert not (tmp_path / "exploded").exists()


def test_all_that_is_wrong_in_an_answers_file_is_said_at_once(run: Path, tmp_path: Path) -> None:
    answers = tmp_path / "mine.yaml"
    answers.write_text("naem: A name\nname: A good name\nbit_depth: 12\n")
    ran = run_zoowizard(["build", run, "--answers", answers, "--workspace", tmp_path, "--json"])
    assert [line.split(": ")[1] for line in ran.err.splitlines()] == ["naem (line 1)", "bit_depth (line 3)"]
    missing = run_zoowizard(["build", run, "--workspace", tmp_path, "--json"]).json()["missing"]
    assert missing == REQUIRED, "nothing is taken from a file that is wrong"


PIXELS = np.random.default_rng(0).integers(0, 255, (128, 128), dtype=np.uint8)
IMAGES = {
    "empty.png": (b"", "is empty (0 bytes)"),
    "text.png": (b"hello", "cannot be read as an image"),
    "constant.png": (np.full_like(PIXELS, 7), "has the same value (7) everywhere"),
    "deep.png": (PIXELS.astype(np.uint16) * 257, "is 16-bit"),
    "rgba.png": (np.dstack([PIXELS] * 4), "has an alpha channel"),
    "stack.tif": (np.stack([PIXELS] * 5), "is a stack (5 x 128 x 128)"),
    "float.tif": (PIXELS.astype(np.float32), "holds float32 values"),
    "small.png": (PIXELS[:63], "is 63 x 128 pixels; use one of at least 64 x 64"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_test_image_that_will_not_do(name: str, run: Path, tmp_path: Path) -> None:
    content, says = IMAGES[name]
    image = run.parent / name
    image.write_bytes(content) if isinstance(content, bytes) else iio.imwrite(image, content)
    ran = run_zoowizard(["build", run, "--answers", answers_with(run, test_image=name), "--workspace", tmp_path])
    sentence = one_sentence(ran)
    assert (ran.code, ran.out) == (WRONG_USE, "")
    assert "test_image (line " in sentence and name in sentence and says in sentence


def test_missing_answers_are_listed(run: Path, tmp_path: Path) -> None:
    ran = run_zoowizard(["build", run, "--workspace", tmp_path / "workspace", "--json"])
    assert ran.code == ANSWERS_MISSING
    assert ran.json()["missing"] == REQUIRED
    assert [line.split(":")[0].strip() for line in ran.err.splitlines()[1:]] == REQUIRED
    plain = run_zoowizard(["build", run, "--workspace", tmp_path / "workspace"])
    assert (plain.code, plain.out, plain.err) == (ANSWERS_MISSING, "", ran.err)


@pytest.mark.parametrize("damage", ["cut", "family"])
def test_a_damaged_draft_stops_its_build_and_is_left_alone(damage: str, run: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    given = ["--workspace", workspace, "--json"]
    run_zoowizard(["build", run, *given])
    [path] = workspace.glob("models/*/draft.json")
    good = path.read_text()
    path.write_text(good[:500] if damage == "cut" else good.replace('"family": "yolo"', '"family": "frob"'))
    damaged = path.read_text()
    ran = run_zoowizard(["build", run, "--answers", run.parent / "answers.yaml", *given])
    assert (ran.code, str(path) in one_sentence(ran), "mend it" in ran.err) == (FAILED, True, True)
    assert path.read_text() == damaged
    assert list(workspace.glob("models/*/draft.json")) == [path]
    board = run_zoowizard(["board", *given])
    assert (board.code, board.json(), path.parent.name in one_sentence(board)) == (FAILED, [], True)
    path.write_text(good)
    assert run_zoowizard(["board", *given]).code == DONE


def test_no_reader_no_room_no_colours(run: Path, tmp_path: Path) -> None:
    """Output that is cut off by `head`, goes to a full disk, or to a terminal that knows nothing but letters."""
    command = [sys.executable, "-m", "zoowizard", "identify", str(run), "--json"]
    for buffering in ({}, {"PYTHONUNBUFFERED": "1"}):
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | buffering
        reader, writer = os.pipe()
        os.close(reader)
        cut = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment, check=False)
        os.close(writer)
        assert (cut.returncode, cut.stderr) == (FAILED, "")
        if Path("/dev/full").exists():
            with Path("/dev/full").open("w") as full:
                ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
            assert ran.returncode == FAILED
            assert ran.stderr == "the answer could not be written: no space left on device\n"
    assert json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["family"] == "yolo"


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "inf", "soon"])
def test_a_time_limit_that_is_none(limit: str, run: Path) -> None:
    ran = run_zoowizard(["build", run, f"--time-limit={limit}"])
    assert (ran.code, ran.out) == (WRONG_USE, "")
    assert f"--time-limit: {limit} is no number of minutes above 0" in ran.err
