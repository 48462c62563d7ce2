"""`zoowizard upload --to huggingface:OWNER/NAME`: commands as people type them, jobs that outlive the terminal."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import run_zoowizard
from doors import Asked
from hub_packages import a_hub_package
from hub_server import Hub, a_hub
from uploads import contents_of

from zoowizard.jobs.state import read_job

DONE, FAILED, WRONG_USE = range(3)
TO = ("--to", "huggingface:ada/nuclei")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "ZOOWIZARD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("ZOOWIZARD_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("HF_TOKEN", "hf_ada")
    for hub in a_hub():
        monkeypatch.setenv("HF_ENDPOINT", hub.base)
        yield hub


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_killed_and_gone_on_with(hub: Hub, tmp_path: Path) -> None:
    package = a_hub_package(tmp_path)
    refused = run_zoowizard(["upload", package.archive, *TO])
    assert refused.code == WRONG_USE and "was not tested here" in refused.err

    def is_second_part(asked: Asked) -> bool:
        return asked.path.partition("?")[0].endswith("/2")

    hub.storage.fails(meets=is_second_part, bytes_per_s=1000.0)
    started = run_zoowizard(["upload", package.archive, *TO, "--insist", "--detach", "--json"])
    assert started.code == DONE, started.err
    job = Path(started.json()["folder"])
    until(lambda: any(is_second_part(one) for one in hub.storage.asked))
    for part in job.iterdir():
        assert b"hf_ada" not in part.read_bytes(), part
    words = subprocess.run(["ps", "axww"], capture_output=True, check=True).stdout
    assert str(job).encode() in words and b"hf_ada" not in words
    again = run_zoowizard(["upload", package.archive, *TO, "--insist"])
    assert again.code == FAILED and "is being uploaded already" in again.err
    os.killpg(int((job / "worker").read_text()), signal.SIGKILL)
    until(lambda: read_job(job).over)

    done = run_zoowizard(["upload", "--pending", "--json"])
    assert done.code == DONE, done.err
    [answer] = done.json()
    assert (answer["id"], answer["confirmed"], answer["public"], answer["status"]) == (
        "ada/nuclei",
        True,
        False,
        "uploaded",
    )
    assert answer["page"] == f"{hub.base}/ada/nuclei" and "+ verify" in done.err
    assert hub.files("ada/nuclei")["package/weights.onnx"] == contents_of(package)["weights.onnx"]
    assert run_zoowizard(["upload", "--pending"]).err == "nothing is queued\n"
    kept = b"".join(path.read_bytes() for path in (tmp_path / "workspace").rglob("*") if path.is_file())
    assert b"hf_ada" not in kept and b"Signature" not in kept


def test_without_network_and_without_login(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = a_hub_package(tmp_path, weights=1000)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    queued = run_zoowizard(["upload", package.archive, *TO, "--public", "--insist"])
    assert queued.code == FAILED and "HF_HUB_OFFLINE" in queued.err and "zoowizard upload --pending" in queued.err
    [listed] = run_zoowizard(["uploads", "--json"]).json()
    assert (listed["place"], listed["id"], listed["phase"]) == ("huggingface", "ada/nuclei", "queued")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("HF_TOKEN")
    elsewhere = run_zoowizard(["upload", "--pending"], HF_ENDPOINT="https://hub.example.org")
    assert elsewhere.err == "nothing is queued\n"  # another hub is not told this one's token
    refused = run_zoowizard(["upload", "--pending"])
    assert refused.code == FAILED and "you are not logged in at 127.0.0.1" in refused.err
    (tmp_path / "hf").mkdir(exist_ok=True)
    (tmp_path / "hf" / "token").write_text("hf_ada")  # as `hf auth login` leaves it
    done = run_zoowizard(["upload", "--pending"])
    assert done.code == DONE, done.err
    assert done.out == f"ada/nuclei: {hub.base}/ada/nuclei\n" and "everybody can see it" in done.err
    assert not hub.repos["ada/nuclei"].private
    assert f"public  {hub.base.partition('//')[2]}/ada/nuclei\n    {hub.base}" in run_zoowizard(["uploads"]).out


def test_what_does_not_go_together(hub: Hub, tmp_path: Path) -> None:
    for arguments, sentence in (
        (["x", "--to", "huggingface:nuclei"], "write OWNER/NAME"),
        (["x", "--to", "huggingface"], "write OWNER/NAME"),
        (["x", *TO, "--submit"], "--submit is only for what goes to the zoo"),
        (["x", "--public"], "--public is only for what goes to Hugging Face"),
        (["x", "--to", "out", "--public"], "--public is only for what goes to Hugging Face"),
        (["--pending", *TO], "give it alone"),
        (["x", "--to", "out", "--detach"], "a folder has it at once"),
        (["x", "--to", ""], "--to is empty"),
    ):
        ran = run_zoowizard(["upload", *arguments])
        assert ran.code == WRONG_USE and sentence in ran.err and ran.err.count("\n") == 1, ran.err
