from pathlib import Path

from zoowizard.drafts.draft import CHECKPOINT, DEFAULT, GIVEN, Draft, Value, with_found, with_given

EMPTY = Draft("nuclei", "yolo", Path("best.pt"), "2026-01-01T00:00:00+00:00")


def test_what_a_person_gave_is_never_overwritten_by_a_file() -> None:
    draft = with_given(EMPTY, {"license": "MIT"})
    draft = with_found(draft, {"license": Value("AGPL-3.0-only", CHECKPOINT)})
    assert draft.get("license") == "MIT"
    assert draft.values["license"] == Value("MIT", GIVEN)
    assert draft.found["license"] == Value("AGPL-3.0-only", CHECKPOINT)


def test_an_answer_can_be_taken_back() -> None:
    draft = with_given(with_found(EMPTY, {"license": Value("AGPL-3.0-only", CHECKPOINT)}), {"license": "MIT"})
    assert with_given(draft, {"license": None}).get("license") == "AGPL-3.0-only"


def test_a_default_overwrites_nothing() -> None:
    draft = with_found(EMPTY, {"version": Value("2.0", "args.yaml")})
    assert with_found(draft, {"version": Value("0.1.0", DEFAULT)}).get("version") == "2.0"
    assert with_found(EMPTY, {"version": Value("0.1.0", DEFAULT)}).get("version") == "0.1.0"


def test_false_and_zero_are_answers() -> None:
    draft = with_given(with_found(EMPTY, {"confidence": Value(0.5, DEFAULT)}), {"confidence": 0})
    assert draft.get("confidence", 1) == 0
    assert draft.get("unknown", 1) == 1
