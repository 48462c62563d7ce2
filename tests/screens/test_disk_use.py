"""What the jobs hold, asked from the board's command palette."""

from pathlib import Path

from board_app import until
from screens_text import screen_text

from zoowizard.drafts.store import open_workspace
from zoowizard.jobs.folder import create
from zoowizard.screens.app import ZoowizardApp


def choose(app: ZoowizardApp, title: str) -> None:
    """Do what the command of this title in the palette does."""
    [command] = [one for one in app.get_system_commands(app.screen) if one.title == title]
    command.callback()


async def test_disk_use_and_cleaning(tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path / "workspace")
    create(workspace.root / "jobs", "test", "nuclei", {"package": "x.zip", "output": None, "umask": 18})
    left_over = workspace.root / "jobs" / ".removed-abcd"
    left_over.mkdir()
    (left_over / "big").write_bytes(b"0" * 3_000_000)
    app = ZoowizardApp(workspace.root, tmp_path)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: "New" in screen_text(app))
        choose(app, "Disk use")
        await until(pilot, lambda: "Jobs in all: 1, 3.0 MB; 3.0 MB can go" in " ".join(screen_text(app).split()), 120)
        assert left_over.exists()
        choose(app, "Clean up")
        await until(pilot, lambda: "3.0 MB of 3.0 MB were freed" in " ".join(screen_text(app).split()), 120)
        assert not left_over.exists()
