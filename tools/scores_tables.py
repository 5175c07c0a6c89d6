"""What the lines of ``tools/scores.py`` say: which score agrees best, and which settings help.

python tools/scores_tables.py

prints how far scores of short trainings agree between seeds and with long trainings, whether they
favour a shape, and what every setting of the protocol is worth.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from panel import RESULTS
from scipy.stats import linregress, pearsonr, spearmanr
from tables import markdown
from trainings import Row, run

from rexnet import runs

Lines = tuple[Sequence[str], list[list[str]]]
Known = Mapping[tuple[str, int], float]
"""Accuracies by network and seed."""

SCORES = {"accuracy": 1, "true_probability": 1, "loss": -1, "first_loss": -1}
"""Scores, and whether more of them is better."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = runs.read_jsonl(arguments.results / "scores.jsonl")
    for count in sorted({row["num_train"] for row in rows}):
        mine = [row for row in rows if row["num_train"] == count]
        for title, (header, lines) in {
            "scores": scores_table(mine),
            "shape": shape_table(mine),
            "settings": ladder_table(mine),
        }.items():
            if lines:
                print(f"{title}, {count:,} training images\n\n{markdown(header, lines)}\n")


def scores_table(rows: Sequence[Row]) -> Lines:
    """Show how scores of short trainings agree between two seeds, and with long accuracy."""
    long, lines = by_network(rows, "long", "accuracy"), []
    for epochs in sorted({row["protocol"]["epochs"] for row in rows if row["group"] == "short"}):
        short = [row for row in rows if row["protocol"]["epochs"] == epochs]
        for score, sign in SCORES.items():
            seeds = by_network(short, "short", score)
            names = [name for name in seeds if name in long]
            twice = [name for name in names if len(seeds[name]) > 1]
            cells = ["-", "-"]
            if len(twice) > 2:
                pairs = np.array([seeds[name][:2] for name in twice])
                cells[0] = f"{spearmanr(*pairs.T).statistic:.2f}"
                noise = pairs.std(1, ddof=1)
                spread = np.sqrt(max(pairs.mean(1).var(ddof=1) - (noise**2).mean() / 2, 0))
                cells[1] = f"{spread / np.sqrt((noise**2).mean()):.1f}"
            if len(names) > 2:
                first = sign * np.array([seeds[name][0] for name in names])
                truth = np.array([np.mean(long[name]) for name in names])
                cells += [
                    f"{spearmanr(first, truth).statistic:.2f}",
                    f"{pearsonr(first, truth).statistic:.2f}",
                ]
                lines.append([str(epochs), score, *cells, str(len(names))])
    header = (
        *("epochs", "score", "two seeds (Spearman)", "sd of networks over noise"),
        *("long accuracy (Spearman)", "(Pearson)", "networks"),
    )
    return header, lines


def shape_table(rows: Sequence[Row]) -> Lines:
    """Show by how much long accuracy, less what short accuracy says, goes with the slope."""
    long, lines = by_network(rows, "long", "accuracy"), []
    widths = {row["network"]: row["widths"] for row in rows}
    for epochs in sorted({row["protocol"]["epochs"] for row in rows if row["group"] == "short"}):
        short = by_network(
            [row for row in rows if row["protocol"]["epochs"] == epochs], "short", "accuracy"
        )
        names = [name for name in short if name in long]
        if len(names) > 3:
            found, truth = (
                100 * np.array([np.mean(known[name]) for name in names]) for known in (short, long)
            )
            slope = np.array([np.log2(widths[name][-1] / widths[name][0]) for name in names])
            line = linregress(found, truth)
            rest = linregress(slope, truth - line.intercept - line.slope * found)
            lines.append(
                [
                    str(epochs),
                    f"{line.slope:.2f} ± {line.stderr:.2f}",
                    f"{rest.slope:+.2f} ± {rest.stderr:.2f}",
                    str(len(names)),
                ]
            )
    header = ("epochs", "long on short", "rest, points a doubling of the widths", "networks")
    return header, lines


def ladder_table(rows: Sequence[Row]) -> Lines:
    """Show accuracies under every setting less those of plain ones, by network and seed."""
    known: dict[str, dict[tuple[str, int], float]] = {}
    for row in rows:
        key = row["network"], row["protocol"]["seed"]
        group = row["group"]
        if group == "long":
            group = f"plain, {row['protocol']['epochs']} epochs"
        if group != "short":
            known.setdefault(group, {})[key] = 100 * row["accuracy"]
    plain = known.get("plain", {})
    return ("settings", "accuracy (%)", "less plain", "trainings"), [
        [name, *_less(found, plain)] for name, found in known.items()
    ]


def _less(
    found: Mapping[tuple[str, int], float], plain: Mapping[tuple[str, int], float]
) -> list[str]:
    keys = [key for key in found if key in plain]
    mean = np.mean([found[key] for key in keys]) if keys else np.nan
    differences = np.array([found[key] - plain[key] for key in keys])
    error = differences.std(ddof=1) / np.sqrt(len(keys)) if len(keys) > 1 else np.nan
    less = differences.mean() if keys else np.nan
    return [f"{mean:.1f}", f"{less:+.2f} ± {error:.2f}", str(len(keys))]


def by_network(rows: Sequence[Row], group: str, score: str) -> dict[str, list[float]]:
    """Return a score of the trainings of a group by network, in the order of seeds."""
    found: dict[str, list[float]] = {}
    for row in sorted(rows, key=lambda row: row["protocol"]["seed"]):
        if row["group"] == group:
            found.setdefault(row["network"], []).append(row[score])
    return found


if __name__ == "__main__":
    run(main)
