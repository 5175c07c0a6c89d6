"""How far short trainings rank networks as long ones do: trainings in, a table out.

Trains a handful of networks of budget a under protocols of rising cost, with several seeds, and
compares the orders. A line of the output is one training; what is there already is not trained
again, so a study that was stopped goes on. Run:

    python tools/protocol_study.py DATA results/protocol_study.jsonl [--workers 2] [--group NAME]
    python tools/protocol_study.py DATA results/protocol_study.jsonl --table
"""

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rexnet import runs
from rexnet.data import images
from rexnet.data.images import ImageSet
from rexnet.families import search_network
from rexnet.search.executor import LocalExecutor
from rexnet.search.protocol import Evaluator, Protocol

WIDTHS = (
    (34, 34, 45, 55, 66),
    (36, 36, 36, 36, 83),
    (30, 42, 42, 66, 66),
    (20, 36, 48, 58, 68),
    (33, 51, 51, 51, 51),
    (36, 42, 44, 52, 60),
)
"""The best and the worst network that the paper prints for budget a, and four of similar cost."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arm:
    """A protocol of the study, on a part of the training images, for some networks and seeds."""

    group: str
    protocol: Protocol
    num_train: int
    widths: tuple[tuple[int, ...], ...]
    seeds: int


def settings() -> Iterator[Arm]:
    """Yield the comparison of learning rate and batch size at one price."""
    for batch_size, lr in ((64, 0.1), (64, 0.05), (64, 0.2), (32, 0.05), (32, 0.1), (128, 0.2)):
        protocol = Protocol(epochs=1, batch_size=batch_size, lr=lr)
        yield Arm(group="settings", protocol=protocol, num_train=45_000, widths=WIDTHS[:1], seeds=2)


def lengths(batch_size: int, lr: float) -> Iterator[Arm]:
    """Yield protocols of rising length, all with the same settings."""
    for num_train, epochs, seeds in (
        (45_000, 1, 3),
        (15_000, 3, 3),
        (15_000, 1, 3),
        (45_000, 3, 2),
        (45_000, 10, 1),
    ):
        protocol = Protocol(epochs=epochs, batch_size=batch_size, lr=lr)
        yield Arm(
            group="lengths", protocol=protocol, num_train=num_train, widths=WIDTHS, seeds=seeds
        )


def main() -> None:
    """Train what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--group", choices=["settings", "lengths"])
    parser.add_argument("--batch_size", type=int, default=Protocol.batch_size)
    parser.add_argument("--lr", type=float, default=Protocol.lr)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        print_table(runs.read_jsonl(arguments.out))
        return
    image_set = images.load(arguments.data)
    arms = [*settings(), *lengths(arguments.batch_size, arguments.lr)]
    for arm in arms:
        if arguments.group in (None, arm.group):
            train(arm, image_set, arguments.out, arguments.workers)


def train(arm: Arm, image_set: ImageSet, out: Path, workers: int) -> None:
    """Train the networks of an arm that ``out`` does not have."""
    few = part(image_set, arm.num_train)
    known = {key(row) for row in runs.read_jsonl(out)} if out.exists() else set()
    for seed in range(arm.seeds):
        protocol = dataclasses.replace(arm.protocol, seed=seed)
        rows: list[dict[str, Any]] = [
            {
                "group": arm.group,
                "num_train": arm.num_train,
                "protocol": dataclasses.asdict(protocol),
                "widths": list(widths),
            }
            for widths in arm.widths
        ]
        missing = [row for row in rows if key(row) not in known]
        if not missing:
            continue
        with (
            tempfile.TemporaryDirectory() as folder,
            LocalExecutor(
                Evaluator(images=few, protocol=protocol), workers, Path(folder)
            ) as executor,
        ):
            waiting = dict(enumerate(missing))
            queue = list(waiting)
            while queue or executor.num_busy:
                while queue and executor.has_room:
                    number = queue.pop(0)
                    spec = search_network(
                        missing[number]["widths"],
                        num_classes=len(image_set.classes),
                        resolution=image_set.side,
                    )
                    executor.submit(number, spec)
                for result in executor.wait(60):
                    assert result.evaluation, result
                    row = waiting[result.number] | {
                        "accuracy": result.evaluation.accuracies[0],
                        "seconds": round(result.evaluation.seconds, 1),
                        "data": image_set.name,
                        "commit": commit(),
                        "processor": platform.processor() or platform.machine(),
                        "workers": workers,
                    }
                    runs.append_jsonl(out, row)
                    print(json.dumps(row), flush=True)


def part(image_set: ImageSet, num_train: int) -> ImageSet:
    """Return the image set with ``num_train`` of the training images, picked at random."""
    train_index = np.flatnonzero(~image_set.held_out)
    order = np.random.default_rng(0).permutation(len(train_index))[:num_train]
    index = np.sort(np.concatenate([train_index[order], np.flatnonzero(image_set.held_out)]))
    return dataclasses.replace(
        image_set,
        images=image_set.images[index],
        labels=image_set.labels[index],
        held_out=image_set.held_out[index],
    )


def key(row: dict[str, Any]) -> str:
    """Return what tells one training from another."""
    return json.dumps([row[name] for name in ("num_train", "protocol", "widths")], sort_keys=True)


def commit() -> str:
    """Return the commit of the code."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print accuracy, noise, price and agreement of every protocol."""
    by_protocol: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        settings_of = row["protocol"] | {"seed": 0}
        name = json.dumps([row["num_train"], settings_of], sort_keys=True)
        by_protocol.setdefault(name, []).append(row)
    for group in by_protocol.values():
        first, protocol = group[0], group[0]["protocol"]
        means = {}
        for widths in dict.fromkeys(tuple(row["widths"]) for row in group):
            found = [row["accuracy"] for row in group if tuple(row["widths"]) == widths]
            means[widths] = (np.mean(found), np.std(found, ddof=1) if len(found) > 1 else np.nan)
        print(
            first["num_train"],
            {name: protocol[name] for name in ("epochs", "batch_size", "lr")},
            f"{np.mean([row['seconds'] for row in group]):.0f} s",
            *(
                f"{'-'.join(map(str, widths))}: {100 * mean:.2f} +- {100 * std:.2f}"
                for widths, (mean, std) in means.items()
            ),
            sep="  ",
        )


if __name__ == "__main__":
    main()
