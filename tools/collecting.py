"""The command line of the tools that turn what commands wrote into results, tables and figures."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from tables import RESULTS, markdown
from trainings import Row, provenance
from trainings import run as run_tool

from rexnet import UserError, runs
from rexnet.report.figures import render


def run_results(
    doc: str | None,
    *,
    lines: Callable[[Path], list[Row]],
    tables: Callable[[Path], Iterator[tuple[str, Sequence[str], list[list[str]]]]],
    drawn: Callable[[Path], Iterator[tuple[str, Figure]]] = lambda results: iter(()),
) -> None:
    """Collect what commands wrote, print the tables, or draw the figures, as the command line says.

    Args:
        doc: What the tool is for.
        lines: From a run folder, or a file, to lines of ``results/``.
        tables: From ``results/`` to title, header and rows of every table.
        drawn: From ``results/`` to the figures with their names.
    """
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    collecting = verbs.add_parser("collect")
    collecting.add_argument("places", type=Path, nargs="+")
    collecting.add_argument("--command", required=True, help="What made them")
    collecting.add_argument("--commit", help="The code that made them (default: this one)")
    collecting.add_argument("--out", type=Path, required=True)
    verbs.add_parser("tables")
    verbs.add_parser("figures").add_argument("folder", type=Path)
    arguments = parser.parse_args()

    def run() -> None:
        if arguments.verb == "collect":
            if arguments.out.resolve() in [place.resolve() for place in arguments.places]:
                raise UserError(f"--out {arguments.out} is one of the files to collect")
            first = {**provenance(), "command": arguments.command}
            first["commit"] = arguments.commit or first["commit"]
            found = (line for place in arguments.places for line in lines(place))
            runs.write_jsonl(arguments.out, [first, *found])
        elif arguments.verb == "tables":
            for title, header, rows in tables(RESULTS):
                print(f"{title}\n\n{markdown(header, rows)}\n")
        else:
            for name, figure in drawn(RESULTS):
                runs.write_bytes(arguments.folder / f"{name}.png", render(figure, "png"))

    run_tool(run)
