import numpy as np
import pytest
from toys import SPACE

from rexnet.search.groups import groups
from rexnet.search.surface.judgement import gap_of_ranks, judged
from rexnet.search.surface.plan import plan


def rows(count=24, noise=0.0, rise=0.02, seed=0):
    """Return trials in which networks that rise more are better."""
    generator = np.random.default_rng(seed)
    return [
        {
            "number": number,
            "state": "complete",
            "widths": list(shape.widths),
            "accuracy": 0.5
            + rise * float(np.log(shape.widths[-1] / shape.widths[0]))
            + noise * float(generator.standard_normal()),
        }
        for number, shape in enumerate(plan(SPACE, 0, count))
    ]


def test_a_smooth_accuracy_is_predicted_of_networks_that_were_not_trained():
    found = judged(rows(), SPACE, 0)
    wanted = [0.5 + 0.02 * np.log(shape.widths[-1] / shape.widths[0]) for shape in found.shapes]
    assert found.predicted.mean == pytest.approx(wanted, abs=2e-3)
    assert found.spearman > 0.95
    assert found.surface.noise < 1e-3


def test_gains_are_over_the_line():
    found = judged(rows(noise=0.002), SPACE, 0)
    names = [shape.name for shape in found.shapes]
    assert found.gains.mean[names.index("line")] == pytest.approx(0, abs=1e-12)
    best = found.predicted.mean.argmax()
    assert found.gains.mean[best] > 0
    assert found.largest_gain >= found.gains.mean[best]


def test_the_best_are_apart_from_each_other_and_from_what_has_a_name():
    found = judged(rows(noise=0.002), SPACE, 0)
    best = found.best(3, apart=0.05)
    assert len(best) == 3
    means = found.predicted.mean[best].tolist()
    assert means == sorted(means, reverse=True)
    chosen = [found.shapes[i].features for i in best]
    named = [shape.features for shape in found.shapes if shape.name]
    for i, one in enumerate(chosen):
        assert not found.shapes[best[i]].name
        for other in [*chosen[:i], *named]:
            assert np.linalg.norm(one - other) >= 0.05


def test_permutations_tell_shapes_that_matter_from_noise():
    assert judged(rows(noise=0.001), SPACE, 0).chance() == 0.01
    chances = [judged(rows(noise=0.01, rise=0, seed=s), SPACE, 0).chance() for s in range(4)]
    assert np.mean(chances) > 0.15


def test_predictions_stand_for_trials_in_groups():
    found = judged(rows(), SPACE, 0)
    top, middle, bottom = groups(found.as_rows())
    assert top.mean("accuracy") > middle.mean("accuracy") > bottom.mean("accuracy")
    assert len(top.rows) == round(0.1 * len(found.shapes))


@pytest.mark.parametrize("count", [10, 32, 200])
def test_the_gap_of_noise_is_that_of_draws(count):
    generator = np.random.default_rng(0)
    draws = np.sort(generator.standard_normal((2000, count)), 1)
    tenth = max(1, round(0.1 * count))
    first = min(round(0.9 * count), count - 1)
    gaps = draws[:, -tenth:].mean(1) - draws[:, : count - first].mean(1)
    assert gap_of_ranks(count) == pytest.approx(gaps.mean(), rel=0.03)
