import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import specs

from rexnet import UserError, channels, families

WIDTHS = st.integers(1, 2000)


@st.composite
def pieces(draw):
    """Draw a number of blocks, knots inside it and the slopes between them."""
    num_blocks = draw(st.integers(2, 40))
    knots = draw(st.lists(st.integers(1, num_blocks), max_size=4))
    count = len(knots) + 1
    slopes = draw(st.lists(st.floats(-5, 100), min_size=count, max_size=count))
    return num_blocks, knots, slopes


def test_line_starts_at_the_start_and_rises_by_the_slope():
    assert channels.line(4, 16, 11.25) == [16, 27.25, 38.5, 49.75]
    assert channels.line(1, 16, 11.25) == [16]


def test_steps_repeat_every_width_for_its_stage():
    assert channels.steps((16, 24, 32), (1, 2, 3)) == [16, 24, 24, 32, 32, 32]


@settings(deadline=None)
@given(pieces())
def test_piecewise_line_never_falls_and_runs_from_0_to_1(piece):
    shape = channels.piecewise_line(*piece)
    assert shape.shape == (piece[0],)
    assert (np.diff(shape) >= 0).all()
    assert shape[0] == 0
    assert shape[-1] in (0, 1)
    assert (shape[-1] == 0) == (not shape.any())


@settings(deadline=None)
@given(pieces(), st.randoms())
def test_piecewise_line_takes_knots_in_any_order(piece, random):
    num_blocks, knots, slopes = piece
    shuffled = random.sample(knots, len(knots))
    expected = channels.piecewise_line(num_blocks, knots, slopes)
    np.testing.assert_array_equal(channels.piecewise_line(num_blocks, shuffled, slopes), expected)


@settings(deadline=None)
@given(pieces(), st.floats(0.01, 100))
def test_piecewise_line_is_the_line_when_all_slopes_are_equal(piece, slope):
    num_blocks, knots, slopes = piece
    shape = channels.piecewise_line(num_blocks, knots, [slope] * len(slopes))
    np.testing.assert_allclose(shape, np.linspace(0, 1, num_blocks), atol=1e-12)


@settings(deadline=None)
@given(st.lists(st.integers(1, 6), min_size=3, max_size=3), st.lists(WIDTHS, min_size=3))
def test_three_stage_steps_lie_in_the_piecewise_lines(lengths, widths):
    low, middle, high = sorted(widths[:3])
    assume(low < high)
    first, second = lengths[0], lengths[0] + lengths[1]
    # One segment a stage and one for each jump between the neighbours of two stages.
    shape = channels.piecewise_line(
        sum(lengths),
        (first, first + 1, second, second + 1),
        (0, middle - low, 0, high - middle, 0),
    )
    steps = np.array(channels.steps((low, middle, high), lengths))
    np.testing.assert_allclose(low + (high - low) * shape, steps)


@pytest.mark.parametrize("slopes", [(0, 0), (-1, 0), (-3, -2)])
def test_piecewise_line_without_a_rise_is_flat(slopes):
    assert channels.piecewise_line(5, (3,), slopes).tolist() == [0] * 5


def test_a_negative_slope_counts_as_flat():
    shape = channels.piecewise_line(5, (3,), (-4, 2))
    assert shape.tolist() == [0, 0, 0, 0.5, 1]


@pytest.mark.parametrize(
    ("value", "width"), [(38.5, 38), (83.5, 84), (128.5, 128), (173.5, 174), (49.75, 50)]
)
def test_round_widths_rounds_half_to_even(value, width):
    assert channels.round_widths(value) == width == round(value)
    assert channels.round_widths(np.array([[value]])).tolist() == [[width]]


def test_a_width_is_at_least_one():
    assert channels.round_widths([0.2, -3]).tolist() == [1, 1]


@given(st.lists(st.floats(1, 5000), min_size=1, max_size=30))
def test_rounding_keeps_widths_from_falling(values):
    widths = channels.round_widths(sorted(values))
    assert widths.tolist() == sorted(map(round, values))


@pytest.mark.parametrize(
    ("value", "width"), [(1, 8), (8, 8), (12, 16), (17, 16), (20, 24), (84, 88), (11, 16), (27, 32)]
)
def test_make_divisible_rounds_to_eights_and_up_where_a_tenth_is_lost(value, width):
    assert channels.make_divisible(value, 8) == width


