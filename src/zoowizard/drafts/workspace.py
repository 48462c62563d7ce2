"""Where the workspace is, and where things lie in it; loaded before the screens, so it loads little itself."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zoowizard.errors import WrongUse

TRASH: Final = ".trash"
"""The folder of a workspace in which deleted models lie, see `zoowizard.deletion`."""


@dataclass(frozen=True)
class Workspace:
    """The folder `root` in which drafts, jobs and packages are kept."""

    root: Path

    def folder(self, draft_id: str) -> Path:
        """The folder of one model. Raises WrongUse for an id that is no plain name."""
        if draft_id in ("", ".", "..") or "/" in draft_id or "\0" in draft_id:
            raise WrongUse(f"{draft_id!r} is no id of a model; `zoowizard board` lists them")
        return self.root / "models" / draft_id

    def jobs(self, draft_id: str) -> Path:
        """The folder in which the jobs of one model lie."""
        return self.folder(draft_id) / "jobs"

    def packages(self, draft_id: str) -> Path:
        """The folder in which the packages of one model lie."""
        return self.folder(draft_id) / "packages"

    @property
    def trash(self) -> Path:
        """The folder in which deleted models lie."""
        return self.root / TRASH


def place_of_workspace(path: Path | None = None) -> Path:
    """`path`, else `ZOOWIZARD_WORKSPACE`, else a place in the person's own data folder; no disk is touched."""
    if path is None and os.environ.get("ZOOWIZARD_WORKSPACE"):
        path = Path(os.environ["ZOOWIZARD_WORKSPACE"])
    if path is None:
        import platformdirs

        path = Path(platformdirs.user_data_dir("zoowizard", appauthor=False))
    return path.expanduser().absolute()


def open_workspace(path: Path | None = None) -> Workspace:
    """The workspace at `path`, or where `place_of_workspace` says; made if need be.

    Raises WrongUse where it cannot be made or read.
    """
    root = place_of_workspace(path)
    try:
        (root / "models").mkdir(parents=True, exist_ok=True)
        next((root / "models").iterdir(), None)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        message = f"the workspace {root} cannot be used ({reason}); choose a folder of yours with --workspace"
        raise WrongUse(message) from error
    return Workspace(root)
