import psutil
import pytest

from rexnet.deploy.usage import Reading, allowed_cores, of_others, read, reading

IDLE = {"user": 0, "nice": 0, "system": 0, "idle": 4, "iowait": 0, "steal": 0, "guest": 0}


def test_what_runs_on_the_cores_of_this_process_is_counted():
    busy = IDLE | {"user": 1, "nice": 0.5, "idle": 2, "iowait": 0.1, "steal": 0.4, "guest": 0.5}
    times = [busy, IDLE | {"user": 9}, IDLE | {"user": 3, "idle": 1}]
    found = reading(times, {0, 2}, own=3.0)
    assert found == Reading(counted=pytest.approx(8.0), idle=pytest.approx(3.1), own=3.0)


def test_a_system_that_knows_no_wait_for_disks_is_counted():
    times = [{"user": 1.0, "nice": 0.0, "system": 1.0, "idle": 2.0}]
    assert reading(times, {0}, own=1.0) == Reading(counted=4.0, idle=2.0, own=1.0)


def test_what_neither_was_idle_nor_computed_here_is_of_others():
    before = Reading(counted=100, idle=50, own=10)
    assert of_others(before, Reading(counted=120, idle=54, own=16)) == 0.5
    assert of_others(before, Reading(counted=120, idle=66, own=14)) == 0
    # The clocks differ: a share below 0 is none.
    assert of_others(before, Reading(counted=120, idle=66, own=15)) == 0


def test_what_is_not_counted_leaves_the_share_unknown():
    nothing = reading([dict.fromkeys(IDLE, 0)], {0}, own=1.0)
    assert of_others(nothing, nothing) is None
    assert of_others(None, nothing) is None
    # A core without a line of its own: which line is whose is not known then.
    assert reading([IDLE], {0, 2}, own=1.0) is None


def test_a_reading_is_of_the_cores_that_this_process_may_use():
    before, after = read(), read()
    assert max(allowed_cores()) < psutil.cpu_count()
    assert after.counted >= before.counted >= before.idle
    assert after.own >= before.own