@given(st.floats(0.1, 5000), st.integers(1, 64))
def test_make_divisible_keeps_its_bounds(value, divisor):
    width = channels.make_divisible(value, divisor)
    assert width % divisor == 0
    assert width >= max(divisor, 0.9 * value)
    assert width <= max(divisor, value + divisor)


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(0, 50), st.integers(2, 40))
def test_fit_line_finds_an_exact_line(start, slope, num_blocks):
    profile = [start + slope * index for index in range(num_blocks)]
    fit = channels.fit_line([profile])
    assert fit.slope == pytest.approx(slope, abs=1e-8)
    assert fit.intercept == pytest.approx(start, abs=1e-8)
    assert fit.r2 == pytest.approx(1)
    assert fit.r2_each == pytest.approx(1)
    assert (fit.slope_stderr, fit.intercept_stderr, fit.num_networks) == (None, None, 1)
    assert channels.round_widths(fit.widths(num_blocks)).tolist() == profile


def test_fit_line_takes_the_spread_between_networks():
    fit = channels.fit_line([[10, 20, 30], [20, 40, 60], [30, 60, 90]])
    assert fit.slope == pytest.approx(20)
    assert fit.intercept == pytest.approx(20)
    assert fit.slope_stderr == pytest.approx(10 / 3**0.5)
    assert fit.intercept_stderr == pytest.approx(10 / 3**0.5)
    assert fit.num_networks == 3


def test_fit_line_tells_the_mean_profile_from_the_single_ones():
    # Each bends, their mean is straight.
    fit = channels.fit_line([[0, 0, 20], [0, 20, 20]])
    assert fit.r2 == pytest.approx(1)
    assert fit.r2_each == pytest.approx(0.75)
    assert fit.slope == pytest.approx(10)


@settings(deadline=None)
@given(st.lists(WIDTHS, min_size=1, max_size=10), st.integers(2, 20))
def test_flat_profiles_are_lines(widths, num_blocks):
    fit = channels.fit_line([[width] * num_blocks for width in widths])
    assert fit.slope == pytest.approx(0, abs=1e-9)
    assert fit.r2 == pytest.approx(1)
    assert fit.r2_each == pytest.approx(1)


@settings(deadline=None)
@given(
    st.integers(2, 12).flatmap(
        lambda n: st.lists(
            st.lists(WIDTHS, min_size=n, max_size=n).map(sorted), min_size=1, max_size=6
        )
    )
)
def test_the_line_of_non_falling_profiles_never_falls(profiles):
    fit = channels.fit_line(profiles)
    assert fit.slope >= -1e-9
    assert -1e-9 <= fit.r2 <= 1 + 1e-9
    assert -1e-9 <= fit.r2_each <= 1 + 1e-9


@pytest.mark.parametrize("profiles", [[], [[16]], [[]]])
def test_fit_line_needs_a_profile_of_two_blocks(profiles):
    with pytest.raises(UserError, match="at least one network of at least 2 blocks"):
        channels.fit_line(profiles)


@given(specs(), st.data())
def test_shortcuts_that_are_kept_stay_at_any_widths_as_wide_as_the_stem(spec, data):
    kept = channels.with_shortcuts_kept(spec)
    adds = [b.has_shortcut(w) for w, b in zip(spec.widths_in, spec.blocks, strict=True)]
    widths = data.draw(
        st.lists(st.integers(spec.stem_width, 99), min_size=len(adds), max_size=len(adds)).map(
            sorted
        )
    )
    for other in (kept, kept.with_widths(widths)):
        found = [b.has_shortcut(w) for w, b in zip(other.widths_in, other.blocks, strict=True)]
        assert found == adds
    assert channels.with_shortcuts_kept(kept) == kept


def test_shortcuts_of_equal_widths_become_padded_ones_where_they_are():
    blocks = channels.with_shortcuts_kept(families.get("mobilenet_v2")).blocks
    # Stages of 1, 2, 3, 4, 3, 3 and 1 blocks: all but the first of each add their input.
    assert [block.shortcut for block in blocks if block.stride == 1] == [
        *("none", "pad", "pad", "pad", "pad", "pad", "pad"),
        *("none", "pad", "pad", "pad", "pad", "none"),
    ]


@given(st.lists(st.integers(1, 500), min_size=1, max_size=20).map(sorted))
def test_a_tilt_says_how_much_wider_the_last_block_is(widths):
    tilt = channels.tilt_of(widths)
    assert 0 <= tilt <= 1 - widths[0] / widths[-1]
    profile = channels.tilted(np.linspace(0, 1, len(widths)), tilt)
    assert (np.diff(profile) >= 0).all()
    assert profile[-1] == 1
    if len(widths) > 1:
        assert channels.tilt_of(widths) == pytest.approx(channels.tilt_of([3 * w for w in widths]))


def test_the_tilt_of_a_line_is_that_of_its_ends():
    assert channels.tilt_of([10, 20, 30, 40]) == pytest.approx(0.75)
    assert channels.tilt_of([7, 7, 7]) == 0
    np.testing.assert_array_equal(channels.tilted(np.zeros(3), 1.0), np.ones(3))


