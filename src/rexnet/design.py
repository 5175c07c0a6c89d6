"""From a budget, or a backbone's cost, to widths: the scale and offset of a shape that fill it."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rexnet import channels, cost, families
from rexnet.budget import Budget
from rexnet.errors import UserError
from rexnet.spec import MAX_WIDTH, NetSpec

FILL = 0.9
"""The share of each limit that a proposal must use."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A network with its cost as a budget counts it: ``params`` and ``macs``."""

    spec: NetSpec
    params: int
    macs: int

    def inside(self, budget: Budget) -> bool:
        """Tell whether the network keeps both limits."""
        return self.params <= budget.params and self.macs <= budget.macs

    def fills(self, budget: Budget) -> bool:
        """Tell whether the network uses at least 90 % of both limits."""
        return self.params >= FILL * budget.params and self.macs >= FILL * budget.macs


def priced(spec: NetSpec, budget: Budget) -> Proposal:
    """Return ``spec`` with its cost as ``budget`` counts it."""
    total = cost.count(spec)
    params = budget.counted(total.params, spec, spec.widths[-1])
    return Proposal(spec=spec, params=params, macs=total.macs)


def propose(template: NetSpec, shape: NDArray[np.float64], budget: Budget) -> Proposal:
    """Solve ``c_i = a f(i) + b`` so that both limits are used up as far as the shape allows.

    Params and MACs of real-valued widths are quadratics in ``a`` and ``b``, so the largest ``a``
    for a given ``b`` has a closed form. Steep profiles spend parameters, flat ones spend MACs: a
    bisection over ``b`` finds where both limits bind. The rounded widths are the largest multiple
    of that profile that is inside, so the result keeps the budget by construction.

    Args:
        template: The network that fixes all but the block widths.
        shape: The non-falling ``f``, from 0 to 1, one value a block.
        budget: The limits.

    Raises:
        UserError: Even widths of 1 pass the budget.
    """
    params, macs = _quadratics(template, shape, budget)
    limits = ((params, budget.params), (macs, budget.macs))
    # Where even a flat profile of 1 is too much, the refusal comes from largest_inside.
    flattest = max(1.0, min(quadratic.largest_offset(limit) for quadratic, limit in limits))
    # A shape without a rise has nothing to balance.
    low, high = (1.0 if shape[-1] > shape[0] else flattest), flattest
    for _ in range(40):
        middle = (low + high) / 2
        by_params, by_macs = (quadratic.largest_slope(middle, limit) for quadratic, limit in limits)
        if by_params < by_macs:
            low = middle
        else:
            high = middle
    slope = min(quadratic.largest_slope(low, limit) for quadratic, limit in limits)
    return largest_inside(template, slope * shape + low, budget, most=1.25)


def largest_inside(
    template: NetSpec, profile: ArrayLike, budget: Budget, most: float = 1.0
) -> Proposal:
    """Return the network whose widths are the largest multiple of ``profile`` inside the budget.

    Args:
        template: The network that fixes all but the block widths.
        profile: Real-valued widths, one a block; they are rounded and kept from falling.
        budget: The limits.
        most: The largest multiple to try.

    Raises:
        UserError: Even widths of 1 pass the budget; the smallest network's cost is named.
    """
    widths = np.maximum.accumulate(np.asarray(profile, dtype=np.float64))
    least, step = 0.0, most
    # The largest multiple inside, out of 2^20, is found in two sweeps of 2^10.
    for _ in range(2):
        step /= 1024
        multiples = least + step * np.arange(1025)
        rounded = channels.round_widths(np.outer(multiples, widths))
        total, macs = cost.count_many(template, rounded)
        params = budget.counted(total, template, rounded[:, -1])
        inside = np.flatnonzero((params <= budget.params) & (macs <= budget.macs))
        if not len(inside):
            raise UserError(
                f"no network fits params {budget.params:,} and MACs {budget.macs:,}: the smallest "
                f"has {params[0]:,} params and {macs[0]:,} MACs; raise the budget to at least that"
            )
        least, largest = float(multiples[inside[-1]]), rounded[inside[-1]]
        if inside[-1] == 1024:
            break
    return priced(template.with_widths(largest.tolist()), budget)


