"""What the screens remember of a person's taste: the theme. A small file in the workspace."""

import json
from dataclasses import dataclass
from pathlib import Path

FILE = "screens.json"


@dataclass(frozen=True)
class Settings:
    """`theme` is the name of a Textual theme, empty for the one that comes with zoowizard."""

    theme: str = ""


def read_settings(root: Path) -> Settings:
    """The settings in the workspace; those of a new one where they cannot be read."""
    try:
        told = json.loads((root / FILE).read_bytes())
        theme = told["theme"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return Settings()
    return Settings(theme) if isinstance(theme, str) else Settings()


def write_settings(root: Path, settings: Settings) -> None:
    """Keep the settings. Raises ZoowizardError where they cannot be saved."""
    from zoowizard.atomic import write_json

    write_json(root / FILE, {"theme": settings.theme})
