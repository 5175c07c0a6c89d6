"""What the verbs of ``rexnet detect`` do and print; see ``verbs``."""

import json
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from rexnet import runs
from rexnet.cli import lookup
from rexnet.cli.verbs import config_of, print_left_out, print_paths, program, trained
from rexnet.data.coco import find_part
from rexnet.errors import UserError

MAX_CLASSES = 20
"""Classes that a validation prints; the rest is in its file."""


def train(arguments: Namespace) -> None:
    """Train a detector, then draw its curves and the page of its validation."""
    from rexnet.detect.config import DetectTrainConfig

    config = config_of(DetectTrainConfig, arguments)
    lookup.check_detection(config)
    from rexnet.cli.console import plain_console, table
    from rexnet.detect import job
    from rexnet.report.detection import write_figures
    from rexnet.report.text import share

    console = plain_console()
    result = trained(console, job.run, config)
    if result is None:
        return
    folder = Path(config.out)
    print_left_out(console, folder)
    print_boxes_left_out(console, result)
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
    console.print(f"\nNext:\n  {program()} detect validate {folder}", soft_wrap=True)
    console.print(f"  {program()} detect predict {folder} IMAGE...", soft_wrap=True)


def validate(arguments: Namespace) -> None:
    """Evaluate a detector, print its average precision and draw the page."""
    from rexnet.detect.config import DetectValidateConfig, detector_in

    config = config_of(DetectValidateConfig, arguments)
    detector_in(config.detector)
    if config.data is not None:
        find_part(config.data, "val")
    from rexnet.cli.console import Bar, plain_console, table
    from rexnet.detect.validate import validate as run
    from rexnet.report.detection import write_page
    from rexnet.report.text import share

    console = plain_console()
    with Bar(console, "validating") as bar:
        found = run(config, bar.update)
    lines = runs.read_jsonl(found.folder / "classes.jsonl")
    lines = sorted((line for line in lines if line["num_boxes"]), key=lambda row: row["ap"])
    rows = [(row["class"], f"{row['num_boxes']:,}", share(row["ap"])) for row in lines]
    console.print(table(("class", "boxes", "AP (%)"), rows[:MAX_CLASSES]))
    if len(rows) > MAX_CLASSES:
        console.print(f"The {MAX_CLASSES} worst of {len(rows)} classes; all are in classes.jsonl.")
    numbers = ", ".join(f"{title} {share(found.result[name])}" for name, title in TITLES.items())
    console.print(f"{found.images.name}: {numbers}, {len(found.images):,} images", soft_wrap=True)
    names = ("result.json", "classes.jsonl", "images.jsonl", "curve.jsonl", "detections.json")
    made = [*write_page(found.folder), *(found.folder / name for name in names)]
    print_paths(console, "\nMade:", made)


def predict(arguments: Namespace) -> None:
    """Print what is on images, and draw it if a folder is given."""
    from rexnet.detect.config import detector_in

    if not 0 <= arguments.score <= 1:
        raise UserError(f"score {arguments.score} must be from 0 to 1")
    detector_in(arguments.detector)
    from rexnet.detect.hub import load_detector
    from rexnet.detect.validate import predict as run
    from rexnet.report.detection import Pictures

    model = load_detector(arguments.detector)
    pictures = Pictures(Path(arguments.out), arguments.images) if arguments.out else None
    for path, found in run(model, arguments.images, arguments.score):
        row: dict[str, Any] = {"image": path, "objects": found}
        words = ", ".join(f"{row['class']} {100 * row['score']:.0f} %" for row in found)
        told = f"{path}: {words or 'nothing found'}"
        if pictures:
            row["picture"] = str(pictures.write(path, found))
            told += f" ({row['picture']})"
        print(json.dumps(row) if arguments.json else told, flush=True)  # noqa: T201


def study(arguments: Namespace) -> None:
    """Train detectors on several backbones and print AP beside the paper's."""
    from rexnet.studies.config import DetectionStudy

    config = config_of(DetectionStudy, arguments)
    lookup.check_detection_study(config)
    from rexnet.cli.console import Bar, plain_console, table, with_error
    from rexnet.studies import detection as job

    console = plain_console()
    opening = "Ctrl-C stops the study; the same command goes on with it."
    with Bar(console, "training", opening) as bar:
        rows = job.run(config, bar.update)
    header = ("backbone", "seeds", "AP", "AP50", "AP75", "params", "MACs", "paper: AP")
    lines = []
    for row in rows:
        cells = [with_error(row, key, ".1f") for key in job.METRICS]
        costs = f"{row['params'] / 1e6:.1f}M", f"{row['macs'] / 1e9:.2f}B"
        paper = "-" if row["paper_ap"] is None else f"{row['paper_ap']:.1f}"
        lines.append((row["backbone"], str(row["seeds"]), *cells, *costs, paper))
    console.print(table(header, lines))
    folder = Path(config.out)
    print_paths(console, "\nMade:", [folder / "table.json", folder / "trainings.jsonl"])


def summarise(arguments: Namespace) -> None:
    """Print the params and MACs of a detector (Table 6)."""
    source = arguments.backbone or arguments.network
    if not source:
        raise UserError("give --backbone: a name, the path of a spec, or timm:NAME")
    lookup.check_model(source)
    from rexnet.detect.backbone import create_backbone
    from rexnet.detect.cost import count
    from rexnet.detect.detector import of_detector
    from rexnet.detect.heads import HEADS

    backbone = create_backbone(source)
    preprocessing = of_detector(backbone.preprocessing, arguments.resolution or 320)
    names = [str(number) for number in range(arguments.classes)]
    total = count(HEADS[arguments.detector](backbone, names, preprocessing=preprocessing))
    summary = {
        "detector": arguments.detector,
        "backbone": backbone.name,
        "params": total.params,
        "macs": total.macs,
        "resolution": preprocessing.resolution,
        "num_classes": arguments.classes,
        "widths": [*backbone.widths],
    }
    if arguments.json:
        print(json.dumps(summary))  # noqa: T201
        return
    from rexnet.cli.console import plain_console, table

    rows = [
        (name, f"{value:,}" if isinstance(value, int) else str(value))
        for name, value in summary.items()
    ]
    plain_console().print(table(("detector", ""), rows))


TITLES = {
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_small": "AP small",
    "ap_medium": "AP medium",
    "ap_large": "AP large",
}


def print_boxes_left_out(console: Any, result: dict[str, Any]) -> None:
    """Say how many boxes were cut or left out."""
    parts = zip(("train", "val"), result["num_clipped"], result["num_degenerate"], strict=True)
    for part, clipped, degenerate in parts:
        if clipped:
            console.print(f"Boxes of {part} that reached over an edge and were cut: {clipped}")
        if degenerate:
            console.print(f"Boxes of {part} without area that were left out: {degenerate}")


VERBS = {"train": train, "validate": validate, "predict": predict}
