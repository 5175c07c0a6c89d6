"""The tables of the claim at full length, from the lines of ``tools/claim.py``."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from trainings import Row

from rexnet.search.candidates.outcomes import unpacked

Table = tuple[Sequence[str], list[list[str]]]

LINEAR = ("line", "Table 3, best")
STEPS = ("stage-wise", "late jump", "early jump", "Table 3, worst")

NUM_IMAGES = 10_000
"""Test images of CIFAR."""

SPLITS = 1000
"""Random halves of the test images."""


def tables(rows: list[Row]) -> dict[str, Table]:
    """Return the tables by title; those that need more trainings are left out."""
    found = {
        "claim, networks": networks_table(rows),
        "claim, differences": differences_table(rows),
        "claim, noise": noise_table(rows),
    }
    return {title: table for title, table in found.items() if table[1]}


def networks_table(rows: list[Row]) -> Table:
    """Show cost, accuracy and spread of every network, in percent."""
    found = []
    for name, mine in by_network(rows).items():
        top1 = [100 * row["top1"] for row in mine]
        found.append(
            [
                name,
                "-".join(map(str, mine[0]["widths"])),
                f"{mine[0]['params'] / 1e3:.0f}k",
                f"{mine[0]['macs'] / 1e6:.1f}M",
                f"{np.mean(top1):.2f}",
                deviation(top1),
                f"{100 * np.mean([row['top5'] for row in mine]):.2f}",
                f"{np.mean([row['loss'] for row in mine]):.4f}",
                str(len(mine)),
            ]
        )
    found.sort(key=lambda row: -float(row[4]))
    header = ("network", "widths", "params", "MACs", "top-1 (%)", "sd", "top-5 (%)", "loss", "n")
    return header, found


def differences_table(rows: list[Row]) -> Table:
    """Show by how many points linear networks beat the others, seed by seed.

    The 95 % interval is that of Student's t over the seeds; the standard error of the images, by
    the differences of single images, is what other test images would change.
    """
    networks, found = by_network(rows), []
    for left in LINEAR:
        for right in STEPS:
            pairs = paired(networks.get(left, []), networks.get(right, []))
            if not pairs:
                continue
            points = [100 * (a["top1"] - b["top1"]) for a, b in pairs]
            images = np.mean([outcomes(a) * 1.0 - outcomes(b) for a, b in pairs], axis=0)
            interval = interval_of(points)
            found.append(
                [
                    f"{left} - {right}",
                    f"{np.mean(points):+.2f}",
                    f"{interval[0]:+.2f} to {interval[1]:+.2f}" if interval else "",
                    f"{100 * images.std(ddof=1) / np.sqrt(len(images)):.2f}",
                    str(len(points)),
                    verdict(interval),
                ]
            )
    header = ("difference", "points", "95 % interval", "error of the images", "seeds", "verdict")
    return header, found


def noise_table(rows: list[Row]) -> Table:
    """Show what tells the networks apart, and what hides it, in points.

    The correlation of halves is that of the networks' mean accuracies on two halves of the test
    images: near 1, other images would give the same order.
    """
    networks = {name: mine for name, mine in by_network(rows).items() if len(mine) > 1}
    if len(networks) < 3:
        return (), []
    top1 = [np.array([100 * row["top1"] for row in mine]) for mine in networks.values()]
    means = np.array([np.mean([outcomes(r) for r in mine], axis=0) for mine in networks.values()])
    halves = split_half(means)
    seeds = np.sqrt(np.mean([values.var(ddof=1) for values in top1]))
    between = np.std([values.mean() for values in top1], ddof=1)
    low, middle, high = np.percentile(halves, (2.5, 50, 97.5))
    return (
        ("networks", "sd between networks", "sd between seeds", "correlation of halves, 95 %"),
        [
            [
                str(len(networks)),
                f"{between:.2f}",
                f"{seeds:.2f}",
                f"{middle:.2f} ({low:.2f} to {high:.2f})",
            ]
        ],
    )


def split_half(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the correlation of networks' accuracies on random halves of the images.

    Args:
        means: How often a network gets an image right, shape (num_networks, num_images).

    Returns:
        Shape (``SPLITS``,).
    """
    generator = np.random.default_rng(0)
    half = means.shape[1] // 2
    found = []
    for _ in range(SPLITS):
        order = generator.permutation(means.shape[1])
        one, other = means[:, order[:half]].mean(1), means[:, order[half:]].mean(1)
        found.append(np.corrcoef(one, other)[0, 1])
    return np.array(found)


def verdict(interval: tuple[float, float] | None) -> str:
    """Return what an interval of a difference says of the claim, in words."""
    if interval is None or interval[0] <= 0 <= interval[1]:
        return "cannot tell yet"
    return "shows" if interval[0] > 0 else "does not show: the other way round"


def interval_of(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean by Student's t; None of fewer than two values."""
    if len(values) < 2:
        return None
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    return float(low), float(high)


def by_network(rows: list[Row]) -> dict[str, list[Row]]:
    """Return the lines of every network."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["network"], []).append(row)
    return found


def paired(left: list[Row], right: list[Row]) -> list[tuple[Row, Row]]:
    """Return the lines of two networks that have a seed in common."""
    others = {row["seed"]: row for row in right}
    return [(row, others[row["seed"]]) for row in left if row["seed"] in others]


def outcomes(row: Row) -> NDArray[np.bool_]:
    """Return which test images a training gets right."""
    return unpacked(row["right"], NUM_IMAGES)


def deviation(values: Sequence[float]) -> str:
    """Return the standard deviation; nothing of a single value."""
    return f"{np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
