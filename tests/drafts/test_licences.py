import pytest

from zoowizard.drafts import vocabulary
from zoowizard.drafts.licences import check_data_licence, check_licence


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("MIT", None),
        ("AGPL-3.0-only", None),
        ("MITT", "`MITT` is no SPDX licence; did you mean MIT?"),
        ("mit", "write MIT"),
        ("cc-by-4.0", "write CC-BY-4.0"),
        ("AGPL-3.0", "deprecated SPDX licence; write AGPL-3.0-only"),
        ("GPL-2.0+", "write GPL-2.0-or-later"),
        ("agpl-3.0", "AGPL-3.0-only"),
        ("Apache 2.0", "did you mean Apache-2.0?"),
        ("GPLv3", "did you mean GPL-3.0-only?"),
        ("GNU GPL v3", "did you mean GPL-3.0-only?"),
        ("CC BY 4.0", "did you mean CC-BY-4.0?"),
        ("The MIT License", "did you mean MIT?"),
        ("proprietary", "https://spdx.org/licenses"),
        (3, "the number 3"),
    ],
)
def test_licence(written: object, says: str | None) -> None:
    answer = check_licence(written)
    assert answer is None if says is None else says in str(answer)


def test_every_licence_in_use_is_right_in_its_own_spelling_only() -> None:
    assert [name for name in vocabulary.licences() if check_licence(name)] == []
    for name in vocabulary.licences():
        if name != name.lower():
            assert f"write {name}" in str(check_licence(name.lower())), name


def test_every_successor_of_a_deprecated_licence_is_a_licence_in_use() -> None:
    successors = {new for new in vocabulary.deprecated_licences().values() if new}
    assert len(successors) > 10
    assert successors <= set(vocabulary.licences())


def test_data_may_have_terms_of_their_own() -> None:
    assert check_data_licence("for research only, see the paper") is None
    assert check_data_licence("CC0-1.0") is None
    assert "did you mean CC-BY-4.0?" in str(check_data_licence("CC BY 4.0"))
    assert "CC0-1.0" in str(check_data_licence("CC0"))
