"""What every executor has to do: the local one, and Ray on a real node."""

import os
from functools import partial

import pytest
from executing import assert_ends_its_work, results_of, specs
from toys import HalfWay, Scores, Toy, score

from rexnet import UserError
from rexnet.search.config import SearchConfig
from rexnet.search.executors import EXECUTORS


@pytest.fixture(params=EXECUTORS)
def make(request):
    """Return what makes an executor, as the search does, of so many workers."""
    if request.param == "ray":
        request.getfixturevalue("cluster")

    def made(evaluate, folder, workers=2):
        config = SearchConfig(executor=request.param, workers=workers)
        return EXECUTORS[request.param](config, evaluate, folder)

    return made


def test_results_come_back_under_their_numbers_with_weights_and_time(make, tmp_path):
    candidates = dict(zip((3, 7, 5, 4), specs(4), strict=True))
    with make(Toy(repeats=2), tmp_path / "candidates") as executor:
        results = results_of(executor, candidates.items())
        assert sorted(results) == [3, 4, 5, 7]
        for number, spec in candidates.items():
            result = results[number]
            assert (result.outcome, result.reason) == ("complete", "")
            first, second = result.evaluation.accuracies
            assert (first + second) / 2 == pytest.approx(score(spec))
            assert result.seconds > 0
            assert executor.weights(number) == tmp_path / "candidates" / f"{number}.safetensors"
            assert executor.weights(number).read_text(encoding="utf-8") == spec.spec_id
    assert len(list((tmp_path / "candidates").iterdir())) == 4


def test_there_is_room_for_one_candidate_a_worker(make, tmp_path):
    with make(Toy(), tmp_path) as executor:
        assert (executor.has_room, executor.num_busy, executor.progress) == (True, 0, 0.0)
        for number, spec in enumerate(specs(2)):
            assert executor.has_room
            executor.submit(number, spec)
        assert not executor.has_room
        assert executor.num_busy == 2
        assert len(results_of(executor, [])) == 2
        assert (executor.has_room, executor.num_busy, executor.progress) == (True, 0, 0.0)
        assert executor.wait(0) == []


def test_progress_is_told_while_a_candidate_is_trained(make, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with make(HalfWay(fifo=fifo), tmp_path, workers=1) as executor:
        executor.submit(0, specs(1)[0])
        assert executor.wait(3600) == []
        assert executor.progress == 0.5
        fifo.write_bytes(b"go")
        assert results_of(executor, [])[0].outcome == "complete"
        assert executor.progress == 0.0


def test_the_search_is_asked_after_every_epoch_and_ends_a_training(make, tmp_path):
    asked = []

    def should_continue(number, epoch, accuracy):
        asked.append((number, epoch, accuracy))
        return (number, epoch) != (1, 2)

    with make(Scores(), tmp_path) as executor:
        executor.should_continue = should_continue
        results = results_of(executor, enumerate(specs(2)))
        assert not executor.weights(1).exists()
    assert (results[0].outcome, results[1].outcome) == ("complete", "pruned")
    assert results[1].reason == "pruned after epoch 2 at 1.2500"
    assert results[1].evaluation is None
    assert sorted(asked) == [
        (0, 1, 0.125),
        (0, 2, 0.25),
        (0, 3, 0.375),
        (1, 1, 1.125),
        (1, 2, 1.25),
    ]


def test_candidates_that_diverge_or_fail_are_told_apart_with_their_reason(make, tmp_path):
    with make(Toy(diverges=(0,), raises=(2,)), tmp_path, workers=1) as executor:
        results = results_of(executor, enumerate(specs(4)))
    outcomes = {number: result.outcome for number, result in results.items()}
    assert outcomes == {0: "diverged", 1: "complete", 2: "died", 3: "complete"}
    assert results[0].reason == "loss nan at step 3 of 7"
    assert results[2].reason == "ZeroDivisionError: nothing to divide by"
    assert results[0].evaluation is results[2].evaluation is None


def test_an_error_of_the_users_is_raised_in_the_leader(make, tmp_path):
    with (
        make(Toy(user_error=(0,)), tmp_path, workers=1) as executor,
        pytest.raises(UserError, match=r"^cannot write .*0\.safetensors: No space left"),
    ):
        results_of(executor, enumerate(specs(1)))


def test_leaving_the_executor_ends_what_it_started(make, tmp_path):
    assert_ends_its_work(partial(make, folder=tmp_path, workers=1), tmp_path / "fifo")
