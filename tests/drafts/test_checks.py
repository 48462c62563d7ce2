import pytest

from zoowizard.drafts import checks


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Nuclei segmentation (YOLO11n)", None),
        ("abc", "5 to 128"),
        ("x" * 129, "129 characters"),
        ("nuclei/cells model", "`/`"),
        ("核分割模型 for nuclei", "`核`"),
        ("two\nlines of name", "line break"),
        (" nuclei model", "begins or ends with a space; write `nuclei model`"),
        (12345, "the number 12345"),
        (True, "yes or no"),
        (["nuclei"], "a list"),
        ("TODO", "placeholder"),
        ("(To be filled)", "placeholder"),
    ],
)
def test_name(name: object, says: str | None) -> None:
    answer = checks.check_name(name)
    assert answer is None if says is None else says in str(answer)


def test_description_has_bounds_and_a_hint_between() -> None:
    assert checks.check_description("Finds nuclei in images.") is None
    assert "10 characters" in str(checks.check_description("Nuclei"))
    assert "1024" in str(checks.check_description("a b " * 300))
    assert checks.check_description("a b " * 200) is None
    assert "512" in str(checks.hint_description("a b " * 200))
    assert checks.hint_description("Finds nuclei in images.") is None


@pytest.mark.parametrize("written", ["https://doi.org/10.1038/s41592-018-0261-2", "doi:10.1038/s41592-018-0261-2"])
def test_doi_with_an_address_before_it_is_answered_with_the_bare_one(written: str) -> None:
    assert str(checks.check_doi(written)).endswith("write 10.1038/s41592-018-0261-2")
    assert checks.check_doi("10.1038/s41592-018-0261-2") is None
    assert "10.1038" in str(checks.check_doi("nature 2018"))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://bbbc.broadinstitute.org/BBBC038", None),
        ("bbbc.broadinstitute.org/BBBC038", "write https://bbbc.broadinstitute.org/BBBC038"),
        ("ftp://host.org/data", "ftp"),
        ("https://host.org/my data", "space"),
        ("https://data", "names no server"),
        ("https://[", "no web address"),
        ("nowhere", "https://"),
    ],
)
def test_url(url: str, says: str | None) -> None:
    answer = checks.check_url(url)
    assert answer is None if says is None else says in str(answer)


def test_source_takes_an_address_a_doi_or_words() -> None:
    for right in ("https://host.org/data", "10.5281/zenodo.1234", "in-house images, on request"):
        assert checks.check_source(right) is None
    assert "write 10.5281/zenodo.1234" in str(checks.check_source("doi:10.5281/zenodo.1234"))
    assert "neither" in str(checks.check_source("internal"))


def test_version_must_be_a_text_of_numbers() -> None:
    assert checks.check_version("0.1.0") is None
    assert "between quotes" in str(checks.check_version(0.1))
    assert str(checks.check_version("v1.0")).endswith("write 1.0")
    assert "0.1.0" in str(checks.check_version("abc"))


def test_dataset_id() -> None:
    assert checks.check_dataset_id("zero/happy-otter") is None
    assert "such as happy-otter" in str(checks.check_dataset_id("https://bioimage.io/#/artifacts/happy-otter"))
    assert "small letters" in str(checks.check_dataset_id("Happy Otter"))
    assert "slash" in str(checks.check_dataset_id("/happy-otter"))


def test_tags_are_free_but_near_misses_are_pointed_out() -> None:
    assert checks.check_tags(["2d", "my-own-tag"]) is None
    assert checks.hint_tags(["2d", "my-own-tag"]) is None
    assert "did you mean instance-segmentation?" in str(checks.hint_tags(["instance-segmentaton"]))
    assert "did you mean instance-segmentation?" in str(checks.hint_tags(["Instance Segmentation"]))
    assert "dashes: fluffy-things" in str(checks.hint_tags(["Fluffy things"]))
    assert "list" in str(checks.check_tags("2d"))
    assert "tag 2" in str(checks.check_tags(["2d", 3]))
    assert "twice" in str(checks.check_tags(["2d", "2D"]))
    assert "several" in str(checks.check_tags(["2d, nuclei"]))


def test_numbers_and_choices() -> None:
    share = checks.check_number(0, 1)
    assert share(0.25) is None and share(0) is None and share(1) is None
    for wrong in (1.5, -0.1, float("nan"), "0.2", True, None, [0.2]):
        assert "from 0 to 1" in str(share(wrong))
    assert "whole number" in str(checks.check_number(1, 10, whole=True)(1.5))
    assert "did you mean rgb?" in str(checks.check_among(("grayscale", "rgb"))("RBG"))
    assert checks.check_among(("8", "16"))("8") is None
    assert "the number 8" in str(checks.check_among(("8", "16"))(8))
    assert checks.parse_number("0,5") == 0.5 and checks.parse_number(" 300 ") == 300
    with pytest.raises(ValueError, match="`many` is no number"):
        checks.parse_number("many")


def test_sentences_hold_no_control_characters() -> None:
    assert "\x1b" not in str(checks.check_url("https://x.org/\x1b[31m"))
    assert checks.shown("a\x1b[31mb") == "`a?[31mb`"
