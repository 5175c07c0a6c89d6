"""Searches that train nothing: evaluators for worker processes, and made-up run folders."""

import dataclasses
import multiprocessing
import os
import signal
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from rexnet import UserError, runs
from rexnet.budget import Budget
from rexnet.design import priced
from rexnet.runs import processes
from rexnet.search.candidates.protocol import Diverged, Evaluation, Protocol
from rexnet.search.space import Space

STATES = ("complete", "pruned", "diverged", "died")

BUDGET = Budget(params=80_000, macs=10_000_000, count_classifier=False)
SPACE = Space(num_blocks=5, num_classes=10, resolution=32, budget=BUDGET)
PICKY = Space(
    num_blocks=5,
    num_classes=10,
    resolution=32,
    budget=Budget(params=125_000, macs=10_000_000, count_classifier=False),
)
"""So many params for its MACs that about half of all shapes are rejected."""

TINY = Space(
    num_blocks=3,
    num_classes=2,
    resolution=8,
    budget=Budget(params=20_000, macs=300_000, count_classifier=False),
)
"""So small a budget that it leaves room for a few networks only."""


def score(spec):
    """Return a made-up accuracy from 0.5 to 0.9: networks near a line get more of it."""
    first, *_, last = spec.widths
    steps = len(spec.widths) - 1
    line = [first + (last - first) * index / steps for index in range(steps + 1)]
    bend = sum(abs(width - wanted) for width, wanted in zip(spec.widths, line, strict=True))
    # The last digits of the id keep two networks from having the same accuracy.
    return round(0.5 + 0.4 / (1 + bend / last) + int(spec.spec_id, 16) % 9973 * 1e-9, 12)


@dataclass(frozen=True, kw_only=True)
class Toy:
    """Scores a network by its widths and writes its id as its weights.

    ``repeats`` accuracies are spread evenly around the score. The other fields name the candidates
    (numbers of trials) that end in another way.
    """

    repeats: int = 1
    diverges: Sequence[int] = ()
    raises: Sequence[int] = ()
    kills_itself: Sequence[int] = ()
    kills_leader: Sequence[int] = ()
    interrupts: Sequence[int] = ()
    user_error: Sequence[int] = ()
    starves: Sequence[int] = ()
    misses_library: Sequence[int] = ()

    def __call__(self, spec, weights, on_progress):
        number = int(weights.stem)
        if number in self.diverges:
            raise Diverged("loss nan at step 3 of 7")
        if number in self.raises:
            raise ZeroDivisionError("nothing to divide by")
        if number in self.user_error:
            raise UserError(f"cannot write {weights}: No space left on device")
        if number in self.starves:
            raise MemoryError("Unable to allocate 9 GiB")
        if number in self.misses_library:
            raise ImportError("no libgomp")
        if number in self.kills_itself:
            os.kill(os.getpid(), signal.SIGKILL)
        if number in self.kills_leader:
            os.kill(os.getppid(), signal.SIGKILL)
            # Whatever this candidate gave must be lost with its leader.
            signal.pause()
        if number in self.interrupts:
            # Ctrl-C on a terminal reaches all processes of the group.
            os.killpg(0, signal.SIGINT)
            signal.pause()
        on_progress(0.5)
        weights.parent.mkdir(parents=True, exist_ok=True)
        weights.write_text(spec.spec_id, encoding="utf-8")
        offsets = [index - (self.repeats - 1) / 2 for index in range(self.repeats)]
        accuracies = tuple(score(spec) + 0.01 * offset for offset in offsets)
        return Evaluation(accuracies=accuracies, seconds=0.125)


@dataclass(frozen=True, kw_only=True)
class Learns:
    """Tells the accuracy after each of four epochs, which nears the score."""

    def __call__(self, spec, weights, on_progress):
        for epoch in (1, 2, 3):
            on_progress(epoch / 4, epoch, score(spec) * epoch / 4)
        on_progress(1.0)
        weights.parent.mkdir(parents=True, exist_ok=True)
        weights.write_text(spec.spec_id, encoding="utf-8")
        return Evaluation(accuracies=(score(spec),), seconds=0.125)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Tells a made-up accuracy after each of three epochs."""

    def __call__(self, spec, weights, on_progress):
        for epoch in range(1, 4):
            on_progress(epoch / 4, epoch, int(weights.stem) + epoch / 8)
        return Toy()(spec, weights, on_progress)


@dataclass(frozen=True, kw_only=True)
class HalfWay:
    """Is half done until something is written to a named pipe."""

    fifo: Path

    def __call__(self, spec, weights, on_progress):
        on_progress(0.5)
        self.fifo.read_bytes()
        return Toy()(spec, weights, lambda share: None)


@dataclass(frozen=True, kw_only=True)
class SameScore:
    """Gives every network the same accuracy."""

    accuracy: float

    def __call__(self, spec, weights, on_progress):
        weights.parent.mkdir(parents=True, exist_ok=True)
        weights.write_text(spec.spec_id, encoding="utf-8")
        return Evaluation(accuracies=(self.accuracy,), seconds=0.0)


@dataclass(frozen=True, kw_only=True)
class LateFirst:
    """Gives every network the same accuracy; trial 0 is done once trial 2 has begun.

    With two workers trial 1 is then settled before trial 0, and nothing waits on a clock.
    """

    fifo: Path

    def __call__(self, spec, weights, on_progress):
        if weights.stem == "0":
            self.fifo.read_bytes()
        if weights.stem == "2":
            self.fifo.write_bytes(b"go")
        return SameScore(accuracy=0.5)(spec, weights, on_progress)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Dies with what the worker's environment says of a variable."""

    variable: str

    def __call__(self, spec, weights, on_progress):
        raise LookupError(os.environ.get(self.variable, "unset"))


