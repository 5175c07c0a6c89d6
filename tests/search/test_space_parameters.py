"""Spaces that fill less, vary expansions, and go from shapes to parameters and features."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from toys import BUDGET, SPACE

from rexnet import UserError, channels, cost, families
from rexnet.budget import Budget
from rexnet.design import priced
from rexnet.search.sampler import distributions
from rexnet.search.space import Space, check_reachable, sample

SMALL = "rexnet_cifar_b"
VARIES = st.sampled_from(["widths", "expansion", "expansions"])
LIMITS = st.sampled_from([("params",), ("macs",), ("params", "macs")])


def of_network(name, **changes):
    network = families.get(name)
    return Space(
        num_blocks=len(network.blocks),
        num_classes=10,
        resolution=32,
        network=network,
        **{"budget": Budget(params=10**6, macs=10**8), **changes},
    )


def shape_of(rises):
    """Return the shape with these rises from block to block."""
    heights = np.concatenate([[0.0], np.cumsum(rises)])
    return heights / heights[-1] if heights[-1] else heights


@st.composite
def spaces(draw):
    """Draw a space of any kind, with a budget that leaves room for all of its networks."""
    name = draw(st.sampled_from([None, SMALL, "mobilenet_v2", "rexnet_1.0"]))
    varied = {"vary": draw(VARIES), "fill": draw(st.sampled_from([0.9, 0.7, 0.2, 1.0]))}
    if name is None:
        space = dataclasses.replace(SPACE, num_blocks=draw(st.integers(3, 12)), **varied)
    else:
        space = of_network(name, scale_ends=draw(st.booleans()), **varied)
    least = cost.count(space.narrowest)
    limits = {field: int(getattr(least, field) * draw(st.floats(1, 100))) for field in draw(LIMITS)}
    return dataclasses.replace(space, budget=Budget(**limits, count_classifier=draw(st.booleans())))


@settings(deadline=None, max_examples=100)
@given(spaces(), st.integers(0, 2**32 - 1))
def test_networks_of_any_parameters_keep_every_limit_and_can_be_built_again(space, seed):
    generator = np.random.default_rng(seed)
    drawn = space.draw(generator)
    moved = space.move(drawn, generator.random(), generator)
    for values in (drawn, moved):
        assert list(values) == list(distributions(space))
        for name, distribution in distributions(space).items():
            assert distribution._contains(distribution.to_internal_repr(values[name]))
        proposal = space.propose(values)
        spec = proposal.spec
        assert proposal.inside(space.budget)
        assert proposal == priced(spec, space.budget)
        expansions = space.noted(spec).get("expansions")
        assert (expansions is None) == (space.vary == "widths")
        assert space.of(spec.widths, expansions) == spec
        for mine, own in zip(spec.blocks, space.template.blocks, strict=True):
            assert (mine.expansion == 1) == (own.expansion == 1)


@st.composite
def shapes(draw):
    """Draw a non-falling shape of up to 9 blocks, or steps of up to 4 stages at any depth."""
    if draw(st.booleans()):
        rises = st.floats(0.01, 1) | st.just(0.0)
        return shape_of(draw(st.lists(rises, min_size=2, max_size=8)))
    lengths = draw(st.lists(st.integers(1, 15), min_size=2, max_size=4))
    assume(sum(lengths) >= 3)
    widths = list(itertools.accumulate(draw(st.integers(1, 200)) for _ in lengths))
    return shape_of(np.diff(channels.steps(widths, lengths)))


@settings(deadline=None, max_examples=200)
@given(shapes())
def test_parameters_of_a_shape_give_the_shape(shape):
    space = dataclasses.replace(SPACE, num_blocks=len(shape))
    values = space.parameters_of(shape)
    np.testing.assert_allclose(space.shape(values), shape, atol=1e-9)
    for name, distribution in distributions(space).items():
        assert distribution._contains(values[name]), name


@pytest.mark.parametrize("num_blocks", [3, 9, 33, 64])
def test_parameters_of_the_line_and_the_flat_shape_give_them(num_blocks):
    space = dataclasses.replace(SPACE, num_blocks=num_blocks)
    for shape in (np.linspace(0, 1, num_blocks), np.zeros(num_blocks)):
        np.testing.assert_allclose(space.shape(space.parameters_of(shape)), shape, atol=1e-12)


def test_a_shape_that_bends_too_often_gives_the_closest_that_is_simple():
    curve = np.linspace(0, 1, 30) ** 3
    space = dataclasses.replace(SPACE, num_blocks=30)
    found = space.shape(space.parameters_of(curve))
    assert 0 < np.abs(found - curve).max() < 0.01
    corners = np.linspace(0, 29, 9)
    evenly = np.interp(np.arange(30), corners, np.interp(corners, np.arange(30), curve))
    assert ((found - curve) ** 2).sum() < ((evenly - curve) ** 2).sum()


def test_parameters_of_a_shape_hold_what_else_the_space_varies():
    line = np.linspace(0, 1, 17)
    space = of_network("mobilenet_v2", budget=Budget(macs=10**7), vary="expansions")
    values = space.parameters_of(line)
    assert values["tilt"] == channels.tilt_of(space.template.widths) > 0
    assert "expansion_1" not in values
    assert {values[f"expansion_{number}"] for number in range(2, 18)} == {6}
    own = [block.expansion for block in space.template.blocks]
    assert space.propose(values).spec == space.of_shape(line, values["tilt"]).spec
    assert space.parameters_of(line, 0.25)["tilt"] == 0.25
    changed = [1, *range(2, 10), *[3] * 8]
    spec = space.propose(space.parameters_of(line, expansion=changed)).spec
    assert [block.expansion for block in spec.blocks] == changed
    one = dataclasses.replace(space, vary="expansion")
    assert one.parameters_of(line, expansion=4)["expansion"] == 4
    assert one.parameters_of(line, expansion=changed)["expansion"] == round(sum(changed[1:]) / 16)
    assert one.parameters_of(line)["expansion"] == own[1] == 6
    # The search network is flat as a template.
    flat = dataclasses.replace(SPACE, budget=Budget(macs=10**7))
    assert flat.parameters_of(np.linspace(0, 1, 5))["tilt"] == 0.5
    opened = dataclasses.replace(SPACE, fill=0.7).parameters_of(np.linspace(0, 1, 5))
    assert opened["balance"] == 0


def test_features_are_logs_of_widths_then_of_the_expansions_that_vary():
    for vary, wanted in (
        ("widths", []),
        ("expansion", [3]),
        ("expansions", [2, 3, 4, 5, 6, 7, 8, 9, *[3] * 8]),
    ):
        space = of_network("mobilenet_v2", vary=vary)
        each = [1, *([3] * 16 if vary == "expansion" else wanted)]
        spec = space.of(range(1, 18), None if vary == "widths" else each)
        features = space.features(spec)
        np.testing.assert_allclose(np.exp(features), [*range(1, 18), *wanted])
        both = space.features_of([spec.widths] * 2, [each] * 2)
        np.testing.assert_array_equal(both, [features, features])
    np.testing.assert_array_equal(SPACE.features_of([[1] * 5]), np.zeros((1, 5)))


def test_earlier_searches_stay_the_same():
    assert set(SPACE.identity) == {"num_blocks", "num_classes", "resolution", "budget"}
    changed = dataclasses.replace(SPACE, fill=0.7, vary="expansion")
    assert {"fill": 0.7, "vary": "expansion"}.items() <= changed.identity.items()
    assert json.dumps(changed.identity)
    assert dataclasses.replace(SPACE, fill=1.0).identity["fill"] == 1.0
    drawn = SPACE.draw(np.random.default_rng(0))
    more = dataclasses.replace(SPACE, fill=0.7, vary="expansions").draw(np.random.default_rng(0))
    assert {name: more[name] for name in drawn} == drawn
    assert set(more) - set(drawn) == {"balance", *(f"expansion_{n}" for n in range(1, 6))}


def test_the_balance_lowers_one_of_two_limits_down_to_the_fill():
    space = dataclasses.replace(SPACE, fill=0.8)
    line = space.parameters_of(np.linspace(0, 1, 5))
    open_params, both, open_macs = (
        space.propose(line | {"balance": balance}) for balance in (-1.0, 0.0, 1.0)
    )
    assert both.spec == SPACE.propose(line).spec
    assert open_params.params == pytest.approx(0.8 * BUDGET.params, rel=0.03)
    assert open_params.macs == pytest.approx(BUDGET.macs, rel=0.03)
    assert open_macs.macs == pytest.approx(0.8 * BUDGET.macs, rel=0.03)
    assert open_macs.params == pytest.approx(BUDGET.params, rel=0.03)
    # MACs left open narrow the first block, where maps are large.
    first = [its.spec.widths[0] for its in (open_macs, both, open_params)]
    assert first == sorted(set(first))
    one = dataclasses.replace(space, budget=Budget(macs=10**7))
    assert not one.balances
    assert not SPACE.balances


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


@pytest.mark.parametrize("vary", ["expansion", "expansions"])
def test_a_budget_leaves_room_for_the_highest_expansions_or_is_refused(vary):
    space = dataclasses.replace(SPACE, vary=vary)
    least = priced(space.narrowest, space.budget)
    assert [block.expansion for block in space.narrowest.blocks] == [10] * 5
    budget = Budget(params=least.params - 1, macs=least.macs, count_classifier=False)
    with pytest.raises(UserError, match="the nearest budget that can be filled is"):
        check_reachable(dataclasses.replace(space, budget=budget))
    check_reachable(space)


def test_expansions_of_the_template_are_inside_the_bounds():
    assert of_network("rexnet_1.0", vary="expansion").expansions == {"expansion": (2, 10)}
    wide = channels.with_expansions(families.get(SMALL), [6] * 8 + [24])
    space = dataclasses.replace(of_network(SMALL, vary="expansions"), network=wide)
    assert set(space.expansions.values()) == {(2, 24)}
    assert space.propose(space.parameters_of(np.linspace(0, 1, 9))).spec.blocks[-1].expansion == 24
