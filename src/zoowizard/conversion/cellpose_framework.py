"""Cellpose itself, asked by a conversion: cellpose 3 in the environment of the zoo's runner, and the one that is here.

Each runs in a process of its own, which is started when it is first asked. Without cellpose 3 there is nothing to
compare with; drawing labels needs only the one that is here.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from zoowizard.conversion.cellpose_model import Model
from zoowizard.conversion.cellpose_native import Answer, Cellpose
from zoowizard.conversion.converted import Array, NotMeasured
from zoowizard.environments import NoEnvironment, OnProgress, interpreter
from zoowizard.errors import ZoowizardError

CELLPOSE_3: Final = "cellpose 3.1.1.2"
"""As pinned in the environment of the zoo's runner."""


class Framework:
    """Cellpose with one model; pictures and answers lie in `folder`."""

    def __init__(self, model: Model, folder: Path) -> None:
        self._model, self._folder = model, folder
        self._here: Cellpose | None = None
        self._third: Cellpose | None = None
        self._why_not = ""
        self._loaded = False
        self._last: tuple[Array, Answer] | None = None

    def start(self, on_progress: OnProgress = lambda fraction, note: None) -> str:
        """Start both, building the environment of cellpose 3 where it is not there; nothing waits for them.

        Gives the reason why there is no cellpose 3, else nothing.
        """
        self._here = self._here or Cellpose(Path(sys.executable), self._folder / "cellpose")
        values = self._model.values
        if values.get("concatenation") or values.get("residual") is False:
            self._why_not = f"{CELLPOSE_3} cannot load networks of this kind, which only Cellpose 1 and 2 had"
        if not self._third and not self._why_not:
            try:
                self._third = Cellpose(interpreter("zoo", on_progress), self._folder / "cellpose-3")
            except NoEnvironment as problem:
                self._why_not = f"cellpose 3 is not installed here: {problem}"
        return self._why_not

    def ask(self, picture: Array) -> Answer:
        """What `CellposeModel.eval` of cellpose 3 says of a picture. Raises NotMeasured where there is none."""
        if self._last is not None and self._last[0] is picture:
            return self._last[1]
        third = self._cellpose3()
        if not self._loaded:
            try:
                third.load(_as_asked(self._model))
            except ZoowizardError as problem:
                self._why_not = str(problem)
                raise NotMeasured(self._why_not) from problem
            self._loaded = True
        self._last = picture, third.ask(self._model.channels.shown(picture), self._model.arguments())
        return self._last[1]

    def draw(self, flows: Array) -> Array:
        """The labels (y, x) of flows (3, y, x), as the zoo's library draws them here."""
        self.start()
        assert self._here is not None
        return self._here.draw(flows, self._model.thresholds)

    def draw_as_3(self, flows: Array) -> Array:
        """The same as the zoo's runner draws them. Raises NotMeasured where there is no cellpose 3."""
        return self._cellpose3().draw(flows, self._model.thresholds)

    def close(self) -> None:
        """End both processes; asked again, they are started again."""
        for one in (self._here, self._third):
            if one is not None:
                one.close()
        self._here = self._third = self._last = None
        self._loaded = False

    def _cellpose3(self) -> Cellpose:
        self.start()
        if self._third is None or self._why_not:
            raise NotMeasured(self._why_not)
        return self._third


def _as_asked(model: Model) -> Mapping[str, Any]:
    return {
        "checkpoint": str(model.checkpoint.absolute()),
        "nbase": [int(one) for one in model.values["nbase"]],
        "diam_mean": model.diam_mean,
        "diam_labels": float(model.values["diam_labels"]),
        "style": bool(model.values.get("style", True)),
    }
