"""What the jobs of a workspace hold on the disk, asked of the command that knows it, in a process of its own."""

import json
from pathlib import Path

from zoowizard.errors import ZoowizardError
from zoowizard.jobs.housekeeping import readable
from zoowizard.screens.children import answer_of


async def disk_use_in_words(root: Path, clean: bool) -> str:
    """What the jobs in the workspace `root` hold and what of it can go, in a sentence; with `clean`, that is removed.

    Where that cannot be done, the sentence says why.
    """
    arguments = ("jobs", "clean", "--json", "--workspace", str(root))
    try:
        told = json.loads(await answer_of("zoowizard", *arguments, *(() if clean else ("--dry-run",))))
    except ZoowizardError as problem:
        return str(problem)
    held, freeable, freed = (readable(told[name]) for name in ("bytes", "freeable", "freed"))
    return f"{freed} of {held} were freed" if clean else f"Jobs in all: {told['jobs']}, {held}; {freeable} can go"
