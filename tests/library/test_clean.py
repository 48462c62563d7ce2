"""Clean processes: really clean, each its own, and gone with whoever asked. The library in them is the real one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from small_packages import Small, make_package

from zoowizard.errors import ZoowizardError
from zoowizard.library import clean
from zoowizard.library.clean import ProcessDied, in_clean_process

LIMIT_S = 120
OS = "__import__('os')"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The server is started once for all tests here, as it is once for a job, and ends with them."""
    folder = tmp_path_factory.mktemp("clean") / "cache"
    before = os.environ.get(clean.CACHE)
    clean.warm_up(folder)
    yield folder
    clean._server.pop().close()
    os.environ.pop(clean.CACHE) if before is None else os.environ.update({clean.CACHE: before})


def evaluated(expression: str) -> object:
    return in_clean_process(eval, expression).result(LIMIT_S)


def test_each_is_a_process_of_its_own_that_has_loaded_the_library_and_no_framework() -> None:
    told = f"{OS}.getpid(), {OS}.getppid(), {OS}.getpgrp(), set(__import__('sys').modules)"
    (first, server, group, loaded), (second, same_server, _, _) = evaluated(told), evaluated(told)
    assert len({first, second, server, os.getpid()}) == 4
    assert server == same_server
    assert group == os.getpgrp()
    assert {"bioimageio.core", "torch", "onnxruntime"} <= loaded
    assert not {*clean.FRAMEWORKS, "zoowizard.conversion.yolo"} & loaded


def test_it_sees_our_environment_and_folder_as_they_are_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    library = "__import__('bioimageio.spec').spec"
    asked = f"str({library}.settings.cache_path)"
    used = f"str({library}._internal.validation_context.ValidationContext().cache.dir_path)"
    assert evaluated(asked) == evaluated(used) == str(cache)
    assert cache.is_dir()
    monkeypatch.setenv(clean.CACHE, str(tmp_path / "another"))
    monkeypatch.setenv("HINT", "of this job")
    monkeypatch.chdir(tmp_path)
    assert evaluated(asked) == evaluated(used) == str(tmp_path / "another")
    assert evaluated(f"{OS}.environ['HINT'], {OS}.getcwd()") == ("of this job", str(tmp_path))


def test_exceptions_come_back_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError, match="division by zero") as caught:
        evaluated("1 / 0")
    assert "Traceback" in "".join(caught.value.__notes__)
    with pytest.raises(FileNotFoundError) as missing:
        in_clean_process(clean.weight_formats, tmp_path / "none.zip").result(LIMIT_S)
    assert missing.value.filename or "none.zip" in str(missing.value)


def test_what_cannot_be_packed_comes_back_in_words() -> None:
    with pytest.raises(RuntimeError, match="Odd: two words"):
        evaluated("(_ for _ in ()).throw(type('Odd', (Exception,), {})('two words'))")
    with pytest.raises(RuntimeError, match="PicklingError"):
        evaluated("lambda: 0")


@pytest.mark.parametrize(
    ("expression", "ending"),
    [
        (f"{OS}._exit(3)", "ended with exit code 3"),
        (f"{OS}.kill({OS}.getpid(), 9)", r"was killed \(SIGKILL\), most often because the memory"),
        (f"{OS}.kill({OS}.getpid(), 11)", r"crashed \(Segmentation fault\)"),
    ],
)
def test_its_death_is_an_exception(expression: str, ending: str) -> None:
    with pytest.raises(ProcessDied, match=ending) as caught:
        evaluated(expression)
    assert isinstance(caught.value, ZoowizardError)
    assert evaluated("6 * 7") == 42  # the server goes on


def test_a_server_that_was_killed_is_started_anew(cache: Path) -> None:
    server = evaluated(f"{OS}.getppid()")
    assert isinstance(server, int)
    process = psutil.Process(server)
    process.kill()
    process.wait(LIMIT_S)
    with pytest.raises(ProcessDied, match="could not be asked"):
        evaluated("6 * 7")
    clean.warm_up(cache)
    assert evaluated(f"{OS}.getppid()") != server


MEET = """
import pathlib, time
(folder / number).touch()
while len(list(folder.iterdir())) < 3:
    time.sleep(0.01)
"""


def test_several_work_side_by_side(tmp_path: Path) -> None:
    futures = [in_clean_process(exec, MEET, {"folder": tmp_path, "number": number}) for number in "123"]
    for future in futures:
        future.result(LIMIT_S)  # each waits until all are there


def test_what_is_left_empty_in_a_description_is_told_in_plain_words(tmp_path: Path) -> None:
    description = make_package(tmp_path / "package", Small(), zipped=False)
    told = yaml.safe_load(description.read_text())
    description.write_text(yaml.safe_dump({**told, "cite": []}))
    said = in_clean_process(clean.test_format, description, next(iter(told["weights"]))).result(LIMIT_S)
    assert said["status"] == "passed"
    assert "cite: nothing is written there, and the zoo asks for it" in said["warnings"]


WORKER = """
import os, sys, time
from pathlib import Path
from zoowizard.library import clean
os.setpgid(0, 0)
clean.warm_up(Path(sys.argv[1]))
server = clean.in_clean_process(os.getppid).result()
say = f"print(__import__('os').getpid(), {server}, flush=True)"
clean.in_clean_process(eval, f"{say} or __import__('time').sleep(600)")
time.sleep(600)
"""


@pytest.mark.parametrize("how", ["the worker is killed", "its group is told to end"])
def test_nothing_is_left_when_the_worker_is_gone(tmp_path: Path, how: str) -> None:
    command = [sys.executable, "-c", WORKER, str(tmp_path / "cache")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        left = [psutil.Process(int(number)) for number in worker.stdout.readline().split()]
        assert len(left) == 2
        if how == "the worker is killed":
            worker.kill()
        else:
            os.killpg(worker.pid, signal.SIGTERM)
        gone, alive = psutil.wait_procs(left, timeout=LIMIT_S)
        assert len(gone) == 2 and not alive
