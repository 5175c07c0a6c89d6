import dataclasses

import pytest
from clocks import ToyClock, made_up

from rexnet import UserError, families
from rexnet.budget import Budget, LatencyBudget
from rexnet.search.in_time import around
from rexnet.search.space import Space

NETWORK = families.search_network([8, 12, 16, 24], 10)
SPACE = Space(num_blocks=4, num_classes=10, resolution=32, budget=Budget(), network=NETWORK)


@pytest.mark.parametrize("milliseconds", [0.9, 1.3, 4])
def test_networks_around_a_time_are_measured(milliseconds):
    clock = ToyClock()
    limit = LatencyBudget(f"{milliseconds}ms@openvino")
    specs = around(SPACE, limit, clock, 12)
    assert 8 <= len(specs) <= 12
    assert len({spec.spec_id for spec in specs}) == len(specs)
    times = [made_up(spec) for spec in specs]
    assert min(times) < milliseconds < max(times)
    assert max(times) < 3 * milliseconds
    # What is remembered is no measuring that a resumed search would repeat.
    assert clock.measured == []
    assert specs == around(SPACE, limit, ToyClock(), 12)


def test_a_time_that_nothing_keeps_is_refused_with_the_least():
    limit = LatencyBudget("0.1ms@openvino")
    with pytest.raises(UserError, match=r"no network keeps 0.1ms@openvino: one with blocks of 1"):
        around(SPACE, limit, ToyClock(), 12)


def test_ends_follow_where_they_are_to():
    space = dataclasses.replace(SPACE, scale_ends=True)
    specs = around(space, LatencyBudget("1.3ms@openvino"), ToyClock(), 12)
    assert len({spec.stem_width for spec in specs}) > 1
