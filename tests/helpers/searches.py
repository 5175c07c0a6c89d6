"""Whole searches with toys in place of training, and what their run folders hold."""

import statistics
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from clocks import made_up
from toys import BUDGET, SPACE, Toy

from rexnet import NetSpec, runs
from rexnet.budget import Count, LatencyBudget
from rexnet.search import job, loop
from rexnet.search.candidates.protocol import Protocol
from rexnet.search.config import BudgetConfig, SearchConfig
from rexnet.search.executors.candidate import always, attempt, result_of
from rexnet.search.executors.local import LocalExecutor
from rexnet.search.leader import Task
from rexnet.search.sampler import TPE
from rexnet.search.space import sample

STARTUP = 5
EARLY = TPE(n_startup_trials=STARTUP)
"""So few random proposals that most come from TPE."""


MIDDLE = statistics.median(made_up(spec) for spec in sample(SPACE, 33))
"""A time that about half of the networks of SPACE keep."""


@dataclass(kw_only=True)
class InlineExecutor:
    """Evaluates at once, in order, in this process: most of what a search does needs no other."""

    evaluate: object
    num_workers: int
    folder: Path
    done: list = field(default_factory=list)
    progress: float = 0.0
    should_continue: object = always

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    @property
    def has_room(self):
        return len(self.done) < self.num_workers

    @property
    def num_busy(self):
        return len(self.done)

    def submit(self, number, spec):
        ending = attempt(self.evaluate, spec, self.weights(number), lambda *_: None)
        self.done.append((number, ending))

    def weights(self, number):
        return self.folder / f"{number}.safetensors"

    def wait(self, seconds):
        return [result_of(*self.done.pop(0), 0.25)]


def inline(config, evaluate, folder):
    """Make an InlineExecutor, as the makers of ``EXECUTORS`` do theirs."""
    return InlineExecutor(evaluate=evaluate, num_workers=config.workers, folder=folder)


def search(
    folder,
    evaluate,
    num_trials,
    *,
    space=SPACE,
    seed=0,
    num_processes=0,
    share=None,
    pruner="none",
    sampler=EARLY,
    on_progress=lambda progress: None,
):
    """Run a toy search in ``folder``, in this process if it is not told how many it may start."""
    folder.mkdir(parents=True, exist_ok=True)
    candidates = folder / "candidates"
    if num_processes:
        executor = LocalExecutor(evaluate, num_processes, candidates)
    else:
        executor = InlineExecutor(evaluate=evaluate, num_workers=1, folder=candidates)
    return loop.search(
        folder,
        executor,
        Task(space=space, protocol=Protocol(seed=seed)),
        num_trials,
        share=share,
        pruner=pruner,
        sampler=sampler,
        on_progress=on_progress,
    )


def write_images(folder, side=32, count=40):
    """Write images of ten classes as an .npz file and return its path."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    np.savez(folder / "photos.npz", images=images, labels=np.arange(count) % 10)
    return str(folder / "photos.npz")


def config_in(folder, latency=None, **changes):
    """Return the config of a search on images in ``folder`` whose run folder is ``folder/S``."""
    budget = BudgetConfig(
        params=Count(BUDGET.params),
        macs=Count(BUDGET.macs),
        count_classifier=False,
        latency=latency,
    )
    settings = {"data": write_images(folder), "budget": budget, "strategy": "tpe"}
    settings |= {"trials": 3, "workers": 1}
    return SearchConfig(**(settings | {"out": str(folder / "S")} | changes))


def timed(folder, milliseconds=MIDDLE, **changes):
    """Return the config of a search under a budget of time."""
    latency = LatencyBudget(f"{milliseconds:.6f}ms@openvino")
    return config_in(folder, latency, **{"trials": 8} | changes)


def run(config, clock=None, evaluate=None):
    """Run ``config`` with a toy in place of training; return how many networks are new."""
    return job.run(
        config,
        lambda progress: None,
        clock,
        evaluate=evaluate or Toy(repeats=config.repeats),
        make_executor=inline,
        sampler=EARLY,
    )


def read(folder, timed=False):
    """Return the rows of ``trials.jsonl`` in order of number, without what a clock says."""
    rows = sorted(runs.read_jsonl(folder / "trials.jsonl"), key=lambda row: row["number"])
    return rows if timed else [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def result_of_search(folder):
    """Return ``result.json``."""
    return runs.read_json(folder / "result.json")


def contents(folder):
    """Return the bytes of the files by their names."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def assert_best_is_kept(folder):
    """Check that the weights and the spec are those of the best trial."""
    done = [row for row in read(folder) if row["state"] == "complete"]
    best = max(done, key=lambda row: (row["accuracy"], -row["number"]))
    spec = NetSpec.load(folder / "best.json")
    assert (folder / "best.safetensors").read_text(encoding="utf-8") == spec.spec_id
    assert spec.spec_id == best["spec_id"]
    assert list(spec.widths) == best["widths"]
    assert result_of_search(folder)["best_accuracy"] == best["accuracy"]
