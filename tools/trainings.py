"""What the studies share: trainings of given networks, one line of JSON each, resumable."""

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rexnet import runs
from rexnet.data.in_memory import ImageSet
from rexnet.deploy import machine
from rexnet.errors import UserError
from rexnet.families import search_network
from rexnet.runs.progress import OnProgress, Progress
from rexnet.search.candidates.evaluator import Evaluator
from rexnet.search.candidates.protocol import Evaluation, Protocol
from rexnet.search.executors.candidate import Evaluate
from rexnet.search.executors.local import LocalExecutor
from rexnet.train.config import TrainConfig

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arm:
    """Networks of a study that are trained under one protocol, on a part of the training images.

    Attributes:
        group: The part of the study.
        widths: Block widths by the name of the network.
        protocol: How to train; its seed is the first.
        num_train: Training images; None for all.
        num_seeds: Trainings a network.
    """

    group: str
    widths: dict[str, tuple[int, ...]]
    protocol: Protocol
    num_train: int | None = None
    num_seeds: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lab:
    """Where studies are trained.

    Attributes:
        images: All images.
        workers: Networks trained at a time.
        device: ``cpu`` or ``cuda``.
        evaluate: What evaluates the networks; by default they are trained on the images.
        watches: Whether networks are scored after every epoch, which takes time.
    """

    images: ImageSet
    workers: int
    device: str = "cpu"
    evaluate: Evaluate | None = None
    watches: bool = True

    def train(self, arm: Arm, out: Path) -> None:
        """Train what the file ``out`` does not have, one seed after the other."""
        images = self.images if arm.num_train is None else part(self.images, arm.num_train)
        known = {_key(row) for row in runs.read_jsonl(out)} if out.exists() else set()
        for seed in range(arm.protocol.seed, arm.protocol.seed + arm.num_seeds):
            protocol = dataclasses.replace(arm.protocol, seed=seed)
            rows: list[Row] = [
                {
                    "group": arm.group,
                    "network": name,
                    "widths": list(widths),
                    "num_train": int((~images.held_out).sum()),
                    "protocol": dataclasses.asdict(protocol),
                }
                for name, widths in arm.widths.items()
            ]
            missing = [row for row in rows if _key(row) not in known]
            if missing:
                self._train(missing, images, protocol, lambda row: runs.append_jsonl(out, row))

    def _train(
        self,
        rows: Sequence[Row],
        images: ImageSet,
        protocol: Protocol,
        save: Callable[[Row], None],
    ) -> None:
        scores: dict[int, list[float]] = {number: [] for number in range(len(rows))}

        def should_continue(number: int, epoch: int, accuracy: float) -> bool:
            scores[number].append(accuracy)
            return True

        evaluate = self.evaluate or Evaluator(
            images=images, protocol=protocol, device=self.device, prunes=self.watches
        )
        queue = list(range(len(rows)))
        with (
            tempfile.TemporaryDirectory() as folder,
            LocalExecutor(evaluate, self.workers, Path(folder)) as executor,
        ):
            executor.should_continue = should_continue
            while queue or executor.num_busy:
                while queue and executor.has_room:
                    number = queue.pop(0)
                    widths, classes = rows[number]["widths"], len(images.classes)
                    executor.submit(number, search_network(widths, classes, images.side))
                for result in executor.wait(60):
                    row = rows[result.number]
                    if result.evaluation is None:
                        reason = f"{result.outcome}: {result.reason}"
                        raise UserError(f"the training of {row['network']} ended as {reason}")
                    row = row | {
                        "accuracy": result.evaluation.accuracies[0],
                        **noted(result.evaluation),
                        "epoch_accuracies": scores[result.number],
                        "seconds": round(result.evaluation.seconds, 1),
                        "data": images.name,
                        **provenance(),
                        "device": self.device,
                        "workers": self.workers,
                    }
                    save(row)
                    print(json.dumps(row), flush=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ledger:
    """Lines of long trainings, one each, added as they end.

    Attributes:
        lines: The file.
        trainings: By the name of the network and the seed.
        done: The file in a run folder that is there when its training has ended.
        line: From the name of the network and its training to the line.
    """

    lines: Path
    trainings: Mapping[tuple[str, int], TrainConfig]
    done: str
    line: Callable[[str, TrainConfig], Row]

    def record(self) -> set[tuple[str, int]]:
        """Add the lines of trainings that have ended, and return which have one."""
        rows = runs.read_jsonl(self.lines) if self.lines.exists() else []
        known = {(row["network"], row["seed"]) for row in rows}
        for key, config in self.trainings.items():
            if key not in known and (Path(config.out) / self.done).exists():
                runs.append_jsonl(self.lines, self.line(key[0], config))
                known.add(key)
                print(f"{key[0]}, seed {key[1]}: {self.lines}", flush=True)
        return known

    def watch(self) -> OnProgress:
        """Return what records at every step, and tells once a minute how far all is."""
        told = 0.0

        def show(progress: Progress) -> None:
            nonlocal told
            self.record()
            if time.monotonic() - told > 60:
                told = time.monotonic()
                print(f"{progress.share:.1%} of what had no line, {progress.words}", flush=True)

        return show


def run(main: Callable[[], None]) -> None:
    """Run a study's command line; a user's mistake is one line and exit code 2."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def part(images: ImageSet, num_train: int) -> ImageSet:
    """Return the images with ``num_train`` of the training images, picked at random."""
    train = np.flatnonzero(~images.held_out)
    train = train[np.random.default_rng(0).permutation(len(train))[:num_train]]
    index = np.sort(np.concatenate([train, np.flatnonzero(images.held_out)]))
    return dataclasses.replace(
        images,
        images=images.images[index],
        labels=images.labels[index],
        held_out=images.held_out[index],
    )


def noted(evaluation: Evaluation) -> Row:
    """Return what a line has of the outcomes of a training beside its accuracy."""
    if not evaluation.outcomes:
        return {}
    outcomes = dataclasses.asdict(evaluation.outcomes[0])
    del outcomes["top1"]
    return outcomes


def provenance() -> dict[str, str]:
    """Return the command, the commit of the code and the processor."""
    root = Path(__file__).parents[1]
    command = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return {
        "command": f"python tools/{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}",
        "commit": commit,
        "processor": processor(),
    }


def processor() -> str:
    """Return the processor's model with the instruction sets that decide how fast it trains."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    flags = machine.processor_flags(text) or set()
    return " ".join([machine.processor(), *machine.instructions(flags)])


def accuracies(rows: Iterable[Row], **wanted: Any) -> dict[str, list[float]]:
    """Return the accuracies by network of the rows whose fields, or protocol's, are as wanted."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if all((row["protocol"] | row).get(name) == value for name, value in wanted.items()):
            found.setdefault(row["network"], []).append(row["accuracy"])
    return found


def _key(row: Row) -> str:
    """Return what tells one training from another."""
    return json.dumps([row[name] for name in ("num_train", "protocol", "widths")], sort_keys=True)
