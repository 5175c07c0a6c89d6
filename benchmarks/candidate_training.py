"""How many images a second two workers train on, against the loop that most people would write.

The reference is one process with all threads: a torchvision data set with transforms of each PIL
image, a DataLoader with a process a core, contiguous tensors, eager PyTorch. Both train the same
networks under the same protocol from the same seeds, in turns. Run:

    python benchmarks/candidate_training.py

At most 15 minutes on 2 cores: where turns take long there are fewer. ``--data`` is as in ``rexnet
search``. Beside every rate stands the share of the speed at which a core multiplies matrices.
"""

import argparse
import dataclasses
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _turns import Deadline, matmul_peak, share_of_peak

from rexnet import cost
from rexnet.data import in_memory
from rexnet.data.in_memory import ImageSet
from rexnet.families import search_network
from rexnet.search.candidates.evaluator import Evaluator
from rexnet.search.candidates.protocol import Protocol
from rexnet.search.executors.local import LocalExecutor
from rexnet.spec import NetSpec

WIDTHS = {
    "a": (34, 34, 45, 55, 66),
    "b": (24, 33, 42, 50, 59, 68, 77, 85, 94),
}
"""The best networks that the paper prints for its budgets a and b (Table 3)."""

BATCH_SIZES = (128, 64)
ACCURACY_EPOCHS, ACCURACY_SEEDS = 1, 3
RATE_STEPS = {"a": 8, "b": 4}
"""Steps of a turn; those of b take three times as long."""

MOST_ROUNDS, LEAST_ROUNDS = 4, 2
MINUTES = 9.0
"""For the rates."""


