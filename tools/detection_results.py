"""The trainings of docs/results/detection.md: from run folders to results/, then to tables.

python tools/detection_results.py collect RUN... --command "rexnet ..." --out results/NAME.jsonl
python tools/detection_results.py tables
python tools/detection_results.py figures docs/images
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from collecting import run_results
from matplotlib.figure import Figure
from tables import Table
from trainings import Row

from rexnet import runs
from rexnet.report.detection import curves, precision

METRICS = {
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_small": "small",
    "ap_medium": "medium",
    "ap_large": "large",
}


def line(folder: Path) -> Row:
    """Return a finished training as a line."""
    training = runs.read_json(folder / "train.json")
    environment = runs.read_json(folder / "environment.json")
    return {
        "name": folder.name,
        "backbone": training["backbone"]["name"],
        "data": {name: training["data"][name] for name in ("num_train", "num_val", "fingerprints")},
        "recipe": training["recipe"],
        "precision": training["precision"],
        "seed": training["seed"],
        **runs.read_json(folder / "result.json"),
        "packages": environment["packages"],
        "num_cores": environment["num_cores"],
        "metrics": runs.read_jsonl(folder / "metrics.jsonl"),
        "curve": runs.read_jsonl(folder / "validation" / "curve.jsonl"),
        "classes": runs.read_jsonl(folder / "validation" / "classes.jsonl"),
    }


def tables(results: Path) -> Iterator[tuple[str, Sequence[str], list[list[str]]]]:
    """Yield title, header and rows of every table."""
    yield "sixteen", *precisions(results / "detection_16.jsonl")
    yield "study", *precisions(results / "detection_study_16.jsonl")
    yield "coco-mini", *precisions(results / "detection_coco_mini.jsonl")
    yield "classes", *best_classes(results / "detection_coco_mini.jsonl")


def precisions(path: Path) -> Table:
    """Return the average precision of every training."""
    header = ["backbone", "loss", "epochs", "images", "validated on", *METRICS.values(), "minutes"]
    rows = []
    for row in runs.read_jsonl(path)[1:]:
        numbers = ["-" if row[name] is None else f"{100 * row[name]:.2f}" for name in METRICS]
        counts = (str(row[name]) for name in ("epochs", "num_train", "num_images"))
        rows.append(
            [
                row["backbone"],
                row["recipe"]["loss"],
                *counts,
                *numbers,
                f"{row['seconds'] / 60:.0f}",
            ]
        )
    return header, rows


def best_classes(path: Path) -> Table:
    """Return the ten classes of the last training that have most boxes, with their precision."""
    classes = runs.read_jsonl(path)[-1]["classes"]
    most = sorted(classes, key=lambda row: -row["num_boxes"])[:10]
    rows = [[row["class"], str(row["num_boxes"]), f"{100 * row['ap']:.1f}"] for row in most]
    return ["class", "boxes", "AP"], rows


def drawn(results: Path) -> Iterator[tuple[str, Figure]]:
    """Yield the figures with their names."""
    row = runs.read_jsonl(results / "detection_coco_mini.jsonl")[-1]
    yield "detection-curves", curves(row["metrics"])
    yield "detection-precision", precision(row["curve"])


if __name__ == "__main__":
    run_results(__doc__, lines=lambda folder: [line(folder)], tables=tables, drawn=drawn)
