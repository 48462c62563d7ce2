"""Packages made again of packages, as the job does it."""

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from zoowizard.jobs.folder import create
from zoowizard.jobs.steps import Steps
from zoowizard.library import clean
from zoowizard.packaging import build
from zoowizard.workflow import answered, choose_one, draft_in_memory, unready

ANSWERS = {"modality": "fluorescence microscopy", "training_data_name": "cells of the lab"}


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The server of clean processes is started once for all tests here, as it is once for a job."""
    before = os.environ.get(clean.CACHE)
    clean.warm_up(tmp_path_factory.mktemp("clean") / "cache")
    yield
    clean._server.pop().close()
    os.environ.pop(clean.CACHE, None) if before is None else os.environ.update({clean.CACHE: before})


class Built:
    """A package that was made of another one, open."""

    def __init__(self, outcome: dict[str, Any], folder: Path) -> None:
        self.outcome, self.folder = outcome, folder
        with zipfile.ZipFile(outcome["package"]) as package:
            self.files = {name: package.read(name) for name in package.namelist()}
        self.told = yaml.safe_load(self.files["rdf.yaml"])
        self.card = self.files["README.md"].decode()

    def array(self, name: str) -> Any:
        return np.load(io.BytesIO(self.files[name]))

    def state(self) -> dict[str, Tensor]:
        name = self.told["weights"]["pytorch_state_dict"]["source"]
        return torch.load(io.BytesIO(self.files[name]), weights_only=True)  # type: ignore[no-any-return]


def built(package: Path, place: Path, before: Path | None = None, **answers: Any) -> Built:
    """Answer what is missing, and build as the job does."""
    draft = answered(draft_in_memory(choose_one(package)), {**ANSWERS, **answers})
    assert unready(draft) == {}
    work = {
        "family": draft.family,
        "checkpoint": str(draft.checkpoint),
        "values": {name: one.value for name, one in draft.values.items()},
        "name": "again",
        "output": str(place / "out"),
        "umask": 0o22,
        **({"resume": str(before)} if before else {}),
    }
    folder = create(place / "jobs", "build", "again", work)
    return Built(build.run(work, folder, Steps(folder / "events.jsonl")), folder)
