"""A budget of time, and what predicts the time of a network from networks that were measured."""

import bisect
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from rexnet import channels
from rexnet.budget import LatencyBudget
from rexnet.errors import UserError
from rexnet.spec import NetSpec

MULTIPLE = 16
"""Exported networks have widths filled up to multiples of it."""

MULTIPLES = tuple(2 ** (number / 64) for number in range(64 * 13))
"""Widths of the last block, not rounded, among which a time chooses: from 1 to 8,100."""

PRIOR = 0.1
"""How strongly costs are held to an even split of the time; what is measured is soon stronger."""

BUSY = 0.1
"""The share of the cores' time that other work takes from which times are too long."""

SPREAD = 1.5
"""Times of the fastest round that the median takes where something unseen disturbs."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a network took in rounds of measuring, in milliseconds.

    Attributes:
        median: Of all rounds.
        quartiles: The quarter of the rounds below and above.
        fastest: The fastest round, which a budget of time is judged by: what else the machine does
            only ever adds to it.
        others: The share of the cores' time that other work took meanwhile; None is unknown.
    """

    median: float
    quartiles: tuple[float, float]
    fastest: float
    others: float | None = None

    def keeps(self, budget: LatencyBudget) -> bool:
        """Tell whether the fastest round keeps a budget."""
        return self.fastest <= budget.milliseconds


def business(others: float | None) -> str:
    """Return a share of the cores' time that makes times too long, in words; else nothing."""
    if others is None or others < BUSY:
        return ""
    return f"other work took {100 * others:.0f} % of the cores' time"


