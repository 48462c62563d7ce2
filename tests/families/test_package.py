"""What a package of the zoo tells before anything of it is run, and what is wrong with it, in plain words."""

import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from old_packages import old_package, zipped
from small_packages import Small, make_package

from zoowizard.drafts.completeness import hints, problems
from zoowizard.families.family import Recognition
from zoowizard.families.identify import identify, obstacle, to_json
from zoowizard.families.nearby import in_short
from zoowizard.workflow import answered, choose_one, draft_in_memory, missing_from, questions_for, unready


def told(path: Path) -> Recognition:
    [found] = identify(path)
    return found


def values(found: Recognition) -> dict[str, Any]:
    return {name: one.value for name, one in found.values.items()}


def warned(found: Recognition) -> dict[str, str]:
    return {one.code: one.message for one in found.warnings}


def rewritten(description: Path, **more: Any) -> Path:
    """The description with other entries; None takes one out."""
    known = yaml.safe_load(description.read_text()) | more
    description.write_text(yaml.safe_dump({name: one for name, one in known.items() if one is not None}))
    return description


@pytest.mark.parametrize("layout", ["0.4.10", "0.3.6"])
def test_an_old_package_answers_what_it_can(tmp_path: Path, layout: str) -> None:
    package = zipped(old_package(tmp_path / "old", layout, parent={"id": "happy-otter"}).parent)
    found = told(package)
    assert (found.family, found.checkpoint, obstacle(found)) == ("package", package, None)
    assert found.evidence[0].startswith(f"rdf.yaml describes it in the format {layout} of the zoo, with weights in py")
    known = values(found)
    assert known["name"] == "U-Net of 2021"
    assert known["authors"][0]["affiliation"] == "Uni"
    assert known["citations"] == [{"text": "Nobody et al.", "doi": "10.1234/none"}]
    assert known["license"] == "MIT"
    assert known["tags"] == ["unet2d", "cells"]
    assert known["architecture"] == "SmallUNet"
    assert known["parent_of_original"] == "happy-otter"
    assert known["intended_use"] == "Finds cells in images of cultured cells, *in vitro* only."
    assert known["limitations"] == "Misses cells under 5 pixels; see https://example.org/paper."
    assert known["validation"] == "F1 of 0.9 on 20 images that it was not trained on."
    assert {found.values[name].origin for name in ("name", "license")} == {"rdf.yaml"}
    assert found.values["validation"].origin == "README.md"
    assert missing_from(found) == ["modality", "training_data_name"]
    assert "net.py" in warned(found)["brings-code"]
    assert in_short(found) == f"SmallUNet package, format {layout}"


def test_a_package_of_today_as_zip_folder_and_description(tmp_path: Path) -> None:
    small = Small(formats=("torchscript", "onnx"), pixel_size_um={"y": 0.5, "x": 0.25})
    package = make_package(tmp_path / "small", small)
    folder = tmp_path / "small"
    for path, checkpoint in ((package, package), (folder, folder / "rdf.yaml"), (folder / "rdf.yaml",) * 2):
        found = told(path)
        assert (found.family, found.checkpoint) == ("package", checkpoint)
        assert values(found)["pixel_size"] == "0.5 x 0.25 micrometer"
        assert values(found)["weight_formats"] == ["torchscript", "onnx"]
        assert not found.warnings
    [one, other] = identify(tmp_path)
    assert {one.path, other.path} == {package, folder}
    zipped(folder).rename(tmp_path / "again.zip")
    assert len(identify(tmp_path)) == 2


def test_what_is_called_a_description_and_describes_no_model_is_told(tmp_path: Path) -> None:
    for name in ("unet.rdf.yaml", "rdf.yaml", "environment.yaml"):
        (tmp_path / name).write_text("name: env\n")
    assert "unet.rdf.yaml describes no model" in (told(tmp_path / "unet.rdf.yaml").refused or "")
    assert "rdf.yaml describes no model of the zoo: it lacks format_version" in (
        told(tmp_path / "rdf.yaml").refused or ""
    )
    assert told(tmp_path / "environment.yaml").refused is None
    assert [one.path.name for one in identify(tmp_path)] == ["unet.rdf.yaml"]


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ({"z": 2.0, "y": 0.5, "x": 0.5}, "2 x 0.5 x 0.5 micrometer"),
        ({"z": 0.5, "y": 0.5, "x": 0.5}, "0.5 x 0.5 x 0.5 micrometer"),
        ({"y": 0.5, "x": 0.5}, "0.5 micrometer"),
    ],
)
def test_the_depth_of_a_voxel_is_told(tmp_path: Path, size: dict[str, float], said: str) -> None:
    draft = draft_in_memory(told(make_package(tmp_path / "deep", Small(dims=3, pool=(1, 2, 2), pixel_size_um=size))))
    assert draft.get("pixel_size") == said
    assert "pixel_size" not in problems(draft, questions_for(draft))


