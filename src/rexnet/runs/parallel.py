"""Several jobs, some at a time, each in a process of its own."""

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

REPORT_SECONDS = 1.0

Job = Callable[[Any, OnProgress], Any]
"""Does what a config says, whose ``out`` is its run folder, and leaves ``result.json`` there."""


def at_a_time(given: int | None, device: str) -> int:
    """Return ``given``, or one a core on a CPU and one on a GPU; auto is a GPU if there is one."""
    if given is not None:
        return given
    if device == "cpu":
        return os.cpu_count() or 1
    import torch

    return 1 if device == "cuda" or torch.cuda.is_available() else os.cpu_count() or 1


@dataclass(kw_only=True)
class _Running:
    """A job in a child process, and what part of it is done."""

    child: processes.Child
    out: str
    share: float = 0.0


def run_all(
    job: Job,
    configs: Sequence[Any],
    parallel: int,
    on_progress: OnProgress,
    *,
    name: str,
    done_words: str,
) -> None:
    """Do a job by every config, those left out whose run folder has a result.

    Args:
        job: What is done.
        configs: By what; each has its run folder in ``out``.
        parallel: Jobs at a time.
        on_progress: Called whenever one of them tells how far it is.
        name: What one of them is called.
        done_words: What those that are done are called.

    Raises:
        UserError: One of them failed; those under way are stopped and can be gone on with.
    """
    waiting = [config for config in configs if not (Path(config.out) / "result.json").exists()]
    done = len(configs) - len(waiting)
    done_before, estimate = done, Estimate()
    running: list[_Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                config = waiting.pop(0)
                child = processes.start(partial(_serve, job, config), daemon=False)
                running.append(_Running(child=child, out=config.out))
            ready = wait([one.child.connection for one in running])
            for one in [one for one in running if one.child.connection in ready]:
                if _heard(one, name):
                    running.remove(one)
                    done += 1
            share = (done + sum(one.share for one in running)) / len(configs)
            left = estimate.seconds_left(share - done_before / len(configs), 1 - share)
            words = f"{done}/{len(configs)} {done_words}, {time_left(left)}"
            on_progress(Progress(share=share, words=words, seconds_left=left))
    finally:
        for one in running:
            one.child.process.kill()
            one.child.process.join()


def _heard(one: _Running, name: str) -> bool:
    """Take what a job tells, and return whether it has ended.

    Raises:
        UserError: It failed.
    """
    try:
        kind, value = one.child.connection.recv()
    except (EOFError, ConnectionResetError):
        one.child.process.join()
        kind, value = "error", f"its process died, exit code {one.child.process.exitcode}"
    if kind == "error":
        raise UserError(f"the {name} in {one.out} failed: {value}")
    if kind == "share":
        one.share = value
        return False
    one.child.process.join()
    return True


def _serve(job: Job, config: Any, connection: Any) -> None:
    """Run in a child: do the job, and tell how far it is."""
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
