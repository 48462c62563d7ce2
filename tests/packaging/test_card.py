"""The model card holds what is known, and nothing that a text could smuggle in."""

import ast
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from markdown_it import MarkdownIt

from zoowizard.conversion.converted import Difference
from zoowizard.packaging.card import TensorNote, Validation, model_card
from zoowizard.packaging.matching import Parity
from zoowizard.packaging.report import Drift, FormatReport, one_line
from zoowizard.packaging.settings import own_questions
from zoowizard.packaging.tools import ToolReport

VALUES: dict[str, Any] = {
    "name": "Nuclei of HeLa",
    "description": "Finds nuclei in fluorescence images.",
    "authors": [{"name": "Ada Lovelace", "affiliation": "University of X", "orcid": "0000-0002-1825-0097"}],
    "maintainers": [{"name": "Grace Hopper", "github_user": "grace"}],
    "license": "AGPL-3.0-only",
    "citations": [
        {"text": "Jocher et al., Ultralytics YOLO", "url": "https://github.com/ultralytics/ultralytics"},
        {"text": "Greenwald et al.", "doi": "10.1038/s41587-021-01094-0"},
    ],
    "modality": "fluorescence",
    "pixel_size": "0.32 micrometer",
    "intended_use": "Counting nuclei.\n\nMeasuring their size.",
    "limitations": "- not for tissue\n- not for 3-D",
    "training_data_name": "Drawn nuclei",
    "training_data_source": "https://example.org/nuclei",
    "training_data_license": "CC0-1.0",
    "architecture": "YOLO11n-seg",
    "classes": ["nucleus", "mitotic"],
    "image_size": 704,
    "image_size_asked": 680,
    "epochs": 100,
    "epochs_done": 60,
    "best_epoch": 41,
    "batch": 8,
    "optimizer": "AdamW",
    "learning_rate": 0.002,
    "augmentation": {"mosaic": 1.0, "fliplr": 0.5},
    "training_seconds": 5400,
    "metrics": {"boxes": {"precision": 0.91}, "masks": {"precision": 0.9, "mAP50-95": 0.712}},
    "parameters": 2834763,
    "base_weights": "yolo11n-seg.pt",
    "confidence": 0.25,
    "overlap_iou": 0.7,
    "max_objects": 1000,
}
PARITY: Parity = {
    "images": 2,
    "mean_iou": 0.99996,
    "identical_pixels": 0.999999,
    "ap90": 0.975,
    "per_image": [
        {"mean_iou": 0.99996, "identical_pixels": 0.999998, "n_true": 40, "n_pred": 40, "n_matched": 40, "ap90": 0.975},
        {"mean_iou": None, "identical_pixels": 1.0, "n_true": 0, "n_pred": 0, "n_matched": 0, "ap90": None},
    ],
}
VALIDATION = Validation(
    framework="ultralytics 8.4.190",
    parity=PARITY,
    formats=(
        FormatReport("torchscript", "passed", (1, 2), ((64, 64), (96, 96)), Drift(0.0, 0.0)),
        FormatReport("onnx", "failed", errors=("It gave other labels.",)),
    ),
    curves="curves.png",
    notes=("Labels repeat between tiles.",),
)
INPUTS = [TensorNote("image", {"batch": "any", "y": "64 and more, in steps of 32"}, "uint8", "a gray image")]
OUTPUTS = [TensorNote("labels", {"batch": "any"}, "float32", "one number for each instance")]
CARD = model_card(VALUES, VALIDATION, INPUTS, OUTPUTS)


def headings(card: str) -> list[str]:
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(card)
    return [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]


def section(card: str, heading: str) -> str:
    return re.split(r"\n#+ ", card.split(f"# {heading}\n", 1)[1])[0]


def test_the_headings_of_the_zoo_in_their_order() -> None:
    main = [line[2:] for line in CARD.splitlines() if line.startswith("# ")]
    assert main == [
        "Nuclei of HeLa",
        "Model Details",
        "Uses",
        "Bias, Risks, and Limitations",
        "How to Get Started with the Model",
        "Training Details",
        "Validation",
        "Technical Specifications",
        "Licence",
        "Citation",
    ]


def test_what_is_known_stands_where_it_belongs() -> None:
    assert "Measuring their size." in section(CARD, "Direct Use")
    assert "- not for tissue\n- not for 3-D" in section(CARD, "Bias, Risks, and Limitations")
    assert "<https://example.org/nuclei>" in section(CARD, "Training Data")
    procedure = section(CARD, "Training Procedure")
    for row in ("704 (asked for: 680)", "| Best epoch | 41 |", "mosaic 1, fliplr 0.5", "1 h 30 min", "yolo11n-seg.pt"):
        assert row in procedure
    metrics = section(CARD, "Metrics of the training run")
    assert "| Metric | boxes | masks |" in metrics
    assert "| mAP50-95 | not recorded | 0.712 |" in metrics
    assert "](curves.png)" in metrics
    assert "| torchscript | passed | 0 | 0 | 64 x 64, 96 x 96 | 1, 2 |" in section(CARD, "Reproducibility")
    assert "<https://doi.org/10.1038/s41587-021-01094-0>" in section(CARD, "Citation")
    assert "https://spdx.org/licenses/AGPL-3.0-only.html" in section(CARD, "Licence")


