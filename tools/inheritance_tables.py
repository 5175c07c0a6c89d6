"""The tables of docs/results/inheritance.md, from the lines of ``tools/inheritance.py``.

python tools/inheritance_tables.py                              prints the tables
python tools/inheritance_tables.py --latency benchmark.jsonl    keeps a benchmark's times first
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from claim import read
from numpy.typing import NDArray
from panel import RESULTS
from tables import markdown
from trainings import Row, provenance, run

from rexnet import runs
from rexnet.search.candidates.outcomes import unpacked

Table = tuple[Sequence[str], list[list[str]]]

PAIRS = (
    ("line, 50%, distilled", "whole, 120 px"),
    ("line, 50%, distilled", "line, 50%"),
    ("line, 50%, distilled", "line, 50%, new weights"),
    ("line, 50%", "Torch-Pruning, 50%"),
    ("line, 30%", "Torch-Pruning, 30%"),
    ("line, 50%", "uniform, 50%"),
    ("line, 50%", "line, 50%, 104 px"),
    ("whole, 88 px", "line, 50%"),
    ("whole, 88 px", "line, 30%, 88 px"),
    ("whole, 64 px", "line, 30%"),
)
"""What is compared: the second is taken from the first."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--latency", type=Path, help="benchmark.jsonl of `rexnet benchmark`")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    times = arguments.results / "inheritance_latency.jsonl"
    if arguments.latency is not None:
        runs.write_jsonl(times, timed(runs.read_jsonl(arguments.latency)))
    rows = read(arguments.results / "inheritance.jsonl")
    milliseconds = {row["network"]: row["ms"] for row in read(times)}
    for title, (header, lines) in {
        "ways": ways_table(rows, milliseconds),
        "differences": differences_table(rows),
    }.items():
        print(f"{title}\n\n{markdown(header, lines)}\n")


def timed(benchmark: list[Row]) -> list[Row]:
    """Return the median time of every network in a benchmark, with how it was measured."""
    protocol, *rows = benchmark
    kept = {name: protocol[name] for name in ("rounds", "threads", "batch", "precision")}
    return [
        {
            "network": Path(row["model"]).stem,
            "ms": row["milliseconds"],
            "quartiles": row["quartiles"],
            **kept,
            **provenance(),
        }
        for row in rows
        if "milliseconds" in row
    ]


def ways_table(rows: list[Row], milliseconds: dict[str, float]) -> Table:
    """Show accuracy, probe and cost of every way, in percent, by the cost."""
    found = []
    for name, mine in by_network(rows).items():
        top1 = [100 * row["top1"] for row in mine]
        probe = [100 * row["probe_top1"] for row in mine if row["probe_top1"] is not None]
        spec = name.replace(" ", "-").replace(",", "").replace("%", "")
        # A teacher changes weights, not the network.
        time = milliseconds.get(spec.removesuffix("-distilled").removesuffix("-new-weights"))
        macs = mine[0]["macs"] / 1e6
        line = [
            name,
            f"{mine[0]['resolution']}",
            f"{np.mean(probe):.1f}" if probe else "-",
            f"{np.mean(top1):.1f}",
            f"{np.std(top1, ddof=1):.1f}" if len(top1) > 1 else "-",
            f"{mine[0]['params'] / 1e6:.2f}M",
            f"{macs:.0f}M",
            "-" if time is None else f"{time:.2f}",
            str(len(top1)),
        ]
        found.append((macs, line))
    header = ("way", "px", "probe (%)", "top-1 (%)", "sd", "params", "MACs", "ms", "n")
    return header, [line for _, line in sorted(found, key=lambda pair: -pair[0])]


def differences_table(rows: list[Row]) -> Table:
    """Show differences in points, with 95 % intervals by the differences of single images.

    An image counts as the share of the seeds that get it right.
    """
    networks, found = by_network(rows), []
    for left, right in PAIRS:
        if left in networks and right in networks:
            one, other = (shares(networks[name]) for name in (left, right))
            points = 100 * (one - other)
            error = 1.96 * points.std(ddof=1) / np.sqrt(len(points))
            mean = points.mean()
            found.append(
                [
                    f"{left} - {right}",
                    f"{mean:+.1f}",
                    f"{mean - error:+.1f} to {mean + error:+.1f}",
                    f"{len(networks[left])}, {len(networks[right])}",
                ]
            )
    return ("difference", "points", "95 % interval", "seeds"), found


def shares(rows: list[Row]) -> NDArray[np.float64]:
    """Return for every image the share of the trainings that get it right."""
    outcomes = [unpacked(row["right"], row["num_images"]) for row in rows]
    found: NDArray[np.float64] = np.mean(outcomes, axis=0)
    return found


def by_network(rows: list[Row]) -> dict[str, list[Row]]:
    """Return the lines of every way."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["network"], []).append(row)
    return found


if __name__ == "__main__":
    run(main)
