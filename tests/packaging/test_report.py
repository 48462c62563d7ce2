"""The report, as people and programs read it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from zoowizard.agreement import Agreement
from zoowizard.conversion.converted import Difference
from zoowizard.packaging.matching import Parity
from zoowizard.packaging.report import (
    Drift,
    FormatReport,
    Report,
    Tolerances,
    ZooRun,
    one_line,
    parity_sentence,
    percent,
    ratio,
    to_json,
    to_markdown,
    write,
)
from zoowizard.packaging.tools import ToolReport

PASSED = FormatReport("torchscript", "passed", (1, 2), ((64, 64), (96, 96)), Drift(2e-4, 12.0), 4.2)
FAILED = FormatReport("onnx", "failed", errors=("It gave other labels than the test output.",), warnings=("Slow.",))
PARITY: Parity = {
    "images": 1,
    "mean_iou": 0.98765,
    "identical_pixels": 0.9999,
    "ap90": 0.91111,
    "per_image": [
        {"mean_iou": 0.98765, "identical_pixels": 0.9999, "n_true": 41, "n_pred": 40, "n_matched": 40, "ap90": 0.91111}
    ],
}


def report(*formats: FormatReport) -> Report:
    return Report(
        package="nuclei.zip",
        created="2026-11-21T01:02:03Z",
        formats=formats,
        parity=PARITY,
        tolerances=Tolerances(1e-3, 1e-3, 100),
        steps=(("convert", 3.25), ("test", 12.0)),
        notes=("The image is resized inside.",),
        environment={"python": "3.11.9", "bioimageio.core": "0.11.0"},
    )


@pytest.mark.parametrize(
    ("formats", "status"),
    [((PASSED,), "passed"), ((PASSED, FAILED), "failed"), ((FAILED,), "failed"), ((), "failed")],
)
def test_passed_only_where_every_format_passed(formats: tuple[FormatReport, ...], status: str) -> None:
    assert to_json(report(*formats))["status"] == status
    assert f"**{status}**" in to_markdown(report(*formats))


def test_programs_find_everything() -> None:
    data = json.loads(json.dumps(to_json(report(PASSED, FAILED)), allow_nan=False))
    assert data["package"] == "nuclei.zip"
    assert data["parity"] == PARITY
    assert data["steps"] == [{"name": "convert", "seconds": 3.25}, {"name": "test", "seconds": 12.0}]
    assert data["tolerances"] == {"relative": 1e-3, "absolute": 1e-3, "mismatched_elements_per_million": 100}
    assert data["environment"]["bioimageio.core"] == "0.11.0"
    first, second = data["formats"]
    assert first["drift"] == {"max_abs": 2e-4, "mismatched_per_million": 12.0}
    assert (first["batches"], first["sizes"]) == ([1, 2], [[64, 64], [96, 96]])
    assert (second["drift"], second["errors"]) == (None, ["It gave other labels than the test output."])


def test_people_find_everything() -> None:
    shown = to_markdown(report(PASSED, FAILED))
    for part in (
        "nuclei.zip",
        "The image is resized inside.",
        "image sizes tested: 64 x 64, 96 x 96",
        "batch sizes tested: 1, 2",
        "error: It gave other labels than the test output.",
        "warning: Slow.",
        "relative 0.001, absolute 0.001, 100 mismatched",
        "0.9876",
        "| 0.9111 |",
        "1 instance has no match",
        "bioimageio.core",
        "3.2",
    ):
        assert part in shown


def test_what_the_library_warns_of_for_every_format_stands_there_once() -> None:
    torchscript = FormatReport("torchscript", "passed", warnings=("Missing `cite`.",))
    onnx = FormatReport("onnx", "passed", warnings=("Missing `cite`.", "Slow."))
    shown = to_markdown(report(torchscript, onnx))
    assert shown.count("Missing `cite`.") == 1 and shown.index("Missing `cite`.") < shown.index("### onnx")
    assert shown.index("### onnx") < shown.index("warning: Slow.")


def test_a_terminal_of_a_hundred_columns_is_wide_enough() -> None:
    long = "The output differs " * 30 + "/a/very/long/path" * 20 + " and | \x1b[2J\nso on"
    formats = tuple(
        FormatReport(f"{'x' * 150}{n}", "failed", (1,) * 99, ((64, 64),) * 99, None, 1e9, (long,)) for n in (1, 2)
    )
    noisy = Report(long, long, formats, PARITY, None, ((long, 1.0),), (long,), {long: long})
    shown = to_markdown(noisy)
    assert max(map(len, shown.splitlines())) <= 100
    assert "\x1b" not in shown
    for line in shown.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


def test_little_was_tested() -> None:
    bare = Report("p.zip", "2026-11-21T01:02:03Z", ())
    assert "No weight format was tested." in to_markdown(bare)
    assert "None" not in to_markdown(bare)
    assert to_json(bare)["parity"] is None


def test_what_was_not_measured_is_said_with_its_reason() -> None:
    found = (Difference("flows", 0.25, float("inf")), Difference("probability", 2e-5, 1e-3))
    bare = Report("p.zip", "2026-11-21T01:02:03Z", (PASSED,), differences=found, not_measured="no uv was found")
    shown = to_markdown(bare)
    assert "Not measured: no uv was found." in shown
    assert "- flows: 0.25\n- probability: 2e-05 (allowed: 0.001)" in shown
    data = to_json(bare)
    assert (data["parity"], data["not_measured"]) == (None, "no uv was found")
    assert data["differences"][0] == {"what": "flows", "value": 0.25, "allowed": None}


THERE = ZooRun((FormatReport("onnx", "passed", drift=Drift(2e-3, 7.0)),), {"torch": "2.5.1", "numpy": "1.26.4"})


def test_what_the_zoos_versions_said_has_a_section_of_its_own() -> None:
    with_zoo = replace(report(PASSED), zoo=THERE)
    shown = to_markdown(with_zoo)
    assert "## In the versions of the zoo's runner" in shown and "torch 2.5.1, numpy 1.26.4." in shown
    assert "| onnx    | passed | 0.002" in shown
    assert to_json(with_zoo)["zoo"]["passed"] is True and to_json(with_zoo)["status"] == "passed"
    alone = to_markdown(replace(with_zoo, formats=()))
    assert "No weight format was tested" not in alone and "**passed**" in alone


@pytest.mark.parametrize(
    ("formats", "there", "status", "passed"),
    [
        ((PASSED,), ZooRun((FAILED,)), "failed", False),
        ((PASSED,), ZooRun(not_tested="uv is not installed"), "passed", None),
        ((PASSED,), ZooRun((PASSED, FormatReport("keras_v3", None))), "passed", True),
        ((), ZooRun((FormatReport("keras_v3", None),)), "failed", False),
        ((FAILED,), ZooRun((PASSED,)), "failed", True),
    ],
)
def test_both_versions_decide(
    formats: tuple[FormatReport, ...], there: ZooRun, status: str, passed: bool | None
) -> None:
    data = to_json(replace(report(*formats), zoo=there))
    assert (data["status"], data["zoo"]["passed"]) == (status, passed)


def test_what_was_not_tested_there_is_said() -> None:
    shown = to_markdown(replace(report(PASSED), zoo=ZooRun(not_tested="uv is not installed")))
    assert "Not tested in the zoo's versions: uv is not installed." in shown


def test_where_it_will_run_is_told_tool_by_tool() -> None:
    tools = (
        ToolReport("QuPath", "no", "onnx", "it is 3-D", "package a 2-D model", "QuPath 1", "https://q.org/" + "x" * 60),
        ToolReport("ilastik", "yes", "torchscript", "", "", "ilastik 2", "https://i.org/"),
    )
    shown = to_markdown(replace(report(PASSED), tools=tools))
    assert "| QuPath  | no         | onnx" in shown
    assert "As the tools document it" in shown and "not tried but where that is said" in shown
    assert "- QuPath: it is 3-D. What would help: package a 2-D model. Read of QuPath 1:" in shown
    assert "- ilastik: nothing speaks against it. Read of ilastik 2: https://i.org/" in shown
    assert max(map(len, shown.splitlines())) <= 100
    assert to_json(replace(report(PASSED), tools=tools))["tools"][0]["runs"] == "no"


def test_numbers_that_are_not_finite_are_null() -> None:
    broken = FormatReport("onnx", "failed", drift=Drift(float("nan"), float("inf")))
    assert to_json(report(broken))["formats"][0]["drift"] == {"max_abs": None, "mismatched_per_million": None}
    assert "nan" in to_markdown(report(broken))


def test_both_files_are_written(tmp_path: Path) -> None:
    as_json, as_markdown = write(report(PASSED), tmp_path)
    assert sorted(tmp_path.iterdir()) == [as_json, as_markdown] == [tmp_path / "report.json", tmp_path / "report.md"]
    assert json.loads(as_json.read_text())["status"] == "passed"
    assert as_markdown.read_text().startswith("# Test report\n")


def test_nothing_is_rounded_up_to_perfect() -> None:
    assert (ratio(1.0), ratio(0.999999), ratio(0.5)) == ("1", "0.9999", "0.5000")
    assert (percent(1.0), percent(0.99999999), percent(0.5)) == ("100 %", "99.999 %", "50.000 %")


def test_parity_in_words() -> None:
    assert "On 1 image, the mean IoU of matched instances is 0.9876, 1 instance has no match" in parity_sentence(PARITY)
    nothing: Parity = {"images": 3, "mean_iou": None, "identical_pixels": 1.0, "ap90": None, "per_image": []}
    assert parity_sentence(nothing) == "On 3 images, neither found an instance; 100 % of the pixels are identical."


def test_one_line() -> None:
    assert one_line("a\n b\t\x1bc\u202ed\x00\x85e") == "a b cd e"


def test_the_agreement_of_values_is_said() -> None:
    found = (Difference("largest difference of the output “probability”, of its spread", 2.31e-7, 1e-3),)
    agreement: Agreement = {"images": 4, "apart": 2.31e-7, "outputs": {"probability": 2.31e-7}}
    of_values = replace(report(PASSED), parity=None, differences=found, agreement=agreement)
    shown = " ".join(to_markdown(of_values).split())
    assert "## Agreement with the native framework" in shown
    assert "within 2.4e-07 of the output's spread, on 4 images: the spread is the standard deviation" in shown
    assert "- largest difference of the output “probability”, of its spread: 2.31e-07 (allowed: 0.001)" in shown
    assert "Parity" not in shown
    assert to_json(of_values)["agreement"] == agreement


def test_names_are_cut_only_where_a_table_is_too_wide() -> None:
    shown = to_markdown(report(replace(PASSED, weight_format="pytorch_state_dict")))
    assert "| pytorch_state_dict | passed |" in shown
