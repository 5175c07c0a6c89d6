"""What the verbs of the command do and print; a job is imported when it is asked for."""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jsonargparse import Namespace

from rexnet import cost, families, runs
from rexnet.budget import Budget
from rexnet.cli import lookup
from rexnet.data.sources import check_source
from rexnet.design import design
from rexnet.errors import UserError
from rexnet.nn.sources import find_trained
from rexnet.search.config import BudgetConfig, SearchConfig
from rexnet.spec import NetSpec

T = TypeVar("T")

MAX_CLASSES = 30
"""Classes that a validation prints; the rest is in its file."""


def list_models(_: Namespace) -> None:
    """Name the known networks with their cost."""
    from rexnet.cli.console import plain_console, table

    rows = []
    for name in families.names():
        spec = families.get(name)
        total = cost.count(spec)
        rows.append((name, f"{total.params:,}", f"{total.macs:,}", str(spec.resolution)))
    console = plain_console()
    console.print(table(("network", "params", "MACs", "pixels"), rows))
    console.print("rexnet_W and rexnet_lite_W take any width multiplier W.")


def summarise(arguments: Namespace) -> None:
    """Print the layers of a network, or the cost of a detector on it."""
    if arguments.detector is not None:
        from rexnet.cli.detect import summarise as summarise_detector

        summarise_detector(arguments)
        return
    if arguments.network is None:
        raise UserError("give a name or the path of a spec")
    if arguments.backbone is not None:
        raise UserError("--backbone goes with --detector ssdlite")
    spec = families.resolve(arguments.network)
    resolution = spec.resolution if arguments.resolution is None else arguments.resolution
    total = cost.count(spec, resolution)
    if arguments.json:
        summary = {
            "name": spec.name,
            **dataclasses.asdict(total),
            "widths": list(spec.widths),
            "resolution": resolution,
            "spec_id": spec.spec_id,
        }
        print(json.dumps(summary))  # noqa: T201
        return
    from rexnet.cli.console import plain_console, table

    rows = [
        (
            row.name,
            f"{row.width} x {row.size} x {row.size}",
            f"{row.params:,}",
            f"{row.macs:,}",
            f"{row.activations:,}",
        )
        for row in cost.layers(spec, resolution)
    ]
    rows.append(("total", "", f"{total.params:,}", f"{total.macs:,}", f"{total.activations:,}"))
    header = ("layer", "output", "params", "MACs", "activations")
    plain_console().print(table(header, rows, f"{spec.name} at {resolution} x {resolution}"))


def search(arguments: Namespace) -> None:
    """Search, then fit the line and draw the page."""
    from rexnet.cli.console import Bar, plain_console
    from rexnet.search import job

    config = search_config(arguments)
    console = plain_console()
    opening = "Ctrl-C stops the search; the same command goes on with it."
    with Bar(console, "searching", opening) as bar:
        clock = None
        if config.budget.latency:
            from rexnet.cli.stopwatch import clock_of

            clock = clock_of(config.budget.latency, bar, console)
        num_new = job.run(config, bar.update, clock)
    if num_new == 0:
        console.print(f"The search in {config.out} is done; nothing was left to train.")
    folder = Path(config.out)
    if config.budget.latency:
        from rexnet.cli.stopwatch import print_short_list

        print_short_list(folder, console)
    _conclude(folder, console, config.data)


def search_config(arguments: Namespace) -> SearchConfig:
    """Return the config that was parsed."""
    settings = {field.name: arguments[field.name] for field in dataclasses.fields(SearchConfig)}
    if isinstance(settings["budget"], Namespace):
        settings["budget"] = BudgetConfig(**vars(settings["budget"]))
    return SearchConfig(**settings)


def _conclude(folder: Path, console: Any, data: str) -> None:
    """Draw the report of a search and say what there is and what to do next."""
    from rexnet.cli.console import table
    from rexnet.report.search import write_report
    from rexnet.report.text import millions, percent
    from rexnet.search.fit import fit
    from rexnet.search.groups import groups
    from rexnet.search.results import read_search

    line = fit(folder).line
    paths = write_report(folder)
    search = read_search(folder)
    if search.result["state"] == "stopped":
        trained, wanted = len(search.rows), search.result["num_trials"]
        console.print(f"Stopped after {trained} of {wanted} networks: {search.result['reason']}.")
    rows = []
    for group in groups(search.rows):
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
    header = ("group", "networks", "accuracy (%)", "params", "MACs", "mean widths")
    console.print(table(header, rows))
    slope = round(line.slope, 2) + 0.0
    console.print(
        f"The line of the top group: {line.intercept:.1f} {slope:+.2f} i channels in block "
        f"i = 0, 1, ... (R² {line.r2:.3f})",
        soft_wrap=True,
    )
    names = ("trials.jsonl", "fit.json", "spec.json", "best.json", "best.safetensors")
    console.print("\nMade:")
    for path in [*paths, *(folder / name for name in names)]:
        console.print(f"  {path}", soft_wrap=True)
    console.print("\nNext:")
    for command in (
        f"summary {folder / 'spec.json'}",
        f"train --model {folder} --data {data} --recipe cifar",
        "search --preset a --data cifar10 --out runs/cifar10-a",
    ):
        console.print(f"  {program()} {command}", soft_wrap=True)


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
    show(proposal.spec, proposal.params, proposal.macs, Path(arguments.folder) / "spec.json")


