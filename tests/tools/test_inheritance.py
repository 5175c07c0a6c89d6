import claim
import inheritance
import inheritance_tables
import numpy as np
import pytest

from rexnet import cost, families
from rexnet.nn.sources import find_start


def row(network, seed, right):
    return {
        "network": network,
        "params": 10**6,
        "macs": 10**7,
        "resolution": 120,
        "seed": seed,
        "top1": float(np.mean(right)),
        "probe_top1": 0.5,
        "num_images": len(right),
        "right": claim.packed(np.array(right, bool)),
    }


def test_every_way_has_the_cost_that_it_is_called_by_and_can_inherit():
    whole = cost.count(families.get("efficientnet_lite0"), inheritance.RESOLUTION).macs
    arms = {arm.name: arm for arm in inheritance.arms()}
    assert len(arms) == len(inheritance.arms())
    for name, arm in arms.items():
        share = name.partition(", ")[2].partition("%")[0]
        if "%" in name and not arm.pruned:
            macs = cost.count(arm.spec).macs
            assert 0.97 * float(share) / 100 * whole < macs <= float(share) / 100 * whole
        if arm.weights:
            assert find_start(arm.weights, arm.spec).spec.name == "efficientnet_lite0"
    teachers = [name for name in arms if name == f"whole, {inheritance.RESOLUTION} px"]
    assert teachers
    assert teachers[0] == next(iter(arms))


def test_a_way_has_a_folder_and_a_teacher_of_its_seed(tmp_path):
    arm = next(arm for arm in inheritance.arms() if arm.taught)
    config = inheritance.config_of(arm, 2, "D", tmp_path)
    assert f"teacher={tmp_path / 'whole-120-px-2'}" in config.set
    whole = inheritance.config_of(inheritance.arms()[0], 2, "D", tmp_path)
    assert whole.out == str(tmp_path / "whole-120-px-2")


def test_differences_are_of_the_same_images():
    left, right = inheritance_tables.PAIRS[0]
    rows = [
        row(left, 0, [1, 1, 1, 0]),
        row(left, 1, [1, 1, 0, 0]),
        row(right, 0, [1, 0, 0, 0]),
    ]
    header, (line,) = inheritance_tables.differences_table(rows)
    assert header[1] == "points"
    # Images differ by 0, 1, 1/2 and 0.
    points = np.array([0, 100, 50, 0])
    error = 1.96 * points.std(ddof=1) / 2
    assert line[1] == "+37.5"
    assert line[2] == f"{37.5 - error:+.1f} to {37.5 + error:+.1f}"
    assert line[3] == "2, 1"


def test_the_ways_stand_in_the_order_of_their_cost():
    dear = row("whole, 120 px", 0, [1, 0]) | {"macs": 2 * 10**7}
    _, lines = inheritance_tables.ways_table([row("line, 50%", 0, [1, 1]), dear], {"line-50": 1.5})
    assert [line[0] for line in lines] == ["whole, 120 px", "line, 50%"]
    assert [line[7] for line in lines] == ["-", "1.50"]
    assert float(lines[1][3]) == pytest.approx(100)
