import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from executing import results_of, specs
from toys import Environment, InterruptedAtBirth, Pid, Toy

from rexnet.search.executors.local import LocalExecutor

HELPERS = Path(__file__).parents[2] / "helpers"

LEAD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import toys
from rexnet.search.executors.local import LocalExecutor
with LocalExecutor(toys.Holds(fifo=Path(sys.argv[2])), 2, Path(sys.argv[3])) as executor:
    for number in range(2):
        executor.submit(number, toys.SPACE.template)
    while True:
        executor.wait(60)
"""


def evaluated(folder, evaluate, num_candidates=1, num_workers=1):
    with LocalExecutor(evaluate, num_workers, folder) as executor:
        return results_of(executor, enumerate(specs(num_candidates)))


def test_a_worker_is_used_again(tmp_path):
    results = evaluated(tmp_path, Pid(), 3)
    assert len({result.reason for result in results.values()}) == 1
    assert results[0].reason != f"LookupError: {os.getpid()}"


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_worker_that_is_killed_costs_its_candidate_alone(tmp_path, num_workers):
    results = evaluated(tmp_path, Toy(kills_itself=(1,)), 4, num_workers)
    outcomes = {number: result.outcome for number, result in results.items()}
    assert outcomes == {0: "complete", 1: "killed", 2: "complete", 3: "complete"}
    assert results[1].evaluation is None
    assert results[1].reason.startswith("exit code -9: killed from outside")


def test_a_worker_that_dies_between_two_candidates_costs_neither(tmp_path):
    with LocalExecutor(Toy(), 1, tmp_path) as executor:
        assert results_of(executor, [(0, specs(1)[0])])[0].outcome == "complete"
        (worker,) = executor._idle
        worker.process.kill()
        worker.process.join()
        assert results_of(executor, [(1, specs(1)[0])])[1].outcome == "complete"


@pytest.mark.parametrize("before", [None, "7"])
def test_workers_are_told_to_use_one_thread_and_the_leaders_environment_stays(
    tmp_path, monkeypatch, before
):
    if before is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", before)
    environment = dict(os.environ)
    results = evaluated(tmp_path, Environment(variable="OMP_NUM_THREADS"))
    assert results[0].reason == "LookupError: 1"
    assert dict(os.environ) == environment


def test_an_evaluator_that_cannot_be_sent_leaves_the_environment_as_it_was(tmp_path):
    environment = dict(os.environ)
    with pytest.raises((AttributeError, TypeError), match=r"pickle|local object"):
        evaluated(tmp_path, lambda spec, weights, on_progress: None)
    assert dict(os.environ) == environment


def test_workers_end_with_a_leader_that_is_killed(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    arguments = [sys.executable, "-c", LEAD, str(HELPERS), str(fifo), str(tmp_path)]
    with subprocess.Popen(arguments) as leader:
        with fifo.open("rb", buffering=0) as pipe:
            # Each of the two workers says that it is up.
            said = b""
            while said != b"upup":
                said += pipe.read(1)
            leader.kill()
            # The end of the file: nobody holds the pipe any more.
            assert pipe.read() == b""
        assert leader.wait() == -signal.SIGKILL


def test_ctrl_c_does_not_reach_a_worker_that_is_starting(tmp_path):
    results = evaluated(tmp_path, InterruptedAtBirth())
    assert results[0].reason == "LookupError: the worker started in spite of all"
