import dataclasses

import numpy as np
import pytest
from budgets import BUDGETS, LIMITS, search_template, smallest_cost, straight, tasks
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import stage_wise

from rexnet import UserError, channels, count, families
from rexnet.budget import Budget
from rexnet.design import (
    Proposal,
    budget_like,
    design,
    largest_inside,
    on_line,
    priced,
    propose,
    redesign,
)
from rexnet.spec import MAX_WIDTH

# The limits of Table 3 of the paper and the number of blocks.
PRESETS = (
    (200_000, 30_000_000, 5),
    (500_000, 100_000_000, 9),
    (1_000_000, 200_000_000, 9),
    (3_000_000, 350_000_000, 13),
)


@settings(deadline=None, max_examples=100)
@given(tasks(), BUDGETS)
def test_a_proposal_keeps_the_budget_or_is_refused_with_the_smallest_cost(task, budget):
    template, shape = task
    smallest = priced(template.with_widths([1] * len(template.blocks)), budget)
    if not smallest.inside(budget):
        with pytest.raises(UserError) as refusal:
            propose(template, shape, budget)
        assert smallest_cost(refusal.value) == (smallest.params, smallest.macs)
        return
    proposal = propose(template, shape, budget)
    widths = proposal.spec.widths
    total = count(proposal.spec)
    assert list(widths) == sorted(widths)
    assert proposal.macs == total.macs <= budget.macs
    counted = budget.counted(total.params, proposal.spec, widths[-1])
    assert proposal.params == counted <= budget.params
    assert proposal.spec == template.with_widths(widths)


@settings(deadline=None, max_examples=100)
@given(tasks(), BUDGETS)
def test_a_proposal_along_a_rise_leaves_no_room_for_two_channels_more(task, budget):
    template, shape = task
    assume(shape.any() and (template.penultimate_width or budget.count_classifier))
    try:
        widths = propose(template, shape, budget).spec.widths
    except UserError:
        return
    assume(widths[-1] + 2 <= MAX_WIDTH)
    wider = template.with_widths([width + 2 for width in widths])
    assert not priced(wider, budget).inside(budget)


@pytest.mark.parametrize(("params", "macs", "num_blocks"), PRESETS)
def test_the_line_fills_the_budgets_of_table_3(params, macs, num_blocks):
    budget = Budget(params=params, macs=macs, count_classifier=False)
    proposal = propose(search_template(num_blocks), straight(num_blocks), budget)
    assert proposal.inside(budget)
    assert proposal.fills(budget)


@pytest.mark.parametrize(
    ("params", "macs", "widths"),
    [
        (515_000, 101_000_000, (26, 35, 43, 51, 60, 68, 76, 84, 93)),
        (1_050_000, 200_000_000, (35, 48, 62, 76, 89, 103, 117, 130, 144)),
    ],
)
def test_the_line_that_fills_a_budget_is_the_one_solved_by_hand(params, macs, widths):
    budget = Budget(params=params, macs=macs, count_classifier=False)
    proposal = propose(search_template(9), straight(9), budget)
    np.testing.assert_allclose(proposal.spec.widths, widths, atol=1)


def test_a_flat_start_that_fills_a_budget_is_the_one_solved_by_hand():
    budget = Budget(params=3_100_000, macs=351_000_000, count_classifier=False)
    shape = channels.piecewise_line(13, (4,), (0, 1))
    proposal = propose(search_template(13), shape, budget)
    assert proposal.fills(budget)
    assert len(set(proposal.spec.widths[:4])) == 1
    np.testing.assert_allclose(proposal.spec.widths[3:6], (37, 61, 86), atol=2)
    assert proposal.spec.widths[-1] == pytest.approx(256, abs=3)


def test_a_shape_without_a_rise_uses_up_a_limit():
    budget = Budget(params=200_000, macs=30_000_000, count_classifier=False)
    proposal = propose(search_template(5), np.zeros(5), budget)
    assert len(set(proposal.spec.widths)) == 1
    wider = proposal.spec.with_widths([width + 1 for width in proposal.spec.widths])
    assert not priced(wider, budget).inside(budget)


