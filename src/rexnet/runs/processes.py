"""Child processes that compute on one thread and end with their parent."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    # glibc would hand large buffers back after every step, a third of the time goes to page faults.
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
}
"""What a child needs in its environment before Python starts."""


@dataclass(frozen=True)
class Child:
    """A process, and the parent's end of the connection to it."""

    process: BaseProcess
    connection: "Connection[Any, Any]"


def start(serve: "Callable[[Connection[Any, Any]], None]", *, daemon: bool = True) -> Child:
    """Start ``serve`` in a new process, which is handed its end of a connection.

    The process ends with this one, however this one ends, and takes no notice of Ctrl-C.

    Args:
        serve: What to run; it is pickled.
        daemon: Whether the process is killed when this one ends, and may have none of its own.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(serve, theirs), daemon=daemon)
    # Ctrl-C reaches the whole process group, a child that is still starting too, and the parent
    # decides what becomes of its children. A signal that is ignored stays so in a new process.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with _environment(ONE_THREAD):
            process.start()
    finally:
        signal.signal(signal.SIGINT, handler)
    # Only the child may hold its end, or its death would not close the pipe.
    theirs.close()
    return Child(process, ours)


def _serve(serve: "Callable[[Connection[Any, Any]], None]", connection: Any) -> None:
    end_with_parent()
    serve(connection)


def end_with_parent() -> None:
    """Let this child process end when its parent has ended, however that was."""
    threading.Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
