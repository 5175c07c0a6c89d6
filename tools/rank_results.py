"""The rank studies of docs/rank.md: from their lines to results/, then to tables and the figure.

python tools/rank_results.py collect LINES.jsonl... --command "rexnet study ..." --out OUT.jsonl
python tools/rank_results.py tables
python tools/rank_results.py figures docs/images
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

from collecting import run_results
from matplotlib.figure import Figure
from tables import Table
from trainings import Row

from rexnet import runs
from rexnet.report.rank import PANELS, rank_figure
from rexnet.studies.factors import summarise
from rexnet.studies.rank.config import Architecture
from rexnet.studies.rank.distance import GOALS, distance, order
from rexnet.studies.study import with_error


def tables(results: Path) -> Iterator[tuple[str, Sequence[str], list[list[str]]]]:
    """Yield title, header and rows of every table."""
    _, *rows = runs.read_jsonl(results / "rank.jsonl")
    yield "distances", *distances(rows)
    _, *changed = runs.read_jsonl(results / "rank_alternatives.jsonl")
    yield "alternatives", *alternatives(changed)
    _, *trained = runs.read_jsonl(results / "factors.jsonl")
    yield "factors", *factors(trained)


def distances(rows: Sequence[Row]) -> Table:
    """Return how far the panels of each seed are from what was read off, and from each other."""
    seeds = list(dict.fromkeys(row["seed"] for row in rows))
    lines = []
    for architecture in get_args(Architecture):
        mine = [row for row in rows if row["architecture"] == architecture]
        each = [[row for row in mine if row["seed"] == seed] for seed in seeds]
        orders = [order(found) for found in each]
        lines.append(
            [
                PANELS[architecture],
                *(f"{distance(found):.4f}" for found in each),
                f"{GOALS[architecture]}",
                " and ".join(f"{right} of {pairs}" for right, pairs in orders),
                f"{max(row['stderr'] for row in mine):.4f}",
                f"{within(each[0], each[1]):.0%}",
            ]
        )
    distances_of = [f"distance, seed {seed}" for seed in seeds]
    tail = ["aim", "pairs in order", "largest standard error", "seeds within two"]
    return ["panel", *distances_of, *tail], lines


def alternatives(rows: Sequence[Row]) -> Table:
    """Return the distance of every panel under other choices, and how far its curves move."""
    known = list(get_args(Architecture))
    found = {(row["choice"], row["architecture"]): row for row in rows}
    lines = []
    for choice in dict.fromkeys(row["choice"] for row in rows):
        mine = [found.get((choice, name)) for name in known]
        lines.append(
            [
                choice,
                *(
                    f"{row['distance']:.3f} ({row['largest_move']:.2f})" if row else "-"
                    for row in mine
                ),
            ]
        )
    return ["choice", *(PANELS[name][:3] for name in known)], lines


def factors(rows: Sequence[Row]) -> Table:
    """Return Table 2 beside the paper's."""
    header = ["network", "top-1 (%)", "nuclear norm", "by the baseline's"]
    header += ["paper: top-1", "norm", "by the baseline's"]
    lines = [
        [
            line["network"],
            with_error(line, "top1", ".2f"),
            with_error(line, "nuclear_norm", ".2f"),
            f"{line['gain']:.3f}",
            f"{line['paper_top1']:.1f}",
            f"{line['paper_nuclear_norm']:.1f}",
            f"{line['paper_gain']:.3f}",
        ]
        for line in summarise(rows)
    ]
    return header, lines


def within(ours: Sequence[Row], theirs: Sequence[Row]) -> float:
    """Return the share of points in which two seeds differ by two standard errors at most."""
    agree = [
        abs(a["mean"] - b["mean"]) <= 2 * (a["stderr"] ** 2 + b["stderr"] ** 2) ** 0.5
        for a, b in zip(ours, theirs, strict=True)
    ]
    return sum(agree) / len(agree)


def drawn(results: Path) -> Iterator[tuple[str, Figure]]:
    """Yield the figure with its name."""
    _, *rows = runs.read_jsonl(results / "rank.jsonl")
    first = [row for row in rows if row["seed"] == rows[0]["seed"]]
    yield "rank", rank_figure(first)


if __name__ == "__main__":
    run_results(__doc__, lines=runs.read_jsonl, tables=tables, drawn=drawn)