@pytest.mark.parametrize(
    "penultimate_width",
    [1280, 0],
)
def test_a_proposal_does_not_depend_on_the_widths_of_its_template(penultimate_width):
    template = dataclasses.replace(search_template(5), penultimate_width=penultimate_width)
    budget = Budget(params=200_000, macs=30_000_000, count_classifier=False)
    proposal = propose(template, straight(5), budget)
    assert propose(proposal.spec, straight(5), budget) == proposal


def test_design_at_the_cost_of_rexnet_gives_its_widths():
    proposal = design(Budget(params=4_800_000, macs=400_000_000))
    reference = families.get("rexnet_1.0")
    assert np.abs(np.subtract(proposal.spec.widths, reference.widths)).max() <= 1
    assert proposal.spec.stem_width == reference.stem_width
    assert proposal.spec.penultimate_width == pytest.approx(reference.penultimate_width, rel=0.01)


@pytest.mark.parametrize(
    ("params", "macs", "num_blocks", "num_classes", "resolution"),
    [
        (1_000_000, 60_000_000, 10, 10, 96),
        (2_500_000, 250_000_000, 16, 1000, 224),
        (10_000_000, 900_000_000, 16, 1000, 224),
        (20_000_000, 3_000_000_000, 30, 100, 224),
    ],
)
def test_design_fills_a_budget_with_a_line(params, macs, num_blocks, num_classes, resolution):
    budget = Budget(params=params, macs=macs)
    proposal = design(budget, num_blocks=num_blocks, num_classes=num_classes, resolution=resolution)
    spec = proposal.spec
    assert proposal.inside(budget)
    assert proposal.fills(budget)
    assert (len(spec.blocks), spec.num_classes, spec.resolution) == (
        num_blocks,
        num_classes,
        resolution,
    )
    assert np.ptp(np.diff(spec.widths)) <= 2
    assert channels.fit_line([spec.widths]).r2 > 0.999


@settings(deadline=None, max_examples=20)
@given(BUDGETS)
def test_design_keeps_the_budget_or_names_a_cost_that_it_accepts(budget):
    try:
        proposal = design(budget, num_classes=10, resolution=64)
    except UserError as error:
        params, macs = smallest_cost(error)
        assert params > budget.params or macs > budget.macs
        budget = Budget(
            params=max(params, budget.params),
            macs=max(macs, budget.macs),
            count_classifier=budget.count_classifier,
        )
        proposal = design(budget, num_classes=10, resolution=64)
    assert proposal.inside(budget)


def test_the_cost_named_by_a_refusal_is_accepted():
    template, shape = search_template(9), straight(9)
    with pytest.raises(UserError, match="raise the budget") as refusal:
        propose(template, shape, Budget(params=1000, macs=1000))
    params, macs = smallest_cost(refusal.value)
    assert propose(template, shape, Budget(params=params, macs=macs)).spec.widths == (1,) * 9
    for less in (Budget(params=params - 1, macs=macs), Budget(params=params, macs=macs - 1)):
        with pytest.raises(UserError, match=f"the smallest has {params:,} params and {macs:,}"):
            propose(template, shape, less)


def test_the_refusal_names_the_budget():
    with pytest.raises(UserError, match=r"no network fits params 1,234 and MACs 5,678:"):
        design(Budget(params=1234, macs=5678))


def test_design_refuses_a_depth_that_no_rexnet_has():
    with pytest.raises(UserError, match="5 blocks; a ReXNet has 6"):
        design(Budget(params=10**7, macs=10**9), num_blocks=5)


def test_largest_inside_keeps_a_profile_that_fits():
    spec = families.get("rexnet_1.0")
    total = count(spec)
    budget = Budget(params=total.params, macs=total.macs)
    assert largest_inside(spec, spec.widths, budget).spec == spec


@pytest.mark.parametrize("limit", ["params", "macs"])
def test_largest_inside_shrinks_a_profile_until_it_fits(limit):
    spec = families.get("rexnet_1.0")
    total = count(spec)
    limits = {"params": total.params, "macs": total.macs}
    budget = Budget(**(limits | {limit: int(0.8 * limits[limit])}))
    proposal = largest_inside(spec, spec.widths, budget)
    assert proposal.inside(budget)
    assert not proposal.fills(budget)
    assert getattr(proposal, limit) >= 0.99 * getattr(budget, limit)
    np.testing.assert_allclose(
        proposal.spec.widths, np.multiply(spec.widths, proposal.spec.widths[-1] / 185), atol=1
    )


