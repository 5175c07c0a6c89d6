"""How far the curves of Figure 1 move under other choices than the defaults: a line a choice.

Every panel is counted anew with one choice changed, at the ratios that were read off the paper's
figure. A run that was stopped goes on. Run:

    python tools/rank_alternatives.py --folder runs/alternatives

About 5 minutes on 2 cores.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from trainings import Row, provenance, run

from rexnet import runs
from rexnet.paper import FIGURE_1_RATIOS
from rexnet.studies.rank import points
from rexnet.studies.rank.config import FITTED, Architecture, RankStudy
from rexnet.studies.rank.distance import distance

Change = tuple[str, Any]


def alternatives(architecture: Architecture) -> Iterator[tuple[str, Change | None]]:
    """Yield what is changed, in words, and the option with its value; None is the default."""
    fitted = FITTED[architecture]
    yield "the default", None
    yield "the norm on the other side", ("norm", "before" if fitted.norm == "after" else "after")
    if architecture != "pointwise":
        yield "one image", ("maps", "image")
    yield "normal input", ("input", "normal")
    yield "twice the tolerance", ("tolerance", 2 * fitted.tolerance)
    yield "half the tolerance", ("tolerance", fitted.tolerance / 2)
    yield "3 pixels for each channel", ("samples", 3.0)
    least, most = fitted.widths
    yield "widths halved", ("widths", (least // 2, most // 2))
    yield "widths doubled", ("widths", (2 * least, 2 * most))
    if architecture in ("bottleneck", "depthwise"):
        yield "an expansion of 6", ("expansion", 6)
        yield "an expansion of 4", ("expansion", 4)


def counted(architecture: Architecture, words: str, change: Change | None, given: Any) -> list[Row]:
    """Return the points of a panel with a choice changed."""
    config = RankStudy(
        architectures=(architecture,),
        ratios=FIGURE_1_RATIOS,
        networks=given.networks,
        parallel=given.parallel,
        out=str(given.folder / architecture / words.replace(" ", "-")),
        **dict([change] if change else []),
    )
    return points.run(config, lambda progress: None)


def main() -> None:
    """Count all panels under all choices and write how far their curves move."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="For the runs")
    parser.add_argument("--networks", type=int, default=100, help="A point (default: 100)")
    parser.add_argument("--parallel", type=int, help="Points at a time (default: one a core)")
    parser.add_argument("--out", type=Path, default=Path("results/rank_alternatives.jsonl"))
    given = parser.parse_args()
    lines: list[Row] = []
    for architecture in get_args(Architecture):
        usual: list[Row] = []
        for words, change in alternatives(architecture):
            rows = counted(architecture, words, change, given)
            usual = usual or rows
            moves = [abs(a["mean"] - b["mean"]) for a, b in zip(rows, usual, strict=True)]
            lines.append(
                {
                    "architecture": architecture,
                    "choice": words,
                    "option": change[0] if change else None,
                    "value": change[1] if change else None,
                    "networks": given.networks,
                    "distance": distance(rows),
                    "largest_move": max(moves),
                }
            )
            print(f"{architecture}, {words}: {lines[-1]['distance']:.4f}, {max(moves):.3f}")
            runs.write_jsonl(given.out, [provenance(), *lines])


if __name__ == "__main__":
    run(main)
