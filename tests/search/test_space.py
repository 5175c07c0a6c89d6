import dataclasses
import json
import re

import numpy as np
import pytest
from clocks import ToyClock
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from searches import MIDDLE
from toys import SPACE

from rexnet import NetSpec, UserError, channels, cost, families, paper
from rexnet.budget import Budget, Count, LatencyBudget
from rexnet.design import priced
from rexnet.families import search_network
from rexnet.latency import Limit
from rexnet.search.config import PRESETS
from rexnet.search.in_time import around
from rexnet.search.space import LOWEST_SLOPE, Space, check_fast_enough, check_reachable, sample

TABLE_3 = {
    f"{name} {kind}": getattr(row, kind)
    for name, row in paper.TABLE_3.items()
    for kind in ("best", "worst")
}

GOLDEN_DRAW = [4, 3, 3, -0.678296, -0.721077, 0.673223, 0.847322]
GOLDEN_WIDTHS = (12, 12, 12, 25, 40)


def preset_space(name):
    preset = PRESETS[name]
    budget = Budget(params=Count(preset.params), macs=Count(preset.macs), count_classifier=False)
    return Space(num_blocks=preset.blocks, num_classes=100, resolution=32, budget=budget)


def parameters_of(space, widths):
    """Return the parameters whose shape runs through ``widths``, or as near as is simple."""
    rises = np.asarray(widths, dtype=float) - widths[0]
    return space.parameters_of(rises / rises[-1])


def assert_inside(space, parameters):
    for names in (space.knots, space.slopes):
        for name, (low, high) in names.items():
            assert low <= parameters[name] <= high, name


def scaled_to(shape, widths):
    return widths[0] + (widths[-1] - widths[0]) * shape


@st.composite
def parameters(draw, space):
    knots = {name: draw(st.integers(*bounds)) for name, bounds in space.knots.items()}
    reals = {**space.slopes, **space.tilts}
    return knots | {name: draw(st.floats(*bounds)) for name, bounds in reals.items()}


@st.composite
def tasks(draw):
    """Draw a space with a budget that its smallest network keeps, and parameters in it."""
    num_blocks = draw(st.integers(3, 14))
    resolution = draw(st.integers(8, 64))
    num_classes = draw(st.integers(2, 200))
    smallest = search_network([1] * num_blocks, num_classes, resolution)
    count_classifier = draw(st.booleans())
    total = cost.count(smallest)
    budget = Budget(
        params=int(total.params * draw(st.floats(1, 1000))),
        macs=int(total.macs * draw(st.floats(1, 1000))),
        count_classifier=count_classifier,
    )
    space = Space(
        num_blocks=num_blocks, num_classes=num_classes, resolution=resolution, budget=budget
    )
    return space, draw(parameters(space))


def named_budget(error):
    """Return the params and MACs that a refusal names as the nearest that can be met."""
    params, macs = re.findall(r"params ([\d,]+) (?:and|with) MACs ([\d,]+)", str(error))[-1]
    return int(params.replace(",", "")), int(macs.replace(",", ""))


@settings(deadline=None, max_examples=80)
@given(tasks())
def test_every_proposal_keeps_both_limits_and_its_widths_never_fall(task):
    space, values = task
    proposal = space.propose(values)
    widths = proposal.spec.widths
    assert list(widths) == sorted(widths)
    assert proposal.spec == search_network(widths, space.num_classes, space.resolution)
    assert proposal == priced(proposal.spec, space.budget)
    assert proposal.params <= space.budget.params
    assert proposal.macs <= space.budget.macs


@settings(deadline=None, max_examples=100)
@given(tasks())
def test_a_shape_runs_from_0_to_1_or_is_flat_and_never_falls(task):
    space, values = task
    shape = space.shape(values)
    assert shape.shape == (space.num_blocks,)
    assert shape[0] == 0
    assert shape[-1] in (0, 1)
    assert (np.diff(shape) >= 0).all()


@pytest.mark.parametrize("name", PRESETS)
def test_draws_lie_inside_the_bounds_and_fill_the_budgets_of_table_3_mostly(name):
    space = preset_space(name)
    generator = np.random.default_rng(0)
    draws = [space.draw(generator) for _ in range(40)]
    for values in draws:
        assert_inside(space, values)
    filled = sum(space.propose(values).fills(space.budget) for values in draws)
    assert filled > 10


