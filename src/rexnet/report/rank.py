"""The figure of the rank study (Figure 1 of the paper)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rexnet import runs
from rexnet.paper import FIGURE_1
from rexnet.report.figures import STYLE, render
from rexnet.report.lettering import titled

PANELS = {
    "pointwise": "(a) 1x1 convolution",
    "conv": "(b) 3x3 convolution",
    "bottleneck": "(c) inverted bottleneck, 3x3",
    "depthwise": "(d) inverted bottleneck, depthwise 3x3",
}

STYLES = {
    "linear": ("linear", "#7f7f7f"),
    "relu6": ("ReLU6", "#1f77b4"),
    "relu": ("ReLU", "#17becf"),
    "leaky_relu": ("LeakyReLU", "#2ca02c"),
    "elu": ("ELU", "#bcbd22"),
    "softplus": ("Softplus", "#ff7f0e"),
    "hardswish": ("HardSwish", "#9467bd"),
    "silu": ("SiLU", "#d62728"),
}


def write_figure(folder: Path, name: str, figure: Figure) -> list[Path]:
    """Write a figure as PNG and SVG and return their paths."""
    paths = [folder / f"{name}.{kind}" for kind in ("png", "svg")]
    for path in paths:
        runs.write_bytes(path, render(figure, path.suffix[1:]))
    return paths


def rank_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the mean rank ratio over the ratio of widths, a panel for each architecture.

    Bands are of two standard errors; crosses are what was read off the paper's figure.

    Args:
        rows: The points.
    """
    names = [name for name in PANELS if any(row["architecture"] == name for row in rows)]
    with rc_context(STYLE):
        figure = Figure(figsize=(3.6 * len(names) + 0.4, 4.2), layout="constrained")
        panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, names, strict=True):
            _panel(axes, [row for row in rows if row["architecture"] == name], FIGURE_1[name])
            axes.set(title=PANELS[name], xlabel="ratio of input to output channels")
        panels[0].set_ylabel("rank by output channels")
        panels[0].set_ylim(0, 1.03)
        panels[-1].legend(frameon=False, fontsize=8.5, loc="lower right")
    return figure


def network_figure(rows: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Draw singular values, effective rank and nuclear norm of the blocks of a network."""
    blocks = [row for row in rows if row["block"]]
    numbers = [row["block"] for row in blocks]
    title, fonts = titled(title)
    with rc_context({**STYLE, **fonts}):
        figure = Figure(figsize=(13, 4), layout="constrained")
        figure.suptitle(title, fontsize=11, parse_math=False)
        spectra, shares, norms = figure.subplots(1, 3)
        colors = colormaps["viridis"](np.linspace(0, 0.9, len(blocks)))
        for row, color in zip(blocks, colors, strict=True):
            values = row["singular_values"]
            at = [(place + 1) / len(values) for place in range(len(values))]
            spectra.plot(at, [v / values[0] for v in values], color=color, linewidth=1)
        spectra.set(yscale="log", ylim=(1e-4, 1.2), xlabel="share of the channels")
        spectra.set_ylabel("singular value by the largest (dark: first block)")
        for key, label in (("effective_rank_ratio", "effective rank"), ("rank_ratio", "rank")):
            shares.plot(numbers, [row[key] for row in blocks], "o-", markersize=4, label=label)
        ratios = [row["ratio"] for row in blocks]
        shares.plot(numbers, ratios, "s--", markersize=3, color="#7f7f7f", label="ratio of widths")
        shares.set(xlabel="block", ylabel="by output channels")
        shares.legend(frameon=False)
        norms.plot(numbers, [row["nuclear_norm"] for row in blocks], "o-", markersize=4)
        norms.set(xlabel="block", ylabel="nuclear norm")
        for axes in (shares, norms):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_ylim(0, 1.05 * axes.dataLim.ymax)
    return figure


def _panel(
    axes: Axes, rows: Sequence[Mapping[str, Any]], read: Mapping[str, Mapping[float, float]]
) -> None:
    for function, (label, color) in STYLES.items():
        points = [row for row in rows if row["function"] == function]
        if not points:
            continue
        x, y = ([row[key] for row in points] for key in ("ratio", "mean"))
        error = [2 * (row["stderr"] or 0) for row in points]
        axes.plot(x, y, "o-", markersize=2.5, linewidth=1.2, color=color, label=label)
        low, high = ([m + s * e for m, e in zip(y, error, strict=True)] for s in (-1, 1))
        axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
        values = {at: value for at, value in read.get(function, {}).items() if at in x}
        axes.plot(list(values), list(values.values()), "x", color=color, markersize=6)
