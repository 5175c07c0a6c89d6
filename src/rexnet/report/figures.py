"""The figure of a search: channel profiles by group, and accuracy against cost."""

from collections.abc import Sequence
from io import BytesIO
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rexnet.report.lettering import titled
from rexnet.report.text import millions, percent
from rexnet.search.groups import Group, Row, complete

COLORS = ("#d62728", "#1f77b4", "#2ca02c")
"""Red, blue and green for top, middle and bottom, as in Figures 2 and A1."""

TITLE_WIDTH = 120
"""Letters a line."""

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "svg.hashsalt": "rexnet",
}


def search_figure(
    groups: Sequence[Group], rows: Sequence[Row], title: str, measure: str = "held-out accuracy"
) -> Figure:
    """Draw the figure of the paper (Figures 2 and A1) with accuracy against cost beside it.

    Args:
        groups: Top, middle and bottom group.
        rows: All trials.
        title: What was searched.
        measure: What the accuracy of ``rows`` is.
    """
    title, fonts = titled(title)
    with rc_context({**STYLE, **fonts}):
        figure = Figure(figsize=(12.5, 4.8), layout="constrained")
        profile, by_macs, by_params = figure.subplots(1, 3, width_ratios=(2.2, 1, 1))
        figure.suptitle("\n".join(wrap(title, TITLE_WIDTH)), fontsize=11, parse_math=False)
        _profiles(profile, groups)
        _scatter(by_macs, groups, rows, "macs", "MACs (millions)")
        _scatter(by_params, groups, rows, "params", "params (millions)")
        by_params.sharey(by_macs)
        by_macs.set_ylabel(f"{measure} (%)")
        by_params.tick_params(labelleft=False)
    return figure


def render(figure: Figure, kind: str) -> bytes:
    """Return the figure as ``png`` or ``svg``, the same bytes for the same figure."""
    buffer = BytesIO()
    metadata = {"Date": None} if kind == "svg" else {}
    with rc_context(STYLE):
        figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
    return buffer.getvalue()


def _profiles(axes: Axes, groups: Sequence[Group]) -> None:
    for group, color in zip(groups, COLORS, strict=True):
        index = np.arange(1, group.widths.shape[1] + 1)
        mean, sigma = group.widths.mean(0), group.widths.std(0)
        error = group.stderr("accuracy")
        spread = f" ± {100 * error:.1f}" if error is not None else ""
        label = (
            f"{group.name}, n={len(group.rows)}: {percent(group.mean('accuracy'))}{spread} %, "
            f"{millions(group.mean('params'))} params, {millions(group.mean('macs'))} MACs"
        )
        axes.plot(index, mean, "o-", color=color, markersize=4, label=label)
        axes.fill_between(index, mean - sigma, mean + sigma, color=color, alpha=0.18, linewidth=0)
        axes.plot(index, group.line.widths(len(index)), "--", color=color, linewidth=1)
    axes.plot([], [], "--", color="#555555", linewidth=1, label="fitted line of the group")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("block index")
    axes.set_ylabel("output channels (mean, band of one sigma)")
    axes.set_ylim(bottom=0)
    axes.legend(loc="best", fontsize=8.5, frameon=False)


def _scatter(
    axes: Axes, groups: Sequence[Group], rows: Sequence[Row], key: str, label: str
) -> None:
    in_groups = {row["number"] for group in groups for row in group.rows}
    rest = [row for row in complete(rows) if row["number"] not in in_groups]
    for part, color in ((rest, "#b0b0b0"), *zip((g.rows for g in groups), COLORS, strict=True)):
        cost = [row[key] / 1e6 for row in part]
        axes.scatter(cost, [100 * row["accuracy"] for row in part], s=18, color=color)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.set_xlabel(label)
