import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
import ray
import toys
from ray import cloudpickle
from toys import Environment, Toy, assert_ends_its_work, results_of, score, specs

from rexnet import UserError
from rexnet.runs.processes import ONE_THREAD
from rexnet.search.executors.ray import MAX_RETRIES, RayExecutor

HELPERS = Path(__file__).parents[2] / "helpers"

LEAD = """
import signal
import sys
from pathlib import Path
import ray
sys.path.insert(0, sys.argv[1])
import toys
from rexnet.search.executors.ray import RayExecutor
ray.cloudpickle.register_pickle_by_value(toys)
before = signal.getsignal(signal.SIGTERM)
with RayExecutor(toys.Holds(fifo=Path(sys.argv[2])), 1, Path(sys.argv[3])) as executor:
    executor.submit(0, toys.SPACE.template)
    with open(sys.argv[2], "rb", buffering=0) as pipe:
        assert pipe.read(2) == b"up"
assert not ray.is_initialized()
assert signal.getsignal(signal.SIGTERM) == before
"""


@dataclass(frozen=True, kw_only=True)
class Mortal:
    """Notes its process in a file, and kills that process unless so many have died already."""

    pids: Path
    num_deaths: int

    def __call__(self, spec, weights, on_progress):
        with self.pids.open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
        on_progress(0.25, 1, 0.125)
        if len(lines(self.pids)) <= self.num_deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        return Toy()(spec, weights, on_progress)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Tells of a made-up accuracy after each of three epochs."""

    def __call__(self, spec, weights, on_progress):
        for epoch in range(1, 4):
            on_progress(epoch / 4, epoch, int(weights.stem) + epoch / 8)
        return Toy()(spec, weights, on_progress)


@dataclass(frozen=True, kw_only=True)
class HalfWay:
    """Is half done until something is written to a named pipe."""

    fifo: Path

    def __call__(self, spec, weights, on_progress):
        on_progress(0.5)
        self.fifo.read_bytes()
        return Toy()(spec, weights, lambda share: None)


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Notes in a file whenever it is pickled."""

    pickled: Path

    def __getstate__(self):
        with self.pickled.open("a", encoding="utf-8") as file:
            file.write("once\n")
        return self.__dict__

    def __call__(self, spec, weights, on_progress):
        return Toy()(spec, weights, on_progress)


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """Cannot be unpickled, like a class that the nodes have no module of."""

    def __reduce__(self):
        return _missing, ()

    def __call__(self, spec, weights, on_progress):
        raise AssertionError("it was unpickled in spite of all")


def _missing():
    raise ModuleNotFoundError("No module named 'nowhere'")


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def surroundings():
    """Keep Ray's files out of the home folder, and clusters of this machine out of the tests."""
    # Ray's sockets need a short path, and it adds to the environment itself.
    with (
        tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder,
        mock.patch.dict(os.environ, RAY_TMPDIR=folder, RAY_AUTH_TOKEN=uuid.uuid4().hex),
    ):
        os.environ.pop("RAY_ADDRESS", None)
        yield


