"""Rules from block index to width: line, stage-wise steps, piecewise line; fitting a line."""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rexnet.errors import UserError
from rexnet.spec import MAX_WIDTH, NetSpec

MOBILENET_V2_STAGES = (16, 24, 32, 64, 160)
"""Widths of MobileNetV2's stages at strides 2 to 32."""

EXACT = 1e-20
"""The sum of squares up to which two shapes from 0 to 1 are the same."""


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


def bends_of(shape: NDArray[np.float64], num_segments: int) -> tuple[list[int], list[float]]:
    """Return the knots and slopes with which ``piecewise_line`` gives a shape.

    They give it exactly where that many linear pieces suffice, by as few as do. Else they give
    the closest, by least squares, of the piecewise lines that meet the shape wherever they bend.

    Args:
        shape: Non-falling, from 0 to 1 or all zero, one value a block of at least 3.
        num_segments: Linear pieces, at least 2.

    Returns:
        The ``num_segments - 1`` knots and the ``num_segments`` slopes, from 0 to 1.
    """
    last = len(shape) - 1
    errors = np.full((last + 1, last + 1), np.inf)
    for start, end in itertools.combinations(range(last + 1), 2):
        straight = np.linspace(shape[start], shape[end], end - start + 1)
        errors[start, end] = ((shape[start : end + 1] - straight) ** 2).sum()
    # The least error up to every block, and the bend before it, for one piece more every time.
    before: list[NDArray[np.intp]] = []
    least = errors[0]
    while least[-1] > EXACT and len(before) < num_segments - 1:
        total = least[:, None] + errors
        before.append(total.argmin(0))
        least = total.min(0)
    bends: list[int] = []
    place = last
    for places in reversed(before):
        place = int(places[place])
        bends.insert(0, place)
    bends = bends or [1]
    corners = np.array([0, *bends, last])
    slopes = np.diff(shape[corners]) / np.diff(corners)
    steepest = slopes.max() or 1.0
    # A repeated knot is a segment of no length.
    missing = num_segments - len(slopes)
    knots = [place + 1 for place in bends] + missing * [bends[-1] + 1]
    *first, end_slope = (slopes / steepest).tolist()
    return knots, [*first, *missing * [0.0], end_slope]


def stage_wise(spec: NetSpec) -> NDArray[np.float64]:
    """Return the shape, from 0 to 1, of MobileNetV2's widths in the stages of a network.

    A stage is a run of blocks up to the next stride. Five stages have the widths that MobileNetV2
    has at strides 2 to 32, fewer those from stride 4 on; after five they double.

    Returns:
        One value a block; all zero where there is one stage.
    """
    starts = [i for i, block in enumerate(spec.blocks) if i == 0 or block.stride > 1]
    lengths = np.diff([*starts, len(spec.blocks)]).tolist()
    doubled = [MOBILENET_V2_STAGES[-1] * 2**k for k in range(1, len(lengths))]
    first = 0 if len(lengths) >= len(MOBILENET_V2_STAGES) else 1
    widths = [*MOBILENET_V2_STAGES, *doubled][first : first + len(lengths)]
    stages = np.array(steps(widths, lengths), dtype=np.float64)
    return (stages - stages[0]) / max(stages[-1] - stages[0], 1.0)


def round_widths(values: ArrayLike) -> NDArray[np.int64]:
    """Round to whole channels, half to even as the official models do, and at least one."""
    return np.rint(np.clip(values, 1, MAX_WIDTH)).astype(np.int64)


