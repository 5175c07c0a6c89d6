"""Candidates trained as tasks of a Ray cluster."""

import asyncio
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rexnet import runs
from rexnet.errors import UserError
from rexnet.runs.processes import ONE_THREAD
from rexnet.search.candidates.protocol import Pruned
from rexnet.search.executors.candidate import (
    CandidateResult,
    Ending,
    Evaluate,
    ShouldContinue,
    always,
    attempt,
    line,
    result_of,
)
from rexnet.spec import NetSpec

if TYPE_CHECKING:
    from rexnet.search.config import SearchConfig

MAX_RETRIES = 3

MAX_QUESTIONS = 2**16
"""More than tasks can have open at a time; Ray's default would let 1000 of them wait."""

KNOCK_SECONDS = 10


class RayExecutor:
    """Evaluates candidates as tasks of a Ray cluster; use it as a context manager.

    Ray starts a task anew, up to three times, when its process or its node dies. The nodes need
    rexnet in the version of this process, and no folder in common: evaluator and data go to them
    through Ray's object store, once a node, and the weights come back with the result.

    Args:
        evaluate: What to run.
        num_workers: How many tasks at once; None for as many as the cluster's nodes hold.
        folder: Where the candidates' weights go, as ``NUMBER.safetensors``.
        address: The cluster, such as ``ray://host:10001``. None for the one that the variable
            RAY_ADDRESS names or that ``ray start`` started on this machine; if there is none, one
            of this machine alone is started, and ended with the executor. If this process is
            connected to a cluster already, then it is that one, and it stays connected.
        num_gpus: GPUs a task asks for, such as 0.25; each asks for one CPU besides.

    Attributes:
        should_continue: Asked where ``evaluate`` tells an accuracy on the way.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        num_workers: int | None,
        folder: Path,
        *,
        address: str | None = None,
        num_gpus: float = 0.0,
    ) -> None:
        self._evaluate, self._num_workers, self._folder = evaluate, num_workers, folder
        self._address, self._num_gpus = address, num_gpus
        self.should_continue: ShouldContinue = always
        self._cleanup = ExitStack()
        self._room = 0
        # By the reference to what the task will return.
        self._tasks: dict[Any, _Task] = {}
        # Set once there is a connection: Ray's stand-ins for what is below in this file, and
        # references to the evaluator and to what the board will read out.
        self._train: Any
        self._board: Any
        self._evaluator: Any
        self._news: Any

    @classmethod
    def from_config(cls, config: "SearchConfig", evaluate: Evaluate, folder: Path) -> Self:
        """Return the executor of a resolved config."""
        return cls(
            evaluate,
            config.workers,
            folder,
            address=config.address,
            num_gpus=config.gpus_per_trial,
        )

    def __enter__(self) -> Self:
        """Connect to the cluster, or start one.

        Raises:
            UserError: Ray is not installed, the cluster cannot be reached, or none of its nodes
                has room for a task.
        """
        try:
            import ray
        except ImportError:
            raise UserError(
                "--executor ray needs Ray; install it with pip install 'rexnet[ray]'"
            ) from None
        with ExitStack() as cleanup:
            if not ray.is_initialized():
                _restore_sigterm(cleanup)
                _connect(self._address)
                cleanup.callback(ray.shutdown)
            self._room = self._find_room() if self._num_workers is None else self._num_workers
            self._train = ray.remote(
                num_cpus=1,
                num_gpus=self._num_gpus,
                max_retries=MAX_RETRIES,
                runtime_env={"env_vars": ONE_THREAD},
            )(_train)
            self._evaluator = ray.put(self._evaluate)
            board = ray.remote(_Board).options(
                # Should its node die, then it starts on another, and all calls are repeated.
                num_cpus=0,
                max_restarts=-1,
                max_task_retries=-1,
                max_concurrency=MAX_QUESTIONS,
            )
            self._board = board.remote()
            self._news = self._board.read.remote()
            cleanup.callback(self._cancel)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def _find_room(self) -> int:
        import ray

        room = 0
        for node in ray.nodes():
            if node["Alive"]:
                held = node["Resources"].get("CPU", 0)
                if self._num_gpus:
                    held = min(held, node["Resources"].get("GPU", 0) / self._num_gpus)
                room += int(held)
        if not room:
            raise UserError(
                f"no node of the Ray cluster has the 1 CPU and {self._num_gpus:g} GPUs that a "
                "candidate needs; add nodes, or give the number of workers if nodes come on demand"
            )
        return room

    def _cancel(self) -> None:
        import ray

        # Ray would start a cluster for a call without a connection.
        if ray.is_initialized():
            for reference in self._tasks:
                ray.cancel(reference, force=True)
            # The board ends with its last call and the last reference to it.
            ray.cancel(self._news)
            del self._board, self._news

    @property
    def has_room(self) -> bool:
        """Whether another candidate can start at once."""
        return len(self._tasks) < self._room

    @property
    def num_busy(self) -> int:
        """How many candidates are being evaluated."""
        return len(self._tasks)

    @property
    def progress(self) -> float:
        """How many candidates' worth of work is done in those being evaluated."""
        return sum(task.progress for task in self._tasks.values())

    def submit(self, number: int, spec: NetSpec) -> None:
        """Start to evaluate ``spec`` under ``number``; call only while ``has_room``."""
        reference = self._train.remote(self._evaluator, number, spec, self._board)
        self._tasks[reference] = _Task(number=number, started=time.monotonic())

    def weights(self, number: int) -> Path:
        """Return where the candidate's weights are written."""
        return self._folder / f"{number}.safetensors"

    def wait(self, seconds: float) -> list[CandidateResult]:
        """Return the candidate that finished, if one did, after ``seconds`` at the latest.

        Raises:
            UserError: A task met an error of the user's, such as a full disk, or the nodes cannot
                run tasks at all.
        """
        import ray

        try:
            # Results first: tasks that keep telling of progress must not hold them up.
            ready, _ = ray.wait([*self._tasks, self._news], timeout=seconds)
            if self._news in ready:
                self._hear()
                return []
            return [self._settle(reference) for reference in ready]
        except (ConnectionError, ray.exceptions.RayError) as error:
            raise UserError(f"the Ray cluster is lost: {line(error)}") from None

    def _hear(self) -> None:
        import ray

        shares, scores = ray.get(self._news)
        self._news = self._board.read.remote()
        for task in self._tasks.values():
            task.progress = shares.get(task.number, task.progress)
            if task.number in scores:
                goes_on = self._judged(task, *scores[task.number])
                self._board.answer.remote(task.number, goes_on)

    def _judged(self, task: "_Task", epoch: int, accuracy: float) -> bool:
        # A task that Ray starts anew comes by the same epochs again.
        if epoch not in task.judged:
            task.judged[epoch] = self.should_continue(task.number, epoch, accuracy)
        return task.judged[epoch]

    def _settle(self, reference: Any) -> CandidateResult:
        import ray

        task = self._tasks.pop(reference)
        ending: Ending
        try:
            ending, content = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            # A task catches what its candidate raises: this one did not come so far.
            raise UserError(f"a Ray task cannot start: {line(error.cause)}") from None
        except ray.exceptions.RayError as error:
            starved = isinstance(error, ray.exceptions.OutOfMemoryError)
            ending, content = ("killed" if starved else "died", line(error)), b""
        if ending[0] == "complete":
            runs.write_bytes(self.weights(task.number), content)
        return result_of(task.number, ending, time.monotonic() - task.started)


