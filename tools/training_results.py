"""The trainings of docs/results/training.md: from run folders to results/, then to tables.

python tools/training_results.py collect RUN... --command "rexnet ..." --out results/NAME.jsonl
python tools/training_results.py tables
python tools/training_results.py figures docs/images
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from collecting import run_results
from matplotlib import rc_context
from matplotlib.figure import Figure
from tables import Table
from trainings import Row

from rexnet import runs
from rexnet.report.figures import STYLE
from rexnet.report.training import confusion, curves
from rexnet.spec import NetSpec
from rexnet.studies.activations import summarise, verdict


def line(folder: Path) -> Row:
    """Return a finished training as a line."""
    training = runs.read_json(folder / "train.json")
    spec = NetSpec.load(folder / "spec.json")
    environment = runs.read_json(folder / "environment.json")
    return {
        "name": folder.name,
        "activation": spec.penultimate_act,
        "model": training["model"]["name"],
        "data": training["data"],
        "recipe": training["recipe"],
        "precision": training["precision"],
        "seed": training["seed"],
        **runs.read_json(folder / "result.json"),
        "resolution": spec.resolution,
        "validation": runs.read_json(folder / "validation" / "result.json"),
        "packages": environment["packages"],
        "num_cores": environment["num_cores"],
        "metrics": runs.read_jsonl(folder / "metrics.jsonl"),
        "classes": runs.read_jsonl(folder / "validation" / "classes.jsonl"),
    }


def tables(results: Path) -> Iterator[tuple[str, Sequence[str], list[list[str]]]]:
    """Yield title, header and rows of every table."""
    _, *studied = runs.read_jsonl(results / "activations.jsonl")
    yield "activations", *activations_table(studied)
    yield "seeds", *seeds_table(studied)
    yield "cifar10", *run_table(results)
    yield "finetune", *finetune_table(results)


def activations_table(rows: list[Row]) -> Table:
    """Return Table A2 with the paper's column."""
    header = ["activation", "seeds", "top-1 (%)", "top-5 (%)", "MACs", "params", "paper: top-1"]
    found = []
    for entry in summarise(rows):
        cells = [f"{entry[m]:.2f} ± {entry[f'{m}_stderr']:.2f}" for m in ("top1", "top5")]
        costs = [f"{entry['macs'] / 1e6:.2f}M", f"{entry['params'] / 1e6:.2f}M"]
        paper = f"{entry['paper_top1']:.1f}"
        found.append([entry["activation"], str(entry["seeds"]), *cells, *costs, paper])
    return header, found


def seeds_table(rows: list[Row]) -> Table:
    """Return the top-1 of every seed: the noise of a single training."""
    seeds = sorted({row["seed"] for row in rows})
    found = []
    for name in dict.fromkeys(row["activation"] for row in rows):
        by_seed = {row["seed"]: row["top1"] for row in rows if row["activation"] == name}
        found.append([name, *(f"{100 * by_seed[s]:.2f}" if s in by_seed else "" for s in seeds)])
    return ["activation", *(f"seed {seed}" for seed in seeds)], found


def run_table(results: Path) -> Table:
    """Return the run on CIFAR-10 as its last epoch left it."""
    _, row = runs.read_jsonl(results / "cifar10_run.jsonl")
    cells = [
        str(row["epochs"]),
        f"{100 * row['top1']:.2f} ± {100 * row['top1_stderr']:.2f}",
        f"{100 * row['top5']:.2f}",
        f"{row['loss']:.3f}",
        f"{row['num_images']:,}",
        f"{row['seconds'] / 60:.0f}",
    ]
    return ["epochs", "top-1 (%)", "top-5 (%)", "loss", "test images", "minutes"], [cells]


def finetune_table(results: Path) -> Table:
    """Return the trainings on a few hundred images by where they start."""
    rows = runs.read_jsonl(results / "finetune.jsonl")[1:]
    found = []
    for start in dict.fromkeys(map(_start, rows)):
        mine = [row for row in rows if _start(row) == start]
        values = [100 * row["top1"] for row in mine]
        spread = f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}"
        seconds = f"{np.median([row['seconds'] for row in mine]):.0f}"
        found.append([*map(str, start), str(len(mine)), spread, seconds])
    return ["start", "epochs", "lr", "seeds", "top-1 (%)", "seconds"], found


def _start(row: Row) -> tuple[str, int, float]:
    recipe = row["recipe"]
    start = "the run on CIFAR-10" if recipe["pretrained"] else "new weights"
    return start, recipe["epochs"], recipe["lr"]


def drawn(results: Path) -> Iterator[tuple[str, Figure]]:
    """Yield the figures with their names."""
    _, *studied = runs.read_jsonl(results / "activations.jsonl")
    yield "activations", activations_figure(studied)
    _, row = runs.read_jsonl(results / "cifar10_run.jsonl")
    yield "training-curves", curves(row["metrics"])
    yield "training-confusion", confusion(row["classes"])


def activations_figure(rows: list[Row]) -> Figure:
    """Draw the study's top-1 beside the paper's, with standard errors over seeds."""
    table: list[dict[str, Any]] = summarise(rows)
    names = [entry["activation"] for entry in table]
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 3.4), layout="constrained")
        here, paper = figure.subplots(1, 2)
        here.errorbar(
            names,
            [entry["top1"] for entry in table],
            yerr=[entry["top1_stderr"] for entry in table],
            fmt="o",
            capsize=4,
            color="#1f77b4",
        )
        for number, entry in enumerate(table):
            values = [100 * row["top1"] for row in rows if row["activation"] == entry["activation"]]
            here.plot([number] * len(values), values, ".", color="#b0b0b0", zorder=0)
        here.set_title("here: CIFAR-10", fontsize=10)
        paper.plot(names, [entry["paper_top1"] for entry in table], "o", color="#d62728")
        paper.set_title("paper: ImageNet (Table A2)", fontsize=10)
        for axes in (here, paper):
            axes.set_ylabel("top-1 (%)")
            axes.tick_params("x", rotation=20)
    return figure


def words(rows: list[Row]) -> str:
    """Return what the study says on the paper's order."""
    found = verdict(summarise(rows))
    return (
        f"{found['agree']} of {found['pairs']} pairs in the paper's order, {found['confirmed']} "
        f"beyond two standard errors; {found['contradicted']} against it by as much"
    )


if __name__ == "__main__":
    run_results(__doc__, lines=lambda folder: [line(folder)], tables=tables, drawn=drawn)