def test_largest_inside_grows_a_profile_up_to_the_multiple():
    template = search_template(3)
    budget = Budget(params=10**9, macs=10**12)
    assert largest_inside(template, (8, 16, 24), budget).spec.widths == (8, 16, 24)
    assert largest_inside(template, (8, 16, 24), budget, most=2.5).spec.widths == (20, 40, 60)


def test_largest_inside_keeps_a_falling_profile_from_falling():
    budget = Budget(params=10**9, macs=10**12)
    proposal = largest_inside(search_template(4), (8, 6.5, 12, 0), budget)
    assert proposal.spec.widths == (8, 8, 12, 12)


def test_largest_inside_never_goes_below_one_channel():
    budget = Budget(params=10**9, macs=10**12)
    assert largest_inside(search_template(3), (0, 0.2, 3), budget).spec.widths == (1, 1, 3)


def test_priced_leaves_the_classifier_out_where_the_budget_does():
    spec = families.search_network((8, 16, 24), 100)
    with_it, without = (
        priced(spec, Budget(params=1, macs=1, count_classifier=counted))
        for counted in (True, False)
    )
    assert (with_it.params, with_it.macs) == (count(spec).params, count(spec).macs)
    assert with_it.params - without.params == 1281 * 100
    assert with_it.macs == without.macs


@pytest.mark.parametrize(
    ("params", "macs", "inside", "fills"),
    [
        (1000, 2000, True, True),
        (900, 1800, True, True),
        (899, 2000, True, False),
        (1000, 1799, True, False),
        (1001, 2000, False, True),
        (1000, 2001, False, True),
    ],
)
def test_inside_and_fills_count_both_limits(params, macs, inside, fills):
    budget = Budget(params=1000, macs=2000)
    proposal = Proposal(spec=search_template(3), params=params, macs=macs)
    assert (proposal.inside(budget), proposal.fills(budget)) == (inside, fills)


@settings(deadline=None, max_examples=80)
@given(stage_wise())
def test_a_redesign_keeps_the_cost_and_all_but_widths_and_equal_shortcuts(backbone):
    proposal = redesign(backbone)
    widths, limits, total = proposal.spec.widths, count(backbone), count(proposal.spec)
    assert list(widths) == sorted(widths)
    assert (proposal.params, proposal.macs) == (total.params, total.macs)
    assert total.params <= limits.params
    assert total.macs <= limits.macs
    back = proposal.spec.with_widths(backbone.widths)
    pairs = list(zip(back.blocks, backbone.blocks, strict=True))
    assert all(
        new.shortcut == {"equal": "pad"}.get(old.shortcut, old.shortcut) for new, old in pairs
    )
    blocks = tuple(dataclasses.replace(new, shortcut=old.shortcut) for new, old in pairs)
    assert dataclasses.replace(back, name=backbone.name, blocks=blocks) == backbone


@pytest.mark.parametrize(
    ("name", "params", "macs", "first", "last"),
    [
        # Both limits of MobileNetV1 bind. Steeper lines spend more params a MAC, but even from a
        # single channel on, a line at the MACs of MobileNetV2 has not all of its params.
        ("mobilenet_v1", 4_230_000, 568_600_000, 7, 902),
        ("mobilenet_v2", 3_362_000, 300_200_000, 1, 169),
    ],
)
def test_a_redesign_of_a_mobilenet_fills_its_cost_with_a_line(name, params, macs, first, last):
    backbone = families.get(name)
    proposal = redesign(backbone)
    total = count(backbone)
    assert proposal.fills(Budget(params=total.params, macs=total.macs))
    assert proposal.params == pytest.approx(params, rel=0.01)
    assert proposal.macs == pytest.approx(macs, rel=0.01)
    assert (proposal.spec.widths[0], proposal.spec.widths[-1]) == pytest.approx(
        (first, last), abs=2
    )
    assert channels.fit_line([proposal.spec.widths]).r2 > 0.999
    assert proposal.spec.name == f"{name}_line"


