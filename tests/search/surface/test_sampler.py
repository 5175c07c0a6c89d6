import itertools

import numpy as np
from toys import SPACE, TINY, score

from rexnet.search.surface.plan import farthest
from rexnet.search.surface.sampler import FIRST, SurfaceSampler
from rexnet.search.trial import Trial


def trained(count, sampler, space=SPACE, accuracy=score, seeds=(0, 1)):
    """Return the trials of a search of one worker."""
    trials = []
    for number in range(count):
        parameters = next(iter(new(sampler, trials, space, seeds)))
        spec = space.propose(parameters).spec
        trials.append(
            Trial(
                number=number,
                parameters=parameters,
                state="complete",
                accuracy=accuracy(spec),
                record={"widths": list(spec.widths), "spec_id": spec.spec_id},
                owner="",
            )
        )
    return trials


def new(sampler, trials, space=SPACE, seeds=(0, 1)):
    """Return the draws whose networks are new."""
    seen = {trial.record["spec_id"] for trial in trials}
    draws = sampler.draws(None, None, space, [*seeds, len(trials)], trials)
    return (p for p in draws if space.propose(p).spec.spec_id not in seen)


def features(trials):
    return np.array([SPACE.features_of(np.array([t.record["widths"]]), None)[0] for t in trials])


def test_the_line_and_the_stage_wise_network_come_first():
    line, stages = trained(2, SurfaceSampler())
    assert np.ptp(np.diff(line.record["widths"])) <= 1
    assert len(set(stages.record["widths"])) < SPACE.num_blocks


def test_networks_are_farther_apart_than_random_ones():
    chosen = features(trained(20, SurfaceSampler()))
    generator = np.random.default_rng(0)
    random = np.array(
        [SPACE.features(SPACE.propose(SPACE.draw(generator)).spec) for _ in range(20)]
    )

    def nearest(points):
        return np.mean([farthest(points[[i]], np.delete(points, i, 0))[0] for i in range(20)])

    assert nearest(chosen) > 1.2 * nearest(random)


def test_a_search_that_is_made_longer_goes_on_as_if_it_had_been():
    sampler = SurfaceSampler()
    short, long = trained(6, sampler), trained(12, sampler)
    assert [t.record["widths"] for t in long][:6] == [t.record["widths"] for t in short]


def test_batches_go_where_the_surface_is_best_and_least_sure():
    plain, batched = trained(FIRST + 16, SurfaceSampler()), trained(FIRST + 16, SurfaceSampler(8))
    assert [t.record for t in plain][:FIRST] == [t.record for t in batched][:FIRST]
    best_of = [
        np.mean(sorted(t.accuracy for t in trials[FIRST:])[-8:]) for trials in (plain, batched)
    ]
    assert best_of[1] > best_of[0]


def test_a_batch_does_not_depend_on_its_own_results():
    sampler = SurfaceSampler(8)
    trials = trained(FIRST + 3, sampler)
    expected = list(itertools.islice(new(sampler, trials), 3))
    others = [
        *trials[:FIRST],
        *(t.__class__(**{**vars(t), "accuracy": 0.1}) for t in trials[FIRST:]),
    ]
    assert list(itertools.islice(new(sampler, others), 3)) == expected


def test_when_all_shapes_are_taken_random_parameters_follow():
    sampler = SurfaceSampler()
    draws = list(sampler.draws(None, None, TINY, [0, 1, 0], []))
    assert len(draws) > 200
    assert len({tuple(sorted(p.items())) for p in draws}) > 100


def test_another_worker_that_has_not_ended_is_kept_away_from():
    sampler = SurfaceSampler()
    running = trained(5, sampler)
    pending = [t.__class__(**{**vars(t), "accuracy": None, "state": "running"}) for t in running]
    assert next(iter(new(sampler, pending))) == next(iter(new(sampler, running)))
