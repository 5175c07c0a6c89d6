"""What the trainings of a search say by their surface: predictions, and how far to trust them."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from rexnet.search.config import LEAST_TRAININGS
from rexnet.search.groups import GROUPS, Row, complete
from rexnet.search.results import SearchRun
from rexnet.search.space import Space
from rexnet.search.surface.model import Estimate, Reals, Surface, fit_surface
from rexnet.search.surface.plan import Shape, line_of, plan

NUM_PROPOSALS = 200
"""Networks that are predicted, as many as the paper trains for its figure (appendix A)."""

NUM_PERMUTATIONS = 99

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a search says by its surface.

    Attributes:
        rows: The trials that were trained to the end, in order of number.
        trained: Shape (num_trainings, num_features): their features.
        scores: Shape (num_trainings,): their held-out accuracies.
        surface: The surface through them.
        shapes: The networks that are predicted, the line and the stage-wise one among them.
        line: The line that fills the budget.
        predicted: Accuracies of ``shapes``.
        gains: By how much these are predicted to be ahead of the line.
        quantile: Standard errors to each side of an interval of 95 %.
        spearman: Rank correlation of accuracies and of what the other trainings predict of each.
        f: The F statistic of "all shapes are equal".
        gap: Mean accuracy of the best tenth of the trainings less that of the worst.
        gap_of_noise: What that gap would be if all shapes were equal.
    """

    rows: tuple[Row, ...]
    trained: Reals
    scores: Reals
    surface: Surface
    shapes: tuple[Shape, ...]
    line: Shape
    predicted: Estimate
    gains: Estimate
    quantile: float
    spearman: float
    f: float
    gap: float
    gap_of_noise: float

    @property
    def largest_gain(self) -> float:
        """The largest gain over the line that is still plausible: the highest upper bound."""
        return float((self.gains.mean + self.quantile * self.gains.error).max())

    def chance(self) -> float:
        """Return how often F is as large if all shapes are equal: with accuracies interchanged."""
        generator = np.random.default_rng(0)
        larger = 0
        for _ in range(NUM_PERMUTATIONS):
            mixed = generator.permutation(self.scores)
            larger += _f(fit_surface(self.trained, mixed), mixed) >= self.f
        return (1 + larger) / (1 + NUM_PERMUTATIONS)

    def as_rows(self) -> list[dict[str, Any]]:
        """Return the predicted networks as trials of their predicted accuracies, for groups."""
        return [
            {
                "number": number,
                "state": "complete",
                "is_predicted": True,
                "accuracy": float(self.predicted.mean[number]),
                "accuracies": [float(self.predicted.mean[number])],
                "widths": list(shape.widths),
                "expansions": [block.expansion for block in shape.proposal.spec.blocks],
                "params": shape.proposal.params,
                "macs": shape.proposal.macs,
            }
            for number, shape in enumerate(self.shapes)
        ]

    def best(self, count: int, *, apart: float) -> list[int]:
        """Return the numbers of the best predicted shapes without a name, best first.

        Args:
            count: How many, at most.
            apart: The least distance in log widths from each other and from the named shapes.
        """
        taken = [shape.features for shape in self.shapes if shape.name]
        found: list[int] = []
        for number in np.argsort(-self.predicted.mean, kind="stable").tolist():
            mine = self.shapes[number]
            if mine.name or len(found) == count:
                continue
            if all(float(np.linalg.norm(mine.features - other)) >= apart for other in taken):
                found.append(number)
                taken.append(mine.features)
        return found


def is_by_surface(search: SearchRun) -> bool:
    """Tell whether a search is read by its surface: made for one, and with trainings for it."""
    is_meant = search.identity["sampler"]["name"] == "surface"
    return is_meant and len(complete(search.rows)) >= LEAST_TRAININGS


def ranked(search: SearchRun) -> Sequence[Row]:
    """Return what groups are made of: predictions where a search is read by its surface."""
    return judge(search).as_rows() if is_by_surface(search) else search.rows


def judge(search: SearchRun) -> Judgement:
    """Return what a search says by its surface; it has at least 8 networks that were trained."""
    return judged(search.rows, search.space, search.identity["protocol"].seed)


def judged(rows: Sequence[Row], space: Space, seed: int) -> Judgement:
    """Return what trainings say by their surface.

    Args:
        rows: Lines of ``trials.jsonl``.
        space: What was searched.
        seed: The search's seed.
    """
    from scipy.stats import spearmanr, t

    done = tuple(sorted(complete(rows), key=lambda row: row["number"]))
    scores = np.array([row["accuracy"] for row in done], dtype=np.float64)
    trained = features_of(space, done)
    surface = fit_surface(trained, scores)
    shapes, line = tuple(plan(space, seed, NUM_PROPOSALS)), line_of(space)
    proposed = np.array([shape.features for shape in shapes])
    left_out = surface.left_out
    agree = np.ptp(scores) > 0 and np.ptp(left_out) > 0
    return Judgement(
        rows=done,
        trained=trained,
        scores=scores,
        surface=surface,
        shapes=shapes,
        line=line,
        predicted=surface.predict(proposed),
        gains=surface.gain(proposed, line.features),
        quantile=float(t.ppf((1 + CONFIDENCE) / 2, max(surface.freedom, 1.0))),
        spearman=float(spearmanr(scores, left_out).statistic) if agree else 0.0,
        f=_f(surface, scores),
        gap=_gap(scores),
        gap_of_noise=surface.noise * gap_of_ranks(len(scores)),
    )


def features_of(space: Space, rows: Sequence[Row]) -> Reals:
    """Return the features of trials, shape (num_trials, num_features)."""
    widths = np.array([row["widths"] for row in rows])
    expansions = [row["expansions"] for row in rows if row.get("expansions")]
    return space.features_of(widths, np.array(expansions) if expansions else None)


def gap_of_ranks(count: int) -> float:
    """Return the gap of best and worst tenth of so many draws of a normal distribution of sd 1."""
    ranks = np.arange(1, count + 1)
    # Blom's expected order statistics.
    normal = np.array([NormalDist().inv_cdf((rank - 0.375) / (count + 0.25)) for rank in ranks])
    return _gap(normal)


def _gap(values: Reals) -> float:
    """Return the mean of the best tenth less that of the worst, as ``groups`` takes them."""
    order = np.sort(values)[::-1]
    (_, _, top), (_, bottom, _) = GROUPS[0], GROUPS[-1]
    worst = order[min(round(bottom * len(order)), len(order) - 1) :]
    return float(order[: max(round(top * len(order)), 1)].mean() - worst.mean())


def _f(surface: Surface, scores: Reals) -> float:
    """Return the variance that a surface explains a degree of freedom over that of its noise."""
    around = float(((scores - scores.mean()) ** 2).sum())
    used, noise = len(scores) - 1 - surface.freedom, surface.noise**2
    if used <= 0 or noise <= 0:
        return 0.0
    return max(around - noise * surface.freedom, 0.0) / used / noise
