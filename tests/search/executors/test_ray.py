import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray
from executing import results_of, specs
from ray import cloudpickle
from toys import Environment, Toy

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


@pytest.fixture(scope="module", autouse=True)
def by_value():
    """Let the nodes do without this module."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


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

    def should_continue(*question):
        asked.append(question)
        return True

    with RayExecutor(Mortal(pids=pids, num_deaths=1), 1, tmp_path) as executor:
        executor.should_continue = should_continue
        results = results_of(executor, [(0, specs(1)[0])])
    assert results[0].outcome == "complete"
    assert len(set(lines(pids))) == 2
    # The second process came by the first epoch as well, of which it was told.
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
