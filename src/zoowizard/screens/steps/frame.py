"""The frame in which one step of the wizard is shown; each step is made when it is first entered."""

import asyncio
import contextlib
from typing import Any

from textual.errors import NoWidget
from textual.screen import Screen
from textual.widgets import ContentSwitcher

from zoowizard.screens.steps.plan import StepPlan
from zoowizard.screens.steps.step import Step


class StepFrame(ContentSwitcher):
    """Shows one step, or none yet."""

    def __init__(self) -> None:
        """An empty frame."""
        super().__init__(id="steps")
        self._mounting = asyncio.Lock()
        self._over = False

    def on_mount(self) -> None:
        """Begin to watch over the layout."""
        self.screen.screen_layout_refresh_signal.subscribe(self, self._map_at_once, immediate=True)

    def _map_at_once(self, _: Screen[Any]) -> None:
        """Let Textual map the screen after each layout, not when somebody first asks where something is.

        Where that is between the coming of a step and its first layout, Textual 8.2 takes the step for one that was
        there before (`Compositor.reflow`), and never tells it its size.
        """
        with contextlib.suppress(NoWidget):
            self.screen.find_widget(self.screen)

    @property
    def step(self) -> Step | None:
        """The step that is shown."""
        return self.query_one(f"#{self.current}", Step) if self.current else None

    async def enter(self, plan: StepPlan) -> Step | None:
        """Show this step; None where the frame was closed meanwhile."""
        identity = f"step-{plan.name}"
        async with self._mounting:
            if self._over:
                return None
            if not self.query(f"#{identity}"):
                step = plan.make()
                step.id = identity
                await self.mount(step)
        self.current = identity
        return self.query_one(f"#{identity}", Step)

    async def close(self) -> None:
        """No step comes up any more. One that was taken away before it is complete would fail, so it is waited for."""
        async with self._mounting:
            self._over = True
