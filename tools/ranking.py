"""Strategies of a search judged by public tables: how good is the network that each recommends?

A repetition is a whole search of 80 trainings inside a window of equal params and MACs, replayed
from the table; the noise of a training is that of the table, or 0.5 points more. What was replayed
is not replayed again: a line of ``results/ranking.jsonl`` is a block of repetitions. Run:

    python tools/ranking.py --tables FOLDER

and the tables and figure of docs/results/ranking.md with ``python tools/ranking_tables.py``. One
thousand repetitions take about two hours of a core.
"""

import argparse
import itertools
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import TrialState, create_trial
from panel import RESULTS
from public_tables import TABLES, Table, read_table
from trainings import Row, provenance, run

from rexnet import runs
from rexnet.search.sampler import TPE
from rexnet.search.surface.model import fit_surface
from rexnet.search.surface.plan import farthest
from rexnet.search.surface.sampler import FIRST, PROMISING

CHECKPOINTS = (20, 40, 80)
"""Trainings after which a strategy recommends a network."""

WINDOWS = (0.35, 0.65)
NOISES = (0.0, 0.5)
"""Points that are added to the noise of a table."""

BLOCK, BATCH, TOP = 50, 8, 0.01

Reals = NDArray[np.float64]
Visit = Callable[[Table, Reals, np.random.Generator], list[int]]
"""Which networks a strategy trains, in order, given what a training of each would show."""


