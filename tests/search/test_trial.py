from typing import get_args

from rexnet.search.executors.candidate import Outcome
from rexnet.search.trial import ENDED, State


def test_what_becomes_of_a_candidate_is_how_a_trial_ends():
    assert set(get_args(Outcome)) == set(ENDED) < set(get_args(State))