def test_agreement_is_never_rounded_up_to_perfect() -> None:
    agreement = section(CARD, "Agreement with the native framework")
    assert "ultralytics 8.4.190" in agreement
    assert "mean IoU of matched instances is 0.9999" in agreement
    assert "99.999 % of the pixels" in agreement
    assert "| 2 | none | 1 | 0 | 0 |" in agreement


def test_what_was_not_measured_is_said_with_its_reason() -> None:
    differences = [Difference("flows", 0.25, float("inf")), Difference("probability", 2e-5, 1e-3)]
    card = model_card(VALUES, Validation("cellpose 3", None, (), None, (), differences, "no `uv` was found"))
    agreement = section(card, "Agreement with the native framework")
    assert "against cellpose 3. Not measured: no \\`uv\\` was found." in agreement
    assert "| flows | 0.25 |" in agreement
    assert "| probability | 2e-05 (allowed: 0.001) |" in agreement
    assert "IoU" not in agreement


def test_the_answers_to_a_familys_own_questions_are_its_settings() -> None:
    card = model_card(
        {**VALUES, "bit_depth": "16", "cellpose_version": "3.1"}, VALIDATION, settings=own_questions("yolo")
    )
    assert "- **Bit depth of the training images:** 16" in section(card, "Images that it expects")
    network = section(card, "Model Architecture and Objective")
    assert "- **Confidence threshold:** 0.25" in network
    assert "- **Most objects in an image:** 1000" in network
    assert "| Framework | cellpose 3.1 |" in section(card, "Training Procedure")
    path = {
        "confidence": "/home/ada/secret",
        "bit_depth": ["/home/ada/secret", 8],
        "overlap_iou": False,
        "x_version": "/s",
    }
    odd = model_card({**VALUES, **path}, VALIDATION, settings=own_questions("yolo"))
    assert "secret" not in odd
    assert "Framework" not in odd
    assert "- **Overlap of two objects:** no" in odd


def test_the_snippet_is_python_and_names_the_tensors() -> None:
    code = CARD.split("```python\n")[1].split("```")[0]
    ast.parse(code)
    assert '{"image": "image.tif"}' in code
    assert 'sample.members["labels"]' in code


def test_what_no_format_was_tested_for_gets_no_column() -> None:
    reproducibility = section(CARD, "Reproducibility")
    assert "| onnx | failed | not measured | not measured | not measured | not measured |" in reproducibility
    card = model_card(VALUES, Validation(formats=(FormatReport("onnx", "passed", drift=Drift(0.5, 3)),)))
    assert "| Weights | Tests | Largest difference | Mismatched elements per million |\n" in card


def test_metrics_without_kinds_make_a_table_too() -> None:
    card = model_card({**VALUES, "metrics": {"mAP50-95(M)": 0.7, "broken": float("nan")}}, VALIDATION)
    assert "| mAP50-95(M) | 0.7 |" in card
    assert "broken" not in card


def test_little_known_leaves_sections_out_without_a_trace() -> None:
    card = model_card({"name": "Bare"}, Validation())
    assert headings(card) == [
        "Bare",
        "Bias, Risks, and Limitations",
        "Validation",
        "On images of your own",
    ]
    assert not re.search(r"None|TODO|missing|nan|\{\}|\[\]", card)


def test_where_it_will_run_is_a_table_of_what_is_documented() -> None:
    tools = (
        ToolReport(
            "QuPath", "no", "onnx", "it wants 2-D | images", "package a 2-D model", "QuPath 1", "https://q.org/x"
        ),
        ToolReport("ilastik", "yes", "torchscript", "", "", "ilastik 2", "https://i.org/"),
    )
    shown = section(model_card(VALUES, replace(VALIDATION, tools=tools), INPUTS, OUTPUTS), "Where it will run")
    assert "As the tools document it, in the versions named, and not tried" in shown
    assert "| QuPath | no | onnx | it wants 2-D \\| images | package a 2-D model |" in shown
    assert "| ilastik | yes | torchscript |  |  |" in shown
    assert "- QuPath: QuPath 1, <https://q.org/x>" in shown


def test_the_zoo_finds_a_validation_section() -> None:
    for card in (CARD, model_card({"name": "Bare"}, Validation())):
        assert re.search("#.*[vV]alidation", card)  # as bioimageio.spec 0.5.12 looks for it


def test_values_of_the_wrong_kind_are_left_out() -> None:
    wrong = {name: {"a": object()} for name in VALUES}
    card = model_card({**wrong, "name": "Odd"}, Validation())
    assert headings(card) == headings(model_card({"name": "Odd"}, Validation()))
    for value in (None, [None, 3], float("nan"), True, object()):
        assert "object" not in model_card({**dict.fromkeys(VALUES, value), "name": "Odd"}, Validation())


