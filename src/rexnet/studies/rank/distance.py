"""What can be read off Figure 1 of the paper: rank ratios by ratio of widths.

Read with the eye, to 0.01 in (a) and 0.02 in (c) and (d); of (b) two points.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from rexnet.studies.rank.config import Architecture, Function

RATIOS = (0.1, 0.2, 0.5, 1.0)

_A: dict[Function, tuple[float, ...]] = {
    "linear": (0.1, 0.2, 0.5, 1.0),
    "relu6": (0.855, 0.905, 0.948, 0.960),
    "relu": (0.848, 0.900, 0.948, 0.965),
    "leaky_relu": (0.875, 0.930, 0.977, 0.991),
    "elu": (0.915, 0.963, 0.988, 0.998),
    "softplus": (0.935, 0.975, 0.990, 0.998),
    "hardswish": (0.948, 0.984, 0.995, 0.998),
    "silu": (0.958, 0.983, 0.991, 0.998),
}

_C: dict[Function, tuple[float, ...]] = {
    **dict.fromkeys(("relu", "relu6"), (0.30, 0.56, 0.91, 1.0)),
    **dict.fromkeys(("silu", "hardswish"), (0.39, 0.68, 0.95, 1.0)),
}

_D: dict[Function, tuple[float, ...]] = {
    **dict.fromkeys(("relu",), (0.19, 0.36, 0.69, 1.0)),
    **dict.fromkeys(("silu", "hardswish"), (0.25, 0.43, 0.75, 1.0)),
}

READ: dict[Architecture, dict[Function, dict[float, float]]] = {
    "pointwise": {name: dict(zip(RATIOS, row, strict=True)) for name, row in _A.items()},
    "conv": {"relu": {0.1: 0.867}, "silu": {0.1: 0.963}},
    "bottleneck": {name: dict(zip(RATIOS, row, strict=True)) for name, row in _C.items()},
    "depthwise": {name: dict(zip(RATIOS, row, strict=True)) for name, row in _D.items()},
}
"""Rank ratios by architecture, function and ratio of widths."""

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
        if (value := READ[row["architecture"]].get(row["function"], {}).get(row["ratio"]))
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
        and (value := READ[row["architecture"]].get(row["function"], {}).get(row["ratio"]))
        is not None
    ]
    pairs = [
        (ours - theirs) * (value - other) > 0
        for ratio, value, ours in known
        for other_ratio, other, theirs in known
        if ratio == other_ratio and value > other
    ]
    return sum(pairs), len(pairs)