def design_network(arguments: Namespace) -> None:
    """Write the spec of the network that fills a budget."""
    given = [name for name in ("params", "macs") if arguments[name] is not None]
    missing = [f"--{name}" for name in ("params", "macs") if name not in given]
    if missing and (given or arguments.latency is None):
        instead = "" if given else ", or --latency"
        raise UserError(f"give {' and '.join(missing)}{instead}")
    if arguments.latency is not None:
        from rexnet.cli.stopwatch import design_in_time

        design_in_time(arguments)
        return
    proposal = design(
        Budget(params=arguments.params, macs=arguments.macs),
        num_blocks=arguments.blocks,
        num_classes=arguments.classes,
        resolution=arguments.resolution,
    )
    path = Path(arguments.out)
    if path.exists() and NetSpec.load(path) != proposal.spec:
        raise UserError(f"{path} holds another network; give another --out")
    runs.write_text(path, proposal.spec.to_json() + "\n")
    show(proposal.spec, proposal.params, proposal.macs, path)


def train(arguments: Namespace) -> None:
    """Train a network, then draw its curves and the confusion picture."""
    from rexnet.train.config import TrainConfig

    config = config_of(TrainConfig, arguments)
    lookup.check_training(config)
    from rexnet.cli.console import plain_console, table
    from rexnet.report.text import percent
    from rexnet.report.training import write_figures
    from rexnet.train import job

    console = plain_console()
    result = trained(console, job.run, config)
    if result is None:
        return
    folder = Path(config.out)
    print_left_out(console, folder)
    spread = f" ± {percent(result['top1_stderr'], 2)}"
    rows = [
        ("top-1 (%)", percent(result["top1"], 2) + spread),
        ("top-5 (%)", percent(result["top5"], 2)),
        ("loss", f"{result['loss']:.4f}"),
        ("validated on", f"{result['num_images']:,} images"),
        ("trained on", f"{result['num_train']:,} images, {result['epochs']} epochs"),
        ("best epoch", f"{result['best_epoch']}, top-1 {percent(result['best_top1'], 2)}"),
        ("params", f"{result['params']:,}"),
        ("MACs", f"{result['macs']:,}"),
    ]
    console.print(table(("after the last epoch", ""), rows))
    made = [folder / "model", *write_figures(folder)]
    names = ("metrics.jsonl", "result.json", "last.pt", "best.pt", "validation/classes.jsonl")
    print_paths(console, "Made:", [*made, *(folder / name for name in names)])
    console.print(f"\nNext:\n  {program()} validate {folder}", soft_wrap=True)
    console.print(f"  {program()} predict {folder} IMAGE...", soft_wrap=True)


def trained(console: Any, run: Callable[..., dict[str, Any]], config: Any) -> dict[str, Any] | None:
    """Train with a progress bar, and return the result, or None in a process that does not lead."""
    from rexnet.cli.console import Bar

    leads = os.environ.get("RANK", "0") == "0"
    opening = "Ctrl-C stops the training; the same command goes on with it."
    with Bar(console, "training", opening) as bar:
        result = run(config, bar.update if leads else lambda progress: None)
    return result if leads else None


def validate(arguments: Namespace) -> None:
    """Evaluate a trained model and print what its classes are taken for."""
    from rexnet.train.config import ValidateConfig

    config = config_of(ValidateConfig, arguments)
    find_trained(config.model, config.weights)
    if config.data is not None:
        check_source(config.data)
    from rexnet.cli.console import Bar, plain_console, table
    from rexnet.report.text import percent
    from rexnet.report.training import write_confusion
    from rexnet.train.validate import validate as run

    console = plain_console()
    with Bar(console, "validating") as bar:
        found = run(config, bar.update)
    evaluation = found.evaluation
    rows = []
    for row in evaluation.per_class(found.classes):
        if row["num_images"]:
            worst = f"{row['mistaken_for']} ({row['times']})" if row["mistaken_for"] else "-"
            rows.append((row["class"], f"{row['num_images']:,}", percent(row["top1"]), worst))
    rows.sort(key=lambda row: float(row[2]))
    shown = rows[:MAX_CLASSES]
    console.print(table(("class", "images", "top-1 (%)", "most taken for"), shown))
    if len(rows) > len(shown):
        console.print(f"The {len(shown)} worst of {len(rows)} classes; all are in classes.jsonl.")
    console.print(
        f"{found.images}: top-1 {percent(evaluation.top1, 2)} ± "
        f"{percent(evaluation.standard_error, 2)} %, top-5 {percent(evaluation.top5, 2)} %, loss "
        f"{evaluation.loss:.4f}, {evaluation.num_images:,} images, "
        f"{evaluation.images_per_second:,.0f} images a second",
        soft_wrap=True,
    )
    names = ("result.json", "classes.jsonl")
    made = [write_confusion(found.folder), *(found.folder / name for name in names)]
    print_paths(console, "\nMade:", made)


