"""The figure of a surface: predictions against shape, and how far they agree with trainings."""

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rexnet.report.figures import STYLE
from rexnet.search.surface.judgement import Judgement
from rexnet.search.surface.model import Reals

PREDICTED, TRAINED = "#8aa8c8", "#222222"
NAMED = {"line": ("#d62728", "D"), "stage-wise": ("#2ca02c", "s")}
"""Colours and marks of the shapes that have names."""


def surface_figure(judgement: Judgement) -> Figure:
    """Draw predictions against slope and curvature, and what the other trainings say of each."""
    with rc_context(STYLE):
        figure = Figure(figsize=(12.5, 4.2), layout="constrained")
        by_slope, by_curvature, left_out = figure.subplots(1, 3)
        widths = np.array([shape.widths for shape in judgement.shapes])
        trained = np.array([row["widths"] for row in judgement.rows])
        _predictions(by_slope, judgement, slope(widths), slope(trained))
        by_slope.set_xlabel("slope: last width over first, as a power of 2")
        _predictions(by_curvature, judgement, curvature(widths), curvature(trained))
        by_curvature.set_xlabel("curvature: above the chord, over the mean width")
        by_slope.set_ylabel("accuracy (%)")
        by_slope.legend(loc="best", fontsize=8.5, frameon=False)
        _left_out(left_out, judgement)
    return figure


def slope(widths: NDArray[np.int64]) -> Reals:
    """Return the slopes of networks (num_networks, num_blocks): doublings from first to last."""
    found: Reals = np.log2(widths[:, -1] / widths[:, 0])
    return found


def curvature(widths: NDArray[np.int64]) -> Reals:
    """Return how far networks are above the chord from first to last, over their mean width."""
    share = np.linspace(0, 1, widths.shape[1])
    chord = widths[:, :1] + (widths[:, -1:] - widths[:, :1]) * share
    found: Reals = (widths - chord).mean(1) / widths.mean(1)
    return found


def _predictions(axes: Axes, judgement: Judgement, shapes: Reals, trained: Reals) -> None:
    mean = 100 * judgement.predicted.mean
    margin = 100 * judgement.quantile * judgement.predicted.error
    axes.errorbar(
        shapes,
        mean,
        yerr=margin,
        fmt="o",
        color=PREDICTED,
        markersize=3,
        elinewidth=0.5,
        alpha=0.6,
        label="predicted, with 95 % interval",
    )
    axes.scatter(trained, 100 * judgement.scores, s=14, color=TRAINED, label="trained", zorder=3)
    for number, shape in enumerate(judgement.shapes):
        if shape.name in NAMED:
            color, mark = NAMED[shape.name]
            axes.scatter(
                shapes[number],
                mean[number],
                s=55,
                color=color,
                marker=mark,
                label=f"{shape.name}, predicted",
                zorder=4,
            )


def _left_out(axes: Axes, judgement: Judgement) -> None:
    expected, found = 100 * judgement.surface.left_out, 100 * judgement.scores
    ends = [min(expected.min(), found.min()), max(expected.max(), found.max())]
    axes.plot(ends, ends, "--", color="#999999", linewidth=1)
    axes.scatter(expected, found, s=16, color=TRAINED)
    axes.set_xlabel("predicted from the other trainings (%)")
    axes.set_ylabel("held-out accuracy (%)")
    axes.set_title(f"Spearman {judgement.spearman:.2f}, n={len(found)}", fontsize=10)
