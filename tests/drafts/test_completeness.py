from dataclasses import replace
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

from zoowizard.drafts import checks, completeness
from zoowizard.drafts.draft import CHECKPOINT, Draft, Value, with_found, with_given
from zoowizard.drafts.fields import Field, Need
from zoowizard.drafts.questions import FIELDS

EMPTY = Draft("nuclei", "yolo", Path("best.pt"), "2026-01-01T00:00:00+00:00")
BITS = Field(
    "bit_depth",
    "Bit depth",
    "Bits a pixel.",
    "8",
    Need.REQUIRED,
    "Data",
    "choice",
    checks.check_among(("8", "16")),
    "documentation",
    choices=("8", "16"),
)
REQUIRED = ["name", "description", "license", "authors", "modality", "training_data_name", "test_image"]


@pytest.fixture
def answers(tmp_path: Path) -> dict[str, object]:
    imageio.imwrite(tmp_path / "nuclei.png", (np.indices((64, 64)).sum(axis=0)).astype(np.uint8))
    examples = {field.name: field.parse(field.example) for field in FIELDS if field.kind != "path"}
    return {**examples, "test_image": str(tmp_path / "nuclei.png")}


def test_every_example_passes_its_own_check_without_a_hint() -> None:
    for field in FIELDS:
        if field.kind != "path":
            answer = field.parse(field.example)
            assert field.check(answer) is None and field.hint(answer) is None, field.name


def test_every_default_passes_its_own_check() -> None:
    for field in FIELDS:
        if field.default is not None:
            assert field.check(field.default) is None, field.name
    assert completeness.defaults(FIELDS)["version"].value == "0.1.0"


def test_every_field_answers_a_wrong_type_in_words() -> None:
    for field in FIELDS:
        wrongs: tuple[object, ...] = (7, 7.5, True, None, {"a": 1}, [[]], [1], b"x")
        for wrong in wrongs:
            answer = field.check(wrong)
            assert answer and "\n" not in answer, (field.name, wrong)


def test_an_empty_draft_lacks_what_is_required() -> None:
    assert sorted(completeness.missing(EMPTY)) == sorted(REQUIRED)
    assert sorted(completeness.missing(EMPTY, [BITS])) == sorted([*REQUIRED, "bit_depth"])
    assert completeness.problems(EMPTY, FIELDS) == {}
    assert completeness.completeness(EMPTY, FIELDS)[0] == 0


def test_a_full_draft_lacks_nothing(answers: dict[str, object]) -> None:
    draft = with_given(EMPTY, answers)
    assert completeness.missing(draft) == []
    assert completeness.problems(draft, FIELDS) == {}
    done, total = completeness.completeness(draft, FIELDS)
    assert done == total > len(REQUIRED)


def test_a_wrong_answer_is_no_answer(answers: dict[str, object]) -> None:
    draft = with_given(EMPTY, {**answers, "license": "MITT", "modality": "  "})
    assert completeness.missing(draft) == ["license", "modality"]
    assert completeness.problems(draft, FIELDS) == {"license": "`MITT` is no SPDX licence; did you mean MIT?"}
    done, total = completeness.completeness(draft, FIELDS)
    assert total - done == 2


def test_a_familys_question_takes_the_place_of_a_common_one() -> None:
    own = replace(BITS, name="modality")
    fields = completeness.all_fields([own, BITS])
    assert [field for field in fields if field.name == "modality"] == [own]
    assert fields[-1] == BITS


def test_the_network_is_asked_later(answers: dict[str, object]) -> None:
    draft = with_given(EMPTY, answers)
    questions = completeness.deferred(draft, FIELDS)
    assert "does the GitHub user `ada` exist?" in questions
    assert completeness.deferred(EMPTY, FIELDS) == []


def test_a_licence_other_than_the_checkpoints_is_pointed_out() -> None:
    found = with_found(EMPTY, {"license": Value("AGPL-3.0-only", CHECKPOINT)})
    assert completeness.license_warning(found) is None
    assert completeness.license_warning(with_given(found, {"license": "AGPL-3.0-only"})) is None
    warning = completeness.license_warning(with_given(found, {"license": "MIT"}))
    assert "checkpoint says AGPL-3.0-only, you chose MIT" in str(warning)
    assert completeness.hints(with_given(found, {"license": "MIT"}), FIELDS)["license"] == warning
