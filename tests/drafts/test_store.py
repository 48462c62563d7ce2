import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from zoowizard.drafts import store
from zoowizard.drafts.draft import CHECKPOINT, GIVEN, Value, with_found, with_given
from zoowizard.errors import WrongUse, ZoowizardError


@pytest.fixture
def workspace(tmp_path: Path) -> store.Workspace:
    return store.open_workspace(tmp_path / "workspace")


def test_where_the_workspace_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ZOOWIZARD_WORKSPACE", raising=False)
    assert tmp_path in store.open_workspace().root.parents
    monkeypatch.setenv("ZOOWIZARD_WORKSPACE", str(tmp_path / "mine"))
    assert store.open_workspace().root == tmp_path / "mine"
    assert store.open_workspace(tmp_path / "argument").root == tmp_path / "argument"
    (tmp_path / "file").touch()
    with pytest.raises(WrongUse, match="--workspace"):
        store.open_workspace(tmp_path / "file")


def test_a_draft_comes_back_as_it_was_saved(workspace: store.Workspace, tmp_path: Path) -> None:
    checkpoint = tmp_path / os.fsdecode(b"bad-\xff [v1].pt")
    draft = store.start_draft(workspace, "yolo", checkpoint, "Nuclei [best] 核")
    assert draft.id == "nuclei-best-核"
    draft = with_found(draft, {"epochs": Value(100, CHECKPOINT), "curves": Value({"a": [1.5, None]}, "results.csv")})
    draft = with_given(draft, {"name": "Żółć 核", "test_image": str(tmp_path / os.fsdecode(b"\xfe.png"))})
    store.save(workspace, draft)
    assert store.load(workspace, draft.id) == draft
    assert store.drafts(workspace) == ([draft], [])


def test_the_file_is_readable_by_people(workspace: store.Workspace) -> None:
    draft = store.start_draft(workspace, "yolo", Path("best.pt"))
    store.save(workspace, with_given(draft, {"name": "核 model", "description": "x"}))
    text = (workspace.folder(draft.id) / "draft.json").read_text(encoding="utf-8")
    assert "核 model" in text and text.count("\n") > 10
    assert text.index('"description"') < text.index('"name"')


def test_the_same_checkpoint_has_one_draft_and_others_have_their_own(
    workspace: store.Workspace, tmp_path: Path
) -> None:
    first = store.start_draft(workspace, "yolo", tmp_path / "a" / "best.pt", "run")
    assert store.start_draft(workspace, "yolo", tmp_path / "a" / ".." / "a" / "best.pt", "other") == first
    second = store.start_draft(workspace, "yolo", tmp_path / "b" / "best.pt", "Run")
    assert (first.id, second.id) == ("run", "run-2")


def test_of_one_checkpoint_there_can_be_several_by_name(workspace: store.Workspace, tmp_path: Path) -> None:
    checkpoint = tmp_path / "cyto_mine"
    first = store.start_draft(workspace, "cellpose", checkpoint)
    answers = {"name": Value("My cells", GIVEN), "license": Value("MIT", GIVEN)}
    store.save(workspace, replace(first, given=answers))
    other = store.named_draft(workspace, "cellpose", checkpoint, "My flows")
    assert (other.id, other.checkpoint) == ("my-flows", checkpoint)
    assert dict(other.given) == {"license": Value("MIT", GIVEN)}
    assert store.named_draft(workspace, "cellpose", checkpoint, "my flows") == other
    assert store.start_draft(workspace, "cellpose", checkpoint).id == first.id
    with pytest.raises(WrongUse, match=r"my-flows is another model, of .*cyto_mine; choose another name"):
        store.named_draft(workspace, "cellpose", tmp_path / "cyto_other", "my flows")


