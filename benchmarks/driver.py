"""What a trial costs the process that leads a search of 10,000, beside Optuna alone.

A trial is asked, solved for its budget, written to the database and told. The reference asks and
tells the same parameters of Optuna with the same sampler in a database of the same trials, in
turns; it knows no budget and may ask for what it has seen. Run:

    python benchmarks/driver.py
"""

import json
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import optuna

from rexnet.budget import Budget
from rexnet.design import FILL
from rexnet.search.sampler import DEFAULT
from rexnet.search.space import Space
from rexnet.search.study import Study

NUM_TRIALS, ROUNDS = 10_000, 40
SPACE = Space(
    num_blocks=5,
    num_classes=10,
    resolution=32,
    budget=Budget(params=200_000, macs=30_000_000, count_classifier=False),
)
"""That of preset a."""


class Search:
    """Our study, driven as the search job does."""

    def __init__(self, path: Path) -> None:
        self._study = Study(f"sqlite:///{path}", SPACE, seed=0)
        self._seen: set[str] = {trial.record["spec_id"] for trial in self._study.trials()}
        self.seconds: dict[str, list[float]] = {"ask": [], "start": [], "settle": []}

    def step(self, accuracy: float) -> float:
        """Ask for a network and tell its accuracy; return the seconds."""
        times = [time.perf_counter()]
        proposal = self._study.ask(lambda found: found.spec.spec_id not in self._seen)
        self._seen.add(proposal.spec.spec_id)
        times.append(time.perf_counter())
        record = {
            "spec_id": proposal.spec.spec_id,
            "widths": list(proposal.spec.widths),
            "params": proposal.params,
            "macs": proposal.macs,
        }
        if not proposal.fills(SPACE.budget):
            self._study.reject(record, shortfall=FILL)
            return time.perf_counter() - times[0]
        number = self._study.start(record, 10 * NUM_TRIALS)
        assert number is not None
        times.append(time.perf_counter())
        self._study.tell(number, "complete", accuracy, {"accuracies": [accuracy]})
        times.append(time.perf_counter())
        for name, start, end in zip(self.seconds, times[:-1], times[1:], strict=True):
            self.seconds[name].append(end - start)
        return times[-1] - times[0]


class Alone:
    """Optuna with the same sampler and storage."""

    def __init__(self, path: Path) -> None:
        sampler = optuna.samplers.TPESampler(
            multivariate=True, constant_liar=True, group=False, seed=0
        )
        self._study = optuna.load_study(
            study_name="search", storage=f"sqlite:///{path}", sampler=sampler
        )

    def step(self, accuracy: float) -> float:
        """Ask for parameters and tell an accuracy; return the seconds."""
        start = time.perf_counter()
        trial = self._study.ask()
        for name, knots in SPACE.knots.items():
            trial.suggest_int(name, *knots)
        for name, slopes in SPACE.slopes.items():
            trial.suggest_float(name, *slopes)
        self._study.tell(trial, accuracy)
        return time.perf_counter() - start


def main() -> None:
    """Print the parts of our cost, and last one JSON object."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        path, copy = Path(folder) / "study.db", Path(folder) / "copy.db"
        write_trials(path)
        shutil.copy(path, copy)
        ours, alone = Search(path), Alone(copy)
        generator = random.Random(0)
        pairs = [
            (ours.step(accuracy), alone.step(accuracy))
            for accuracy in (generator.random() for _ in range(ROUNDS))
        ][1:]
    milliseconds = {
        name: round(1e3 * statistics.median(times[1:]), 1) for name, times in ours.seconds.items()
    }
    ratios = sorted(theirs / our for our, theirs in pairs)
    for name, value in milliseconds.items():
        print(f"{name:>6}: {value:5.1f} ms")
    print(
        json.dumps(
            {
                "benchmark": "driver",
                "reference": "Optuna alone: ask, suggest, tell",
                "ratio": round(statistics.median(ratios), 2),
                "spread": [
                    round(ratios[len(ratios) // 10], 2),
                    round(ratios[-len(ratios) // 10], 2),
                ],
                "num_trials": NUM_TRIALS,
                "window": DEFAULT.window,
                "milliseconds": round(1e3 * statistics.median(our for our, _ in pairs), 1),
                "reference_milliseconds": round(
                    1e3 * statistics.median(theirs for _, theirs in pairs), 1
                ),
                "parts": milliseconds,
            }
        )
    )


def write_trials(path: Path) -> None:
    """Write a study of 10,000 finished trials with random parameters and accuracies."""
    study = Study(f"sqlite:///{path}", SPACE, seed=0)
    study.close()
    stored = optuna.load_study(study_name="search", storage=f"sqlite:///{path}")
    generator = np.random.default_rng(0)
    distributions = {
        **{k: optuna.distributions.IntDistribution(*v) for k, v in SPACE.knots.items()},
        **{k: optuna.distributions.FloatDistribution(*v) for k, v in SPACE.slopes.items()},
    }
    for number in range(NUM_TRIALS):
        accuracy = float(generator.random())
        trial = optuna.trial.create_trial(
            value=accuracy,
            params=SPACE.draw(generator),
            distributions=distributions,
            user_attrs={
                "network": {"spec_id": f"made up {number}"},
                "owner": "",
                "result": {"outcome": "complete", "accuracies": [accuracy]},
            },
        )
        stored.add_trial(trial)


if __name__ == "__main__":
    main()
