"""Rules from block index to width: line, stage-wise steps, piecewise line; fitting a line."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rexnet.errors import UserError
from rexnet.spec import MAX_WIDTH


def line(num_blocks: int, start: float, slope: float) -> list[float]:
    """Return the widths ``start + slope * i`` for ``i = 0 .. num_blocks - 1`` (section 4)."""
    return [start + slope * index for index in range(num_blocks)]


def steps(stage_widths: Sequence[int], stage_lengths: Sequence[int]) -> list[int]:
    """Return stage-wise widths: every stage's width repeated for its length (MobileNetV2)."""
    return [
        width
        for width, length in zip(stage_widths, stage_lengths, strict=True)
        for _ in range(length)
    ]


def piecewise_line(
    num_blocks: int, knots: Sequence[int], slopes: Sequence[float]
) -> NDArray[np.float64]:
    """Return a non-falling piecewise linear shape, scaled to run from 0 to 1.

    The shape bends at the 1-based block indices ``knots`` (in any order, repeats allowed: a repeat
    removes a segment). Segment ``k`` has the slope ``slopes[k]``; a negative slope counts as 0. So
    flat segments and jumps between neighbouring indices give the stage-wise conventions.

    Returns:
        The shape ``f`` of ``c_i = a f(i) + b``, ``num_blocks`` values; all zero if no slope is
        positive.
    """
    bounds = np.array([1, *sorted(knots), num_blocks])
    rises = np.diff(bounds) * np.maximum(slopes, 0.0)
    heights = np.concatenate([[0.0], np.cumsum(rises)])
    # A repeated knot gives an empty segment, whose rise is 0: keep the first of equal bounds.
    bounds, first = np.unique(bounds, return_index=True)
    shape = np.interp(np.arange(1, num_blocks + 1), bounds, heights[first])
    return shape / shape[-1] if shape[-1] > 0 else shape


def round_widths(values: ArrayLike) -> NDArray[np.int64]:
    """Round to whole channels, half to even as the official models do, and at least one."""
    return np.rint(np.clip(values, 1, MAX_WIDTH)).astype(np.int64)


def make_divisible(value: float, divisor: int) -> int:
    """Round to a multiple of ``divisor``, at least ``divisor`` and at least 90 % of the value."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


@dataclass(frozen=True, kw_only=True)
class LineFit:
    """A least-squares line through one or more channel profiles.

    Attributes:
        slope: Channels a block.
        intercept: Channels at block index 0 (the first block).
        r2: Coefficient of determination of the line through the mean profile.
        r2_each: Mean of the coefficients of determination of each network's own line.
        slope_stderr: Standard error of the slope between networks; None for a single network.
        intercept_stderr: Standard error of the intercept; None for a single network.
        num_networks: How many profiles were fitted.
    """

    slope: float
    intercept: float
    r2: float
    r2_each: float
    slope_stderr: float | None
    intercept_stderr: float | None
    num_networks: int

    def widths(self, num_blocks: int) -> list[float]:
        """Return the fitted line's width at every block, not rounded."""
        return line(num_blocks, self.intercept, self.slope)


def fit_line(profiles: Sequence[Sequence[int]]) -> LineFit:
    """Fit a line over the block index to channel profiles of equal length (paper, section 4.3).

    The line through the mean profile is the mean of the profiles' own lines, so the spread of
    their slopes and intercepts gives the uncertainty.

    Raises:
        UserError: There is no profile, or a profile has fewer than 2 blocks.
    """
    if not profiles or len(profiles[0]) < 2:
        raise UserError("a line needs at least one network of at least 2 blocks")
    widths = np.asarray(profiles, dtype=np.float64)
    index = np.arange(widths.shape[1])
    slopes, intercepts = np.polyfit(index, widths.T, 1)
    slope, intercept = float(slopes.mean()), float(intercepts.mean())
    mean = widths.mean(axis=0)
    each = [_r2(row, b + a * index) for row, a, b in zip(widths, slopes, intercepts, strict=True)]
    count = len(widths)
    return LineFit(
        slope=slope,
        intercept=intercept,
        r2=_r2(mean, intercept + slope * index),
        r2_each=float(np.mean(each)),
        slope_stderr=float(slopes.std(ddof=1) / count**0.5) if count > 1 else None,
        intercept_stderr=float(intercepts.std(ddof=1) / count**0.5) if count > 1 else None,
        num_networks=count,
    )


def _r2(values: NDArray[np.floating], fitted: NDArray[np.floating]) -> float:
    total = float(((values - values.mean()) ** 2).sum())
    residual = float(((values - fitted) ** 2).sum())
    # A profile that is flat but for rounding is its own line.
    flat = float(np.ptp(values)) <= 1e-9 * float(np.abs(values).max())
    return 1.0 if flat else 1.0 - residual / total
