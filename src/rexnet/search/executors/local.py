"""Candidates trained in worker processes, one thread each."""

import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rexnet.runs import processes
from rexnet.search.candidates.protocol import Pruned
from rexnet.search.executors.candidate import (
    CandidateResult,
    Ending,
    Evaluate,
    ShouldContinue,
    always,
    attempt,
    result_of,
)
from rexnet.spec import NetSpec

if TYPE_CHECKING:
    from rexnet.search.config import SearchConfig


class LocalExecutor:
    """Evaluates candidates in processes of this machine; use it as a context manager.

    A process that dies costs its candidate alone, and is replaced when the next one is submitted.
    The processes end with the one that made them, however that ends.

    Args:
        evaluate: What to run; it is pickled once a process.
        num_workers: How many processes.
        folder: Where the candidates' weights go, as ``NUMBER.safetensors``.

    Attributes:
        should_continue: Asked where ``evaluate`` tells an accuracy on the way.
    """

    def __init__(self, evaluate: Evaluate, num_workers: int, folder: Path) -> None:
        self._evaluate, self._num_workers, self._folder = evaluate, num_workers, folder
        self.should_continue: ShouldContinue = always
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []

    @classmethod
    def from_config(cls, config: "SearchConfig", evaluate: Evaluate, folder: Path) -> Self:
        """Return the executor of a resolved config."""
        return cls(evaluate, config.workers or 1, folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._idle + self._busy:
            worker.process.kill()
            worker.process.join()
            worker.connection.close()

    @property
    def has_room(self) -> bool:
        """Whether another candidate can start at once."""
        return len(self._busy) < self._num_workers

    @property
    def num_busy(self) -> int:
        """How many candidates are being evaluated."""
        return len(self._busy)

    @property
    def progress(self) -> float:
        """How many candidates' worth of work is done in those being evaluated."""
        return sum(worker.progress for worker in self._busy)

    def submit(self, number: int, spec: NetSpec) -> None:
        """Start to evaluate ``spec`` under ``number``; call only while ``has_room``."""
        worker = self._idle_worker() or _start(self._evaluate)
        worker.number, worker.started, worker.progress = number, time.monotonic(), 0.0
        self._busy.append(worker)
        # A process that has just died is met by wait().
        with suppress(OSError):
            worker.connection.send((spec, self.weights(number)))

    def _idle_worker(self) -> "_Worker | None":
        while self._idle:
            worker = self._idle.pop()
            if worker.process.is_alive():
                return worker
            worker.connection.close()
        return None

    def weights(self, number: int) -> Path:
        """Return where the candidate's weights are written."""
        return self._folder / f"{number}.safetensors"

    def wait(self, seconds: float) -> list[CandidateResult]:
        """Return the candidates that finished, after ``seconds`` at the latest.

        Raises:
            UserError: A worker met an error of the user's, such as a full disk.
        """
        by_handle: dict[Any, _Worker] = {}
        for worker in self._busy:
            by_handle[worker.connection] = by_handle[worker.process.sentinel] = worker
        ready = wait(list(by_handle), timeout=seconds)
        results = []
        for worker in {id(w): w for w in (by_handle[handle] for handle in ready)}.values():
            result = self._receive(worker)
            if result is not None:
                results.append(result)
        return results

    def _receive(self, worker: "_Worker") -> CandidateResult | None:
        try:
            kind, value = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join()
            worker.connection.close()
            self._busy.remove(worker)
            return worker.result(_ending(worker.process.exitcode))
        if kind == "progress":
            worker.progress, *score = value
            if score:
                # A process that has just died is met by the next wait().
                with suppress(OSError):
                    worker.connection.send(self.should_continue(worker.number, *score))
            return None
        self._busy.remove(worker)
        self._idle.append(worker)
        return worker.result((kind, value))


@dataclass(kw_only=True)
class _Worker:
    process: BaseProcess
    connection: "Connection[Any, Any]"
    number: int = field(default=-1)
    started: float = field(default=0.0)
    progress: float = field(default=0.0)

    def result(self, ending: Ending) -> CandidateResult:
        return result_of(self.number, ending, time.monotonic() - self.started)


def _ending(exit_code: int | None) -> Ending:
    """Return what became of the candidate of a process that ended."""
    if exit_code in (-signal.SIGKILL, -signal.SIGTERM):
        return "killed", f"exit code {exit_code}: killed from outside, maybe for want of memory"
    return "died", f"exit code {exit_code}"


def _start(evaluate: Evaluate) -> _Worker:
    child = processes.start(partial(_serve, evaluate))
    return _Worker(process=child.process, connection=child.connection)


def _serve(evaluate: Evaluate, connection: "Connection[Any, Any]") -> None:
    """Run in a worker: evaluate what comes down the connection until it closes."""
    while True:
        try:
            spec, weights = connection.recv()
        except EOFError:
            return
        connection.send(attempt(evaluate, spec, weights, partial(_report, connection)))


def _report(connection: "Connection[Any, Any]", share: float, *score: Any) -> None:
    connection.send(("progress", (share, *score)))
    if score and not connection.recv():
        raise Pruned(*score)
