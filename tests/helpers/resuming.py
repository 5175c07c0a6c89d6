"""Several processes that train together, and what two trainings end with, for the tests of jobs."""

import multiprocessing
import os
import socket

import torch

from rexnet import runs
from rexnet.train import checkpoint

FORKED = multiprocessing.get_context("forkserver")
"""Starts processes that have torch from the first: to import it anew takes each some seconds."""
FORKED.set_forkserver_preload(["rexnet.train.job", "rexnet.detect.job", "timm", "torchvision"])


def end_of(folder):
    """Return the weights, and the lines of metrics without the wall time, of a training."""
    rows = runs.read_jsonl(folder / "metrics.jsonl")
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
    return checkpoint.load(folder / "last.pt")["model"], rows


def assert_same_end(one, other):
    (weights, rows), (others, other_rows) = end_of(one), end_of(other)
    assert rows == other_rows
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        assert torch.equal(tensor, others[name]), name


def apart(train, *arguments):
    """Train in a process of its own and return its exit code."""
    return _exit_codes(train, arguments, [{}])[0]


def together(size, train, *arguments):
    """Train in ``size`` processes, and return their exit codes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]
    return _exit_codes(train, arguments, [place | rank for rank in ranks])


def _exit_codes(train, arguments, environments):
    started = [
        FORKED.Process(target=_run, args=(train, arguments, environment))
        for environment in environments
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
    return [process.exitcode for process in started]


def _run(train, arguments, environment):
    os.environ.update(environment)
    # The number of threads decides in which order numbers are added up.
    torch.set_num_threads(1)
    train(*arguments)