@dataclass(frozen=True, kw_only=True)
class Holds:
    """Opens a named pipe for writing and never lets it go: its reader sees when it is dead."""

    fifo: Path

    def __call__(self, spec, weights, on_progress):
        with self.fifo.open("wb", buffering=0) as pipe:
            pipe.write(b"up")
            while True:
                signal.pause()


@dataclass(frozen=True, kw_only=True)
class Terminated:
    """Has its leader asked to end, and waits for it."""

    interrupts: Sequence[int] = ()

    def __call__(self, spec, weights, on_progress):
        os.kill(os.getppid(), signal.SIGTERM)
        signal.pause()


@dataclass(frozen=True, kw_only=True)
class Pid:
    """Dies with the id of the worker."""

    def __call__(self, spec, weights, on_progress):
        raise LookupError(os.getpid())


@dataclass(frozen=True, kw_only=True)
class InterruptedAtBirth:
    """Gets Ctrl-C in the worker while the worker is still starting."""

    def __reduce__(self):
        return _interrupted, ()

    def __call__(self, spec, weights, on_progress):
        raise LookupError("the worker started in spite of all")


def _interrupted():
    os.kill(os.getpid(), signal.SIGINT)
    return InterruptedAtBirth()


def start_here(serve, *, daemon=True):
    """Stand in for ``processes.start`` where processes do not matter: serve at once, to the end.

    A process of its own would take seconds to import torch.
    """
    ours, theirs = multiprocessing.Pipe()
    serve(theirs)
    theirs.close()
    return processes.Child(SimpleNamespace(join=lambda: None, kill=lambda: None), ours)


def made_up_rows(count, repeats=1):
    """Return the lines of ``trials.jsonl`` for networks of SPACE, the worst first."""
    rows = []
    for number in range(count):
        widths = (8, 10, 12 + number % 3, 20 + number % 7, 24 + number)
        proposal = priced(SPACE.template.with_widths(widths), SPACE.budget)
        accuracy = round(0.3 + 0.4 * number / count, 6)
        rows.append(
            {
                "number": number,
                "state": "complete",
                "accuracy": accuracy,
                "widths": list(widths),
                "params": proposal.params,
                "macs": proposal.macs,
                "accuracies": [accuracy + 0.01 * index for index in range(repeats)],
                "seed": 0,
                "seconds": 1.5,
                "total_params": proposal.params + 12_810,
                "spec_id": proposal.spec.spec_id,
                "protocol_id": Protocol(repeats=repeats).protocol_id,
                "reason": "",
            }
        )
    return rows


def failed(row, state, reason):
    """Return a row that was not trained to the end."""
    return row | {"state": state, "accuracy": None, "accuracies": [], "reason": reason}


def write_run(folder, rows, *, num_trials=None, reason="", **data):
    """Write the run folder of a search that never was; ``data`` changes what it says of that."""
    images = {"name": "toy images", "fingerprint": "0" * 16, "num_train": 4000}
    images |= {"num_held_out": 1000, "num_classes": 10, "mean": [0.5] * 3, "std": [0.25] * 3}
    repeats = max((len(row["accuracies"]) for row in rows), default=1)
    identity = {
        "data": images | data,
        "space": SPACE.identity,
        "protocol": dataclasses.asdict(Protocol(repeats=max(repeats, 1))),
        "sampler": {"name": "TPE", "multivariate": True},
    }
    states = [row["state"] for row in rows]
    done = num_trials is None and not reason
    result = {
        "state": "complete" if done else "stopped" if reason else "running",
        "reason": reason,
        "num_trials": num_trials or len(rows),
        **{f"num_{state}": states.count(state) for state in STATES},
        "num_rejected": 4,
        "best_accuracy": max((row["accuracy"] or 0 for row in rows), default=None),
        "training_seconds": sum(row["seconds"] for row in rows),
    }
    environment = {"python": "3.11.7", "system": "Linux", "processor": "x86_64", "num_cores": 2}
    environment["packages"] = {"rexnet": "0.1.0", "torch": "2.14.1"}
    runs.write_jsonl(folder / "trials.jsonl", rows)
    runs.write_json(folder / "search.json", identity)
    runs.write_json(folder / "result.json", result)
    runs.write_json(folder / "environment.json", environment)
    return folder


@contextmanager
def quick():
    """Let torch use one thread, and let no file wait for the disk."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with no_sync():
        yield
    torch.set_num_threads(threads)


@contextmanager
def no_sync():
    """Let nothing wait for the disk: only a power cut could tell the difference."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def switch_off(connection, _):
        connection.execute("pragma synchronous = off")

    event.listen(Engine, "connect", switch_off)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield
    event.remove(Engine, "connect", switch_off)