def design(
    budget: Budget, *, num_blocks: int = 16, num_classes: int = 1000, resolution: int = 224
) -> Proposal:
    """Return the ReXNet on a line that fills a budget, with no search (paper, section 4.4).

    Stem and penultimate layer are those of the widest ReXNet inside the budget; the start and the
    slope of the line then use up what is left of both limits.

    Raises:
        UserError: No ReXNet of that depth fits; the smallest one's cost is named.
    """

    def rexnet(width: float) -> NetSpec:
        return families.rexnet(width, num_blocks, num_classes, resolution)

    low, high = 0.05, 20.0
    for _ in range(24):
        middle = math.sqrt(low * high)
        if priced(rexnet(middle), budget).inside(budget):
            low = middle
        else:
            high = middle
    template = dataclasses.replace(rexnet(low), name=f"rexnet_line_{num_blocks}b")
    return propose(template, np.linspace(0.0, 1.0, num_blocks), budget)


def redesign(spec: NetSpec) -> Proposal:
    """Return ``spec`` with block widths on a line that fills its own cost (sections 4.4 and B.2).

    All but the widths stays: blocks, strides, expansions, activations, SE, stem and penultimate
    layer. Only shortcuts that need equal widths, which a line does not have, become ReXNet's padded
    ones. Both limits are used up as far as a line that starts at 1 channel or more can; the paper's
    own line under MobileNetV1, ``rexnet_plain``, keeps a wider start and spends fewer params.
    """
    blocks = tuple(
        dataclasses.replace(block, shortcut="pad") if block.shortcut == "equal" else block
        for block in spec.blocks
    )
    template = dataclasses.replace(spec, name=f"{spec.name}_line", blocks=blocks)
    total = cost.count(spec)
    budget = Budget(params=total.params, macs=total.macs)
    return propose(template, np.linspace(0.0, 1.0, len(blocks)), budget)


@dataclass(frozen=True, kw_only=True)
class _Quadratic:
    """A cost ``q(a, b)`` of widths ``a f + b``: a quadratic that rises in both."""

    constant: float
    a: float
    aa: float
    b: float
    bb: float
    ab: float

    def largest_slope(self, offset: float, limit: float) -> float:
        """Return the largest ``a >= 0`` with ``q(a, offset) <= limit``; 0 if there is none."""
        rest = self.constant + self.b * offset + self.bb * offset**2 - limit
        return _largest_root(self.aa, self.a + self.ab * offset, rest)

    def largest_offset(self, limit: float) -> float:
        """Return the largest ``b >= 0`` with ``q(0, b) <= limit``; 0 if there is none."""
        return _largest_root(self.bb, self.b, self.constant - limit)


def _largest_root(square: float, linear: float, constant: float) -> float:
    """Return the positive root of a rising quadratic, 0 where it is positive already."""
    if constant >= 0:
        return 0.0
    if linear == square == 0:
        return float(MAX_WIDTH)
    return -2 * constant / (linear + math.sqrt(linear**2 - 4 * square * constant))


def _quadratics(
    template: NetSpec, shape: NDArray[np.float64], budget: Budget
) -> tuple[_Quadratic, _Quadratic]:
    """Return counted params and MACs as quadratics in ``a`` and ``b``, read off at six points."""
    points = ((0, 0), (1, 0), (2, 0), (0, 1), (0, 2), (1, 1))
    widths = np.stack([a * shape + b for a, b in points]).astype(np.float64)
    total, operations = cost.count_many(template, widths)
    counted = budget.counted(total, template, widths[:, -1])
    params, macs = (
        _Quadratic(
            constant=q00,
            a=(4 * q10 - q20 - 3 * q00) / 2,
            aa=(q20 - 2 * q10 + q00) / 2,
            b=(4 * q01 - q02 - 3 * q00) / 2,
            bb=(q02 - 2 * q01 + q00) / 2,
            ab=q11 - q10 - q01 + q00,
        )
        for q00, q10, q20, q01, q02, q11 in (values.tolist() for values in (counted, operations))
    )
    return params, macs
