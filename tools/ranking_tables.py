"""The tables and the figure of docs/results/ranking.md.

python tools/ranking_tables.py --tables FOLDER

prints what the lines of ``tools/ranking.py`` say of strategies, and what the public tables in
FOLDER say by themselves: of noise, of intervals, and of the claim.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from panel import RESULTS
from public_tables import TABLES, read_table
from public_verdicts import claim_table, coverage_table, expansions_table, noise_table, waist_table
from ranking import STRATEGIES, WINDOWS
from tables import markdown
from trainings import Row, run

from rexnet import runs
from rexnet.report.figures import render

IMAGE = Path(__file__).parents[1] / "docs" / "images" / "ranking.png"

Lines = tuple[Sequence[str], list[list[str]]]

COLORS = dict(
    zip(
        STRATEGIES, ("#d62728", "#f0a0a0", "#8c1515", "#999999", "#1f77b4", "#2ca02c"), strict=False
    )
)


def main() -> None:
    """Print the tables and draw the figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables", type=Path, required=True, help="Folder of the two archives")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--image", type=Path, default=IMAGE)
    arguments = parser.parse_args()
    rows = runs.read_jsonl(arguments.results / "ranking.jsonl")
    tables = {name: read_table(arguments.tables, name) for name in TABLES}
    windows = [
        (table, place, table.window(place)) for table in tables.values() for place in WINDOWS
    ]
    for title, (header, lines) in {
        "noise": noise_table(windows),
        "strategies": strategies_table(rows),
        "windows": windows_table(rows),
        "intervals": coverage_table(windows),
        "claim": claim_table(tables["nats"]),
        "waists": waist_table(tables["nats"]),
        "expansions": expansions_table(tables["mobilenet"]),
    }.items():
        print(f"{title}\n\n{markdown(header, lines)}\n", flush=True)
    runs.write_bytes(arguments.image, render(figure(rows), "png"))


def strategies_table(rows: Sequence[Row]) -> Lines:
    """Show the mean regret of strategies over all windows, in points, with standard errors."""
    lines = []
    for noise in sorted({row["noise"] for row in rows}):
        for strategy in STRATEGIES:
            mine = chosen(rows, noise=noise, strategy=strategy)
            if mine:
                mean, error, count = regret(mine)
                cells = [f"{m:.3f} ± {e:.3f}" for m, e in zip(mean, error, strict=True)]
                lines.append([f"+{noise:g}", strategy, *cells, str(count)])
    return ("noise", "strategy", "20 trainings", "40", "80", "searches"), lines


def windows_table(rows: Sequence[Row]) -> Lines:
    """Show the regret after 40 trainings by window: of the surface, of TPE, and the difference."""
    lines = []
    for noise in sorted({row["noise"] for row in rows}):
        for table in TABLES:
            for window in sorted({row["window"] for row in rows}):
                where = {"noise": noise, "table": table, "window": window}
                ours, theirs = (
                    chosen(rows, strategy=name, **where) for name in ("surface, batches", "TPE")
                )
                if ours and theirs:
                    (a, ea, _), (b, eb, _) = regret(ours), regret(theirs)
                    lines.append(
                        [
                            f"+{noise:g}",
                            f"{table}, {window:g}",
                            str(ours[0]["num_networks"]),
                            f"{a[1]:.3f} ± {ea[1]:.3f}",
                            f"{b[1]:.3f} ± {eb[1]:.3f}",
                            f"{a[1] - b[1]:+.3f} ± {np.hypot(ea[1], eb[1]):.3f}",
                        ]
                    )
    header = ("noise", "window", "networks", "surface, batches", "TPE", "difference")
    return header, lines


def chosen(rows: Sequence[Row], **wanted: object) -> list[Row]:
    """Return the lines whose fields are as wanted."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def regret(rows: Sequence[Row]) -> tuple[list[float], list[float], int]:
    """Return mean regrets by trainings, their standard errors, and the number of searches.

    Windows count alike, whatever the number of their repetitions.
    """
    places = sorted({(row["table"], row["window"]) for row in rows})
    means, variances, count = [], [], 0
    for table, window in places:
        mine = chosen(rows, table=table, window=window)
        searches = sum(row["repetitions"] for row in mine)
        means.append(np.mean([row["regret"] for row in mine], axis=0))
        variances.append(np.mean([row["variance"] for row in mine], axis=0) / searches)
        count += searches
    error = np.sqrt(np.sum(variances, axis=0)) / len(places)
    return np.mean(means, axis=0).tolist(), error.tolist(), count


def figure(rows: Sequence[Row]) -> Figure:
    """Draw regret against trainings for every strategy, one panel a noise."""
    noises = sorted({row["noise"] for row in rows})
    found = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, noise in zip(found.subplots(1, len(noises), squeeze=False)[0], noises, strict=True):
        for strategy, color in COLORS.items():
            mine = chosen(rows, noise=noise, strategy=strategy)
            if mine:
                mean, error, _ = regret(mine)
                axes.errorbar(
                    mine[0]["trainings"], mean, yerr=2 * np.array(error), color=color,
                    marker="o", markersize=4, label=strategy,
                )  # fmt: skip
        axes.set_title(
            f"noise of the tables{f' and {noise:g} points' if noise else ''}", fontsize=10
        )
        axes.set_xlabel("trainings")
        axes.axhline(0, color="#555555", linewidth=0.8)
        axes.grid(color="#e6e6e6")
    found.axes[0].set_ylabel("regret of the network recommended (points)")
    found.axes[-1].legend(fontsize=8.5, frameon=False)
    return found


if __name__ == "__main__":
    run(main)
