"""How far predictions of latency are off on networks that were held out: a line a network.

Networks of the search space of a row of Table 3 are measured anew, a predictor is fitted to most of
them, and the other nine are set beside what it predicts. Lines of other runtimes and threads in the
file stay. Run:

    python tools/latency_error.py --runtime openvino --threads 2 --out results/latency_error.jsonl
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

from trainings import provenance, run

from rexnet import runs
from rexnet.budget import RUNTIMES, Budget, Count
from rexnet.deploy.stopwatch import clock
from rexnet.search.config import PRESETS
from rexnet.search.job import NUM_MEASURED
from rexnet.search.space import Space, sample


def space_of(preset: str) -> Space:
    """Return the search space of a row of Table 3 on ten classes."""
    row = PRESETS[preset]
    budget = Budget(params=Count(row.params), macs=Count(row.macs), count_classifier=False)
    return Space(num_blocks=row.blocks, num_classes=10, resolution=32, budget=budget)


def main() -> None:
    """Measure, fit, and write what was predicted and measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runtime", choices=RUNTIMES, default="openvino")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--preset", choices=PRESETS, default="b")
    parser.add_argument("--out", type=Path, default=Path("results/latency_error.jsonl"))
    arguments = parser.parse_args()
    ours = {name: getattr(arguments, name) for name in ("preset", "runtime", "threads")}
    rows = runs.read_jsonl(arguments.out)[1:] if arguments.out.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        # A folder of its own: what an earlier call kept is not used.
        found = clock(arguments.runtime, threads=arguments.threads)
        found = dataclasses.replace(found, folder=Path(folder))
        predictor = found.calibrate(sample(space_of(arguments.preset), NUM_MEASURED))
        notes = [row for row in runs.read_jsonl(found.path) if "held_out" in row]
    rows = [row for row in rows if {name: row[name] for name in ours} != ours]
    device = {name: found.device[name] for name in ("processor", "precision", "versions")}
    rows += [{**ours, **note, **device} for note in notes]
    runs.write_jsonl(arguments.out, [provenance(), *rows])
    print(f"{arguments.runtime}, {arguments.threads} threads: {predictor.told()}")


if __name__ == "__main__":
    run(main)
