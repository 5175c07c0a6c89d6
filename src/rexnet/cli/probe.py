"""``rexnet probe``: the linear baseline of trained weights, at one or more resolutions."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from rexnet.cli import lookup
from rexnet.cli.arguments import Command, add_config, config_of
from rexnet.cli.made import outcome_of, print_paths, print_survey
from rexnet.cli.train import print_left_out
from rexnet.train.config import ProbeConfig

if TYPE_CHECKING:
    from rich.console import Console

    from rexnet.train.probe import ProbeResult


def add_probe(parser: ArgumentParser) -> None:
    """Declare the options of a probe."""
    add_config(parser, ProbeConfig)


def probe(arguments: Namespace) -> None:
    """Probe trained weights and print what was reached at each resolution."""
    config = config_of(ProbeConfig, arguments)
    lookup.check_probe(config)
    from rexnet.cli.console import Bar, plain_console
    from rexnet.train.probe_job import run

    console = plain_console()
    with Bar(console, "probing") as bar:
        rows, failed = outcome_of(lambda: run(config, bar.update, partial(print_survey, console)))
    print_probes(console, rows)
    if failed:
        raise failed
    folder = Path(config.out)
    print_left_out(console, folder)
    print_paths(console, "Made:", [folder / "result.json"])


def rank(config: ProbeConfig) -> None:
    """Print the resolutions of trained weights as a probe on some of the images ranks them."""
    lookup.check_probe(config)
    from rexnet.cli.console import Bar, plain_console
    from rexnet.train import probe_job

    console = plain_console()
    with Bar(console, "probing") as bar:
        rows = probe_job.rank(config, bar.update, partial(print_survey, console))
    print_ranking(console, rows)


def print_ranking(console: "Console", rows: Sequence["ProbeResult"]) -> None:
    """Print resolutions, the best first, and the cheapest that is as good but for noise."""
    from rexnet.report.text import percent
    from rexnet.train.probe import recommended

    print_probes(console, rows)
    best, cheap = max(rows, key=lambda row: row.top1), recommended(rows)
    share = percent(cheap.macs / max(row.macs for row in rows))
    near = "" if cheap is best else f", within a standard error of {best.resolution} px"
    console.print(
        f"Take {cheap.resolution} px{near or ', the best'}: {share} % of the MACs of the largest.",
        soft_wrap=True,
    )


def print_probes(console: "Console", rows: Sequence["ProbeResult"]) -> None:
    """Print what linear probes reached, a line a resolution."""
    from rexnet.cli.console import table
    from rexnet.report.text import percent

    header = ("px", "linear probe: top-1 (%)", "top-5 (%)", "MACs", "C", "seconds")
    lines = [
        (
            str(row.resolution),
            f"{percent(row.top1, 2)} ± {percent(row.standard_error, 2)}",
            percent(row.top5, 2),
            f"{row.macs:,}",
            f"{row.strength:g}",
            f"{row.seconds:.1f}",
        )
        for row in rows
    ]
    console.print(table(header, lines))
    console.print(
        f"Fitted to {rows[0].num_train:,} images, validated on {rows[0].num_images:,}; C is of "
        "cross-validation on the former.",
        soft_wrap=True,
    )


COMMANDS = (
    Command(
        name="probe",
        help="Fit a linear classifier to the features of trained weights",
        add=add_probe,
        run=probe,
    ),
)
