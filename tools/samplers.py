"""Is a search worth its cost: TPE, random proposals, and the straight line without a search.

TPE and random proposals get the same number of trainings under the same small budget; then the best
network of each and the line are trained again with other seeds. What was trained is not trained
again. Run:

    python tools/samplers.py --data cifar10
"""

import argparse
import dataclasses
import os
from pathlib import Path

import numpy as np
from trainings import Arm, Lab, Row, part, provenance, run

from rexnet import runs
from rexnet.budget import Budget
from rexnet.data import in_memory
from rexnet.data.in_memory import ImageSet
from rexnet.design import propose
from rexnet.search.candidates.evaluator import Evaluator
from rexnet.search.candidates.protocol import Protocol
from rexnet.search.executors.local import LocalExecutor
from rexnet.search.leader import Task
from rexnet.search.loop import search
from rexnet.search.space import Space
from rexnet.search.study import Study

RESULTS = Path(__file__).parents[1] / "results"
BUDGET = Budget(params=100_000, macs=10_000_000, count_classifier=False)
PROTOCOL = Protocol(epochs=3, batch_size=32, lr=0.05)
NUM_BLOCKS, NUM_TRAIN, NUM_SEEDS = 5, 5_000, 3


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--trials", type=int, default=20, help="Trainings of each strategy")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--run", type=Path, default=Path("runs/samplers"))
    parser.add_argument("--out", type=Path, default=RESULTS / "samplers.jsonl")
    arguments = parser.parse_args()
    few = part(in_memory.load(arguments.data), NUM_TRAIN)
    space = Space(
        num_blocks=NUM_BLOCKS,
        num_classes=len(few.classes),
        resolution=few.side,
        budget=BUDGET,
    )
    lab = Lab(images=few, workers=arguments.workers, device=arguments.device)
    random = draws(space, arguments.trials)
    lab.train(Arm(group="random", widths=random, protocol=PROTOCOL), arguments.out)
    searched(space, few, arguments)
    line = propose(space.template, np.linspace(0, 1, NUM_BLOCKS), BUDGET).spec.widths
    rows = runs.read_jsonl(arguments.out)
    final = {group: best(rows, group) for group in ("random", "TPE")} | {"line": line}
    again = dataclasses.replace(PROTOCOL, seed=1)
    lab.train(Arm(group="again", widths=final, protocol=again, num_seeds=NUM_SEEDS), arguments.out)


def draws(space: Space, count: int) -> dict[str, tuple[int, ...]]:
    """Return different random networks that fill the budget."""
    generator = np.random.default_rng(0)
    found: dict[str, tuple[int, ...]] = {}
    while len(found) < count:
        proposal = space.propose(space.draw(generator))
        if proposal.fills(BUDGET) and proposal.spec.widths not in found.values():
            found[str(len(found))] = proposal.spec.widths
    return found


def searched(space: Space, few: ImageSet, arguments: argparse.Namespace) -> None:
    """Search with TPE in a run folder, and add its trainings to the results."""
    folder: Path = arguments.run
    folder.mkdir(parents=True, exist_ok=True)
    evaluate = Evaluator(images=few, protocol=PROTOCOL, device=arguments.device, prunes=True)
    search(
        folder,
        LocalExecutor(evaluate, arguments.workers, folder / "candidates"),
        Task(space=space, protocol=PROTOCOL),
        arguments.trials,
        on_progress=lambda progress: None,
    )
    study = Study(f"sqlite:///{folder / 'study.db'}", space, PROTOCOL.seed)
    known = {row["network"] for row in runs.read_jsonl(arguments.out) if row["group"] == "TPE"}
    for trial in study.trials():
        if trial.state == "complete" and str(trial.number) not in known:
            row = {
                "group": "TPE",
                "network": str(trial.number),
                "widths": trial.record["widths"],
                "num_train": NUM_TRAIN,
                "protocol": dataclasses.asdict(PROTOCOL),
                "accuracy": trial.accuracy,
                "epoch_accuracies": list(trial.scores.values()),
                "seconds": trial.record["seconds"],
                "data": few.name,
                **provenance(),
                "device": arguments.device,
                "workers": arguments.workers,
            }
            runs.append_jsonl(arguments.out, row)
    study.close()


def best(rows: list[Row], group: str) -> tuple[int, ...]:
    """Return the widths of the most accurate network of a group."""
    found = [row for row in rows if row["group"] == group]
    return tuple(max(found, key=lambda row: row["accuracy"])["widths"])


if __name__ == "__main__":
    run(main)
