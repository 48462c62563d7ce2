"""Where the files that people see are: in the checkout's `assets/`, or inside the installed package."""

from pathlib import Path

from zoowizard.errors import ZoowizardError


def asset(name: str) -> Path:
    """The path of a file or folder of `assets/`. Raises ZoowizardError where the installation lacks it."""
    package = Path(__file__).resolve().parent
    for folder in (package / "assets", package.parent.parent / "assets"):
        if (folder / name).exists():
            return folder / name
    raise ZoowizardError(f"this installation of zoowizard lacks its file assets/{name}; install it again")
