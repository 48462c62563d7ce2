"""An old package goes through the commands, as a person calls them."""

import json
import zipfile
from pathlib import Path

import yaml
from commands import run_zoowizard
from old_packages import old_package, zipped


def test_an_old_package_without_authors(tmp_path: Path) -> None:
    package = zipped(old_package(tmp_path / "old", authors=None, name="Cells: a U-Net").parent)
    place = {"ZOOWIZARD_WORKSPACE": str(tmp_path / "workspace")}
    asked = run_zoowizard(["build", package, "--output", tmp_path / "out", "--json"], **place)
    assert asked.code != 0
    for name in ("authors", "name", "modality", "training_data_name"):
        assert name in asked.err + asked.out
    assert "holds `:`" in asked.err + asked.out
    answers = tmp_path / "answers.yaml"
    given = {
        "name": "Cells - a U-Net",
        "authors": [{"name": "Ada Lovelace", "affiliation": "Uni"}],
        "modality": "fluorescence microscopy",
        "training_data_name": "cells of the lab",
    }
    answers.write_text(yaml.safe_dump(given))
    built = run_zoowizard(["build", package, "--answers", answers, "--output", tmp_path / "out", "--json"], **place)
    assert built.code == 0, built.err
    outcome = json.loads(built.out)
    assert outcome["status"] == "passed"
    assert "It brings code, which runs when the package is built or tested: net.py." in built.err
    with zipfile.ZipFile(outcome["package"]) as new:
        told = yaml.safe_load(new.read("rdf.yaml"))
    assert told["format_version"] == "0.5.10"
    assert told["authors"] == [{"name": "Ada Lovelace", "affiliation": "Uni"}]
    assert set(told["weights"]) == {"pytorch_state_dict", "torchscript", "onnx"}