@pytest.mark.parametrize("row", TABLE_3)
def test_the_widths_of_table_3_lie_inside_the_space_but_for_rounding(row):
    widths, space = TABLE_3[row], preset_space(row[0])
    values = parameters_of(space, widths)
    assert_inside(space, values)
    np.testing.assert_allclose(scaled_to(space.shape(values), widths), widths, atol=0.51)


@pytest.mark.parametrize("row", [row for row in TABLE_3 if row.endswith("best")])
def test_the_best_shapes_of_table_3_can_fill_their_budget(row):
    space = preset_space(row[0])
    proposal = space.propose(parameters_of(space, TABLE_3[row]))
    assert proposal.inside(space.budget)
    assert proposal.fills(space.budget)
    # The printed params and MACs are cut off, and so is what a width can be told from them.
    np.testing.assert_allclose(proposal.spec.widths, TABLE_3[row], rtol=0.3)


@settings(deadline=None, max_examples=80)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=3, max_size=3),
    rises=st.lists(st.integers(1, 300), min_size=2, max_size=2),
)
def test_three_stages_of_constant_width_lie_inside_the_space(lengths, rises):
    stages = (16, 16 + rises[0], 16 + sum(rises))
    widths = channels.steps(stages, lengths)
    space = Space(num_blocks=len(widths), num_classes=10, resolution=32, budget=SPACE.budget)
    values = parameters_of(space, widths)
    assert_inside(space, values)
    np.testing.assert_allclose(scaled_to(space.shape(values), widths), widths, atol=1e-9)


@pytest.mark.parametrize("num_blocks", [3, 4, 5, 9, 20, 64])
def test_the_straight_line_and_the_flat_profile_lie_inside_the_space(num_blocks):
    space = Space(num_blocks=num_blocks, num_classes=10, resolution=32, budget=SPACE.budget)
    values = parameters_of(space, range(num_blocks))
    assert_inside(space, values)
    np.testing.assert_allclose(space.shape(values), np.linspace(0, 1, num_blocks), atol=1e-12)
    flat = values | dict.fromkeys(space.slopes, LOWEST_SLOPE)
    np.testing.assert_array_equal(space.shape(flat), 0)


@pytest.mark.parametrize("num_blocks", [3, 4, 5])
def test_any_profile_of_few_blocks_lies_inside_the_space(num_blocks):
    space = Space(num_blocks=num_blocks, num_classes=10, resolution=32, budget=SPACE.budget)
    widths = (5, 9, 9, 31, 32)[:num_blocks]
    values = parameters_of(space, widths)
    assert_inside(space, values)
    np.testing.assert_allclose(scaled_to(space.shape(values), widths), widths, atol=1e-9)


@pytest.mark.parametrize("name", PRESETS)
def test_most_shapes_fill_the_budget_of_a_preset(name):
    space, generator = preset_space(name), np.random.default_rng(0)
    check_reachable(space)
    drawn = [space.propose(space.draw(generator)) for _ in range(30)]
    assert sum(proposal.fills(space.budget) for proposal in drawn) > 15


@pytest.mark.parametrize(
    ("params", "macs"),
    [
        (1, 1),
        (10, 10_000_000),
        (80_000, 1_000),
        (20_000, 10_000_000),
        (80_000, 1_000_000),
        (100_000_000, 10_000_000),
        (80_000, 10_000_000_000),
        (10**15, 10**15),
    ],
)
@pytest.mark.parametrize("count_classifier", [True, False])
def test_an_impossible_budget_is_refused_with_the_nearest_one_which_is_accepted(
    params, macs, count_classifier
):
    budget = Budget(params=params, macs=macs, count_classifier=count_classifier)
    space = Space(num_blocks=5, num_classes=10, resolution=32, budget=budget)
    with pytest.raises(UserError) as error:
        check_reachable(space)
    assert "\n" not in str(error.value)
    assert f"params {params:,} and MACs {macs:,}" in str(error.value)
    params, macs = named_budget(error.value)
    nearest = Budget(params=params, macs=macs, count_classifier=count_classifier)
    check_reachable(Space(num_blocks=5, num_classes=10, resolution=32, budget=nearest))


@settings(deadline=None, max_examples=12)
@given(tasks())
def test_a_refused_budget_comes_with_one_that_is_accepted(task):
    space, _ = task
    try:
        check_reachable(space)
    except UserError as error:
        params, macs = named_budget(error)
    else:
        assume(False)
    nearest = Budget(params=params, macs=macs, count_classifier=space.budget.count_classifier)
    check_reachable(
        Space(
            num_blocks=space.num_blocks,
            num_classes=space.num_classes,
            resolution=space.resolution,
            budget=nearest,
        )
    )


