"""From a budget, or a backbone's cost, to widths: the scale and offset of a shape that fill it."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rexnet import channels, cost, families
from rexnet.budget import Budget, told
from rexnet.errors import UserError
from rexnet.spec import MAX_WIDTH, NetSpec

FILL = 0.9
"""The share of each limit that a proposal must use, if nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A network with its cost as a budget counts it: ``params`` and ``macs``."""

    spec: NetSpec
    params: int
    macs: int

    def inside(self, budget: Budget) -> bool:
        """Tell whether the network keeps every limit."""
        found = self.counts(budget)
        return all(found[field] <= limit for field, limit in budget.limits.items())

    def fills(self, budget: Budget, fill: float = FILL) -> bool:
        """Tell whether the network uses at least the share ``fill`` of every limit."""
        found = self.counts(budget)
        return all(found[field] >= fill * limit for field, limit in budget.limits.items())

    def counts(self, budget: Budget) -> dict[str, int]:
        """Return what a budget limits: ``params``, ``macs``, or both."""
        found = {"params": self.params, "macs": self.macs}
        return {field: found[field] for field in budget.limits}

    def use(self, budget: Budget) -> float:
        """Return the share that the network uses of the limit of which it uses least."""
        found = self.counts(budget)
        return min(found[field] / limit for field, limit in budget.limits.items())


def priced(spec: NetSpec, budget: Budget) -> Proposal:
    """Return ``spec`` with its cost as ``budget`` counts it."""
    total = cost.count(spec)
    params = budget.counted(total.params, spec, spec.widths[-1])
    return Proposal(spec=spec, params=params, macs=total.macs)


def budget_like(network: NetSpec, budget: Budget) -> Budget:
    """Return ``budget`` with what it leaves open limited to the cost of a network."""
    cost = priced(network, budget)
    return dataclasses.replace(
        budget, params=budget.params or cost.params, macs=budget.macs or cost.macs
    )


def propose(
    template: NetSpec,
    shape: NDArray[np.float64],
    budget: Budget,
    *,
    tilt: float | None = None,
    scale_ends: bool = False,
) -> Proposal:
    """Solve ``c_i = a f(i) + b`` so that the limits are used up as far as the shape allows.

    Params and MACs of real-valued widths are quadratics in ``a`` and ``b``, so the largest ``a``
    for a given ``b`` has a closed form. Steep profiles spend parameters, flat ones spend MACs: a
    bisection over ``b`` finds where both limits bind. A single limit leaves ``a`` against ``b``
    open, and ``tilt`` says it. The rounded widths are the largest multiple of that profile that is
    inside, so the result keeps the budget by construction.

    Args:
        template: The network that fixes all but the block widths.
        shape: The non-falling ``f``, from 0 to 1, one value a block.
        budget: The limits, at least one.
        tilt: The share ``a / (a + b)``, from 0 to 1 (``channels.tilted``); with a single limit, and
            with no other.
        scale_ends: Whether stem and penultimate layer follow the blocks (``channels.scaled_ends``),
            in proportion to those of ``template``.

    Raises:
        UserError: Even widths of 1 pass the budget.
    """
    assert (tilt is None) == (len(budget.limits) == 2)
    pairs = list(_quadratics(template, shape, budget, scale_ends).values())
    if tilt is None:
        profile = _balanced(pairs, shape)
    else:
        (quadratic, limit), profile = pairs[0], channels.tilted(shape, tilt)
        profile = quadratic.largest_multiple(profile[-1] - profile[0], profile[0], limit) * profile
    return largest_inside(template, profile, budget, most=1.25, scale_ends=scale_ends)


def _balanced(
    pairs: Sequence[tuple["_Quadratic", float]], shape: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the profile ``a f + b`` at which two limits bind, or as near as its shape gets."""
    # Where even a flat profile of 1 is too much, the refusal comes from largest_inside.
    flattest = max(1.0, min(quadratic.largest_offset(limit) for quadratic, limit in pairs))
    # A shape without a rise has nothing to balance.
    low, high = (1.0 if shape[-1] > shape[0] else flattest), flattest
    for _ in range(40):
        middle = (low + high) / 2
        by_params, by_macs = (quadratic.largest_slope(middle, limit) for quadratic, limit in pairs)
        if by_params < by_macs:
            low = middle
        else:
            high = middle
    slope = min(quadratic.largest_slope(low, limit) for quadratic, limit in pairs)
    return slope * shape + low


