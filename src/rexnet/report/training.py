"""The figures of a training and of a validation, drawn from their folders alone."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rexnet import runs
from rexnet.errors import UserError
from rexnet.report.figures import STYLE, render
from rexnet.report.lettering import lettered
from rexnet.report.text import percent

NAMED_CLASSES = 30
"""Up to so many classes are named and counted in the confusion picture."""

DRAWN_CLASSES = 1000
"""Up to so many classes are all drawn there; of more, those that are mistaken most often."""

CURVES = ("epoch", "lr", "train_loss", "val_loss", "top1", "top5")
CLASSES = ("class", "num_images", "top1", "taken_for")


def write_figures(folder: Path) -> list[Path]:
    """Draw all figures of the complete training in ``folder`` and return their paths.

    Raises:
        UserError: A file of the training is missing, damaged or empty.
    """
    return [write_curves(folder), write_confusion(folder / "validation")]


def write_curves(folder: Path) -> Path:
    """Draw ``curves.png`` of the training in ``folder`` and return its path.

    Raises:
        UserError: ``metrics.jsonl`` is missing, damaged or empty.
    """
    return _write(folder / "curves.png", curves(_rows(folder / "metrics.jsonl", CURVES)))


def write_confusion(folder: Path) -> Path:
    """Draw ``confusion.png`` of the validation in ``folder`` and return its path.

    Raises:
        UserError: ``classes.jsonl`` is missing, damaged or empty.
    """
    return _write(folder / "confusion.png", confusion(_rows(folder / "classes.jsonl", CLASSES)))


def curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw losses, accuracies and the learning rate over epochs."""
    epochs = [row["epoch"] for row in rows]
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 3.6), layout="constrained")
        losses, accuracies, rates = figure.subplots(1, 3)
        losses.plot(epochs, [row["train_loss"] for row in rows], "o-", markersize=3, label="train")
        losses.plot(epochs, [row["val_loss"] for row in rows], "o-", markersize=3, label="val")
        losses.set_ylabel("loss")
        for name in ("top1", "top5"):
            values = [100 * row[name] for row in rows]
            accuracies.plot(epochs, values, "o-", markersize=3, label=name)
        accuracies.set_ylabel("val accuracy (%)")
        rates.plot(epochs, [row["lr"] for row in rows], "o-", markersize=3, color="#555555")
        rates.set_ylabel("learning rate of the last step")
        for axes in (losses, accuracies):
            axes.legend(frameon=False)
        for axes in (losses, accuracies, rates):
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def confusion(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw which class was taken for which, each row as shares of the class's images.

    Of more than ``DRAWN_CLASSES`` classes, ``NAMED_CLASSES`` are drawn.
    """
    taken_for = [_counts(row["taken_for"]) for row in rows]
    totals = [sum(counts.values()) for counts in taken_for]
    drawn = range(len(rows)) if len(rows) <= DRAWN_CLASSES else _most_mistaken(taken_for)
    shares = np.zeros((len(drawn), len(drawn)))
    places = {label: place for place, label in enumerate(drawn)}
    for label, place in places.items():
        for other, count in taken_for[label].items():
            if other in places:
                shares[place, places[other]] = count / totals[label]
    right, total = sum(counts.get(n, 0) for n, counts in enumerate(taken_for)), sum(totals)
    title = f"top-1 {percent(right / total if total else 0)} % of {total} images"
    if len(drawn) < len(rows):
        title += f"\n{len(drawn)} of {len(rows):,} classes, those mistaken most often"
    names, fonts = lettered([str(rows[label]["class"]) for label in drawn])
    with rc_context({**STYLE, **fonts, "axes.grid": False}):
        side = min(10.0, 4.5 + 0.35 * min(len(names), NAMED_CLASSES))
        figure = Figure(figsize=(side + 0.8, side), layout="constrained")
        axes = figure.subplots()
        picture = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
        figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the class's images")
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        axes.set_title(title, fontsize=11)
        if len(names) <= NAMED_CLASSES:
            _name_classes(axes, names, shares)
    return figure


def _counts(taken_for: Any) -> dict[int, int]:
    """Return how many images were taken for which class; older folders list it of all classes."""
    if isinstance(taken_for, list):
        return {label: count for label, count in enumerate(taken_for) if count}
    return {int(label): count for label, count in taken_for.items()}


def _most_mistaken(taken_for: Sequence[Mapping[int, int]]) -> list[int]:
    """Return the classes of the most frequent mistakes, and others where those are too few."""
    mistakes = [
        (-count, label, other)
        for label, counts in enumerate(taken_for)
        for other, count in counts.items()
        if other != label
    ]
    ranked = (label for _, *both in sorted(mistakes) for label in both)
    distinct = dict.fromkeys(itertools.chain(ranked, range(len(taken_for))))
    return sorted(itertools.islice(distinct, NAMED_CLASSES))


def _name_classes(axes: Any, names: Sequence[str], shares: Any) -> None:
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            color = "white" if share > 0.5 else "#333333"
            axes.text(
                column, row, f"{100 * share:.0f}", ha="center", va="center", color=color, size=7.5
            )


def _write(path: Path, figure: Figure) -> Path:
    runs.write_bytes(path, render(figure, "png"))
    return path


def _rows(path: Path, fields: Sequence[str]) -> list[dict[str, Any]]:
    rows = runs.read_jsonl(path)
    if not rows:
        raise UserError(f"{path} is empty: nothing has ended yet")
    for number, row in enumerate(rows, 1):
        missing = [name for name in fields if name not in row]
        if missing:
            raise UserError(f"{path} has no {missing[0]} in line {number}")
    return rows