def test_the_search_network_is_the_template_and_the_parameters_are_named():
    assert SPACE.template == search_network([1] * 5, 10, 32)
    assert list(SPACE.knots) == ["knot_1", "knot_2", "knot_3"]
    assert list(SPACE.slopes) == ["slope_1", "slope_2", "slope_3", "slope_4"]
    assert set(SPACE.draw(np.random.default_rng(0))) == {*SPACE.knots, *SPACE.slopes}


def test_times_of_a_busy_machine_are_no_claim_about_the_networks(tmp_path):
    predictor = ToyClock().calibrate(sample(SPACE, 33))
    busy = dataclasses.replace(predictor, busy="other work took 90 % of the cores' time")
    # It predicts the same, so a search that was begun with either is the same.
    assert busy.digest == predictor.digest
    with pytest.raises(UserError, match=r"the machine was busy, so 0\.01ms.* not decided: other"):
        check_fast_enough(SPACE, Limit(budget=LatencyBudget("0.01ms@openvino"), predictor=busy))


def test_the_share_of_networks_that_are_fast_enough_is_told():
    predictor = ToyClock().calibrate(sample(SPACE, 33))
    limit = Limit(budget=LatencyBudget(f"{MIDDLE:.6f}ms@openvino"), predictor=predictor)
    assert 0.2 < check_fast_enough(SPACE, limit) < 0.8


TEMPLATES = st.sampled_from(["mobilenet_v2", "rexnet_1.0", "mobilenet_v1", "rexnet_cifar_b"])


@st.composite
def spaces_of_networks(draw):
    """Draw a space of any network under any limits, and parameters in it."""
    network = families.get(draw(TEMPLATES))
    space = Space(
        num_blocks=len(network.blocks),
        num_classes=10,
        resolution=draw(st.sampled_from([32, 64, 160])),
        budget=Budget(macs=1),
        network=network,
        scale_ends=draw(st.booleans()),
    )
    total = cost.count(space.template)
    limits = draw(st.sampled_from([("params",), ("macs",), ("params", "macs")]))
    share = draw(st.floats(0.3, 3))
    budget = Budget(**{field: int(share * getattr(total, field)) for field in limits})
    space = dataclasses.replace(space, budget=budget)
    return space, draw(parameters(space))


@settings(deadline=None, max_examples=60)
@given(spaces_of_networks())
def test_proposals_of_any_network_keep_every_limit_and_fill_a_single_one(task):
    space, values = task
    proposal = space.propose(values)
    assert proposal.inside(space.budget)
    assert list(proposal.spec.widths) == sorted(proposal.spec.widths)
    assert proposal == priced(space.of(proposal.spec.widths), space.budget)
    if len(space.budget.limits) == 1:
        assert proposal.fills(space.budget)


def test_one_limit_makes_the_tilt_a_parameter():
    one = dataclasses.replace(SPACE, budget=Budget(macs=10_000_000))
    assert one.tilts == {"tilt": (0.0, 1.0)}
    assert SPACE.tilts == {}
    drawn = one.draw(np.random.default_rng(0))
    assert set(drawn) == {*one.knots, *one.slopes, "tilt"}
    line = parameters_of(one, range(5))
    ratios = [
        widths[0] / widths[-1]
        for tilt in (0.0, 0.5, 1.0)
        for widths in [one.propose(line | {"tilt": tilt}).spec.widths]
    ]
    assert ratios[0] == 1
    assert ratios[1] == pytest.approx(0.5, abs=0.02)
    assert ratios[2] < 0.02
    moved = one.move(drawn, 0.5, np.random.default_rng(1))
    assert moved["tilt"] != drawn["tilt"]


def test_parameters_of_two_limits_are_drawn_as_they_always_were():
    drawn = SPACE.draw(np.random.default_rng(0))
    assert [round(value, 6) for value in drawn.values()] == GOLDEN_DRAW
    assert SPACE.propose(drawn).spec.widths == GOLDEN_WIDTHS


@pytest.mark.parametrize("limits", [{"params": 1}, {"macs": 1}, {"macs": 10**15}])
def test_a_single_limit_that_cannot_be_met_is_refused_with_the_nearest(limits):
    space = dataclasses.replace(SPACE, budget=Budget(**limits))
    with pytest.raises(
        UserError, match="uses 90% of that; the nearest budget that can be"
    ) as error:
        check_reachable(space)
    nearest = int(str(error.value).rsplit(" ", 1)[1].replace(",", ""))
    field = next(iter(limits))
    check_reachable(dataclasses.replace(SPACE, budget=Budget(**{field: nearest})))