def test_local_paths_do_not_reach_the_card() -> None:
    path = "/home/ada/secret/run"
    unexpected = dict.fromkeys(("data", "project", "save_dir", "git", "test_image", "checkpoint", "cwd"), path)
    private = {
        "base_weights": f"{path}/yolo11n-seg.pt",
        "training_data_source": path,
        "augmentation": {"mosaic": 1.0, "cfg": path},
        "git_repo": path,
        "metrics": {"masks": {"precision": 0.9, "from": path}},
    }
    card = model_card({**VALUES, **unexpected, **private}, Validation(curves=f"{path}/curves.png"))
    assert "secret" not in card
    assert "](curves.png)" in card
    assert "yolo11n-seg.pt" in card
    assert "C:" not in model_card({**VALUES, "base_weights": r"C:\Users\ada\w.pt"}, Validation())


HOSTILE = [
    "# heading",
    "a\n\n# heading",
    "heading\n===",
    "[click](http://evil.example)",
    "![](http://evil.example/x.png)",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a | b | c",
    "a \\| b",
    "`code` ``` fence",
    "```\nfence",
    "**bold** __bold__ *i* _i_ ~~s~~",
    "1. list",
    "- list",
    "&lt;b&gt; &#35;",
    "\x1b[31mred\x1b[0m \x00 \u202egnirts",
    "> quote",
    "---",
    "<http://evil.example>",
    "[x]: http://evil.example",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_texts_are_shown_as_they_are(hostile: str) -> None:
    """Every text of the card is replaced by a hostile one; the structure stays, and the text can be read."""
    parser = MarkdownIt("gfm-like", {"linkify": False, "html": True})
    texts = ("name", "architecture", "modality", "optimizer", "training_data_name", "pixel_size", "license")
    values = {**VALUES, **dict.fromkeys(texts, hostile), "classes": [hostile], "metrics": {hostile: 0.5}}
    values["authors"] = [{"name": hostile, "affiliation": hostile, "orcid": hostile, "github_user": hostile}]
    values["citations"] = [{"text": hostile, "doi": hostile, "url": hostile}]
    values["training_data_source"] = values["git_repo"] = hostile
    notes = Validation(framework=hostile, parity=PARITY, notes=(hostile,), formats=VALIDATION.formats)
    inputs = [TensorNote(hostile, {hostile: hostile}, hostile, hostile)]
    harmless = {**VALUES, **dict.fromkeys(texts, "x"), "classes": ["x"], "metrics": {"x": 0.5}}
    harmless["authors"], harmless["citations"] = [{"name": "x", "affiliation": "x"}], [{"text": "x"}]
    harmless["training_data_source"], harmless["git_repo"] = "x", "x"
    harmless["license"] = "x y"
    expected = model_card(
        harmless,
        Validation(framework="x", parity=PARITY, notes=("x",), formats=VALIDATION.formats),
        [TensorNote("x", {"x": "x"}, "x", "x")],
        OUTPUTS,
    )

    def structure(card: str) -> list[str]:
        tokens = parser.parse(card)
        inline = [child.type for token in tokens for child in token.children or [] if child.type not in IGNORED]
        return [token.type for token in tokens] + sorted(inline)

    card = model_card(values, notes, inputs, OUTPUTS)
    assert structure(card) == structure(expected)
    title = parser.parse(card)[1]
    assert "".join(child.content for child in title.children or []) == one_line(hostile)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e]", card)


IGNORED = ("text", "text_special", "softbreak")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_long_texts_add_no_structure_but_paragraphs_and_lists(hostile: str) -> None:
    parser = MarkdownIt("gfm-like", {"linkify": False, "html": True})
    names = ("description", "intended_use", "limitations", "validation")
    card = model_card({**VALUES, **dict.fromkeys(names, hostile)}, VALIDATION, INPUTS, OUTPUTS)
    plain = model_card({**VALUES, **dict.fromkeys(names, "x")}, VALIDATION, INPUTS, OUTPUTS)
    assert headings(card) == headings(plain)
    kinds = {token.type for one in (card, plain) for token in parser.parse(one)}
    assert kinds <= {token.type for token in parser.parse(plain)}
    assert parser.render(card).count("<a ") == parser.render(plain).count("<a ")
    assert parser.render(card).count("<img") == parser.render(plain).count("<img")


def test_a_card_of_images_says_how_far_values_are_apart() -> None:
    of_values = Validation(
        framework="torch 2.15.0",
        agreement={"images": 3, "apart": 2.31e-7, "outputs": {"denoised": 2.31e-7}},
        differences=(Difference("largest difference of the output “denoised”, of its spread", 2.31e-7, 1e-3),),
        gives_labels=False,
    )
    shown = model_card(VALUES, of_values)
    assert "against torch 2.15.0. The values of the package are within 2.4e-07 of the output's spread, on 3" in shown
    assert "| largest difference of the output “denoised”, of its spread | 2.31e-07 (allowed: 0.001) |" in shown
    assert "signal-to-noise ratio" in shown and "images of your own with a known answer" in shown
    assert "Annotate" not in shown and "annotated" not in shown
    assert "Annotate" in model_card(VALUES, Validation()) and "annotated" in model_card(VALUES, Validation())