def main() -> None:
    """Print the rates of every preset and batch size, the accuracies, and last one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="sample")
    parser.add_argument("--reference", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    image_set = in_memory.load(arguments.data)
    if arguments.reference:
        serve_reference(image_set)
        return
    command = [sys.executable, __file__, "--reference", "--data", arguments.data]
    workers = os.cpu_count() or 1
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as them,
        tempfile.TemporaryDirectory() as folder,
    ):
        pair = Pair(image_set, workers, Path(folder), them)
        rates = pair.all_rates()
        accuracies = pair.accuracies("a", BATCH_SIZES[0])
        assert them.stdin is not None
        them.stdin.close()
    headline = rates[0]
    print(
        json.dumps(
            {
                "benchmark": "candidate_training",
                "reference": "torchvision data set, DataLoader, eager PyTorch on all threads",
                "ratio": headline["ratio"],
                "spread": headline["spread"],
                "share_of_peak": headline["share_of_peak"],
                "peak_gflops": round(pair.peak, 1),
                "workers": workers,
                "rates": rates,
                "accuracies": accuracies,
            }
        )
    )


class Pair:
    """Our workers and the reference process, asked in turns."""

    def __init__(
        self, image_set: ImageSet, workers: int, folder: Path, reference: "subprocess.Popen[str]"
    ) -> None:
        self._images, self._workers, self._folder = image_set, workers, folder
        self._reference = reference
        self.peak = matmul_peak()
        print(f"a core multiplies matrices at {self.peak:.0f} GFLOP/s", flush=True)

    def all_rates(self) -> list[dict[str, Any]]:
        """Measure every preset with every size of batches."""
        deadline = Deadline(MINUTES)
        kinds = [(name, size) for name in WIDTHS for size in BATCH_SIZES]
        macs = {name: cost.count(spec_of(name, self._images)).macs for name in WIDTHS}
        # What is left of the time is shared out by the arithmetic that is left.
        work = [RATE_STEPS[name] * size * macs[name] for name, size in kinds]
        return [
            self.rates(name, size, deadline, work[i] / sum(work[i:]))
            for i, (name, size) in enumerate(kinds)
        ]

    def rates(self, name: str, batch_size: int, deadline: Deadline, share: float) -> dict[str, Any]:
        """Measure images a second in turns; the first turn only warms up."""
        count = RATE_STEPS[name] * batch_size
        few = part(self._images, count)
        protocol = Protocol(epochs=1, batch_size=batch_size)
        ours, theirs = [], []
        with self._executor(few, protocol) as executor:
            for turn in deadline.turns(MOST_ROUNDS + 1, LEAST_ROUNDS + 1, share):
                seconds = [s for _, s in self._train_ours(executor, name, self._workers)]
                rate = sum(count / s for s in seconds)
                _, their_seconds = self._train_theirs(name, protocol, RATE_STEPS[name])
                if turn:
                    ours.append(rate)
                    theirs.append(count / their_seconds)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        low, high = round(min(ratios), 2), round(max(ratios), 2)
        rate, macs = statistics.median(ours), cost.count(spec_of(name, self._images)).macs
        row: dict[str, Any] = {
            "preset": name,
            "batch_size": batch_size,
            "images_per_second": round(rate, 1),
            "share_of_peak": round(share_of_peak(rate / self._workers, macs, self.peak), 3),
            "reference_images_per_second": round(statistics.median(theirs), 1),
            "ratio": round(statistics.median(ratios), 2),
            "spread": [low, high],
            "rounds": len(ratios),
        }
        print(
            f"preset {name}, batches of {batch_size:>3}: {row['images_per_second']:>6} images a "
            f"second ({100 * row['share_of_peak']:.0f} % of the peak) against "
            f"{row['reference_images_per_second']:>6}, ratio {row['ratio']} ({low} to {high}, "
            f"{len(ratios)} rounds)",
            flush=True,
        )
        return row

    def accuracies(self, name: str, batch_size: int) -> dict[str, Any]:
        """Train the same network from the same seeds in both, and compare the accuracies."""
        ours, theirs = [], []
        for seed in range(ACCURACY_SEEDS):
            protocol = Protocol(epochs=ACCURACY_EPOCHS, batch_size=batch_size, seed=seed)
            with self._executor(self._images, protocol) as executor:
                ours.append(self._train_ours(executor, name, 1)[0][0])
            theirs.append(self._train_theirs(name, protocol, None)[0])
        difference = statistics.mean(ours) - statistics.mean(theirs)
        noise = math.sqrt((statistics.variance(ours) + statistics.variance(theirs)) / len(ours))
        print(
            f"preset {name}, {ACCURACY_EPOCHS} epochs, {len(ours)} seeds: accuracy "
            f"{statistics.mean(ours):.3f} against {statistics.mean(theirs):.3f}, difference "
            f"{difference:+.3f} with a standard error of {noise:.3f}",
            flush=True,
        )
        return {
            "preset": name,
            "epochs": ACCURACY_EPOCHS,
            "ours": [round(value, 4) for value in ours],
            "reference": [round(value, 4) for value in theirs],
            "difference": round(difference, 4),
            "standard_error": round(noise, 4),
        }

    def _executor(self, image_set: ImageSet, protocol: Protocol) -> LocalExecutor:
        self._folder.mkdir(exist_ok=True)
        evaluate = Evaluator(images=image_set, protocol=protocol)
        return LocalExecutor(evaluate, self._workers, self._folder)

    def _train_ours(
        self, executor: LocalExecutor, name: str, copies: int
    ) -> list[tuple[float, float]]:
        """Train ``copies`` of a network at once; return accuracy and seconds of each."""
        for number in range(copies):
            executor.submit(number, spec_of(name, self._images))
        results = []
        while executor.num_busy:
            results += executor.wait(60)
        evaluations = [result.evaluation for result in results if result.evaluation]
        assert len(evaluations) == copies, results
        return [(e.accuracies[0], e.seconds) for e in evaluations]

    def _train_theirs(
        self, name: str, protocol: Protocol, steps: int | None
    ) -> tuple[float, float]:
        assert self._reference.stdin is not None
        assert self._reference.stdout is not None
        task = {"name": name, "steps": steps, "protocol": dataclasses.asdict(protocol)}
        print(json.dumps(task), file=self._reference.stdin, flush=True)
        answer = json.loads(self._reference.stdout.readline())
        return answer["accuracy"], answer["seconds"]


def part(image_set: ImageSet, num_train: int) -> ImageSet:
    """Return ``num_train`` training images, with repeats if need be, and a few held-out ones."""
    train = np.resize(np.flatnonzero(~image_set.held_out), num_train)
    index = np.concatenate([train, np.flatnonzero(image_set.held_out)[:2]])
    return dataclasses.replace(
        image_set,
        images=image_set.images[index],
        labels=image_set.labels[index],
        held_out=image_set.held_out[index],
    )


def spec_of(name: str, image_set: ImageSet) -> NetSpec:
    """Return the network of a preset for the images."""
    return search_network(
        WIDTHS[name], num_classes=len(image_set.classes), resolution=image_set.side
    )


def serve_reference(image_set: ImageSet) -> None:
    """Train what comes down standard input, as most people would, and answer on standard output."""
    for line in sys.stdin:
        task = json.loads(line)
        protocol = Protocol(**task["protocol"])
        spec = spec_of(task["name"], image_set)
        few = (
            image_set
            if task["steps"] is None
            else part(image_set, task["steps"] * protocol.batch_size)
        )
        start = time.perf_counter()
        accuracy = train_as_most_would(spec, few, protocol)
        print(
            json.dumps({"accuracy": accuracy, "seconds": time.perf_counter() - start}), flush=True
        )


def train_as_most_would(spec: NetSpec, image_set: ImageSet, protocol: Protocol) -> float:
    """Train and score ``spec`` with a plain loop."""
    import torch
    from PIL import Image
    from torch import nn
    from torch.utils.data import DataLoader
    from torchvision.datasets import VisionDataset
    from torchvision.transforms import v2

    from rexnet.nn.network import Network

    class Images(VisionDataset):  # type: ignore[misc]
        """As torchvision's CIFAR10: arrays in memory, a PIL image and its transforms a sample."""

        def __init__(self, held_out: bool, transform: v2.Compose) -> None:
            super().__init__("", transform=transform)
            chosen = image_set.held_out == held_out
            self.data, self.targets = image_set.images[chosen], image_set.labels[chosen].tolist()

        def __len__(self) -> int:
            return len(self.targets)

        def __getitem__(self, index: int) -> tuple[Any, int]:
            assert self.transform is not None
            return self.transform(Image.fromarray(self.data[index])), self.targets[index]

    torch.manual_seed(protocol.seed)
    pixels = image_set.images[~image_set.held_out] / 255
    finish = [
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(pixels.mean((0, 1, 2)).tolist(), pixels.std((0, 1, 2)).tolist()),
    ]
    augment = [v2.RandomCrop(image_set.side, 4, padding_mode="reflect"), v2.RandomHorizontalFlip()]
    workers = os.cpu_count() or 1
    train: DataLoader[Any] = DataLoader(
        Images(False, v2.Compose([*augment, *finish])),
        protocol.batch_size,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
    )
    held_out: DataLoader[Any] = DataLoader(Images(True, v2.Compose(finish)), protocol.batch_size)
    model = Network(spec)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.ndim > 1]},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(
        groups,
        lr=protocol.lr,
        momentum=protocol.momentum,
        weight_decay=protocol.weight_decay,
        nesterov=True,
    )
    steps = protocol.epochs * len(train)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: protocol.lr_at(min(step, steps - 1), steps) / protocol.lr
    )
    loss_function = nn.CrossEntropyLoss()
    for _ in range(protocol.epochs):
        for x, y in train:
            optimizer.zero_grad()
            loss_function(model(x), y).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in held_out)
    return right / int(image_set.held_out.sum())


if __name__ == "__main__":
    main()