def test_a_time_alone_is_filled_by_construction():
    free = dataclasses.replace(SPACE, budget=Budget())
    limit = LatencyBudget("1.5ms@openvino")
    predictor = ToyClock().calibrate(around(free, limit, ToyClock(), 25))
    free = dataclasses.replace(free, limit=Limit(budget=limit, predictor=predictor))
    generator = np.random.default_rng(0)
    uses = [free.limit.use(free.propose(free.draw(generator)).spec) for _ in range(20)]
    assert max(uses) <= 1
    assert sum(use >= 0.9 for use in uses) >= 15
    assert check_fast_enough(free, free.limit) == 1
    short = dataclasses.replace(free.limit, budget=LatencyBudget("0.01ms@openvino"))
    with pytest.raises(UserError, match=r"no network keeps 0.01ms@openvino: one with blocks of 1"):
        check_fast_enough(dataclasses.replace(free, limit=short), short)


def test_a_space_of_a_network_is_told_by_the_fields_that_are_set():
    network = families.get("mobilenet_v2")
    space = dataclasses.replace(SPACE, network=network, num_blocks=17, scale_ends=True)
    told = space.identity
    assert told["scale_ends"] is True
    assert "kernel" not in told["network"]["blocks"][0]
    assert NetSpec.from_json(json.dumps(told["network"])) == network


def test_a_first_block_too_narrow_to_add_its_input_is_told():
    # The search network adds the 16 channels of its stem to the first block.
    wide = families.search_network([20] * 5, 10)
    space = dataclasses.replace(SPACE, network=wide)
    assert space.lost_input(space.of([16] * 5)) == 0
    assert space.lost_input(space.of([12] * 5)) == pytest.approx(0.25)
    # MobileNetV2's stem is wider than its first block, which adds nothing.
    other = dataclasses.replace(SPACE, network=families.get("mobilenet_v2"), num_blocks=17)
    assert other.lost_input(other.of([1] * 17)) == 0


def test_earlier_searches_stay_the_same():
    assert set(SPACE.identity) == {"num_blocks", "num_classes", "resolution", "budget"}
    changed = dataclasses.replace(SPACE, fill=0.7, slack=0.3, vary="expansion")
    assert {"fill": 0.7, "slack": 0.3, "vary": "expansion"}.items() <= changed.identity.items()
    assert json.dumps(changed.identity)
    assert dataclasses.replace(SPACE, fill=1.0).identity["fill"] == 1.0
    drawn = SPACE.draw(np.random.default_rng(0))
    free = dataclasses.replace(SPACE, slack=0.3, vary="expansions")
    more = free.draw(np.random.default_rng(0))
    assert {name: more[name] for name in drawn} == drawn
    assert set(more) - set(drawn) == {"balance", *(f"expansion_{n}" for n in range(1, 6))}


def test_the_balance_lowers_one_of_two_limits_down_to_the_fill():
    space = dataclasses.replace(SPACE, slack=0.2)
    line = space.parameters_of(np.linspace(0, 1, 5))
    open_params, both, open_macs = (
        space.propose(line | {"balance": balance}) for balance in (-1.0, 0.0, 1.0)
    )
    assert both.spec == SPACE.propose(line).spec
    assert open_params.params == pytest.approx(0.8 * space.budget.params, rel=0.03)
    assert open_params.macs == pytest.approx(space.budget.macs, rel=0.03)
    assert open_macs.macs == pytest.approx(0.8 * space.budget.macs, rel=0.03)
    assert open_macs.params == pytest.approx(space.budget.params, rel=0.03)
    # MACs left open narrow the first block, where maps are large.
    first = [its.spec.widths[0] for its in (open_macs, both, open_params)]
    assert first == sorted(set(first))
    one = dataclasses.replace(space, budget=Budget(macs=10**7))
    assert not one.balances
    assert not dataclasses.replace(SPACE, fill=0.5).balances


def test_a_looser_fill_takes_a_budget_that_a_strict_one_refuses():
    budget = Budget(params=105_000, macs=6_000_000, count_classifier=False)
    space = dataclasses.replace(SPACE, budget=budget)
    with pytest.raises(UserError, match="and uses 90% of both"):
        check_reachable(space)
    loose = dataclasses.replace(space, fill=0.5)
    check_reachable(loose)
    specs = sample(loose, 20)
    assert len(specs) == 20
    assert all(priced(spec, budget).use(budget) >= 0.5 for spec in specs)
