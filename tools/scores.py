"""What a short training says of a long one, and which settings make it shorter.

CIFAR-10 with 10,000 images to train on and 10,000 others held out; networks of 5 blocks that fill
0.1M params and 10M MACs: the line, the stage-wise network and eight random ones.
``ladder`` trains the first four with each setting of the protocol alone, and with ``--set`` several
together. What was trained is not trained again. Run:

    python tools/scores.py short long --data cifar10
    python tools/scores.py ladder --data cifar10

and the tables with ``python tools/scores_tables.py``.
"""

import argparse
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from panel import RESULTS
from trainings import Arm, Lab, run

from rexnet.budget import Budget
from rexnet.data import in_memory
from rexnet.data.in_memory import ImageSet
from rexnet.search.candidates.protocol import Protocol
from rexnet.search.space import Space
from rexnet.search.surface.plan import plan

BUDGET = Budget(params=100_000, macs=10_000_000, count_classifier=False)
NUM_IMAGES, NUM_NETWORKS = 10_000, 10

PLAIN = Protocol(epochs=30)
SHORT = (5, 10)
"""Epochs of short trainings."""

LADDER: dict[str, dict[str, Any]] = {
    "plain": {},
    "linear rate": {"schedule": "linear"},
    "alternating flips": {"flips": "alternating"},
    "label smoothing": {"label_smoothing": 0.1},
    "rate of norm biases x 8": {"norm_bias_lr": 8.0},
    "averaged weights": {"average": 0.99},
    "two views": {"views": 2},
}
"""Settings that no width decides, each alone."""

ON_LADDER = 4
"""Networks that are trained with each."""


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("groups", nargs="+", choices=["short", "long", "ladder"])
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--images", type=int, default=NUM_IMAGES, help="To train on; as many aside")
    parser.add_argument("--seeds", type=int, default=2, help="Trainings a network")
    parser.add_argument("--set", nargs="*", default=(), choices=LADDER, help="Settings together")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS / "scores.jsonl")
    arguments = parser.parse_args()
    images = halves(in_memory.load(arguments.data), arguments.images)
    lab = Lab(images=images, workers=arguments.workers, device=arguments.device, watches=False)
    widths = networks(len(images.classes), images.side)
    for seed in range(arguments.seeds):
        for group in arguments.groups:
            for arm in arms(group, seed, widths, arguments.set):
                lab.train(arm, arguments.out)


def arms(
    group: str, seed: int, widths: Mapping[str, tuple[int, ...]], together: Sequence[str] = ()
) -> Iterator[Arm]:
    """Yield the trainings of a group with one seed.

    Args:
        group: ``short``, ``long`` or ``ladder``.
        seed: The seed.
        widths: Block widths by the name of the network.
        together: Names of settings of the ladder; then these alone are trained, all at once.
    """
    if group == "ladder":
        some = dict([*widths.items()][:ON_LADDER])
        rungs = LADDER
        if together:
            merged = {key: value for name in together for key, value in LADDER[name].items()}
            rungs = {" + ".join(together): merged}
        for name, settings in rungs.items():
            short = dataclasses.replace(PLAIN, epochs=SHORT[-1], seed=seed, **settings)
            yield Arm(group=name, widths=some, protocol=short)
        return
    for epochs in SHORT if group == "short" else (PLAIN.epochs,):
        protocol = dataclasses.replace(PLAIN, epochs=epochs, seed=seed)
        yield Arm(group=group, widths=dict(widths), protocol=protocol)


def halves(images: ImageSet, count: int) -> ImageSet:
    """Return ``count`` images to train on and as many others held out, picked at random."""
    chosen = np.random.default_rng(0).permutation(len(images.labels))[: 2 * count]
    return dataclasses.replace(
        images,
        images=np.asarray(images.images[chosen]),
        labels=images.labels[chosen],
        held_out=np.arange(len(chosen)) >= len(chosen) // 2,
    )


def networks(num_classes: int, side: int) -> dict[str, tuple[int, ...]]:
    """Return the line, the stage-wise network and random ones that fill the budget."""
    space = Space(num_blocks=5, num_classes=num_classes, resolution=side, budget=BUDGET)
    shapes = plan(space, 0, NUM_NETWORKS)
    return {shape.name or f"shape {i}": shape.widths for i, shape in enumerate(shapes)}


if __name__ == "__main__":
    run(main)
