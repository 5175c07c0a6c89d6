"""The rank study against a loop of torch.linalg.svdvals in float32 over the same random layers.

A sample of the layers of Figure 1: every panel, function and ratio of widths. Ours is `rexnet study
rank`: a process a core, one thread each, counts by inertia. The loop is one process with the
threads of torch. Both make the layers anew and take turns. Run:

    python benchmarks/rank_counting.py

About 3 minutes on 2 cores.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from multiprocessing.pool import Pool

import numpy as np
import torch

from rexnet.runs.processes import ONE_THREAD
from rexnet.studies.rank.config import RATIOS, RankStudy
from rexnet.studies.rank.layers import output
from rexnet.studies.rank.points import Point, drawn, rank

Task = tuple[Point, int]


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", type=int, default=4, help="Of each kind (default: 4)")
    parser.add_argument("--rounds", type=int, default=5, help="Turns of each (default: 5)")
    arguments = parser.parse_args()
    tasks = [
        (Point.of(config, architecture, ratio), number)
        for config in (RankStudy(),)
        for architecture in config.architectures
        for ratio in RATIOS
        for number in range(arguments.networks)
    ]
    # Libraries read it when they are loaded; those of this process are.
    os.environ.update(ONE_THREAD)
    seconds: dict[str, list[float]] = {"ours": [], "loop": []}
    with multiprocessing.get_context("spawn").Pool() as pool:
        pool.map(ranks, tasks[:8])
        for _ in range(arguments.rounds):
            start = time.perf_counter()
            ours = in_processes(pool, tasks)
            middle = time.perf_counter()
            theirs = [loop(task) for task in tasks]
            seconds["ours"].append(middle - start)
            seconds["loop"].append(time.perf_counter() - middle)
    ratios = sorted(b / a for a, b in zip(seconds["ours"], seconds["loop"], strict=True))
    pairs = [pair for both in zip(ours, theirs, strict=True) for pair in zip(*both, strict=True)]
    result = {
        "benchmark": "rank_counting",
        "reference": "a loop of torch.linalg.svdvals in float32",
        "ratio": round(statistics.median(ratios), 2),
        "spread": [round(ratios[0], 2), round(ratios[-1], 2)],
        "matrices": len(pairs),
        "counts_that_differ": sum(a != b for a, b in pairs),
        "largest_difference": max(abs(a - b) for a, b in pairs),
        "seconds": {name: round(statistics.median(found), 2) for name, found in seconds.items()},
        "processes": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
    }
    print(json.dumps(result))


def in_processes(pool: Pool, tasks: list[Task]) -> list[list[int]]:
    """Return the ranks of all tasks, counted in processes."""
    return pool.map(ranks, tasks, chunksize=2)


def ranks(task: Task) -> list[int]:
    """Return the rank of a random layer with each function, as the study counts it."""
    point, number = task
    return [rank(point, function, number) for function in point.functions]


def loop(task: Task) -> list[int]:
    """Return the same from singular values."""
    point, number = task
    counts = []
    for function in point.functions:
        width_in, width, generator = drawn(point, number)
        y = output(point.architecture, function, width_in, width, point.choices, generator)
        values = torch.linalg.svdvals(torch.from_numpy(np.ascontiguousarray(y)))
        counts.append(int((values > point.choices.tolerance * values[0]).sum()))
    return counts


if __name__ == "__main__":
    main()
