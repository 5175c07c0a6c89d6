import numpy as np
import pytest
from toys import BUDGET, PICKY, SPACE, TINY

from rexnet.budget import Budget
from rexnet.families import get
from rexnet.search.space import Space
from rexnet.search.surface.plan import farthest, line_of, plan

LITE = Space(
    num_blocks=16,
    num_classes=10,
    resolution=64,
    budget=Budget(macs=15_000_000),
    network=get("efficientnet_lite0"),
)


@pytest.mark.parametrize("space", [SPACE, PICKY, LITE], ids=["paper's", "picky", "a limit"])
def test_a_plan_has_different_networks_that_fill_the_budget(space):
    shapes = plan(space, seed=0, count=40)
    assert len({shape.proposal.spec.spec_id for shape in shapes}) == len(shapes)
    for shape in shapes:
        assert shape.proposal.inside(space.budget)
        assert shape.proposal.fills(space.budget, space.fill)
        assert space.propose(shape.parameters).spec.spec_id == shape.proposal.spec.spec_id


def test_a_plan_begins_with_the_line_and_the_stage_wise_network():
    line, stages, *_ = plan(SPACE, seed=0, count=10)
    assert (line.name, stages.name) == ("line", "stage-wise")
    steps = np.diff(line.widths)
    assert np.ptp(steps) <= 1
    starts = [i for i, block in enumerate(SPACE.template.blocks) if i == 0 or block.stride == 2]
    for first, end in zip(starts, [*starts[1:], SPACE.num_blocks], strict=True):
        assert len(set(stages.widths[first:end])) == 1


def test_a_plan_follows_from_the_seed():
    first, second, other = (plan(SPACE, seed, 20) for seed in (0, 0, 1))
    assert [shape.widths for shape in first] == [shape.widths for shape in second]
    assert [shape.widths for shape in first] != [shape.widths for shape in other]


def test_a_longer_plan_goes_on_from_a_shorter_one():
    assert [s.widths for s in plan(SPACE, 0, 40)][:10] == [s.widths for s in plan(SPACE, 0, 10)]


def test_a_space_of_few_networks_gives_fewer():
    shapes = plan(TINY, seed=0, count=500)
    assert 0 < len(shapes) < 500


def test_a_line_that_cannot_fill_the_budget_is_not_planned_but_known():
    space = Space(
        num_blocks=5,
        num_classes=10,
        resolution=32,
        budget=Budget(params=250_000, macs=BUDGET.macs, count_classifier=False),
        fill=0.9,
    )
    assert all(shape.name != "line" for shape in plan(space, 0, 20))
    assert line_of(space).proposal.inside(space.budget)


def test_farthest_is_the_distance_to_the_nearest():
    points = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    assert farthest(points, points[:1]).tolist() == [0.0, 5.0, 1.0]
    assert farthest(points, points[[0, 2]])[1] == pytest.approx(np.hypot(3, 3))
