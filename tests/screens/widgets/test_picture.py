"""Pictures in half blocks, and in shades where there are no colours."""

import pytest

from zoowizard.screens.widgets.picture import fitted, half_blocks, pixels_of, shades

BLACK, WHITE, RED, BLUE = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 0, 255)


def test_an_answer_becomes_rows_of_pixels() -> None:
    assert pixels_of({"width": 2, "height": 1, "rgb": "ff00000000ff"}) == [[RED, BLUE]]
    for wrong in ({}, {"width": 2, "height": 2, "rgb": "ff"}, {"width": 0, "height": 0, "rgb": ""}, {"rgb": "xyz"}):
        assert pixels_of(wrong) == []


def test_a_picture_keeps_its_shape_and_is_never_blown_up() -> None:
    wide = [[WHITE] * 60 for _ in range(20)]
    small = fitted(wide, 30, 30, mean=True)
    assert (len(small[0]), len(small)) == (30, 10)
    assert fitted(wide, 500, 500, mean=True) == wide
    assert fitted(wide, 0, 10, mean=True) == []
    assert fitted([], 10, 10, mean=True) == []


def test_images_are_averaged_and_labels_are_not() -> None:
    stripes = [[RED, BLUE] * 10 for _ in range(20)]
    assert fitted(stripes, 10, 10, mean=True)[3][3] == (127, 0, 127)
    assert fitted(stripes, 10, 10, mean=False)[3][3] in (RED, BLUE)


def test_half_blocks_show_two_rows_in_one() -> None:
    [first, second] = half_blocks([[RED], [BLUE], [WHITE]])
    [segment] = list(first)
    assert (segment.text, segment.style.color.triplet, segment.style.bgcolor.triplet) == ("▀", RED, BLUE)
    assert [one.style.bgcolor.triplet for one in second] == [BLACK]


@pytest.mark.parametrize(("dark", "bright", "empty"), [(True, "@", " "), (False, " ", "@")])
def test_shades_show_where_something_is(dark: bool, bright: str, empty: str) -> None:
    square = [[WHITE if 4 <= x < 8 and 4 <= y < 8 else BLACK for x in range(12)] for y in range(12)]
    lines = shades(square, dark)
    assert lines == [empty * 12] * 2 + [empty * 4 + bright * 4 + empty * 4] * 2 + [empty * 12] * 2
    assert all(line.isascii() for line in lines)


def test_a_dim_part_can_still_be_told_from_nothing() -> None:
    assert shades([[(20, 20, 20)], [(20, 20, 20)]], dark=True) == [":"]
