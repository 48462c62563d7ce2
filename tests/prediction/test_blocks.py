"""Blocks begin on the network's grid, end at the image's border, cover it once, and are never larger than needed."""

from fractions import Fraction

import pytest

from zoowizard.errors import ZoowizardError
from zoowizard.prediction.blocks import AxisOutput, AxisRule, plan_axes, plan_axis


@pytest.mark.parametrize("size", [1, 15, 16, 17, 100, 256, 1000])
@pytest.mark.parametrize(
    ("minimum", "step", "halo", "grid"),
    [(16, 16, 23, 16), (16, 16, 0, 16), (20, 8, 5, 8), (64, 1, 0, 1), (44, 4, 20, 4), (33, 1, 3, 4), (40, 0, 8, 1)],
)
@pytest.mark.parametrize("wanted", [1, 64, 200, None])
def test_blocks_cover_an_axis_once_and_lie_on_the_grid(
    size: int, minimum: int, step: int, halo: int, grid: int, wanted: int | None
) -> None:
    output, rule = AxisOutput(), AxisRule("x", minimum, step, halo, 0, grid)
    if wanted is None and not step and size > minimum:
        return
    plan = plan_axis(rule, size, wanted)
    begin, end = rule.whole(size)
    assert begin == 0 and (end == rule.fitting(size) if step else end >= size)
    covered: list[int] = []
    for number in range(plan.count):
        first, last = plan.read(number)
        assert last - first <= plan.block and last - first == rule.fitting(last - first)
        assert first % grid == 0 and begin <= first and last <= end, "nothing is padded but what the whole is, too"
        written, kept = plan.written(number, output), plan.kept(number, output)
        assert written[1] - written[0] == kept[1] - kept[0]
        assert first + kept[0] == written[0], "what is kept lies where it is written"
        assert first == begin or kept[0] >= halo, "its margin is cut off, but at the image's border"
        assert last == end or last - first - kept[1] >= halo
        covered += range(*written)
    assert covered == list(range(size))
    assert plan.count == 1 or plan.block <= max(wanted or 0, rule.fitting(max(2 * halo, minimum) + 2 * grid))


def test_an_output_of_half_the_size_lies_on_its_own_grid() -> None:
    half = AxisOutput(Fraction(1, 2))
    plan = plan_axis(AxisRule("x", 16, 1, 3, 0, 2), 101, 40)
    covered: list[int] = []
    for number in range(plan.count):
        written, kept = plan.written(number, half), plan.kept(number, half)
        assert plan.read(number)[0] + 2 * kept[0] == 2 * written[0]
        covered += range(*written)
    assert covered == list(range(plan.output_size(half))) == list(range(50))


def test_a_valid_convolution_is_fed_what_it_loses() -> None:
    lossy = AxisOutput(Fraction(1), -40)
    assert lossy.lost == 20
    plan = plan_axis(AxisRule("x", 44, 4, 0, 20, 4), 300, 124)
    for number in range(plan.count):
        first, last = plan.kept(number, lossy)
        start, end = plan.read(number)
        assert first >= 0 and last <= end - start - 40 <= plan.block - 40
        assert start + 20 + first == plan.written(number, lossy)[0]


def test_blocks_are_as_large_as_memory_bears_and_three_halos_at_least() -> None:
    rules = [AxisRule(name, 16, 16, 8, 0, 16) for name in "zyx"]
    large = plan_axes(rules, {"z": 1000, "y": 1000, "x": 1000}, 64 << 30)
    small = plan_axes(rules, {"z": 1000, "y": 1000, "x": 1000}, 1 << 30)
    assert [one.block for one in large] == [128, 128, 128]
    assert 24 <= max(one.block for one in small) < 128
    flat = plan_axes(rules, {"z": 4, "y": 1000, "x": 1000}, 64 << 30)
    assert flat[0].count == 1 and flat[1].block > 128, "what one axis does not need goes to the others"
    wide = plan_axes([AxisRule("x", 16, 16, 107, 0, 16)], {"x": 5000}, 1 << 20)
    assert wide[0].block >= 3 * 107


def test_a_fixed_size_that_is_too_small_for_the_halo_is_told() -> None:
    with pytest.raises(ZoowizardError, match="its halo is too large"):
        plan_axis(AxisRule("x", 32, 0, 16, 0, 1), 100, 64)
    with pytest.raises(ZoowizardError, match="exactly 32 pixels along x"):
        plan_axis(AxisRule("x", 32, 0), 100, None)
    assert plan_axis(AxisRule("x", 32, 0, 4, 0, 1), 100, 640).tile == 24


@pytest.mark.parametrize(("minimum", "wanted"), [(6000, None), (16, {"y": 6000, "x": 6000})])
def test_a_block_that_no_memory_holds_is_refused(minimum: int, wanted: dict[str, int] | None) -> None:
    rules = [AxisRule(name, minimum, 16, 0, 0, 16) for name in "yx"]
    with pytest.raises(ZoowizardError, match=r"a block of 60\d\d x 60\d\d pixels \(y, x\) is too large for the memory"):
        plan_axes(rules, {"y": 6000, "x": 6000}, 8 << 30, wanted)
