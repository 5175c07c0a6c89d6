import time

import pytest

from rexnet.deploy import timing
from rexnet.deploy.timing import Timing, ratio, take_turns


def counted(calls, name):
    return lambda: calls.append(name)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Let every look at the clock take a second, and no pause take any."""
    now = iter(range(10**6))
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def test_every_contender_is_called_twice_a_round_and_timed_once():
    calls, told = [], []
    contenders = {name: counted(calls, name) for name in "abc"}
    found = take_turns(contenders, 5, lambda done, total: told.append((done, total)))
    assert list(found) == ["a", "b", "c"]
    assert all(one.milliseconds == (1000.0,) * 5 for one in found.values())
    assert told == [(done, 5) for done in range(1, 6)]
    rounds = calls[-30:]
    assert rounds[::2] == rounds[1::2]
    orders = [tuple(rounds[start : start + 6 : 2]) for start in range(0, 30, 6)]
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)
    assert len(set(orders)) > 1


def test_contenders_are_warm_before_the_first_round():
    calls = []
    take_turns({"a": counted(calls, "a")}, 1)
    assert len(calls) == timing.WARM_CALLS + 2


def test_a_timing_has_the_quarters_inside_of_which_half_of_the_rounds_are():
    found = Timing(milliseconds=(5, 1, 4, 2, 3, 90, 7, 6))
    assert (found.fastest, found.median) == (1, 4.5)
    assert found.quartiles == (2, 7)
    assert Timing(milliseconds=(3,)).quartiles == (3, 3)


def test_a_ratio_is_of_the_medians_with_the_spread_of_the_rounds():
    one, other = Timing(milliseconds=(2, 4, 9)), Timing(milliseconds=(1, 2, 3))
    found = ratio(one, other)
    assert found.value == 2
    assert found.quartiles == (2, 3)
    assert ratio(one, one).quartiles == (1, 1)