def main() -> None:
    """Replay what has no line yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables", type=Path, required=True, help="Folder of the two archives")
    parser.add_argument("--windows", type=float, nargs="+", default=WINDOWS, help="Quantiles")
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=[*STRATEGIES])
    parser.add_argument("--out", type=Path, default=RESULTS / "ranking.jsonl")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    known = runs.read_jsonl(arguments.out) if arguments.out.exists() else []
    done = {_key(row) for row in known}
    tables = {name: read_table(arguments.tables, name) for name in TABLES}
    # Blocks are the outer loop, so that a stop leaves all strategies alike.
    blocks = range(0, arguments.repetitions, BLOCK)
    for block, name, place, noise, strategy in itertools.product(
        blocks, TABLES, arguments.windows, NOISES, arguments.strategies
    ):
        row: Row = {
            "table": name,
            "window": place,
            "noise": noise,
            "strategy": strategy,
            "block": block,
        }
        if _key(row) not in done:
            found = replayed(tables[name].window(place), strategy, noise, block)
            runs.append_jsonl(arguments.out, {**row, **found, **provenance()})


def replayed(window: Table, strategy: str, noise: float, block: int) -> Row:
    """Return the mean regret of a strategy over a block of repetitions, by trainings.

    It is what the recommended network lacks to what is achievable, both over the window's mean.

    Args:
        window: The networks.
        strategy: One of ``STRATEGIES``.
        noise: Points of noise beside that of the table.
        block: The number of the first repetition, which seeds its noise.
    """
    visit, recommend = STRATEGIES[strategy]
    top, regrets = achievable(window), []
    for number in range(block, block + BLOCK):
        generator = np.random.default_rng([number, zlib.crc32(strategy.encode())])
        seen, truth = drawn(window, noise, generator)
        visited = visit(window, seen, generator)
        regrets.append(
            [
                top - (truth[recommend(window, seen, visited[:count])] - truth.mean())
                for count in CHECKPOINTS
            ]
        )
    table = np.array(regrets)
    return {
        "num_networks": len(window),
        "repetitions": len(table),
        "trainings": list(CHECKPOINTS),
        "regret": table.mean(0).round(4).tolist(),
        "variance": table.var(0, ddof=1).round(6).tolist(),
    }


def drawn(window: Table, noise: float, generator: np.random.Generator) -> tuple[Reals, Reals]:
    """Return what a training of every network would show, and how good it is by all others.

    Of a table with one training a network, that is both.
    """
    each = window.accuracy
    rows, seeds = np.arange(len(window)), generator.integers(0, each.shape[1], len(window))
    seen = each[rows, seeds]
    truth = (each.sum(1) - seen) / (each.shape[1] - 1) if each.shape[1] > 1 else seen
    return seen + noise * generator.standard_normal(len(window)), truth


def achievable(window: Table) -> float:
    """Return by how much the best hundredth of a window is ahead of its mean.

    They are those that a surface through all trainings of the window says are best: the best by
    their own trainings would be too lucky ones.
    """
    accuracy = window.accuracy.mean(1)
    order = np.argsort(-fit_surface(window.features, accuracy).predict(window.features).mean)
    chosen = order[: max(1, round(TOP * len(order)))]
    return float(accuracy[chosen].mean() - accuracy.mean())


def random(window: Table, seen: Reals, generator: np.random.Generator) -> list[int]:
    """Visit networks at random."""
    return generator.permutation(len(window))[: CHECKPOINTS[-1]].tolist()


def apart(window: Table, seen: Reals, generator: np.random.Generator, batch: int = 0) -> list[int]:
    """Visit networks far apart in log widths, and in batches where the surface points.

    It is what ``SurfaceSampler`` does, from a network at random in place of the line.
    """
    features = window.features
    visited = [int(generator.integers(len(window)))]
    away = farthest(features, features[visited])
    surface = None
    while len(visited) < min(CHECKPOINTS[-1], len(window)):
        wanted, place = away, (len(visited) - FIRST) % batch if batch else 0
        if batch and len(visited) >= FIRST:
            if place == 0 or surface is None:
                surface = fit_surface(features[visited], seen[visited]).predict(features)
            promise = surface.error if place % 2 else surface.mean
            wanted = away * (promise >= np.quantile(promise[away > 0], 1 - PROMISING))
        visited.append(int(wanted.argmax()))
        away = np.minimum(away, farthest(features, features[visited[-1:]]))
    return visited


def by_optuna(
    window: Table,
    seen: Reals,
    generator: np.random.Generator,
    make: Callable[[int], TPESampler],
) -> list[int]:
    """Visit what TPE draws; a draw means the nearest network of the window that is not visited."""
    levels = int(window.levels.max()) + 1
    names = [f"width_{number}" for number in range(window.levels.shape[1])]
    space: dict[str, BaseDistribution] = {name: IntDistribution(0, levels - 1) for name in names}
    scale = np.log(np.arange(1, levels + 1))
    study = optuna.create_study(direction="maximize", sampler=make(int(generator.integers(2**31))))
    left = np.ones(len(window), dtype=bool)
    visited: list[int] = []
    while len(visited) < min(CHECKPOINTS[-1], len(window)):
        trial = study.ask(space)
        wanted = scale[[trial.params[name] for name in names]]
        distance = ((scale[window.levels] - wanted) ** 2).sum(1)
        number = int(np.where(left, distance, np.inf).argmin())
        left[number] = False
        visited.append(number)
        # The draw itself was not trained; what stands in for it is told in its place.
        study.tell(trial, state=TrialState.FAIL)
        params = dict(zip(names, window.levels[number].tolist(), strict=True))
        study.add_trial(create_trial(params=params, distributions=space, value=float(seen[number])))
    return visited


def best_trial(window: Table, seen: Reals, visited: list[int]) -> int:
    """Recommend the network whose training showed most."""
    return visited[int(seen[visited].argmax())]


def by_surface(window: Table, seen: Reals, visited: list[int]) -> int:
    """Recommend the network of the whole window that the surface predicts to be best."""
    surface = fit_surface(window.features[visited], seen[visited])
    return int(surface.predict(window.features).mean.argmax())


def our_tpe(seed: int) -> TPESampler:
    """Return TPE as a search sets it."""
    ours = TPE()
    return TPESampler(
        n_startup_trials=ours.n_startup_trials,
        n_ei_candidates=ours.n_ei_candidates,
        multivariate=ours.multivariate,
        group=ours.group,
        constant_liar=ours.constant_liar,
        seed=seed,
    )


STRATEGIES: dict[str, tuple[Visit, Callable[[Table, Reals, list[int]], int]]] = {
    "surface": (apart, by_surface),
    "surface, random": (random, by_surface),
    "surface, batches": (partial(apart, batch=BATCH), by_surface),
    "random": (random, best_trial),
    "TPE": (partial(by_optuna, make=our_tpe), best_trial),
    "Optuna's TPE": (partial(by_optuna, make=lambda seed: TPESampler(seed=seed)), best_trial),
    "TPE, then a surface": (partial(by_optuna, make=our_tpe), by_surface),
}
"""What is trained, and what is recommended of it."""


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("table", "window", "noise", "strategy", "block"))


if __name__ == "__main__":
    run(main)
