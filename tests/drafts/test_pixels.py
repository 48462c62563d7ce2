import pytest

from zoowizard.drafts.pixels import (
    PixelSize,
    check_pixel_size,
    check_voxel_size,
    parse_pixel_size,
    parse_voxel_size,
    tidy_pixel_size,
)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("0.32 micrometer", None),
        ("0.32 x 0.3 micrometer", None),
        ("100 nanometer", None),
        ("0.32 um", "write micrometer: 0.32 micrometer"),
        ("0.32µm", "write micrometer: 0.32 micrometer"),
        ("0.32 \u03bcm", "write micrometer: 0.32 micrometer"),
        ("0.32 um/px", "write micrometer: 0.32 micrometer"),
        ("0.3 um x 0.3 um", "write micrometer: 0.3 x 0.3 micrometer"),
        ("0,32 micrometer", "write 0.32 micrometer"),
        ("0.32 micrometers", "write 0.32 micrometer"),
        ("0.65 micromter", "micrometer"),
        ("0.32", "no unit; write for example 0.32 micrometer"),
        (0.32, "without a unit; write for example 0.32 micrometer"),
        ("3 px", "no unit of length"),
        ("1 x 2 x 3 micrometer", "more than two sizes"),
        ("1 x 2 x 3 x 4 micrometer", "too many sizes"),
        ("0 micrometer", "no size that a pixel can have"),
        ("small", "no pixel size"),
        (True, "yes or no"),
        ([0.3], "a list"),
    ],
)
def test_pixel_size(written: object, says: str | None) -> None:
    answer = check_pixel_size(written)
    assert answer is None if says is None else says in str(answer)


def test_height_comes_before_width() -> None:
    assert parse_pixel_size("0.5 x 0.25 micrometer") == PixelSize(0.5, 0.25, "micrometer")
    assert parse_pixel_size("2 nanometer") == PixelSize(2, 2, "nanometer")


def test_the_depth_of_a_voxel_comes_first() -> None:
    assert parse_voxel_size("2 um x 0.5 um x 0.25 um") == PixelSize(0.5, 0.25, "micrometer", 2)
    assert parse_voxel_size("0.5 x 0.25 micrometer") == PixelSize(0.5, 0.25, "micrometer")
    assert check_voxel_size("2 x 0.5 x 0.25 micrometer") is None
    assert check_voxel_size(tidy_pixel_size("2x0.5x0.25um")) is None
    assert "two units" in str(check_voxel_size("2 nm x 0.5 x 0.25 um"))


def test_what_is_typed_at_a_prompt_is_tidied_but_never_guessed() -> None:
    assert tidy_pixel_size(" 0.32um ") == "0.32 micrometer"
    assert tidy_pixel_size("0.32") == "0.32"
    assert check_pixel_size(tidy_pixel_size("0.3x0.2 nm")) is None