def disturbance(found: Sequence[Measured]) -> str:
    """Return what disturbed the measuring of networks, in words; empty on a quiet machine."""
    words = business(max((its.others or 0.0 for its in found), default=None))
    if words:
        return words
    spread = float(np.median([its.median / its.fastest for its in found])) if found else 1.0
    return f"half of the rounds took {spread:.1f} times the fastest" if spread >= SPREAD else ""


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """The time of networks that differ from measured ones in their widths.

    It predicts the fastest round: what else the machine does only ever adds to it.

    Attributes:
        device: What was measured on: ``processor``, ``threads``, ``runtime``, ``precision`` and
            ``versions``.
        costs: Milliseconds a unit of ``work``.
        num_measured: Networks that the costs were fitted to.
        num_held_out: Networks that were measured and not fitted to.
        error: The median over the held-out networks of how far the prediction is off, as a share;
            None without any.
        busy: What disturbed the measuring, in words; empty on a quiet machine.
    """

    device: dict[str, Any]
    costs: dict[str, float]
    num_measured: int
    num_held_out: int
    error: float | None
    busy: str = ""

    def predict(self, spec: NetSpec) -> float:
        """Return the milliseconds that ``spec`` takes for one image."""
        return sum(self.costs.get(name, 0.0) * amount for name, amount in work(spec).items())

    @property
    def digest(self) -> str:
        """Sixteen hex digits of what it predicts by."""
        fields = dataclasses.asdict(self)
        del fields["busy"]
        text = json.dumps(fields, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def told(self) -> str:
        """Return how far predictions are off, in words."""
        if self.error is None:
            return "no network was left to tell the error of the prediction"
        plural = "s" if self.num_held_out != 1 else ""
        return (
            f"fastest rounds are predicted within {100 * self.error:.1f} % (median of "
            f"{self.num_held_out} held-out network{plural})"
        )


class Clock(Protocol):
    """What measures networks on a device."""

    @property
    def device(self) -> dict[str, Any]:
        """What the times depend on."""

    def calibrate(self, specs: Sequence[NetSpec]) -> Predictor:
        """Measure networks of one kind and fit a predictor to most of them."""

    def times(self, specs: Sequence[NetSpec]) -> list[Measured]:
        """Return what networks take; those that were measured before are not measured again."""

    def measure(self, specs: Sequence[NetSpec]) -> list[Measured]:
        """Measure networks now, in turns."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A latency budget with what predicts whether a network keeps it."""

    budget: LatencyBudget
    predictor: Predictor

    @property
    def identity(self) -> dict[str, str]:
        """What makes two limits the same."""
        return {"budget": str(self.budget), "predictor": self.predictor.digest}

    def excess(self, spec: NetSpec) -> float:
        """Return by what share ``spec`` is predicted to pass the budget; 0 if it does not."""
        return max(0.0, self.use(spec) - 1)

    def use(self, spec: NetSpec) -> float:
        """Return the share of the time that ``spec`` is predicted to take."""
        return self.predictor.predict(spec) / self.budget.milliseconds


def work(spec: NetSpec) -> dict[str, float]:
    """Return what a network computes, by name: what the time of an exported one is a sum over.

    Widths are those of the exported form, filled up to multiples of 16. ``pointwise SIZE`` are the
    MACs of 1x1 convolutions on maps of that side, ``depthwise SIZE/STRIDE`` those of depthwise
    ones, and ``once`` is 1 a network.
    """
    found = {"once": 1.0}
    for name, amount in _work(spec):
        found[name] = found.get(name, 0.0) + amount
    return found


def _work(spec: NetSpec) -> Iterator[tuple[str, float]]:
    size = -(-spec.resolution // spec.stem_stride)
    yield "stem", 9 * spec.in_channels * _filled(spec.stem_width) * size**2
    for width_in, block in zip(spec.widths_in, spec.blocks, strict=True):
        expanded = _filled(width_in * block.expansion)
        if block.expansion != 1:
            yield f"pointwise {size}", _filled(width_in) * expanded * size**2
        size = -(-size // block.stride)
        yield f"depthwise {size}/{block.stride}", block.kernel**2 * expanded * size**2
        yield f"pointwise {size}", expanded * _filled(block.width) * size**2
    width = _filled(spec.widths[-1])
    if spec.penultimate_width:
        yield "head", width * spec.penultimate_width * size**2
        width = spec.penultimate_width
    if spec.hidden_width:
        yield "head", width * spec.hidden_width
        width = spec.hidden_width
    yield "head", width * spec.num_classes


def _filled(width: int) -> int:
    return -(-width // MULTIPLE) * MULTIPLE


def fitted(specs: Sequence[NetSpec], milliseconds: Sequence[float]) -> dict[str, float]:
    """Return the costs of all kinds of work that explain measured times best.

    Relative errors are made small by least squares. Where networks do not tell two kinds of work
    apart, their costs are held to an even split of the time over all kinds.

    Args:
        specs: Networks of one kind, at least one.
        milliseconds: What each took, above 0.
    """
    works = [work(spec) for spec in specs]
    names = sorted({name for found in works for name in found})
    amounts = np.array([[found.get(name, 0.0) for name in names] for found in works])
    times = np.asarray(milliseconds, dtype=np.float64)
    usual, time = amounts.mean(0), times.mean()
    hold = np.sqrt(PRIOR) * np.eye(len(names))
    shares = np.linalg.lstsq(
        np.vstack([amounts / usual * (time / times)[:, None], hold]),
        np.append(np.ones(len(times)), hold.sum(0) / len(names)),
        rcond=None,
    )[0]
    costs = shares * time / usual
    # So few digits that another summation order on this machine gives the same ones.
    return {name: float(f"{cost:.9g}") for name, cost in zip(names, costs, strict=True)}


def median_error(predicted: Sequence[float], measured: Sequence[float]) -> float | None:
    """Return the median of the relative errors; None without any."""
    pairs = zip(predicted, measured, strict=True)
    errors = [abs(guess / time - 1) for guess, time in pairs]
    return float(np.median(errors)) if errors else None


def scaled(spec: NetSpec, profile: Sequence[float], multiple: float) -> NetSpec:
    """Return ``spec`` with block widths ``multiple`` times a non-falling ``profile``, rounded."""
    return spec.with_widths(scaled_widths(profile, multiple))


def scaled_widths(profile: Sequence[float], multiple: float) -> list[int]:
    """Return ``multiple`` times a profile, rounded and kept from falling."""
    widths = channels.round_widths(multiple * np.asarray(profile))
    found: list[int] = np.maximum.accumulate(widths).tolist()
    return found


def largest(
    family: Callable[[float], NetSpec],
    multiples: Sequence[float],
    predict: Callable[[NetSpec], float],
    milliseconds: float,
) -> float | None:
    """Return the largest of ``multiples`` whose network is predicted to keep a time.

    Args:
        family: Gives the network at a multiple.
        multiples: In rising order.
        predict: Gives the milliseconds of a network.
        milliseconds: The time to keep.
    """
    # Wider takes longer, but for what rounding does.
    place = bisect.bisect_right(multiples, milliseconds, key=lambda at: predict(family(at)))
    return multiples[place - 1] if place else None


def widest(template: NetSpec, profile: ArrayLike, limit: Limit, scale_ends: bool) -> NetSpec:
    """Return the widest network of a profile that is predicted to keep a time.

    Args:
        template: The network that fixes all but the block widths.
        profile: A non-falling profile up to its scale, from at most 1 to 1.
        limit: The time.
        scale_ends: Whether stem and penultimate layer follow the blocks.

    Raises:
        UserError: Even widths of 1 are predicted to pass it.
    """

    def family(multiple: float) -> NetSpec:
        widths = channels.round_widths(multiple * np.asarray(profile)).tolist()
        return channels.with_block_widths(template, widths, scale_ends)

    multiple = largest(family, MULTIPLES, limit.predictor.predict, limit.budget.milliseconds)
    if multiple is None:
        least = limit.predictor.predict(family(MULTIPLES[0]))
        raise UserError(
            f"no network keeps {limit.budget}: one with blocks of 1 channel is predicted to "
            f"take {least:.3g} ms; raise --budget.latency"
        )
    return family(multiple)
