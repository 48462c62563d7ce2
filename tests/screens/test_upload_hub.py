"""Sending to Hugging Face from the screen: the whole app, and a server that speaks as the hub does."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_packages import a_hub_package
from hub_server import Hub, a_hub
from person import Person
from sendable import ready_to_send
from uploads import MIB

from zoowizard.screens.app import ZoowizardApp


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "ZOOWIZARD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.setenv("ZOOWIZARD_SERVER", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_TOKEN", "hf_ada")
    for hub in a_hub():
        monkeypatch.setenv("HF_ENDPOINT", hub.base)
        yield hub


async def test_into_a_repository_private_at_first(hub: Hub, tmp_path: Path) -> None:
    workspace, _ = ready_to_send(tmp_path / "workspace", 3 * MIB, a_hub_package)
    app = ZoowizardApp(workspace.root, tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        person = Person(pilot)
        await person.until(lambda: any(line.startswith(">") for line in person.screen.splitlines()))
        await person.press("u")
        await person.sees("● 5 Upload", "Hugging Face")
        await person.press("down")
        await person.sees("write the repository that it shall go to")
        await person.at_input()
        await person.write("ada")
        await person.sees("✗ 'ada' is no repository of Hugging Face; write OWNER/NAME")
        await person.write("/nuclei")
        await person.sees("into ada/nuclei; only you", "enter Upload")
        await person.press("tab", "space")
        await person.sees("into ada/nuclei; everybody can see it")
        await person.press("space")
        await person.sees("into ada/nuclei; only you")
        await person.press("enter")
        await person.sees("✓ There: Hugging Face has every byte.", f"{hub.base}/ada/nuclei")
        await person.press("ctrl+o")
        await person.sees("✓ Uploaded", "at Hugging Face: ada/nuclei")
        await person.press("u")
        await person.sees("● Hugging Face uploaded", "✓ There", gone="enter Upload")
    assert "README.md" in hub.files("ada/nuclei")
