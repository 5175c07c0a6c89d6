"""Several trainings of a study, some at a time, each in a process of its own."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from rexnet.errors import UserError
from rexnet.runs import processes
from rexnet.runs.progress import Estimate, OnProgress, Progress, time_left
from rexnet.train.recipe import Device

REPORT_SECONDS = 1.0

Job = Callable[[Any, OnProgress], Any]
"""Trains by a config, as the ``run`` of the training jobs does."""


def trainings_at_a_time(given: int | None, device: Device) -> int:
    """Return ``given``, or one a core on a CPU and one on a GPU."""
    if given is not None:
        return given
    if device == "cpu":
        return os.cpu_count() or 1
    import torch

    return 1 if device == "cuda" or torch.cuda.is_available() else os.cpu_count() or 1


@dataclass(kw_only=True)
class _Training:
    """A training in a child process, and what part of it is done."""

    child: processes.Child
    out: str
    share: float = 0.0


def train_all(
    job: Job,
    configs: Sequence[Any],
    parallel: int,
    on_progress: OnProgress,
    what: str = "trainings",
) -> None:
    """Train by every config, those left out whose run folder has a result.

    Args:
        job: What trains.
        configs: What is trained; each has its run folder in ``out``.
        parallel: Trainings at a time.
        on_progress: Called whenever a training tells how far it is.
        what: What is counted, in words.

    Raises:
        UserError: A training failed; those under way are stopped and can be gone on with.
    """
    waiting = [config for config in configs if not (Path(config.out) / "result.json").exists()]
    done = len(configs) - len(waiting)
    done_before, estimate = done, Estimate()
    running: list[_Training] = []
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                config = waiting.pop(0)
                child = processes.start(partial(_train, job, config), daemon=False)
                running.append(_Training(child=child, out=config.out))
            ready = wait([training.child.connection for training in running])
            for training in [t for t in running if t.child.connection in ready]:
                if _heard(training):
                    running.remove(training)
                    done += 1
            share = (done + sum(training.share for training in running)) / len(configs)
            left = estimate.seconds_left(share - done_before / len(configs), 1 - share)
            words = f"{done}/{len(configs)} {what}, {time_left(left)}"
            on_progress(Progress(share=share, words=words, seconds_left=left))
    finally:
        for training in running:
            training.child.process.kill()
            training.child.process.join()


def _heard(training: _Training) -> bool:
    """Take what a training tells, and return whether it has ended.

    Raises:
        UserError: It failed.
    """
    try:
        kind, value = training.child.connection.recv()
    except (EOFError, ConnectionResetError):
        training.child.process.join()
        kind, value = "error", f"its process died, exit code {training.child.process.exitcode}"
    if kind == "error":
        raise UserError(f"the training in {training.out} failed: {value}")
    if kind == "share":
        training.share = value
        return False
    training.child.process.join()
    return True


def _train(job: Job, config: Any, connection: Any) -> None:
    """Run in a child: train, and tell how far it is."""
    last = 0.0

    def show(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last > REPORT_SECONDS:
            last = time.monotonic()
            connection.send(("share", progress.share))

    try:
        job(config, show)
    except UserError as error:
        connection.send(("error", str(error)))
    else:
        connection.send(("done", None))
