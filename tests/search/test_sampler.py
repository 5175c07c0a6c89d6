import dataclasses
import itertools
import json

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial
from toys import SPACE

from rexnet.search.sampler import NUM_GOOD, SAMPLERS, TPE, distributions, seen
from rexnet.search.trial import Trial


def study_of(count):
    """Return a study in memory of so many trials, and its next trial."""
    study, generator = optuna.create_study(direction="maximize"), np.random.default_rng(0)
    for number in range(count):
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                value=number / 100,
                params=SPACE.draw(generator),
                distributions=distributions(SPACE),
            )
        )
    study.add_trial(create_trial(state=TrialState.RUNNING))
    return study, study.get_trials(deepcopy=False)[-1]


def drawn(sampler, count, seeds=(0, 1)):
    """Return the first draws from a study of so many trials."""
    study, trial = study_of(count)
    trials = [
        Trial(
            number=known.number,
            parameters=known.params,
            state="complete",
            accuracy=known.value,
            record={"widths": list(SPACE.propose(known.params).spec.widths)},
            owner="",
        )
        for known in study.get_trials(states=[TrialState.COMPLETE])
    ]
    return list(itertools.islice(sampler.draws(study, trial, SPACE, seeds, trials), 30))


@pytest.mark.parametrize("count", [0, 20])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_draws_parameters_of_the_space_that_follow_from_trials_and_seeds(name, count):
    sampler = SAMPLERS[name]()
    found = drawn(sampler, count)
    for parameters in found:
        assert set(parameters) == {*SPACE.knots, *SPACE.slopes}
        for key, (low, high) in (SPACE.knots | SPACE.slopes).items():
            assert low <= parameters[key] <= high
    assert found == drawn(sampler, count)
    assert found != drawn(sampler, count, seeds=(1, 1))
    assert sampler.window > 0


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_settings_of_a_sampler_say_its_name_and_are_json(name):
    settings = SAMPLERS[name]().settings()
    assert settings["name"] == name
    assert json.loads(json.dumps(settings)) == settings


def test_the_settings_of_tpe_are_those_of_every_search_so_far():
    # Run folders hold them: a search goes on only where they are the same.
    assert json.dumps(TPE().settings()) == (
        '{"name": "TPE", "multivariate": true, "group": false, "constant_liar": true, '
        '"n_startup_trials": 10, "n_ei_candidates": 24, "window": 250, "moves": 8, '
        '"random_draws": 200}'
    )


def test_tpe_draws_once_then_nearby_then_at_random():
    tpe = TPE(n_startup_trials=5, moves=3, random_draws=4)
    assert len(drawn(tpe, 0)) == 4
    assert len(drawn(tpe, 10)) == 1 + 3 + 4


def trials(accuracies):
    return [
        Trial(number=number, parameters={}, state="complete", accuracy=a, record={}, owner="")
        for number, a in enumerate(accuracies)
    ]


def test_a_short_search_is_seen_whole():
    some = trials(np.linspace(0.5, 0.1, 99))
    assert list(seen(some, 100)) == some


def test_of_a_long_search_are_seen_the_latest_the_best_and_some_of_the_others():
    generator = np.random.default_rng(0)
    many = trials(generator.random(1050))
    many[3] = dataclasses.replace(many[3], state="running", accuracy=None)
    found = {trial.number for trial in seen(many, 100)}
    assert found >= set(range(1000, 1050)) | {3}
    best = sorted(many, key=lambda trial: -(trial.accuracy or 0))[:NUM_GOOD]
    assert found >= {trial.number for trial in best}
    assert len(found) < 400
