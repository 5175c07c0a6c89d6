"""``rexnet detect train``, ``validate`` and ``predict``."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from rexnet import runs
from rexnet.cli import lookup
from rexnet.cli.arguments import Command, add_config, add_megapixels, config_of
from rexnet.cli.made import outcome_of, print_next, print_paths, print_survey
from rexnet.cli.predict import add_images, check_images, images_of, tell
from rexnet.cli.train import print_left_out, trained
from rexnet.data.coco.layouts import find_part
from rexnet.detect.config import DetectTrainConfig, DetectValidateConfig, detector_in
from rexnet.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

MAX_CLASSES = 20
"""Classes that a validation prints; the rest is in its file."""

TITLES = {
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_small": "AP small",
    "ap_medium": "AP medium",
    "ap_large": "AP large",
}

SKIP_CORRUPT = {"help": "Leave out images that cannot be read and boxes without area"}
"""What ``--skip_corrupt`` does, in fewer words than the configs'."""


def add_train(parser: ArgumentParser) -> None:
    """Declare the options of a training."""
    add_config(parser, DetectTrainConfig, changes={"skip_corrupt": SKIP_CORRUPT})


def train(arguments: Namespace) -> None:
    """Train a detector, then draw its curves and the page of its validation."""
    config = config_of(DetectTrainConfig, arguments)
    recipe = lookup.check_detection(config)
    from rexnet.cli.console import plain_console, table
    from rexnet.detect import job
    from rexnet.report.detection import write_figures
    from rexnet.report.text import share

    console = plain_console()
    result = trained(console, job.run, config, recipe.epochs)
    if result is None:
        return
    folder = Path(config.out)
    print_left_out(console, folder)
    _print_boxes_left_out(console, result)
    categories = runs.read_json(folder / "train.json")["data"]["categories"]
    words = ", ".join(f"{name} {id_}" for name, id_ in categories.items())
    console.print(f"{len(categories)} categories, with their ids: {words}", soft_wrap=True)
    rows = [
        *((title, share(result[name])) for name, title in TITLES.items()),
        ("validated on", f"{result['num_images']:,} images"),
        ("trained on", f"{result['num_train']:,} images, {result['epochs']} epochs"),
        ("best epoch", f"{result['best_epoch']}, AP {share(result['best_ap'])}"),
        ("params", f"{result['params']:,}"),
        ("MACs", f"{result['macs']:,}"),
    ]
    console.print(table(("after the last epoch", ""), rows))
    made = [folder / "model", *write_figures(folder)]
    names = ("metrics.jsonl", "result.json", "last.pt", "best.pt", "validation/detections.json")
    print_paths(console, "Made:", [*made, *(folder / name for name in names)])
    print_next(console, (("detect", "validate", folder), ("detect", "predict", folder, "IMAGE...")))


def _print_boxes_left_out(console: "Console", result: dict[str, Any]) -> None:
    """Say how many boxes were cut or left out."""
    parts = zip(("train", "val"), result["num_clipped"], result["num_degenerate"], strict=True)
    for part, clipped, degenerate in parts:
        if clipped:
            console.print(f"Boxes of {part} that reached over an edge and were cut: {clipped}")
        if degenerate:
            console.print(f"Boxes of {part} without area that were left out: {degenerate}")


def add_validate(parser: ArgumentParser) -> None:
    """Declare the arguments of a validation."""
    changes = {"skip_corrupt": SKIP_CORRUPT}
    add_config(parser, DetectValidateConfig, positional=("detector",), changes=changes)


def validate(arguments: Namespace) -> None:
    """Evaluate a detector, print its average precision and draw the page."""
    config = config_of(DetectValidateConfig, arguments)
    detector_in(config.detector)
    if config.data is not None:
        find_part(config.data, "val", or_whole=True)
    from rexnet.cli.console import Bar, plain_console, table
    from rexnet.detect.validate import validate as run
    from rexnet.report.detection import write_page
    from rexnet.report.text import share

    console = plain_console()
    with Bar(console, "validating") as bar:
        validated, failed = outcome_of(
            lambda: run(config, bar.update, partial(print_survey, console))
        )
    result, images, folder = validated.result, validated.images, validated.folder
    if not failed:
        lines = runs.read_jsonl(folder / "classes.jsonl")
        lines = sorted((line for line in lines if line["num_boxes"]), key=lambda row: row["ap"])
        rows = [(row["class"], f"{row['num_boxes']:,}", share(row["ap"])) for row in lines]
        console.print(table(("class", "boxes", "AP (%)"), rows[:MAX_CLASSES]))
        if len(rows) > MAX_CLASSES:
            console.print(
                f"The {MAX_CLASSES} worst of {len(rows)} classes; all are in classes.jsonl."
            )
    numbers = ", ".join(f"{title} {share(result[name])}" for name, title in TITLES.items())
    console.print(f"{images.name}: {numbers}, {len(images):,} images", soft_wrap=True)
    if failed:
        raise failed
    names = ("result.json", "classes.jsonl", "images.jsonl", "curve.jsonl", "detections.json")
    made = [*write_page(folder), *(folder / name for name in names)]
    print_paths(console, "\nMade:", made)


def add_predict(parser: ArgumentParser) -> None:
    """Declare the arguments of a prediction."""
    parser.add_argument("detector", type=str, help="A run folder, or a folder of a detector")
    add_images(parser)
    parser.add_argument("--score", type=float, default=0.3, help="The lowest score to be told")
    parser.add_argument("--out", type=str | None, help="A folder for pictures with the boxes")
    add_megapixels(parser)
    parser.add_argument("--json", action="store_true", help="Print a JSON object an image")


def predict(arguments: Namespace) -> int:
    """Print what is on images, and draw it if a folder is given."""
    if not 0 <= arguments.score <= 1:
        raise UserError(f"score {arguments.score} must be from 0 to 1")
    check_images(arguments)
    detector_in(arguments.detector)
    from rexnet.report.detection import Pictures, is_picture

    out = Path(arguments.out) if arguments.out else None
    files = images_of(arguments, lambda path: out is not None and is_picture(Path(path), out))
    pictures = Pictures(out, files) if out else None
    from rexnet.detect.hub import load_detector
    from rexnet.detect.validate import predict as run

    def row(path: str, found: list[dict[str, Any]]) -> dict[str, Any]:
        told: dict[str, Any] = {"image": path, "objects": found}
        return {**told, "picture": str(pictures.write(path, found))} if pictures else told

    def words(row: dict[str, Any]) -> str:
        told = ", ".join(
            f"{found['class']} {100 * found['score']:.0f} %" for found in row["objects"]
        )
        picture = f" ({row['picture']})" if "picture" in row else ""
        return f"{row['image']}: {told or 'nothing found'}{picture}"

    found = run(load_detector(arguments.detector), files, arguments.score, arguments.max_megapixels)
    return tell(found, len(files), row, None if arguments.json else words)


JOBS = (
    Command(name="train", help="Train SSDLite on images with boxes", add=add_train, run=train),
    Command(
        name="validate",
        help="Count the average precision of a detector",
        add=add_validate,
        run=validate,
        beside="detector",
    ),
    Command(name="predict", help="Find what is on images", add=add_predict, run=predict),
)

COMMANDS = (
    Command(name="detect", help="Train, validate and use a detector: SSDLite", commands=JOBS),
)