def test_what_is_wrong_with_a_value_is_a_question_to_mend(tmp_path: Path) -> None:
    old_package(
        tmp_path / "old",
        name="Cells: U-Net, 2021",
        license="MITT",
        authors=[{"name": "Ada/Grace", "affiliation": None}],
        cite=[{"text": "Nobody", "doi": "doi:10.1234/none"}],
        version="v1",
    )
    draft = draft_in_memory(told(tmp_path / "old"))
    wrong = problems(draft, questions_for(draft))
    assert draft.get("name") == "Cells: U-Net, 2021"
    assert "holds `,`, `:`" in wrong["name"]
    assert "did you mean MIT?" in wrong["license"]
    assert "holds a slash" in wrong["authors"]
    assert "write 10.1234/none" in wrong["citations"]
    assert "write 1" in wrong["version"]


def test_without_authors_they_are_asked(tmp_path: Path) -> None:
    found = told(zipped(old_package(tmp_path / "old", authors=None).parent))
    assert "authors" in missing_from(found)
    assert obstacle(found) is None


@pytest.mark.parametrize(
    ("config", "tags", "attached", "tool"),
    [
        ({"zoowizard": {"family": "yolo"}}, [], [], "zoowizard"),
        ({"biapy": {"version": "3.5"}}, [], [], "BiaPy"),
        ({}, [], ["careamics.yaml"], "CAREamics"),
        ({"stardist": {"thresholds": {}}}, [], [], "StarDist"),
        ({}, ["cellpose"], [], "Cellpose"),
    ],
)
def test_who_made_it(tmp_path: Path, config: Any, tags: list[str], attached: list[str], tool: str) -> None:
    old_package(tmp_path / "old", config=config, tags=tags, attachments={"files": attached})
    for name in attached:
        (tmp_path / "old" / name).write_text("a: 1\n")
    found = told(tmp_path / "old")
    assert found.evidence[1] == f"it was made by {tool}"
    assert values(found)["made_by"] == tool


def test_a_file_that_is_not_the_one_described(tmp_path: Path) -> None:
    description = old_package(tmp_path / "old")
    with (description.parent / "weights.pt").open("ab") as file:
        file.write(b"more")
    for path in (description, zipped(description.parent)):
        reason = obstacle(told(path)) or ""
        assert reason.startswith("weights.pt is not the file that rdf.yaml describes (its sha256 differs)")
        assert "new_weights" in reason


@pytest.mark.parametrize(
    "source", ["../weights.pt", "/etc/passwd", "file:///etc/passwd", "a/../../weights.pt", "a\\weights.pt", "."]
)
def test_a_name_that_leads_out_of_the_package(tmp_path: Path, source: str) -> None:
    description = old_package(tmp_path / "old")
    known = yaml.safe_load(description.read_text())
    known["weights"]["pytorch_state_dict"]["source"] = source
    rewritten(description, weights=known["weights"])
    (tmp_path / "weights.pt").write_bytes(b"secret")
    for path in (description, description.parent, zipped(description.parent)):
        found = told(path)
        if source == ".":
            assert "not there" in (obstacle(found) or "")
            continue
        assert found.unsafe
        assert found.refused is not None
        assert json.dumps(source)[1:-1] in found.refused or repr(source) in found.refused


def test_a_link_that_leads_out_of_the_folder(tmp_path: Path) -> None:
    description = old_package(tmp_path / "old")
    (tmp_path / "secret.pt").write_bytes(b"secret")
    (tmp_path / "old" / "weights.pt").unlink()
    (tmp_path / "old" / "weights.pt").symlink_to(tmp_path / "secret.pt")
    found = told(description)
    assert found.unsafe
    assert "'weights.pt', and it is a link that leads out" in (found.refused or "")


