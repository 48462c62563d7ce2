import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from commands import Demo

from zoowizard.packaging.preview import preview

MODULE = [sys.executable, "-m", "zoowizard.packaging.preview"]


def ask(asked: Any) -> "subprocess.CompletedProcess[bytes]":
    told = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    return subprocess.run(MODULE, input=told, capture_output=True, timeout=300, check=False)


def test_answers_become_a_card_that_says_it_is_not_tested() -> None:
    card = ask({"values": {"name": "Nuclei 细胞核", "license": "MIT", "metrics": {"loss": float("nan")}}})
    assert card.returncode == 0
    text = card.stdout.decode()
    assert text.startswith("# Nuclei 细胞核\n")
    assert "Nothing was built or tested yet" in text
    assert "Largest difference" not in text


def test_the_settings_of_a_family_are_in_the_preview() -> None:
    card = ask({"values": {"name": "x", "confidence": 0.25}, "family": "yolo"})
    assert "**Confidence threshold:** 0.25" in card.stdout.decode()
    unknown = ask({"values": {"name": "x"}, "family": "nothing"})
    assert unknown.returncode == 1
    assert "`nothing` is no family" in unknown.stderr.decode()


@pytest.mark.parametrize(
    ("family", "values", "advice"),
    [
        ("yolo", {}, "compare its instances with the annotation"),
        ("cellpose", {}, "compare its instances with the annotation"),
        ("cellpose", {"package_kind": "flows"}, "structural similarity"),
        ("pytorch", {}, "Run the package on them, and compare."),
        ("package", {}, "Run the package on them, and compare."),
    ],
)
def test_the_advice_is_for_what_the_package_gives(family: str, values: dict[str, Any], advice: str) -> None:
    card = preview({"name": "x", **values}, family)
    assert advice in card
    assert ("Annotate" in card) == ("annotated images" in card) == ("instances" in advice)


def test_what_a_fine_tuned_model_is_made_of() -> None:
    values = {"name": "x", "new_weights": "/home/ada/fine.pth", "parent": "affable-shark", "name_of_original": "Shark"}
    card = preview(values, "package")
    assert "- **Fine-tuned from:** [affable-shark](https://bioimage.io/#/artifacts/affable-shark) (Shark)" in card
    assert "fine.pth" not in card and "ada" not in card
    assert "[" not in preview({**values, "parent": "10.5281/zenodo.1"}, "package").partition("Fine-tuned")[2][:40]
    assert "- **Fine-tuned from:** Shark, which is not in the zoo" in preview({**values, "parent": "none"}, "package")
    as_it_was = {**values, "new_weights": None}
    assert "Fine-tuned" not in preview(as_it_was, "package")
    card = preview({**as_it_was, "parent_of_original": "happy-otter"}, "package")
    assert "- **Fine-tuned from:** [happy-otter](https://bioimage.io/#/artifacts/happy-otter)\n" in card


def test_a_package_shows_its_own_card(demo: Demo) -> None:
    package = demo.package
    card = ask({"package": str(package)})
    assert card.returncode == 0, card.stderr
    text = card.stdout.decode()
    with zipfile.ZipFile(package) as archive:
        assert text.splitlines()[0] == archive.read("README.md").decode().splitlines()[0]
    assert "(picture: Losses and metrics" in text
    assert "![" not in text
    assert "Nothing was built" not in text


def test_a_package_without_a_card_says_so(tmp_path: Path) -> None:
    empty, torn, big = tmp_path / "empty.zip", tmp_path / "torn.zip", tmp_path / "big.zip"
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("rdf.yaml", "")
    torn.write_bytes(b"PK\x03\x04 torn")
    with zipfile.ZipFile(big, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.md", b"x" * 3_000_000)
    for package, words in (
        (empty, "empty.zip: there is no README.md in it"),
        (torn, "torn.zip: is no zip"),
        (big, "too big to be shown (3000 kB)"),
        (tmp_path / "none.zip", "none.zip: no such file"),
        (tmp_path, "no such file"),
    ):
        answer = ask({"package": str(package)})
        assert answer.returncode == 1
        assert words in answer.stderr.decode()
        assert len(answer.stderr.splitlines()) == 1


@pytest.mark.parametrize("told", [b"", b"no json", b"[1]", b'{"values": 3}'])
def test_what_is_no_question_ends_in_a_sentence_or_an_empty_card(told: bytes) -> None:
    answer = ask(told)
    assert b"Traceback" not in answer.stderr
    assert answer.returncode == 1 or answer.stdout.startswith(b"# Model\n")


def test_nothing_heavy_is_loaded_for_it() -> None:
    code = "import sys, zoowizard.packaging.preview; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    loaded = {name.partition(".")[0] for name in ran.stdout.split()}
    assert not loaded & {"torch", "torchvision", "bioimageio", "textual", "ultralytics", "onnxruntime"}


def test_hostile_answers_stay_text() -> None:
    values = {
        "name": "# [x](javascript:alert(1)) <script>",
        "description": "![pic](file:///etc/passwd)\n\n# Heading\n\n| a | b |",
        "authors": [{"name": "<img src=x>", "github_user": "../../x"}],
    }
    card = preview(values)
    assert "](javascript" not in card.replace("\\]", "")
    assert "<script>" not in card
    assert "\n# Heading" not in card
    assert "<img" not in card
