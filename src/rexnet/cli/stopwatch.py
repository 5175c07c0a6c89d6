"""What a search and a design under a budget of time share: the clock, and what it measured."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rexnet import runs
from rexnet.budget import LatencyBudget
from rexnet.search.predictor import read_predictor
from rexnet.spec import NetSpec

if TYPE_CHECKING:
    from rich.console import Console

    from rexnet.cli.console import Bar
    from rexnet.deploy.stopwatch import Stopwatch


def _tell_other_work(console: "Console") -> None:
    """Say what else the machine computes."""
    from rexnet.deploy.doctor import other_work
    from rexnet.deploy.machine import examine

    found = other_work(examine())
    if found:
        what = "; ".join(finding.what for finding in found)
        console.print(
            f"The machine is busy: {what}. Times come out too long; Ctrl-C, end that first and "
            "give the same command again, or go on.",
            soft_wrap=True,
        )


def clock_of(budget: LatencyBudget, bar: "Bar", console: "Console") -> "Stopwatch":
    """Return what measures networks in the runtime of a budget, and shows on ``bar`` how far it is.

    Before it measures for the first time it tells on ``console`` what else the machine computes.

    Raises:
        UserError: The runtime is not installed.
    """
    from rexnet.deploy.stopwatch import clock

    found = clock(budget.runtime, bar.update)
    told: list[bool] = []

    def measured(specs: Sequence[NetSpec], on_step: Callable[[int, int], None]) -> Any:
        if not told:
            told.append(True)
            _tell_other_work(console)
        return found.measured(specs, on_step)

    return dataclasses.replace(found, measured=measured)


def where(device: dict[str, Any]) -> str:
    """Return in words on what was measured."""
    runtime, threads = device["runtime"], device["threads"]
    plural = "s" if threads != 1 else ""
    return (
        f"{device['processor']} with {runtime} {device['versions'][runtime]}, {threads} "
        f"thread{plural}, {device['precision']}"
    )


def print_short_list(folder: Path, console: "Console") -> None:
    """Print what the best networks of a search under a budget of time took."""
    from rexnet.cli.console import table
    from rexnet.report.text import percent

    if not (folder / "short_list.json").exists():
        return
    found = runs.read_json(folder / "short_list.json")
    rows = [
        (
            str(row["number"]),
            percent(row["accuracy"]),
            f"{row['predicted']:.3g}",
            f"{row['fastest']:.3g}",
            f"{row['median']:.3g}",
            f"{row['quartiles'][0]:.3g} to {row['quartiles'][1]:.3g}",
            "yes" if row["keeps"] else "no",
        )
        for row in found["networks"]
    ]
    header = ("trial", "accuracy (%)", "predicted", "fastest", "median", "quartiles", "kept")
    title = f"The most accurate, in milliseconds; the fastest has to keep {found['budget']}"
    console.print(table(header, rows, title))
    predictor = read_predictor(folder)
    console.print(f"Measured on {where(found['device'])}; {predictor.told()}.", soft_wrap=True)
    if predictor.busy:
        console.print(
            f"The machine was busy when the predictor was fitted: {predictor.busy}. Its times may "
            "be too long, and networks that keep the budget may have been rejected.",
            soft_wrap=True,
        )
    if found["busy"]:
        console.print(
            f"The machine was busy: {found['busy']}. End the other work (`rexnet doctor` names it) "
            "and give the same command again: the list is then measured again.",
            soft_wrap=True,
        )
    if found["best"] is None:
        mend = "" if found["busy"] else "; search with a lower --budget.latency"
        console.print(
            f"None of them kept {found['budget']} when measured; best.json is the most accurate "
            f"of all{mend}.",
            soft_wrap=True,
        )
    else:
        console.print(
            f"best.json is trial {found['best']}, the most accurate that keeps {found['budget']} "
            "when measured.",
            soft_wrap=True,
        )
