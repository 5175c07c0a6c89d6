"""How far short trainings rank networks as others do: trainings in, tables out.

``settings`` compares learning rates and batch sizes, ``lengths`` lengths of training on six
networks of budget a; ``again`` and ``longer`` train networks that a search drew with another seed,
or longer, to see how its order agrees. What the file has is not trained again. Run:

    python tools/protocol_study.py settings --data cifar10
    python tools/protocol_study.py again --data cifar10
"""

import argparse
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from trainings import Arm, Lab, run

from rexnet import runs
from rexnet.data import in_memory
from rexnet.paper import TABLE_3
from rexnet.search.candidates.protocol import Protocol

RESULTS = Path(__file__).parents[1] / "results"

NAMED: dict[str, tuple[int, ...]] = {
    "Table 3, best": TABLE_3["a"].best,
    "Table 3, worst": TABLE_3["a"].worst,
    "steps of 2 blocks": (30, 42, 42, 66, 66),
    "steep start": (20, 36, 48, 58, 68),
    "one step": (33, 51, 51, 51, 51),
    "gentle": (36, 42, 44, 52, 60),
}
"""The best and the worst network that the paper prints for budget a, and four of other shapes."""

SETTINGS = ((64, 0.1), (64, 0.05), (64, 0.2), (32, 0.05), (32, 0.1), (128, 0.2))
"""Batch sizes and learning rates."""

EVERY = 5
"""Of a search's networks, in the order in which they were trained, every fifth is drawn."""


def arms(group: str, protocol: Protocol) -> Iterator[Arm]:
    """Yield the trainings of a group, which start from the search's protocol."""
    if group == "settings":
        best = dict([*NAMED.items()][:1])
        for batch_size, lr in SETTINGS:
            changed = dataclasses.replace(protocol, batch_size=batch_size, lr=lr)
            yield Arm(group=group, widths=best, protocol=changed, num_seeds=2)
    elif group == "lengths":
        yield Arm(group=group, widths=NAMED, protocol=protocol, num_seeds=3)
        longer = dataclasses.replace(protocol, epochs=3)
        yield Arm(group=group, widths=NAMED, protocol=longer, num_train=15_000)
    else:
        drawn = {
            f"trial {row['number']}": tuple(row["widths"])
            for row in runs.read_jsonl(RESULTS / "channel_search_a.jsonl")[1::EVERY]
        }
        seed, epochs = (1, 1) if group == "again" else (0, 3)
        other = dataclasses.replace(protocol, seed=seed, epochs=epochs)
        yield Arm(group=group, widths=drawn, protocol=other)


def main() -> None:
    """Train what is missing of a group."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("group", choices=["settings", "lengths", "again", "longer"])
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS / "protocol_study.jsonl")
    arguments = parser.parse_args()
    lab = Lab(
        images=in_memory.load(arguments.data), workers=arguments.workers, device=arguments.device
    )
    for arm in arms(arguments.group, Protocol(epochs=1)):
        lab.train(arm, arguments.out)


if __name__ == "__main__":
    run(main)