@pytest.fixture(scope="module")
def cluster(surroundings):
    """Connect this process to a cluster of one node, which has two CPUs and no GPU."""
    handler = signal.getsignal(signal.SIGTERM)
    # The nodes need not have the tests.
    modules = (toys, sys.modules[__name__])
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    ray.init(
        "local",
        num_cpus=2,
        num_gpus=0,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield
    ray.shutdown()
    for module in modules:
        cloudpickle.unregister_pickle_by_value(module)
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def unconnected(surroundings, monkeypatch):
    """Let the executor believe that this process has no connection yet."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


@pytest.fixture
def closed_port():
    """Return a port at which nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


def evaluated(folder, evaluate, num_candidates=1, num_workers=None):
    with RayExecutor(evaluate, num_workers, folder) as executor:
        return results_of(executor, enumerate(specs(num_candidates)))


@pytest.mark.usefixtures("cluster")
def test_results_come_back_under_their_numbers_with_weights_and_time(tmp_path):
    candidates = dict(zip((3, 7, 5, 4), specs(4), strict=True))
    with RayExecutor(Toy(repeats=2), None, tmp_path / "candidates") as executor:
        results = results_of(executor, candidates.items())
        assert sorted(results) == [3, 4, 5, 7]
        for number, spec in candidates.items():
            result = results[number]
            assert (result.outcome, result.reason) == ("complete", "")
            first, second = result.evaluation.accuracies
            assert (first + second) / 2 == pytest.approx(score(spec))
            assert result.seconds > 0
            weights = tmp_path / "candidates" / f"{number}.safetensors"
            assert executor.weights(number) == weights
            assert weights.read_text(encoding="utf-8") == spec.spec_id
    assert len(list((tmp_path / "candidates").iterdir())) == 4
    assert ray.is_initialized()


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(("num_workers", "room"), [(None, 2), (1, 1), (3, 3)])
def test_there_is_room_for_as_many_candidates_as_workers_or_cpus(tmp_path, num_workers, room):
    with RayExecutor(Toy(), num_workers, tmp_path) as executor:
        assert (executor.num_busy, executor.progress) == (0, 0.0)
        for number, spec in enumerate(specs(room)):
            assert executor.has_room
            executor.submit(number, spec)
        assert not executor.has_room
        assert executor.num_busy == room
        assert len(results_of(executor, [])) == room
        assert (executor.has_room, executor.num_busy, executor.progress) == (True, 0, 0.0)
        assert executor.wait(0) == []


@pytest.mark.usefixtures("cluster")
def test_progress_is_told_while_a_candidate_is_trained(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with RayExecutor(HalfWay(fifo=fifo), 1, tmp_path) as executor:
        executor.submit(0, specs(1)[0])
        assert executor.wait(3600) == []
        assert executor.progress == 0.5
        fifo.write_bytes(b"go")
        assert results_of(executor, [])[0].outcome == "complete"
        assert executor.progress == 0.0


@pytest.mark.usefixtures("cluster")
def test_the_judge_is_asked_after_every_epoch_and_ends_a_training(tmp_path):
    asked = []

    def judge(number, epoch, accuracy):
        asked.append((number, epoch, accuracy))
        return (number, epoch) != (1, 2)

    with RayExecutor(Scores(), None, tmp_path) as executor:
        executor.judge = judge
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


@pytest.mark.usefixtures("cluster")
def test_candidates_that_diverge_or_fail_are_told_apart_with_their_reason(tmp_path):
    results = evaluated(tmp_path, Toy(diverges=(0,), raises=(2,)), 4)
    outcomes = {number: result.outcome for number, result in results.items()}
    assert outcomes == {0: "diverged", 1: "complete", 2: "died", 3: "complete"}
    assert results[0].reason == "loss nan at step 3 of 7"
    assert results[2].reason == "ZeroDivisionError: nothing to divide by"
    assert results[0].evaluation is results[2].evaluation is None


@pytest.mark.usefixtures("cluster")
def test_an_error_of_the_users_in_a_task_is_raised_in_the_leader(tmp_path):
    with pytest.raises(UserError, match=r"^cannot write .*0\.safetensors: No space left"):
        evaluated(tmp_path, Toy(user_error=(0,)))


@pytest.mark.usefixtures("cluster")
def test_nodes_that_cannot_run_a_task_are_an_error_of_the_users(tmp_path):
    with pytest.raises(UserError, match=r"^a Ray task cannot start: .*No module named") as error:
        evaluated(tmp_path, Unreadable())
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(("name", "value"), ONE_THREAD.items())
def test_tasks_run_in_the_environment_of_workers(tmp_path, name, value):
    assert evaluated(tmp_path, Environment(variable=name))[0].reason == f"LookupError: {value}"


@pytest.mark.usefixtures("cluster")
def test_a_task_whose_process_is_killed_is_repeated(tmp_path):
    pids, asked = tmp_path / "pids", []

    def judge(*question):
        asked.append(question)
        return True

    with RayExecutor(Mortal(pids=pids, num_deaths=1), 1, tmp_path) as executor:
        executor.judge = judge
        results = results_of(executor, [(0, specs(1)[0])])
    assert results[0].outcome == "complete"
    assert len(set(lines(pids))) == 2
    # The second process came by the first epoch as well, of which the judge knew.
    assert asked == [(0, 1, 0.125)]


@pytest.mark.usefixtures("cluster")
def test_a_candidate_that_kills_every_process_dies_alone(tmp_path):
    pids = tmp_path / "pids"
    results = evaluated(tmp_path, Mortal(pids=pids, num_deaths=MAX_RETRIES + 1), 1)
    assert results[0].outcome == "died"
    assert results[0].evaluation is None
    assert results[0].reason.startswith("WorkerCrashedError: ")
    assert "\n" not in results[0].reason
    assert len(set(lines(pids))) == MAX_RETRIES + 1


@pytest.mark.usefixtures("cluster")
def test_the_evaluator_is_sent_to_the_object_store_once(tmp_path):
    results = evaluated(tmp_path, Counted(pickled=tmp_path / "pickled"), 4)
    assert len(results) == 4
    assert lines(tmp_path / "pickled") == ["once"]


@pytest.mark.usefixtures("cluster")
def test_leaving_the_executor_ends_its_tasks(tmp_path):
    assert_ends_its_work(partial(RayExecutor, num_workers=1, folder=tmp_path), tmp_path / "fifo")


@pytest.mark.usefixtures("cluster")
def test_a_cluster_without_room_for_a_candidate_is_refused(tmp_path):
    with (
        pytest.raises(UserError, match=r"^no node .* has the 1 CPU and 0\.5 GPUs that"),
        RayExecutor(Toy(), None, tmp_path, num_gpus=0.5),
    ):
        pass
    assert ray.is_initialized()


@pytest.mark.usefixtures("unconnected")
@pytest.mark.parametrize("scheme", ["", "ray://"])
@pytest.mark.parametrize("variable", [False, True])
def test_an_address_where_no_cluster_is_gives_one_line_at_once(
    tmp_path, monkeypatch, closed_port, scheme, variable
):
    address = f"{scheme}127.0.0.1:{closed_port}"
    monkeypatch.setenv("RAY_ADDRESS", address if variable else "elsewhere:1")
    expected = f"^cannot connect to a Ray cluster at {address}: ConnectionRefusedError: .*$"
    with (
        pytest.raises(UserError, match=expected),
        RayExecutor(Toy(), 1, tmp_path, address=None if variable else address),
    ):
        pass


@pytest.mark.usefixtures("unconnected")
def test_an_address_that_is_none_gives_one_line(tmp_path):
    with (
        pytest.raises(UserError, match=r"^cannot connect to a Ray cluster at nonsense: .*$"),
        RayExecutor(Toy(), 1, tmp_path, address="nonsense"),
    ):
        pass


@pytest.mark.usefixtures("unconnected")
def test_ray_that_is_not_installed_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(UserError, match=r"^--executor ray needs Ray; .* 'rexnet\[ray\]'$"),
        RayExecutor(Toy(), 1, tmp_path),
    ):
        pass


@pytest.mark.usefixtures("surroundings")
def test_without_a_cluster_one_is_started_and_ended_without_a_word(tmp_path, closed_port):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # A cluster that crashed leaves its address behind.
    folder = Path(os.environ["RAY_TMPDIR"], "ray")
    folder.mkdir(exist_ok=True)
    left_behind = folder / "ray_current_cluster"
    left_behind.write_text(f"127.0.0.1:{closed_port}", encoding="utf-8")
    arguments = [sys.executable, "-c", LEAD, str(HELPERS), str(fifo), str(tmp_path)]
    done = subprocess.run(arguments, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