def test_many_at_once_get_ids_of_their_own(workspace: store.Workspace, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        started = list(pool.map(lambda n: store.start_draft(workspace, "yolo", tmp_path / str(n), "run"), range(16)))
    assert len({draft.id for draft in started}) == 16


def test_a_claim_is_a_draft_without_a_checkpoint(workspace: store.Workspace, tmp_path: Path) -> None:
    found = {"name": Value("Ashesh's Model", "uploathon.md"), "event_row": Value("ashesh's model #1", "uploathon.md")}
    claim = store.start_claim(workspace, found, "Ashesh's Model", lambda draft: "event_row" in draft.found)
    assert (claim.id, claim.family, claim.checkpoint) == ("ashesh-s-model", "", None)
    assert store.load(workspace, claim.id) == claim
    assert list(claim.values) == ["name"]
    assert json.loads((workspace.folder(claim.id) / "draft.json").read_text())["checkpoint"] == ""
    assert store.start_claim(workspace, {}, "other", lambda draft: "event_row" in draft.found) == claim
    here = store.start_draft(workspace, "yolo", Path())
    assert here.id != claim.id and here.checkpoint == Path.cwd()


def test_an_unstarted_draft_is_removed_and_one_with_jobs_stays(workspace: store.Workspace) -> None:
    first, second = (store.start_draft(workspace, "yolo", Path(name)) for name in ("a.pt", "b.pt"))
    workspace.jobs(first.id).mkdir()
    (workspace.jobs(second.id) / "20260101-000000-abcd").mkdir(parents=True)
    with store.editing(workspace, first.id):
        store.remove_unstarted(workspace, first)
    store.remove_unstarted(workspace, second)
    assert store.drafts(workspace) == ([second], [])
    assert not workspace.folder(first.id).exists()


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("run [best]", "run-best"),
        ("模型 一", "模型-一"),
        ("../../etc", "etc"),
        ("...", "model"),
        ("", "model"),
        ("\udcff\udcfe", "model"),
        ("Ünï_Code", "ünï-code"),
    ],
)
def test_slugs(name: str, slug: str) -> None:
    assert store.slug_of(name) == slug
    assert len(store.slug_of("核" * 300).encode()) <= store.LONGEST_ID


@pytest.mark.parametrize("draft_id", ["", ".", "..", "../models", "a/b", "a\0b"])
def test_an_id_cannot_leave_the_workspace(workspace: store.Workspace, draft_id: str) -> None:
    with pytest.raises(WrongUse, match="no id"):
        store.load(workspace, draft_id)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data.pop("family"), "family: field required"),
        (lambda data: data.update(version=9), "version: "),
        (lambda data: data.update(checkpoint=5), "checkpoint: must be a text"),
        (lambda data: data["given"].update(name="nuclei"), "given.name: "),
        (lambda data: data["given"].update(name={"value": 1}), "given.name.origin: "),
        (lambda data: data.update(more=1), "more: "),
    ],
)
def test_a_file_edited_badly_names_itself_and_the_field(workspace: store.Workspace, damage: object, says: str) -> None:
    good = store.start_draft(workspace, "yolo", Path("good.pt"), "good")
    bad = store.start_draft(workspace, "yolo", Path("bad.pt"), "bad")
    path = workspace.folder(bad.id) / "draft.json"
    data = json.loads(path.read_text())
    damage(data)  # type: ignore[operator]
    path.write_text(json.dumps(data))
    with pytest.raises(ZoowizardError) as raised:
        store.load(workspace, bad.id)
    assert str(path) in str(raised.value) and says in str(raised.value)
    assert store.drafts(workspace) == ([good], [str(raised.value)])


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 100_000, b""])
def test_a_file_that_is_no_draft(workspace: store.Workspace, content: bytes) -> None:
    draft = store.start_draft(workspace, "yolo", Path("best.pt"))
    path = workspace.folder(draft.id) / "draft.json"
    path.write_bytes(content)
    with pytest.raises(ZoowizardError, match=r"draft\.json") as raised:
        store.load(workspace, draft.id)
    assert "\n" not in str(raised.value)


def test_no_such_draft(workspace: store.Workspace) -> None:
    with pytest.raises(WrongUse, match="no draft `nuclei`"):
        store.load(workspace, "nuclei")
    with pytest.raises(WrongUse, match="no draft `nuclei`"), store.editing(workspace, "nuclei"):
        pass


HOLD = """
import sys; from pathlib import Path; from zoowizard.drafts import store
with store.editing(store.Workspace(Path(sys.argv[1])), sys.argv[2]):
    print("held", flush=True); sys.stdin.read()
"""


def test_a_second_process_is_told_who_holds_the_draft(workspace: store.Workspace) -> None:
    draft = store.start_draft(workspace, "yolo", Path("best.pt"))
    command = [sys.executable, "-c", HOLD, str(workspace.root), draft.id]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(store.DraftBusy, match=rf"process {holder.pid} on .+, since 20\d\d-"):
            store.editing(workspace, draft.id).__enter__()
        holder.kill()
        holder.wait()
    with store.editing(workspace, draft.id) as again:
        assert again == draft
        with pytest.raises(store.DraftBusy, match=f"process {os.getpid()}"):
            store.editing(workspace, draft.id).__enter__()