def make_divisible(value: float, divisor: int) -> int:
    """Round to a multiple of ``divisor``, at least ``divisor`` and at least 90 % of the value."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def tilted(shape: NDArray[np.float64], tilt: float) -> NDArray[np.float64]:
    """Return a profile of the shape ``f``: flat at a ``tilt`` of 0, from 0 to 1 at a tilt of 1.

    It is ``c_i = a f(i) + b`` up to its scale; the tilt is the share ``a / (a + b)`` of the widest
    block that the shape adds to the narrowest. A shape without a rise is flat at every tilt.
    """
    flat = np.ones_like(shape)
    return flat + tilt * (shape - 1) if shape[-1] > shape[0] else flat


def tilt_of(widths: Sequence[int]) -> float:
    """Return the tilt of the least-squares line through non-falling widths.

    It is no steeper than from the first of the widths to the last: the line through stages that
    double starts below 0.
    """
    if len(widths) < 2:
        return 0.0
    fit = fit_line([widths])
    rise = fit.slope * (len(widths) - 1)
    steepest = 1.0 - widths[0] / widths[-1]
    last = fit.intercept + rise
    return float(np.clip(rise / last, 0.0, steepest)) if last > 0 else 0.0


def scaled_ends(spec: NetSpec, widths: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return stem and penultimate widths in proportion to the mean width of the blocks.

    Args:
        spec: The network whose ends belong to its own widths.
        widths: Shape (..., num_blocks). Integers give whole channels, real numbers real ones.

    Returns:
        The widths, each of shape (...,). Without a penultimate layer its width is 0.
    """
    ratio = widths.mean(-1) / np.mean(spec.widths)
    stem, penultimate = spec.stem_width * ratio, spec.penultimate_width * ratio
    if np.issubdtype(widths.dtype, np.integer):
        stem = round_widths(stem)
        penultimate = round_widths(penultimate) if spec.penultimate_width else 0 * stem
    return stem, penultimate


def with_block_widths(spec: NetSpec, widths: Sequence[int], scale_ends: bool = False) -> NetSpec:
    """Return ``spec`` with other block widths, and with ends as ``scaled_ends`` if asked for.

    Raises:
        UserError: The number of widths differs from the number of blocks, or they fall.
    """
    if scale_ends:
        stem, penultimate = scaled_ends(spec, np.asarray(widths, dtype=np.int64))
        ends = {"stem_width": int(stem), "penultimate_width": int(penultimate)}
        spec = dataclasses.replace(spec, **ends)  # type: ignore[arg-type]
    return spec.with_widths(list(widths))


def with_expansions(spec: NetSpec, expansions: Sequence[int]) -> NetSpec:
    """Return ``spec`` with other expansions, one a block; those of 1 stay.

    Without its expanding convolution a block has another structure (``rexnet.structure``).

    Raises:
        UserError: The number of expansions differs from the number of blocks, one of 1 is to
            change, or one is out of range.
    """
    if len(expansions) != len(spec.blocks):
        raise UserError(
            f"{len(expansions)} expansions for the {len(spec.blocks)} blocks of {spec.name}"
        )
    for number, (block, expansion) in enumerate(zip(spec.blocks, expansions, strict=True), 1):
        if (block.expansion == 1) != (expansion == 1):
            raise UserError(
                f"{spec.name}, block {number}: expansion {expansion} in place of "
                f"{block.expansion}; both must be 1 or neither"
            )
    blocks = tuple(
        dataclasses.replace(block, expansion=int(expansion))
        for block, expansion in zip(spec.blocks, expansions, strict=True)
    )
    return dataclasses.replace(spec, blocks=blocks)


def with_shortcuts_kept(spec: NetSpec) -> NetSpec:
    """Return ``spec`` with shortcuts that stay what they are at any widths that do not fall.

    A block that adds its input gets a padded shortcut, which other widths leave in place; one that
    does not add it gets none, which no widths bring back. So weights of ``spec`` can be cut or
    grown to other widths without a change of what is added to what.
    """
    blocks = tuple(
        dataclasses.replace(block, shortcut="pad" if block.has_shortcut(width) else "none")
        if block.stride == 1
        else block
        for width, block in zip(spec.widths_in, spec.blocks, strict=True)
    )
    return dataclasses.replace(spec, blocks=blocks)


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
