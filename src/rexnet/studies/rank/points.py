"""The study job: the mean rank ratio of random layers, point by point."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from rexnet import runs
from rexnet.runs.parallel import run_all
from rexnet.runs.progress import OnProgress, counting
from rexnet.studies.rank.config import Architecture, Choices, Function, RankStudy
from rexnet.studies.rank.counting import count_above
from rexnet.studies.rank.layers import output
from rexnet.studies.trainings import mean_and_stderr

POINTS, STUDY = "points.jsonl", "study.json"


@dataclass(frozen=True, kw_only=True)
class Point:
    """The layers of one architecture at one ratio of widths, and the folder of their result."""

    architecture: Architecture
    ratio: float
    functions: tuple[Function, ...]
    networks: int
    seed: int
    choices: Choices
    out: str

    @staticmethod
    def of(config: RankStudy, architecture: Architecture, ratio: float) -> "Point":
        """Return a point of a study."""
        return Point(
            architecture=architecture,
            ratio=ratio,
            functions=config.functions,
            networks=config.networks,
            seed=config.seed,
            choices=config.choices(architecture),
            out=str(Path(config.out) / "points" / f"{architecture}-{ratio:g}"),
        )


def run(config: RankStudy, on_progress: OnProgress) -> list[dict[str, Any]]:
    """Count ranks and write ``points.jsonl``: a line for each architecture, function and ratio.

    A line has ``mean`` of the rank by the output channels over the networks, ``stderr`` of it, and
    ``networks``.

    Raises:
        UserError: The folder holds another study or cannot be written to.
    """
    folder = Path(config.out)
    points = [
        Point.of(config, architecture, ratio)
        for architecture in config.architectures
        for ratio in config.ratios
    ]
    with runs.opened(folder, STUDY, _identity(config), packages=("numpy", "scipy")):
        # Those that take longest first, so that no process waits at the end.
        longest = sorted(points, key=lambda point: -point.ratio)
        parallel = config.parallel or os.cpu_count() or 1
        run_all(
            count_point, longest, parallel, on_progress, name="point", done_words="points counted"
        )
        rows = [row for point in points for row in runs.read_json(Path(point.out) / "result.json")]
        rows.sort(key=lambda row: (_place(row["architecture"]), _turn(config, row), row["ratio"]))
        runs.write_jsonl(folder / POINTS, rows)
    return rows


def count_point(point: Point, on_progress: OnProgress) -> None:
    """Count the ranks of a point's layers and write ``result.json``, a row a function.

    Functions follow the same weights and inputs, so that their difference is less noisy.
    """
    tell = counting(on_progress, "layers")
    ratios: dict[Function, list[float]] = {name: [] for name in point.functions}
    for number in range(point.networks):
        for name in point.functions:
            ratios[name].append(rank(point, name, number) / drawn(point, number)[1])
        tell(number + 1, point.networks)
    rows = [_row(point, name, found) for name, found in ratios.items()]
    runs.write_json(Path(point.out) / "result.json", rows)


def _row(point: Point, function: Function, found: Sequence[float]) -> dict[str, Any]:
    mean, error = mean_and_stderr(found)
    return {
        "architecture": point.architecture,
        "function": function,
        "ratio": point.ratio,
        "mean": mean,
        "stderr": error,
        "networks": len(found),
        "seed": point.seed,
        **dataclasses.asdict(point.choices),
    }


def drawn(point: Point, number: int) -> tuple[int, int, np.random.Generator]:
    """Return input and output channels of a random layer, and what draws the rest of it."""
    place = _place(point.architecture)
    generator = np.random.default_rng([point.seed, place, round(1000 * point.ratio), number])
    least, most = point.choices.widths
    width = int(generator.integers(least, most + 1))
    return max(1, round(point.ratio * width)), width, generator


def rank(point: Point, function: Function, number: int) -> int:
    """Return the rank of the output of one random layer."""
    width_in, width, generator = drawn(point, number)
    y = output(point.architecture, function, width_in, width, point.choices, generator)
    return count_above(y, point.choices.tolerance)


def _identity(config: RankStudy) -> dict[str, Any]:
    """Return what makes two studies the same, as JSON has it."""
    return {
        "functions": list(config.functions),
        "ratios": list(config.ratios),
        "networks": config.networks,
        "seed": config.seed,
        "choices": {
            name: _plain(dataclasses.asdict(config.choices(name))) for name in config.architectures
        },
    }


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in fields.items()}


def _place(architecture: Architecture) -> int:
    known: Sequence[Architecture] = get_args(Architecture)
    return known.index(architecture)


def _turn(config: RankStudy, row: Mapping[str, Any]) -> int:
    return config.functions.index(row["function"])