def predict(arguments: Namespace) -> None:
    """Print the likeliest classes of images."""
    if not 1 <= arguments.top <= 1000:
        raise UserError(f"top {arguments.top} must be from 1 to 1000")
    find_trained(arguments.model, arguments.weights)
    from rexnet.train.validate import predict as run
    from rexnet.train.validate import trained

    model = trained(arguments.model, arguments.weights)
    for path, found in run(model, arguments.images, arguments.top):
        if arguments.json:
            classes = [{"class": name, "probability": value} for name, value in found]
            print(json.dumps({"image": path, "classes": classes}), flush=True)  # noqa: T201
        else:
            words = ", ".join(f"{name} {100 * value:.1f} %" for name, value in found)
            print(f"{path}: {words}", flush=True)  # noqa: T201


def detect(arguments: Namespace) -> None:
    """Train, validate or use a detector."""
    from rexnet.cli import detect

    detect.VERBS[arguments.job](arguments[arguments.job])


def study(arguments: Namespace) -> None:
    """Run a study of the paper."""
    STUDIES[arguments.study](arguments[arguments.study])


def study_activations(arguments: Namespace) -> None:
    """Train a network with several activations and print Table A2 beside the paper's."""
    from rexnet.cli.console import Bar, plain_console, table, with_error
    from rexnet.studies import activations
    from rexnet.studies.config import ActivationStudy

    config = config_of(ActivationStudy, arguments)
    lookup.check_study(config)
    console = plain_console()
    opening = "Ctrl-C stops the study; the same command goes on with it."
    with Bar(console, "training", opening) as bar:
        rows = activations.run(config, bar.update)
    header = ("activation", "seeds", "top-1 (%)", "top-5 (%)", "MACs", "params", "paper: top-1")
    lines = []
    for row in rows:
        cells = [with_error(row, key, ".2f") for key in ("top1", "top5")]
        paper = "-" if row["paper_top1"] is None else f"{row['paper_top1']:.1f}"
        costs = f"{row['macs']:,}", f"{row['params']:,}"
        lines.append((row["activation"], str(row["seeds"]), *cells, *costs, paper))
    console.print(table(header, lines))
    found = activations.verdict(rows)
    console.print(
        f"Best first: {', '.join(found['order'])}. Of {found['pairs']} pairs that differ in Table "
        f"A2, {found['agree']} are in its order; {found['confirmed']} by more than two standard "
        f"errors, and {found['contradicted']} are in the other order by as much.",
        soft_wrap=True,
    )
    folder = Path(config.out)
    print_paths(console, "\nMade:", [folder / "table.json", folder / "trainings.jsonl"])


def study_detection(arguments: Namespace) -> None:
    """Train detectors on several backbones and print the shape of Tables A3 and A4."""
    from rexnet.cli import detect

    detect.study(arguments)


def study_factors(arguments: Namespace) -> None:
    """Train the networks of Table 2 and print the table beside the paper's."""
    from rexnet.cli import rank

    rank.factors(arguments)


def study_rank(arguments: Namespace) -> None:
    """Count the ranks of random layers and draw Figure 1."""
    from rexnet.cli import rank

    rank.study(arguments)


STUDIES: dict[str, Callable[[Namespace], None]] = {
    "activations": study_activations,
    "detection": study_detection,
    "factors": study_factors,
    "rank": study_rank,
}


def config_of(kind: type[T], arguments: Namespace) -> T:
    """Return a config of ``kind`` that was parsed, lists as the tuples they are declared."""
    given = {name: value for name, value in vars(arguments).items() if name != "config"}
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in given.items()})


def print_left_out(console: Any, folder: Path) -> None:
    """Name the images that a training left out as corrupt."""
    for rows in runs.read_json(folder / "images.json").values():
        for place, reason in rows:
            console.print(f"Left out as corrupt: {place} ({reason})", soft_wrap=True)


def print_paths(console: Any, title: str, paths: Sequence[Path]) -> None:
    """Print a title, then a path a line."""
    console.print(title)
    for path in paths:
        console.print(f"  {path}", soft_wrap=True)


def show(spec: NetSpec, params: int, macs: int, path: Path) -> None:
    """Print the widths and the cost of a network that was written to ``path``."""
    widths = "-".join(str(width) for width in spec.widths)
    print(f"{widths}: {params:,} params, {macs:,} MACs, written to {path}")  # noqa: T201


def program() -> str:
    """Return how the command was called, so that printed commands can be pasted."""
    called = Path(sys.argv[0])
    if called.name != "rexnet":
        return "rexnet"
    near = os.path.relpath(called)
    on_path = any(Path(folder) == called.parent for folder in os.get_exec_path())
    return "rexnet" if on_path else min(near, str(called), key=len)
