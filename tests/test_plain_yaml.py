"""YAML that strangers wrote does not grow without end, and does not end the process."""

import pytest
import yaml

from zoowizard import plain_yaml

MERGED = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
LISTED = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))


@pytest.mark.parametrize("text", [MERGED, LISTED, "&a [*a]", "a: &a {b: *a}"])
def test_aliases_that_stand_for_too_much_are_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="aliases stand for more than"):
        plain_yaml.load(text)


@pytest.mark.parametrize("text", ["", "- 1\n- {a: b}\n", "a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}\n", "x: 2026-01-01\n"])
def test_all_else_is_read_as_by_the_safe_loader(text: str) -> None:
    assert plain_yaml.load(text) == yaml.safe_load(text)


def test_deep_nesting_is_an_error_and_no_crash() -> None:
    with pytest.raises(RecursionError):
        plain_yaml.load("[" * 30_000)
