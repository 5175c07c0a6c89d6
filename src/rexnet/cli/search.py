"""``rexnet search``, ``report`` and ``fit``."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from rexnet import runs
from rexnet.cli.arguments import Command, add_config, config_of
from rexnet.cli.made import print_next, print_paths, print_shapes, print_spec, print_survey
from rexnet.cli.stopwatch import clock_of, print_short_list
from rexnet.cli.train import print_left_out
from rexnet.data.sources import check_source
from rexnet.search.config import LEAST_TRAININGS, SearchConfig, as_begun
from rexnet.search.spaces import check_names

if TYPE_CHECKING:
    from rich.console import Console

    from rexnet.search.results import SearchRun


def add_search(parser: ArgumentParser) -> None:
    """Declare the options of a search."""
    parser.add_argument("--config", action="config", help="A YAML file of these options")
    add_config(parser, SearchConfig)


def search(arguments: Namespace) -> None:
    """Search, then fit the line and draw the page."""
    config = as_begun(config_of(SearchConfig, arguments))
    # As the job does, but before Optuna is loaded.
    config.resolved().protocol()
    check_names(config)
    check_source(config.data)
    from rexnet.cli.console import Bar, plain_console
    from rexnet.search import job

    console = plain_console()
    opening = "Ctrl-C stops the search; the same command goes on with it."
    with Bar(console, "searching", opening) as bar:
        clock = None
        if config.budget.latency:
            clock = clock_of(config.budget.latency, bar, console)
        num_new = job.run(
            config,
            bar.update,
            clock,
            on_survey=partial(print_survey, console),
            on_note=partial(console.print, soft_wrap=True),
        )
    if num_new == 0:
        console.print(f"The search in {config.out} is done; nothing was left to train.")
    folder = Path(config.out)
    if config.skip_corrupt:
        print_left_out(console, folder)
    if config.budget.latency:
        print_short_list(folder, console)
    _conclude(folder, console, config.data)


def _conclude(folder: Path, console: "Console", data: str) -> None:
    """Draw the report of a search and say what there is and what to do next."""
    from rexnet.report.search import write_report
    from rexnet.search.fit import fit
    from rexnet.search.results import read_search
    from rexnet.search.surface.answer import FILE, SPEC

    line = fit(folder).line
    paths = write_report(folder)
    search = read_search(folder)
    if search.result["state"] == "stopped":
        trained, wanted = len(search.rows), search.result["num_trials"]
        console.print(f"Stopped after {trained} of {wanted} networks: {search.result['reason']}.")
    _print_groups(search, console)
    slope = round(line.slope, 2) + 0.0
    console.print(
        f"The line of the top group: {line.intercept:.1f} {slope:+.2f} i channels in block "
        f"i = 0, 1, ... (R² {line.r2:.3f})",
        soft_wrap=True,
    )
    print_shapes(folder)
    killed = [row["reason"] for row in search.rows if row["state"] == "killed"]
    if killed:
        console.print(
            f"Of the networks {len(killed)} were killed (the last: {killed[-1]}); the same command "
            "trains them again.",
            soft_wrap=True,
        )
    names = ["trials.jsonl", "fit.json", "spec.json", "best.json", "best.safetensors"]
    chosen, model = folder / "spec.json", folder
    if (folder / FILE).exists():
        sentence = runs.read_json(folder / FILE)["sentence"]
        console.print(f"{sentence[0].upper()}{sentence[1:]}.", soft_wrap=True)
        names += [FILE, SPEC]
        chosen = model = folder / SPEC
    elif search.identity["sampler"]["name"] == "surface":
        console.print(
            f"No answer: fewer than {LEAST_TRAININGS} networks were trained to the end, or only "
            "the line keeps the limits.",
            soft_wrap=True,
        )
    print_paths(console, "\nMade:", [*paths, *(folder / name for name in names)])
    commands = (
        ("summary", chosen),
        ("train", "--model", model, "--data", data, "--recipe", "cifar"),
        ("search", "--preset", "a", "--data", "cifar10", "--out", "runs/cifar10-a"),
    )
    print_next(console, commands)


def _print_groups(search: "SearchRun", console: "Console") -> None:
    from rexnet.cli.console import table
    from rexnet.report.text import millions, percent
    from rexnet.search.groups import groups
    from rexnet.search.surface.judgement import is_by_surface, ranked

    rows = []
    for group in groups(ranked(search)):
        error = group.stderr("accuracy")
        spread = "" if error is None else f" ± {percent(error)}"
        rows.append(
            (
                group.name,
                str(len(group.rows)),
                percent(group.mean("accuracy")) + spread,
                millions(group.mean("params")),
                millions(group.mean("macs")),
                "-".join(str(round(width)) for width in group.widths.mean(0)),
            )
        )
    measure = "predicted (%)" if is_by_surface(search) else "accuracy (%)"
    header = ("group", "networks", measure, "params", "MACs", "mean widths")
    console.print(table(header, rows))


def add_folder(parser: ArgumentParser) -> None:
    """Declare the run folder that a report or a fit is of."""
    parser.add_argument("folder", type=str, help="The run folder of a search")


def report(arguments: Namespace) -> None:
    """Draw the figures and the page of a search."""
    from rexnet.report.search import write_report

    for path in write_report(Path(arguments.folder)):
        print(path)  # noqa: T201


def fit_line(arguments: Namespace) -> None:
    """Fit the line of a search and print it."""
    from rexnet.search.fit import fit

    found = fit(Path(arguments.folder))
    line, proposal = found.line, found.proposal
    spread = "" if line.slope_stderr is None else f" ± {line.slope_stderr:.2f}"
    print(  # noqa: T201
        f"{line.num_networks} networks: slope {line.slope:.2f}{spread} channels a block, intercept "
        f"{line.intercept:.1f}, R² {line.r2:.3f}"
    )
    print_spec(proposal.spec, proposal.params, proposal.macs, Path(arguments.folder) / "spec.json")


COMMANDS = (
    Command(
        name="search",
        help="Search the channel dimensions that fit a budget best",
        add=add_search,
        run=search,
    ),
    Command(
        name="report",
        help="Draw the figures and the page of a search",
        add=add_folder,
        run=report,
        beside="folder",
    ),
    Command(
        name="fit",
        help="Fit a line to a search's best networks and write the network on it",
        add=add_folder,
        run=fit_line,
        beside="folder",
    ),
)