SAVE = """
import sys; from pathlib import Path; from zoowizard.drafts import store; from zoowizard.drafts.draft import with_given
workspace = store.Workspace(Path(sys.argv[1]))
draft = store.load(workspace, "best")
number = draft.get("number", 0)
print("ready", flush=True)
while True:
    number += 1
    store.save(workspace, with_given(draft, {"number": number, "text": str(number % 10) * 200_000}))
"""


def test_killed_fifty_times_while_saving_the_last_good_state_is_there(workspace: store.Workspace) -> None:
    draft = store.start_draft(workspace, "yolo", Path("best.pt"))
    before = 0
    forker = (
        "import os, signal, sys, time\n"
        "code = compile(sys.stdin.read(), 'save', 'exec')\n"
        "import zoowizard.drafts.store\n"
        "for turn in range(50):\n"
        "    read, write = os.pipe()\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        os.dup2(write, 1); exec(code, {'__name__': 'save'})\n"
        "    os.read(read, 5); os.close(read); os.close(write)\n"
        "    time.sleep(0.002 + turn * 0.0007); os.kill(child, signal.SIGKILL); os.waitpid(child, 0)\n"
        "    print('killed', flush=True); sys.__stdin__.fileno(); os.read(9, 1)\n"
    )
    gate_read, gate_write = os.pipe()
    command = [sys.executable, "-c", f"import os; os.dup2({gate_read}, 9)\n{forker}", str(workspace.root)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[gate_read]
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(SAVE)
        process.stdin.close()
        for _ in range(50):
            assert process.stdout.readline() == "killed\n"
            number = store.load(workspace, draft.id).get("number", 0)
            assert number >= before
            assert store.load(workspace, draft.id).get("text", "") == str(number % 10) * (200_000 if number else 0)
            before = number
            os.write(gate_write, b".")
    assert before > 10
    left = list(workspace.folder(draft.id).glob(".saving-*"))
    for path in left:
        os.utime(path, (0, 0))
    with store.editing(workspace, draft.id):
        assert list(workspace.folder(draft.id).glob(".saving-*")) == []


FULL = """
import resource, signal, sys; from pathlib import Path
from zoowizard.drafts import store; from zoowizard.drafts.draft import with_given
from zoowizard.errors import ZoowizardError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
workspace = store.Workspace(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    store.save(workspace, with_given(store.load(workspace, "best"), {"text": "x" * 100_000}))
except ZoowizardError as error:
    print(error)
"""


def test_a_file_that_cannot_grow_leaves_the_last_good_state(workspace: store.Workspace) -> None:
    draft = with_given(store.start_draft(workspace, "yolo", Path("best.pt")), {"name": "A good name"})
    store.save(workspace, draft)
    command = [sys.executable, "-c", FULL, str(workspace.root)]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "could not save" in said.stdout and "draft.json" in said.stdout and said.stderr == ""
    assert store.load(workspace, draft.id) == draft
    assert [path.name for path in workspace.folder(draft.id).iterdir()] == ["draft.json"]


ON_FULL_DISK = """
import sys; from pathlib import Path
from zoowizard.drafts import store; from zoowizard.drafts.draft import with_given
from zoowizard.errors import ZoowizardError
workspace = store.open_workspace(Path(sys.argv[1]))
draft = with_given(store.start_draft(workspace, "yolo", Path("best.pt")), {"name": "A good name"})
store.save(workspace, draft)
try:
    with store.editing(workspace, "best") as held:
        store.save(workspace, with_given(held, {"text": "x" * 1_000_000}))
except ZoowizardError as error:
    print(error)
assert store.load(workspace, "best") == draft
(Path(sys.argv[1]) / "filler").unlink()
"""


def test_a_full_disk_leaves_the_last_good_state(tmp_path: Path) -> None:
    """On a file system of 256 KiB of its own; where the system permits no mount, under a limit on the size of files."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = 'mount -t tmpfs -o size=256k tmpfs "$0" && head -c 150000 /dev/zero > "$0/filler" && exec "$@"'
    limited = 'touch "$0/filler" && ulimit -f 200 && exec "$@"'
    child = [str(small), sys.executable, "-c", ON_FULL_DISK, str(small)]
    commands = [
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted, *child],
        ["unshare", "--mount", "sh", "-c", mounted, *child],
    ]
    permitted = [one for one in commands if shutil.which("unshare") and _may_mount(one[: one.index("sh")], small)]
    command = permitted[0] if permitted else ["sh", "-c", limited, *child]
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("the disk is full: could not save" if permitted else "could not save")
    assert "draft.json" in said.stdout


def _may_mount(unshare: list[str], folder: Path) -> bool:
    return subprocess.run([*unshare, "mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True).returncode == 0
