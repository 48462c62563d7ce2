"""Cellpose itself in a process of its own, in this or in another environment: a picture goes in, labels and flows come.

The process runs the script `cellpose_child.py` with the network switched off, and ends with ours.
"""

import contextlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from zoowizard.conversion.converted import Array
from zoowizard.environments import clean_variables
from zoowizard.errors import ZoowizardError

SCRIPT: Final = Path(__file__).with_name("cellpose_child.py")
NOWHERE: Final = "http://127.0.0.1:9"
"""A proxy that answers to nobody."""
ENDS_WITHIN_S: Final = 5.0


@dataclass(frozen=True)
class Answer:
    """Of a picture: `labels` (y, x), and `flows` (3, y, x) float32, along y, along x, and the cell probability."""

    labels: Array
    flows: Array


class Cellpose:
    """A process that has Cellpose loaded, and one model at most."""

    def __init__(self, python: Path, folder: Path) -> None:
        """Start the interpreter `python`, which has cellpose; pictures and answers lie in `folder`. Returns at once."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._log = folder, folder / "cellpose.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [python, "-I", SCRIPT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=clean_variables() | _offline(folder),
                text=True,
            )

    def load(self, model: Mapping[str, Any]) -> str:
        """Load a model (see `cellpose_child`); gives the version of cellpose. Raises ZoowizardError if it cannot."""
        return self._told(model)["version"]

    def ask(self, picture: Array, arguments: Mapping[str, Any]) -> Answer:
        """`CellposeModel.eval` on a picture, (y, x) or (y, x, channel). Raises ZoowizardError where it fails."""
        found = self._found("picture", picture, arguments)
        return Answer(found["labels"], found["flows"])

    def draw(self, flows: Array, thresholds: Mapping[str, float]) -> Array:
        """The labels (y, x) of flows (3, y, x) as the zoo's library draws them with this version of cellpose.

        `thresholds` are cellprob_threshold, flow_threshold and min_size.
        """
        return self._found("flows", flows, thresholds)["labels"]

    def _found(self, kind: str, array: Array, arguments: Mapping[str, Any]) -> dict[str, Array]:
        source, destination = self._folder / "question.npy", self._folder / "answer.npz"
        np.save(source, array)
        self._told({kind: str(source), "answer": str(destination), "arguments": dict(arguments)})
        with np.load(destination, allow_pickle=False) as answer:
            return dict(answer)

    def close(self) -> None:
        """End the process; does nothing where it has ended."""
        if self._process.stdin:
            _close(self._process.stdin)
        try:
            self._process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            _close(self._process.stdout)

    def _told(self, request: Mapping[str, Any]) -> dict[str, str]:
        line = ""
        if self._process.stdin and self._process.stdout:
            try:
                self._process.stdin.write(json.dumps(dict(request)) + "\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
            except (BrokenPipeError, ValueError):  # it has ended, or was closed
                pass
        if not line:
            raise ZoowizardError(f"Cellpose, in a process of its own, {self._ending()}")
        told: dict[str, str] = json.loads(line)
        if "error" in told:
            raise ZoowizardError(f"Cellpose, in a process of its own, failed: {told['error']}")
        return told

    def _ending(self) -> str:
        self.close()
        code = self._process.returncode
        how = "was killed, most often because the memory ran out" if code == -9 else f"ended (exit code {code})"
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["nothing"]
        return f"{how}; the last that it said: {lines[-1][:300]}"


def _offline(folder: Path) -> dict[str, str]:
    """The variables by which cellpose and what it stands on find no network, and no models but what they are given."""
    kinds = ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy")
    return {
        **{name: NOWHERE for kind in kinds for name in (kind, kind.upper())},
        "NO_PROXY": "",
        "no_proxy": "",
        "HF_HUB_OFFLINE": "1",
        "CELLPOSE_LOCAL_MODELS_PATH": str(folder / "no-models"),
        "CUDA_VISIBLE_DEVICES": "",
    }


def _close(pipe: IO[str]) -> None:
    with contextlib.suppress(BrokenPipeError):
        pipe.close()
