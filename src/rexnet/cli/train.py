"""``rexnet train``, ``validate`` and ``predict``."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from rexnet import runs
from rexnet.cli import lookup
from rexnet.cli.arguments import Command, add_config, add_megapixels, config_of
from rexnet.cli.inheriting import print_inherited
from rexnet.cli.made import outcome_of, print_next, print_paths, print_survey
from rexnet.cli.predict import add_images, check_images, images_of, tell
from rexnet.data.sources import check_source
from rexnet.errors import UserError
from rexnet.nn.sources import check_trained
from rexnet.train.config import TrainConfig, ValidateConfig

if TYPE_CHECKING:
    from rich.console import Console

MODEL = (
    "A run folder, a model folder or hf:USER/REPO; with --weights, a name, a spec in JSON or "
    "timm:NAME"
)

MAX_CLASSES = 30
"""Classes that a validation prints; the rest is in its file."""


def add_train(parser: ArgumentParser) -> None:
    """Declare the options of a training."""
    words = "Leave out images that cannot be read, instead of refusing"
    add_config(parser, TrainConfig, changes={"skip_corrupt": {"help": words}})


def train(arguments: Namespace) -> None:
    """Train a network, then draw its curves and the confusion picture."""
    config = config_of(TrainConfig, arguments)
    recipe = lookup.check_training(config)
    from rexnet.cli.console import plain_console, table
    from rexnet.report.text import percent
    from rexnet.report.training import write_figures
    from rexnet.train import job

    console = plain_console()
    result = trained(console, job.run, config, recipe.epochs)
    if result is None:
        return
    folder = Path(config.out)
    print_left_out(console, folder)
    spread = f" ± {percent(result['top1_stderr'], 2)}"
    if "inherited" in result:
        print_inherited(console, result["inherited"])
    rows = [
        ("top-1 (%)", percent(result["top1"], 2) + spread),
        ("top-5 (%)", percent(result["top5"], 2)),
        ("loss", f"{result['loss']:.4f}"),
        ("validated on", f"{result['num_images']:,} images"),
        ("trained on", f"{result['num_train']:,} images, {result['epochs']} epochs"),
        ("best epoch", f"{result['best_epoch']}, top-1 {percent(result['best_top1'], 2)}"),
        *_probe_row(result),
        ("params", f"{result['params']:,}"),
        ("MACs", f"{result['macs']:,}"),
    ]
    console.print(table(("after the last epoch", ""), rows))
    made = [folder / "model", *write_figures(folder)]
    names = ("metrics.jsonl", "result.json", "last.pt", "best.pt", "validation/classes.jsonl")
    print_paths(console, "Made:", [*made, *(folder / name for name in names)])
    print_next(console, (("validate", folder), ("predict", folder, "IMAGE...")))


def _probe_row(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what a linear probe made of the weights that a training started from, if any."""
    from rexnet.report.text import percent

    if "probe_top1" not in result:
        return []
    top1, spread = (percent(result[name], 2) for name in ("probe_top1", "probe_top1_stderr"))
    title = "linear probe of the first weights, top-1 (%)"
    return [(title, f"{top1} ± {spread}, fitted to {result['probe_num_train']:,} images")]


def trained(
    console: "Console", run: Callable[..., dict[str, Any]], config: Any, epochs: int
) -> dict[str, Any] | None:
    """Train with a progress bar, and return the result, or None in a process that does not lead."""
    from rexnet.cli.console import Bar
    from rexnet.train.run_folder import held_epochs

    leads = os.environ.get("RANK", "0") == "0"
    opening = "Ctrl-C stops the training; the same command goes on with it."
    held = held_epochs(Path(config.out)) or epochs
    if held < epochs:
        opening += (
            f"\nIt was one of {held} epochs; from its last checkpoint on the learning rate is "
            f"that of one of {epochs}."
        )
    with Bar(console, "training", opening) as bar:
        on_progress = bar.update if leads else lambda progress: None
        result = run(config, on_progress, on_survey=partial(print_survey, console))
    return result if leads else None


