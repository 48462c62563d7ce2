"""What the zoo says of the models that are there: asked by a process of its own, which writes it into their records."""

import asyncio
import contextlib
from pathlib import Path
from typing import Final

from zoowizard.errors import ZoowizardError
from zoowizard.screens.children import lines_of

FIRST_AFTER_S: Final = 2.0
"""So long the app has the computer for itself."""
EVERY_S: Final = 300.0
MODULE: Final = "zoowizard.upload.news"


async def keep_asking(workspace_root: Path) -> None:
    """Ask now and every few minutes, as long as there are uploads. Who shows them sees that their records change."""
    await asyncio.sleep(FIRST_AFTER_S)
    while True:
        if await asyncio.to_thread(_has_uploads, workspace_root):
            with contextlib.suppress(ZoowizardError, OSError, ValueError):  # another time, then
                async for _ in lines_of(MODULE, str(workspace_root)):
                    pass
        await asyncio.sleep(EVERY_S)


def _has_uploads(root: Path) -> bool:
    try:
        return any(True for _ in root.glob("models/*/uploads/*/upload.json"))
    except OSError:
        return False