@dataclass(kw_only=True)
class _Task:
    number: int
    started: float
    progress: float = 0.0
    judged: dict[int, bool] = field(default_factory=dict)


class _Board:
    """Runs as an actor between the tasks and the executor."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._shares: dict[int, float] = {}
        self._scores: dict[int, tuple[int, float]] = {}
        self._answers: dict[int, asyncio.Future[bool]] = {}

    async def tell(self, number: int, share: float) -> None:
        """Note what share of its work a task has done."""
        self._shares[number] = share
        self._changed.set()

    async def ask(self, number: int, share: float, epoch: int, accuracy: float) -> bool:
        """Return, when the executor has answered, whether a task is to go on."""
        self._scores[number] = epoch, accuracy
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self.tell(number, share)
        return await self._answers[number]

    async def read(self) -> tuple[dict[int, float], dict[int, tuple[int, float]]]:
        """Return the shares and the questions since the last call, once there are any."""
        await self._changed.wait()
        self._changed.clear()
        shares, self._shares = self._shares, {}
        scores, self._scores = self._scores, {}
        return shares, scores

    async def answer(self, number: int, goes_on: bool) -> None:
        """Answer a question."""
        self._answers[number].set_result(goes_on)


def _train(evaluate: Evaluate, number: int, spec: NetSpec, board: Any) -> tuple[Ending, bytes]:
    """Run as a task: evaluate one candidate on whatever node this is.

    Returns:
        How it ended, and the content of its file of weights.
    """
    # The evaluator makes the folder once it has weights: a task that is killed leaves none behind.
    folder = Path(tempfile.gettempdir(), f"rexnet-{uuid.uuid4().hex}")
    weights = folder / f"{number}.safetensors"
    try:
        ending = attempt(evaluate, spec, weights, partial(_report, board, number))
        return ending, weights.read_bytes() if ending[0] == "complete" else b""
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _report(board: Any, number: int, share: float, *score: Any) -> None:
    import ray

    if not score:
        board.tell.remote(number, share)
    elif not ray.get(board.ask.remote(number, share, *score)):
        raise Pruned(*score)


def _connect(address: str | None) -> None:
    import ray

    named = address or os.environ.get("RAY_ADDRESS")
    try:
        if named:
            _knock(named)
        ray.init(
            named or _here(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        where = f" at {named}" if named else ""
        raise UserError(f"cannot connect to a Ray cluster{where}: {line(error)}") from None


def _here() -> str | None:
    """Return Ray's name for this machine's cluster, or for a new one if none runs."""
    folder = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir()))
    try:
        _knock((folder / "ray" / "ray_current_cluster").read_text(encoding="utf-8").strip())
    except OSError:
        # The file is missing, or was left behind by a cluster that crashed.
        return "local"
    return None


def _knock(address: str) -> None:
    """Raise OSError if nobody listens at the address; Ray would try for minutes, aloud."""
    scheme, _, place = address.rpartition("://")
    host, _, port = place.rpartition(":")
    if scheme in ("", "ray") and host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


def _restore_sigterm(cleanup: ExitStack) -> None:
    """Let ``cleanup`` undo that Ray makes SIGTERM an exception, which ends the tasks."""
    if threading.current_thread() is threading.main_thread():
        cleanup.callback(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM))