def print_left_out(console: "Console", folder: Path) -> None:
    """Name the images that a training left out, with the reasons."""
    for rows in runs.read_json(folder / "images.json").values():
        for place, reason in rows:
            console.print(f"Left out: {place} ({reason})", soft_wrap=True)


def add_validate(parser: ArgumentParser) -> None:
    """Declare the arguments of a validation."""
    changes = {"model": {"help": MODEL}}
    add_config(parser, ValidateConfig, positional=("model",), changes=changes)


def validate(arguments: Namespace) -> None:
    """Evaluate a trained model and print what its classes are taken for."""
    config = config_of(ValidateConfig, arguments)
    check_trained(config.model, config.weights)
    if config.data is not None:
        check_source(config.data)
    from rexnet.cli.console import Bar, plain_console, table
    from rexnet.report.text import percent
    from rexnet.report.training import write_confusion
    from rexnet.train.validate import validate as run

    console = plain_console()
    with Bar(console, "validating") as bar:
        validated, failed = outcome_of(
            lambda: run(config, bar.update, partial(print_survey, console))
        )
    evaluation = validated.evaluation
    rows = []
    for row in evaluation.per_class(validated.classes):
        if row["num_images"]:
            worst = f"{row['mistaken_for']} ({row['times']})" if row["mistaken_for"] else "-"
            rows.append((row["class"], f"{row['num_images']:,}", percent(row["top1"]), worst))
    rows.sort(key=lambda row: float(row[2]))
    shown = rows[:MAX_CLASSES]
    console.print(table(("class", "images", "top-1 (%)", "most taken for"), shown))
    if len(rows) > len(shown):
        console.print(f"The {len(shown)} worst of {len(rows)} classes; all are in classes.jsonl.")
    console.print(
        f"{validated.images}: top-1 {percent(evaluation.top1, 2)} ± "
        f"{percent(evaluation.standard_error, 2)} %, top-5 {percent(evaluation.top5, 2)} %, loss "
        f"{evaluation.loss:.4f}, {evaluation.num_images:,} images, "
        f"{evaluation.images_per_second:,.0f} images a second",
        soft_wrap=True,
    )
    names = ("result.json", "classes.jsonl")
    if failed:
        raise failed
    folder = validated.folder
    made = [write_confusion(folder), *(folder / name for name in names)]
    print_paths(console, "\nMade:", made)


def add_predict(parser: ArgumentParser) -> None:
    """Declare the arguments of a prediction."""
    parser.add_argument("model", type=str, help=MODEL)
    add_images(parser)
    parser.add_argument("--weights", type=str | None, help="As in training")
    parser.add_argument("--top", type=int, default=5, help="Classes to name")
    add_megapixels(parser)
    parser.add_argument("--json", action="store_true", help="Print a JSON object an image")


def predict(arguments: Namespace) -> int:
    """Print the likeliest classes of images."""
    if not 1 <= arguments.top <= 1000:
        raise UserError(f"top {arguments.top} must be from 1 to 1000")
    check_images(arguments)
    check_trained(arguments.model, arguments.weights)
    files = images_of(arguments)
    from rexnet.train.validate import predict as run
    from rexnet.train.validate import trained

    def row(path: str, found: list[tuple[str, float]]) -> dict[str, Any]:
        classes = [{"class": name, "probability": value} for name, value in found]
        return {"image": path, "classes": classes}

    def words(row: dict[str, Any]) -> str:
        told = (f"{found['class']} {100 * found['probability']:.1f} %" for found in row["classes"])
        return f"{row['image']}: {', '.join(told)}"

    model = trained(arguments.model, arguments.weights)
    found = run(model, files, arguments.top, arguments.max_megapixels)
    return tell(found, len(files), row, None if arguments.json else words)


COMMANDS = (
    Command(name="train", help="Train a network by a recipe", add=add_train, run=train),
    Command(
        name="validate",
        help="Evaluate a trained model on labelled images",
        add=add_validate,
        run=validate,
        beside="model",
    ),
    Command(name="predict", help="Name what is on images", add=add_predict, run=predict),
)
