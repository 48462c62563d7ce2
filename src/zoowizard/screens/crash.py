"""An error of the app itself: kept in a file for those who mend it, told to the person in one sentence."""

import traceback
from datetime import datetime
from pathlib import Path

from textual.worker import WorkerFailed

from zoowizard import __version__
from zoowizard.atomic import write_bytes
from zoowizard.errors import ZoowizardError

FILE = "crash.txt"


def kept(root: Path, error: BaseException, now: datetime) -> str:
    """Write the traceback to `crash.txt` in the workspace, for nobody else to read; gives what the person is told."""
    if isinstance(error, WorkerFailed):
        error = error.error
    name = type(error).__name__
    text = f"zoowizard {__version__}, {now.isoformat(timespec='seconds')}\n\n"
    text += "".join(traceback.format_exception(error))
    try:
        write_bytes(root / FILE, text.encode(errors="backslashreplace"), mode=0o600)
    except ZoowizardError as problem:
        return (
            f"zoowizard had to end because of a mistake of its own ({name}), of which no note could be left: {problem}"
        )
    return (
        f"zoowizard had to end because of a mistake of its own ({name}); jobs go on, and answers are kept. "
        f"Please send {root / FILE} to its developers"
    )