def largest_inside(
    template: NetSpec,
    profile: ArrayLike,
    budget: Budget,
    most: float = 1.0,
    *,
    scale_ends: bool = False,
) -> Proposal:
    """Return the network whose widths are the largest multiple of ``profile`` inside the budget.

    Args:
        template: The network that fixes all but the block widths.
        profile: Real-valued widths, one a block; they are rounded and kept from falling.
        budget: The limits, at least one.
        most: The largest multiple to try.
        scale_ends: As in ``propose``.

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
        counted = _counted(template, rounded, budget, scale_ends)
        kept = [counted[field] <= limit for field, limit in budget.limits.items()]
        inside = np.flatnonzero(np.logical_and.reduce(kept))
        if not len(inside):
            smallest = {field: int(values[0]) for field, values in counted.items()}
            raise UserError(
                f"no network fits {told(budget.limits)}: the smallest has "
                f"{smallest['params']:,} params and {smallest['macs']:,} MACs; raise the budget to "
                "at least that"
            )
        least, largest = float(multiples[inside[-1]]), rounded[inside[-1]]
        if inside[-1] == 1024:
            break
    return priced(channels.with_block_widths(template, largest.tolist(), scale_ends), budget)


def _counted(
    template: NetSpec, widths: NDArray[Any], budget: Budget, scale_ends: bool
) -> dict[str, NDArray[Any]]:
    """Return ``params`` as a budget counts them, and ``macs``, of networks of other widths."""
    total, macs = cost.count_many(template, widths, scale_ends=scale_ends)
    penultimate = channels.scaled_ends(template, widths)[1] if scale_ends else None
    return {
        "params": budget.counted(total, template, widths[:, -1], penultimate),
        "macs": macs,
    }


def design(
    budget: Budget, *, num_blocks: int = 16, num_classes: int = 1000, resolution: int = 224
) -> Proposal:
    """Return the ReXNet on a line that fills a budget, with no search (paper, section 4.4).

    Stem and penultimate layer are those of the widest ReXNet inside the budget; the start and the
    slope of the line then use up what is left of both limits. A single limit keeps the tilt of that
    ReXNet.

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
    return on_line(dataclasses.replace(rexnet(low), name=f"rexnet_line_{num_blocks}b"), budget)


def on_line(template: NetSpec, budget: Budget, *, scale_ends: bool = False) -> Proposal:
    """Return ``template`` with block widths on the line that fills a budget.

    A single limit keeps the tilt of the line through the template's own widths.

    Args:
        template: The network that fixes all but the block widths.
        budget: The limits, at least one.
        scale_ends: As in ``propose``.

    Raises:
        UserError: Even widths of 1 pass the budget.
    """
    tilt = None if len(budget.limits) == 2 else channels.tilt_of(template.widths)
    shape = np.linspace(0.0, 1.0, len(template.blocks))
    return propose(template, shape, budget, tilt=tilt, scale_ends=scale_ends)


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
    return on_line(template, budget)


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

    def largest_multiple(self, a: float, b: float, limit: float) -> float:
        """Return the largest ``m >= 0`` with ``q(m a, m b) <= limit``; 0 if there is none."""
        square = self.aa * a**2 + self.bb * b**2 + self.ab * a * b
        return _largest_root(square, self.a * a + self.b * b, self.constant - limit)


def _largest_root(square: float, linear: float, constant: float) -> float:
    """Return the positive root of a rising quadratic, 0 where it is positive already."""
    if constant >= 0:
        return 0.0
    if linear == square == 0:
        return float(MAX_WIDTH)
    return -2 * constant / (linear + math.sqrt(linear**2 - 4 * square * constant))


def _quadratics(
    template: NetSpec, shape: NDArray[np.float64], budget: Budget, scale_ends: bool
) -> dict[str, tuple[_Quadratic, float]]:
    """Return what is limited as quadratics in ``a`` and ``b``, with the limits.

    Each is read off at six points.
    """
    points = ((0, 0), (1, 0), (2, 0), (0, 1), (0, 2), (1, 1))
    widths = np.stack([a * shape + b for a, b in points]).astype(np.float64)
    counted = _counted(template, widths, budget, scale_ends)
    found = {}
    for field, limit in budget.limits.items():
        q00, q10, q20, q01, q02, q11 = counted[field].tolist()
        quadratic = _Quadratic(
            constant=q00,
            a=(4 * q10 - q20 - 3 * q00) / 2,
            aa=(q20 - 2 * q10 + q00) / 2,
            b=(4 * q01 - q02 - 3 * q00) / 2,
            bb=(q02 - 2 * q01 + q00) / 2,
            ab=q11 - q10 - q01 + q00,
        )
        found[field] = quadratic, float(limit)
    return found
