"""Several processes that train together, and what two trainings end with, for the tests of jobs."""

import os
import socket
import subprocess
import sys

import torch

from rexnet import runs
from rexnet.train import checkpoint


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


def processes(size, arguments):
    """Run a script in ``size`` processes that train together, and return their exit codes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(size):
        place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
        place |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"}
        started.append(
            subprocess.Popen([sys.executable, "-c", *arguments], env={**os.environ, **place})
        )
    return [process.wait() for process in started]
