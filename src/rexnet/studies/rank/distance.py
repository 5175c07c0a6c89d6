"""How far rank ratios are from what can be read off Figure 1 of the paper."""

from collections.abc import Iterable, Mapping
from typing import Any

from rexnet.paper import FIGURE_1
from rexnet.studies.rank.config import Architecture

GOALS: dict[Architecture, float] = {
    "pointwise": 0.02,
    "conv": 0.02,
    "bottleneck": 0.04,
    "depthwise": 0.04,
}
"""The root-mean-square distance to be reached."""

MAX_RATIO = 0.5
"""The largest ratio of widths at which functions are told apart by eye."""


def distance(rows: Iterable[Mapping[str, Any]]) -> float | None:
    """Return the root-mean-square distance of points to those read off; None without any.

    Args:
        rows: Points of one architecture, with ``architecture``, ``function``, ``ratio``, ``mean``.
    """
    errors = [
        row["mean"] - value
        for row in rows
        if (value := FIGURE_1[row["architecture"]].get(row["function"], {}).get(row["ratio"]))
        is not None
    ]
    return (sum(error**2 for error in errors) / len(errors)) ** 0.5 if errors else None


def order(rows: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    """Return how many pairs of functions are in the order read off, and of how many.

    Pairs at the same ratio, at most 0.5, whose values that were read differ.
    """
    known = [
        (row["ratio"], value, row["mean"])
        for row in rows
        if row["ratio"] <= MAX_RATIO
        and (value := FIGURE_1[row["architecture"]].get(row["function"], {}).get(row["ratio"]))
        is not None
    ]
    pairs = [
        (ours - theirs) * (value - other) > 0
        for ratio, value, ours in known
        for other_ratio, other, theirs in known
        if ratio == other_ratio and value > other
    ]
    return sum(pairs), len(pairs)
