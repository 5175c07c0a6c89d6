import numpy as np
import pytest
from scipy.stats import ttest_rel

from rexnet.search.surface.answer import Gain, answer, gains

WIDTHS = {"line": (10, 20, 30), "best 1": (12, 20, 28), "stage-wise": (15, 15, 30)}


def told(**means):
    """Return the answer to gains with intervals of 0.3 points to each side."""
    found = {
        name.replace("_", " ").replace("stage wise", "stage-wise"): Gain(
            mean=mean / 100, low=(mean - 0.3) / 100, high=(mean + 0.3) / 100
        )
        for name, mean in means.items()
    }
    return answer(found, WIDTHS, is_confirmed=True)


def test_of_two_networks_the_interval_is_that_of_a_paired_t_test():
    accuracies = {"line": [0.601, 0.612, 0.607], "best 1": [0.611, 0.615, 0.619]}
    found = gains(accuracies)["best 1"]
    interval = ttest_rel(accuracies["best 1"], accuracies["line"]).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_intervals_hold_together_for_networks_that_are_alike():
    generator, held = np.random.default_rng(0), 0
    names = ("line", "best 1", "best 2", "best 3", "stage-wise")
    for _ in range(400):
        seeds = 0.01 * generator.standard_normal(3)
        found = gains(
            {name: (0.6 + seeds + 0.005 * generator.standard_normal(3)).tolist() for name in names}
        )
        held += all(gain.low < 0 < gain.high for gain in found.values())
    assert 0.93 <= held / 400 <= 1


def test_what_all_networks_owe_to_a_seed_does_not_widen_the_interval():
    generator = np.random.default_rng(1)
    table = 0.6 + 0.005 * generator.standard_normal((3, 4))
    names = ("line", "best 1", "stage-wise")
    plain = gains(dict(zip(names, table.tolist(), strict=True)))
    shifted = table + np.array([0.0, 0.1, -0.05, 0.02])
    moved = gains(dict(zip(names, shifted.tolist(), strict=True)))
    assert moved["best 1"].low == pytest.approx(plain["best 1"].low)


def test_a_network_that_is_ahead_is_recommended_with_its_interval():
    said = told(best_1=0.4, stage_wise=0.1)
    assert said.sentence == "12-20-28 is 0.4 points (0.1 to 0.7) ahead of the line"
    assert said.network == "best 1"


def test_the_stage_wise_network_may_be_the_best():
    said = told(best_1=0.2, stage_wise=0.9)
    assert said.sentence == "the stage-wise 15-15-30 is 0.9 points (0.6 to 1.2) ahead of the line"
    assert said.network == "stage-wise"


def test_without_a_gain_that_shows_the_line_is_recommended():
    said = told(best_1=0.2, stage_wise=-0.4)
    assert said.network == "line"
    assert said.sentence.startswith(
        "no shape is shown to be better than the line: use the line, 10-20-30"
    )
    assert "12-20-28, is at +0.2 points (-0.1 to 0.5)" in said.sentence


def test_what_is_only_predicted_is_said_to_be_so():
    found = {"best 1": Gain(mean=0.01, low=0.004, high=0.016)}
    said = answer(found, WIDTHS, is_confirmed=False)
    assert said.sentence == "12-20-28 is predicted to be 1.0 points (0.4 to 1.6) ahead of the line"
    assert not said.is_confirmed