def test_a_redesign_of_mobilenet_v1_has_the_macs_of_rexnet_plain_and_more_params():
    line, plain = redesign(families.get("mobilenet_v1")), count(families.get("rexnet_plain"))
    assert line.macs == pytest.approx(plain.macs, rel=0.01)
    assert line.params == pytest.approx(1.24 * plain.params, rel=0.01)


def test_a_redesign_of_mobilenet_v2_has_a_shortcut_at_every_block_of_stride_1():
    def shortcuts(spec):
        pairs = zip(spec.blocks, spec.widths_in, strict=True)
        return sum(block.has_shortcut(width) for block, width in pairs)

    backbone = families.get("mobilenet_v2")
    # The first block is narrower than the stem.
    at_stride_1 = sum(block.stride == 1 for block in backbone.blocks) - 1
    assert shortcuts(redesign(backbone).spec) == at_stride_1 > shortcuts(backbone)


@pytest.mark.parametrize("name", ["rexnet_0.9", "rexnet_2.2"])
def test_a_redesign_of_a_line_is_that_line(name):
    backbone = families.get(name)
    assert redesign(backbone).spec.widths == backbone.widths


def test_a_redesign_of_equal_widths_keeps_them():
    backbone = search_template(5).with_widths([24] * 5)
    assert set(redesign(backbone).spec.widths) == {24}


@settings(deadline=None, max_examples=150)
@given(tasks(), LIMITS, st.floats(0, 1), st.booleans())
def test_any_limits_are_kept_by_any_tilt_with_ends_that_follow_or_not(
    task, budget, tilt, scale_ends
):
    template, shape = task
    if len(budget.limits) == 2:
        tilt = None
    narrowest = channels.with_block_widths(template, [1] * len(shape), scale_ends)
    if not priced(narrowest, budget).inside(budget):
        with pytest.raises(UserError, match="the smallest has"):
            propose(template, shape, budget, tilt=tilt, scale_ends=scale_ends)
        return
    proposal = propose(template, shape, budget, tilt=tilt, scale_ends=scale_ends)
    assert list(proposal.spec.widths) == sorted(proposal.spec.widths)
    assert priced(proposal.spec, budget) == proposal
    assert proposal.inside(budget)
    same = channels.with_block_widths(template, proposal.spec.widths, scale_ends)
    assert proposal.spec == same
    if not scale_ends:
        assert proposal.spec.stem_width == template.stem_width


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["rexnet_1.0", "mobilenet_v2", "mobilenet_v1", "rexnet_cifar_b"]),
    st.sampled_from(["params", "macs"]),
    st.floats(0.6, 3),
    st.floats(0, 1),
    st.booleans(),
)
def test_a_single_limit_is_used_up_at_every_tilt(name, field, share, tilt, scale_ends):
    template = channels.with_shortcuts_kept(families.get(name))
    budget = Budget(**{field: int(share * getattr(count(template), field))})
    shape = straight(len(template.blocks))
    proposal = propose(template, shape, budget, tilt=tilt, scale_ends=scale_ends)
    assert proposal.inside(budget)
    assert proposal.fills(budget)
    first, last = proposal.spec.widths[0], proposal.spec.widths[-1]
    # Whole channels are up to half a one away from the line.
    assert abs(first - (1 - tilt) * last) <= 1.01


def test_a_single_limit_keeps_the_tilt_of_the_template():
    reference = families.get("rexnet_1.0")
    total = count(reference)
    for budget in (Budget(params=total.params), Budget(macs=total.macs)):
        widths = on_line(reference, budget).spec.widths
        assert np.abs(np.subtract(widths, reference.widths)).max() <= 1


def test_design_within_one_limit_is_a_rexnet_at_that_cost():
    for field in ("params", "macs"):
        wanted = getattr(count(families.get("rexnet_1.5")), field)
        widths = design(Budget(**{field: wanted})).spec.widths
        assert np.abs(np.subtract(widths, families.get("rexnet_1.5").widths)).max() <= 1


def test_a_budget_like_a_network_is_its_cost_where_none_is_given():
    network = families.get("rexnet_0.6")
    total = count(network)
    assert budget_like(network, Budget()) == Budget(params=total.params, macs=total.macs)
    assert budget_like(network, Budget(macs=7)) == Budget(params=total.params, macs=7)
    without = budget_like(network, Budget(count_classifier=False))
    assert without.params == total.params - network.num_classes * (768 + 1)