@given(specs(), st.integers(1, 5))
def test_ends_follow_the_mean_width_of_the_blocks(spec, factor):
    widths = [factor * width for width in spec.widths]
    wider = channels.with_block_widths(spec, widths, scale_ends=True)
    assert wider.stem_width == factor * spec.stem_width
    assert wider.penultimate_width == factor * spec.penultimate_width
    assert channels.with_block_widths(wider, spec.widths, scale_ends=True) == spec
    assert channels.with_block_widths(spec, widths) == spec.with_widths(widths)


def shape_of(rises):
    """Return the shape with these rises from block to block."""
    heights = np.concatenate([[0.0], np.cumsum(rises)])
    return heights / heights[-1] if heights[-1] else heights


@st.composite
def simple_shapes(draw):
    """Draw a non-falling shape of up to 9 blocks, or steps of up to 4 stages at any depth."""
    if draw(st.booleans()):
        rises = st.floats(0.01, 1) | st.just(0.0)
        return shape_of(draw(st.lists(rises, min_size=2, max_size=8)))
    lengths = draw(st.lists(st.integers(1, 15), min_size=2, max_size=4))
    assume(sum(lengths) >= 3)
    widths = list(itertools.accumulate(draw(st.integers(1, 200)) for _ in lengths))
    return shape_of(np.diff(channels.steps(widths, lengths)))


@settings(deadline=None, max_examples=200)
@given(simple_shapes())
def test_bends_of_a_simple_shape_give_the_shape(shape):
    knots, slopes = channels.bends_of(shape, 8)
    assert (len(knots), len(slopes)) == (7, 8)
    assert set(knots) <= set(range(2, len(shape)))
    assert min(slopes) >= 0
    assert max(slopes) in (0, 1)
    np.testing.assert_allclose(channels.piecewise_line(len(shape), knots, slopes), shape, atol=1e-9)


@pytest.mark.parametrize("num_blocks", [3, 9, 33, 64])
@pytest.mark.parametrize("num_segments", [2, 8])
def test_bends_of_the_line_and_the_flat_shape_give_them(num_blocks, num_segments):
    for shape in (np.linspace(0, 1, num_blocks), np.zeros(num_blocks)):
        found = channels.piecewise_line(num_blocks, *channels.bends_of(shape, num_segments))
        np.testing.assert_allclose(found, shape, atol=1e-12)


def test_a_shape_that_bends_too_often_gives_the_closest_that_is_simple():
    curve, corners = np.linspace(0, 1, 30) ** 3, np.linspace(0, 29, 9)
    found = channels.piecewise_line(30, *channels.bends_of(curve, 8))
    assert 0 < np.abs(found - curve).max() < 0.01
    evenly = np.interp(np.arange(30), corners, np.interp(corners, np.arange(30), curve))
    assert ((found - curve) ** 2).sum() < ((evenly - curve) ** 2).sum()


def test_stage_wise_widths_are_those_of_mobilenet_v2_at_the_strides():
    def stages(*strides):
        spec = families.search_network([1] * len(strides), 10)
        blocks = zip(spec.blocks, strides, strict=True)
        blocks = tuple(dataclasses.replace(block, stride=stride) for block, stride in blocks)
        return channels.stage_wise(dataclasses.replace(spec, blocks=blocks)).tolist()

    # The search network of five blocks has its strides at blocks 2 and 3: 24-32-64-64-64.
    assert channels.stage_wise(families.search_network([1] * 5, 10)).tolist() == [0, 0.2, 1, 1, 1]
    mobilenet = families.get("mobilenet_v2")
    found = 16 + 144 * channels.stage_wise(mobilenet)
    wanted = [16, *[24] * 2, *[32] * 3, *[64] * 7, *[160] * 4]
    np.testing.assert_allclose(found, wanted)
    assert stages(1, 1, 1) == [0, 0, 0]
    assert stages(1, 2, 1) == [0, 1, 1]
    six = np.array(stages(1, 2, 2, 2, 2, 2))
    np.testing.assert_allclose(16 + 304 * six, [16, 24, 32, 64, 160, 320])


def test_expansions_are_set_block_by_block_and_1_stays_1():
    spec = families.get("mobilenet_v2")
    each = [1, *range(2, 18)]
    found = channels.with_expansions(spec, each)
    assert [block.expansion for block in found.blocks] == each
    assert channels.with_expansions(found, [1, *[6] * 16]) == spec
    for wrong, words in (
        (each[:3], "3 expansions for the 17 blocks of mobilenet_v2"),
        ([6] * 17, "block 1: expansion 6 in place of 1; both must be 1 or neither"),
        ([1, 1, *[6] * 15], "block 2: expansion 1 in place of 6"),
        ([1, 65, *[6] * 15], "block 2: expansion 65 must be from 1 to 64"),
    ):
        with pytest.raises(UserError, match=words):
            channels.with_expansions(spec, wrong)
