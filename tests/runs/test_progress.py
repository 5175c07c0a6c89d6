import pytest

from rexnet.runs.progress import Estimate, Progress, counting, duration, time_left


class Clock:
    """Stands still until it is set."""

    def __init__(self):
        self.seconds = 100.0

    def __call__(self):
        return self.seconds


def test_time_left_follows_from_what_was_done_since_the_beginning():
    clock = Clock()
    estimate = Estimate(clock)
    assert estimate.seconds_left(0, 8) is None
    clock.seconds += 6
    assert estimate.seconds_left(2, 8) == 24
    assert estimate.seconds_left(0.5, 0.25) == 3
    assert estimate.seconds_left(10, 0) == 0


def test_counting_tells_numbers_as_a_part_of_the_job():
    seen = []
    tell = counting(seen.append, "images", first=0.5, last=0.75, line=False)
    tell(1_000, 4_000)
    tell(4_000, 4_000)
    assert seen == [
        Progress(share=0.5625, words="1,000/4,000 images", line=False),
        Progress(share=0.75, words="4,000/4,000 images", line=False),
    ]


@pytest.mark.parametrize(
    ("seconds", "wanted"), [(0.4, "0:00"), (75, "1:15"), (3599.6, "1:00:00"), (4000, "1:06:40")]
)
def test_durations_are_told_in_minutes_and_hours(seconds, wanted):
    assert duration(seconds) == wanted
    assert time_left(seconds) == f"time left {wanted}"


def test_before_there_is_an_estimate_a_dash_is_told():
    assert time_left(None) == "time left -"