def hostile(path: Path, name: str, content: bytes = b"x", size: int | None = None) -> Path:
    """A package with one more file; `size` is what its list of records claims."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rdf.yaml", "format_version: 0.5.4\ntype: model\nweights: {}\n")
        archive.writestr(name, content)
    if size is not None:
        raw = bytearray(path.read_bytes())
        at = raw.rfind(b"PK\x01\x02") + 24
        raw[at : at + 4] = struct.pack("<I", size)
        path.write_bytes(raw)
    return path


def test_hostile_zips_are_refused(tmp_path: Path) -> None:
    said = {
        hostile(tmp_path / "climbs.zip", "../evil.py"): "'../evil.py', and it leads out of the package",
        hostile(tmp_path / "bomb.zip", "zeros", bytes(200_000_000)): "as zip bombs do",
        hostile(tmp_path / "claims.zip", "zeros", size=4_000_000_000): "as zip bombs do",
    }
    for path, sentence in said.items():
        found = told(path)
        assert found.unsafe, path
        assert sentence in (found.refused or "")
    assert {one.path for one in identify(tmp_path) if one.unsafe} == set(said)


def test_descriptions_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "rdf.yaml").write_text("format_version: 0.5.4\nname: [\n")
    (tmp_path / "other.yaml").write_text("a: 1\n")
    (tmp_path / "photos.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    aliases = "".join(f"a{n}: &a{n} [{', '.join(9 * [f'*a{n - 1}'])}]\n" for n in range(1, 12))
    (tmp_path / "laughs.yaml").write_text(f"a0: &a0 [1]\n{aliases}")
    (tmp_path / "deep.rdf.yaml").write_text("format_version: " + "[" * 5000)
    assert "rdf.yaml is no YAML" in (told(tmp_path / "rdf.yaml").refused or "")
    assert "in line 3" in (told(tmp_path / "rdf.yaml").refused or "")
    for name in ("other.yaml", "laughs.yaml", "photos.zip"):
        found = told(tmp_path / name)
        assert (found.family, found.refused) == (None, None)
    assert told(tmp_path / "deep.rdf.yaml").refused
    with zipfile.ZipFile(tmp_path / "cut.zip", "w") as archive:
        archive.writestr("rdf.yaml", "format_version: 0.5.4\n")
    (tmp_path / "cut.zip").write_bytes((tmp_path / "cut.zip").read_bytes()[:-30])
    assert "cut short" in (told(tmp_path / "cut.zip").refused or "")
    with zipfile.ZipFile(tmp_path / "folder.zip", "w") as archive:
        archive.writestr("mymodel/rdf.yaml", "format_version: 0.5.4\n")
    assert "Zip the files of the folder" in (told(tmp_path / "folder.zip").refused or "")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"type": "dataset"}, "describes a data set (type: dataset), not a model"),
        ({"type": "application"}, "describes a program"),
        ({"format_version": "0.6.1"}, "in the format 0.6.1 of the zoo; zoowizard reads 0.3, 0.4 and 0.5"),
        ({"format_version": "0.1.2"}, "too old"),
        ({"format_version": ["x"]}, "zoowizard reads"),
        ({"inputs": None}, "has no inputs"),
        ({"outputs": "none"}, "has no outputs"),
        ({"weights": {"keras_hdf5": {"source": "README.md"}}}, "keras_hdf5: tensorflow is not installed here"),
        ({"weights": {"onnx": {"source": "gone.onnx"}}}, "gone.onnx is named and not there"),
        ({"weights": ["onnx"]}, "names no weights"),
        ({"test_inputs": ["gone.npy"]}, "gone.npy is named in rdf.yaml and not there"),
    ],
)
def test_why_no_package_can_be_made_of_it(tmp_path: Path, more: dict[str, Any], sentence: str) -> None:
    found = told(old_package(tmp_path / "old", **more))
    assert found.family == "package"
    assert sentence in (obstacle(found) or "")


def test_remote_files_are_named_one_by_one(tmp_path: Path) -> None:
    server = "https://zenodo.example.org"
    description = old_package(
        tmp_path / "old",
        covers=[f"{server}/cover.png"],
        documentation=f"{server}/README.md",
        attachments={"files": [f"{server}/train.csv", "gone.csv"]},
    )
    found = told(description)
    assert obstacle(found) is None
    message = warned(found)["remote-files"]
    assert [f"{server}/{name}" in message for name in ("cover.png", "README.md", "train.csv")] == 3 * [True]
    assert warned(found)["missing-files"].startswith("gone.csv is named")


def test_new_weights_lead_to_a_parent_and_ask_for_another_name(tmp_path: Path) -> None:
    import torch

    found = told(old_package(tmp_path / "old", id="affable-shark", version="0.2.0"))
    draft = draft_in_memory(found)
    assert "parent" not in [field.name for field in questions_for(draft)]
    state = Small().network().state_dict()
    torch.save({"ema": dict(state), "state_dict": state}, tmp_path / "fine.pth")
    draft = answered(draft, {"new_weights": str(tmp_path / "fine.pth")})
    asked = {field.name: field for field in questions_for(draft)}
    assert draft.get("parent") == "affable-shark"
    assert draft.get("state_dict_key") == asked["state_dict_key"].choices[0]
    said = hints(draft, questions_for(draft))
    assert "give the new one a name of its own" in said["name"]
    assert "raise it for the new weights" in said["version"]
    assert "parent" not in unready(draft)
    alone = draft_in_memory(told(old_package(tmp_path / "alone")))
    assert "parent" not in unready(alone)
    alone = answered(alone, {"new_weights": str(tmp_path / "fine.pth")})
    assert unready(alone)["parent"] == "Fine-tuned from: is missing; for example affable-shark"
    assert "parent" not in unready(answered(alone, {"parent": "none"}))
    renamed = answered(draft, {"name": "Fine-tuned U-Net", "version": "0.3.0"})
    assert not {"name", "version"} & hints(renamed, questions_for(renamed)).keys()
    (tmp_path / "text.pth").write_text("hello")
    wrong = answered(draft, {"new_weights": str(tmp_path / "text.pth")})
    assert "holds no weights" in problems(wrong, questions_for(wrong))["new_weights"]
    gone = answered(draft, {"new_weights": str(tmp_path / "gone.pth")})
    assert "does not exist" in problems(gone, questions_for(gone))["new_weights"]


def test_a_training_beside_its_package_is_what_is_built(tmp_path: Path, sample_run: Path) -> None:
    shutil.copytree(sample_run, tmp_path / "runs" / "nuclei")
    make_package(tmp_path / "packages" / "small", Small())
    assert [one.family for one in identify(tmp_path)] == ["package", "package", "yolo"]
    assert choose_one(tmp_path).family == "yolo"


def test_a_package_is_read_without_the_library(tmp_path: Path) -> None:
    package = zipped(old_package(tmp_path / "old").parent)
    code = (
        "import sys; from zoowizard.cli import main; code = main(['identify', sys.argv[1], '--json'])\n"
        "heavy = {'torch', 'numpy', 'bioimageio', 'onnx', 'textual'} & set(sys.modules)\n"
        "sys.stderr.write(repr(sorted(heavy))); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, os.fspath(package)], capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stderr.endswith("[]")
    assert json.loads(done.stdout)["family"] == "package"


def test_nothing_in_a_description_is_taken_for_granted(tmp_path: Path) -> None:
    description = old_package(tmp_path / "old")
    known = yaml.safe_load(description.read_text())
    odd: list[Any] = [None, "", 0, 1.5, True, [], {}, [None], {"a": None}, {"source": {}}, {1: 2}, [[1]], "x" * 3000]
    for name in known:
        for one in odd:
            description.write_text(yaml.safe_dump({**known, name: one}))
            for found in identify(description):
                draft = draft_in_memory(found)
                assert json.dumps(to_json(found, missing_from(found)))
                assert problems(draft, questions_for(draft)) is not None
    for place in ("inputs", "outputs"):
        for key in ("axes", "shape", "name", "test_tensor", "data", "preprocessing"):
            for one in odd:
                description.write_text(yaml.safe_dump({**known, place: [{**known[place][0], key: one}]}))
                assert len(identify(description)) == 1
