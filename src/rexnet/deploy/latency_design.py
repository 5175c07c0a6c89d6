"""The largest network of a family that keeps a time on this device, by measurement."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rexnet import channels, families
from rexnet.budget import LatencyBudget
from rexnet.deploy.stopwatch import Stopwatch
from rexnet.errors import UserError
from rexnet.latency import Measured, Predictor, disturbance, largest, scaled_widths
from rexnet.spec import NetSpec

STEP = 2 ** (1 / 16)
"""Between multiples that are measured for a predictor: few, so that they are met again."""

REACH, CLOSE = 5, 2
"""Multiples measured on either side of the likely one, and how near that has to be met."""

NEAR = (0.96, 1.0, 1.04)
"""Of the time to keep: what the networks of a short list are predicted to take."""

MAX_LISTS, MAX_STEPS = 4, 6
"""Short lists that are measured, and steps towards the likely multiple."""

FULL, LEAST = 0.9, 0.7
"""The share of the time that is used well, and by what the next list shrinks at most."""

WIDEST = 5.0

Family = Callable[[float], NetSpec]


@dataclass(frozen=True, kw_only=True)
class LatencyDesign:
    """A network that keeps a time.

    Attributes:
        spec: The network.
        measured: What it took.
        predicted: The fastest round that was predicted, in milliseconds.
        predictor: What predicted it.
        busy: What disturbed the measuring, in words; empty on a quiet machine.
    """

    spec: NetSpec
    measured: Measured
    predicted: float
    predictor: Predictor
    busy: str


def rexnets(num_blocks: int, num_classes: int, resolution: int) -> tuple[Family, list[float]]:
    """Return ReXNets by their width multiplier, and the multipliers to choose among."""

    def family(width: float) -> NetSpec:
        return families.rexnet(round(width, 3), num_blocks, num_classes, resolution)

    return family, [number / 1000 for number in range(100, int(1000 * WIDEST) + 1)]


def narrowed(spec: NetSpec, *, scale_ends: bool = False) -> tuple[Family, list[float]]:
    """Return a network with its block widths times multiples of at most 1.

    Args:
        spec: The network.
        scale_ends: Whether stem and penultimate layer follow the blocks.
    """

    def family(multiple: float) -> NetSpec:
        widths = scaled_widths(spec.widths, multiple)
        return channels.with_block_widths(spec, widths, scale_ends)

    return family, [number / 1000 for number in range(50, 1001)]


def on_lines(template: NetSpec, *, scale_ends: bool) -> tuple[Family, list[float]]:
    """Return a network on the line through its widths, and multiples of that to choose among.

    Args:
        template: The network.
        scale_ends: Whether stem and penultimate layer follow the blocks.
    """
    shape = np.linspace(0.0, 1.0, len(template.blocks))
    profile = template.widths[-1] * channels.tilted(shape, channels.tilt_of(template.widths))

    def family(multiple: float) -> NetSpec:
        widths = scaled_widths(profile.tolist(), multiple)
        return channels.with_block_widths(template, widths, scale_ends)

    return family, [number / 1000 for number in range(50, int(1000 * WIDEST) + 1)]


def find(
    family: Family, multiples: Sequence[float], budget: LatencyBudget, clock: Stopwatch
) -> LatencyDesign:
    """Return the largest network of a family whose fastest round keeps the budget.

    Networks around the likely multiple are measured once, and a predictor is fitted to them; those
    that it puts near the budget are measured in turns.

    Args:
        family: Gives the network at a multiple.
        multiples: What to choose among, in rising order.
        budget: The time to keep.
        clock: Measures.

    Raises:
        UserError: None of the networks that were measured keeps the budget; the fastest is named,
            or on a busy machine what disturbed.
    """
    around = _around(family, multiples, budget, clock)
    predictor = clock.calibrate([family(at) for at in around])
    tried = _tried(family, multiples, budget, clock, predictor)
    inside = [pair for pair in tried if pair[1].keeps(budget)]
    if not inside:
        raise _refusal(tried, budget)
    spec, its = max(inside, key=lambda pair: predictor.predict(pair[0]))
    return LatencyDesign(
        spec=spec,
        measured=its,
        predicted=predictor.predict(spec),
        predictor=predictor,
        busy=disturbance([its for _, its in tried]) or predictor.busy,
    )


def _refusal(tried: Sequence[tuple[NetSpec, Measured]], budget: LatencyBudget) -> UserError:
    """Return the error for networks of which none keeps the budget."""
    spec, its = min(tried, key=lambda pair: pair[1].fastest)
    busy = disturbance([its for _, its in tried])
    if busy:
        return UserError(
            f"the machine was busy, so {budget} was not decided: {busy}, and {spec.name} took "
            f"{its.fastest:.3g} ms; end the other work (`rexnet doctor` names it) and run again"
        )
    return UserError(
        f"no network that was measured keeps {budget}: the fastest, {spec.name}, takes "
        f"{its.fastest:.3g} ms; raise --latency to at least that"
    )


def _tried(
    family: Family,
    multiples: Sequence[float],
    budget: LatencyBudget,
    clock: Stopwatch,
    predictor: Predictor,
) -> list[tuple[NetSpec, Measured]]:
    """Measure short lists of ever nearer predictions; return all networks with their times."""
    wanted, kept, passed = budget.milliseconds, 0.0, math.inf
    tried: list[tuple[NetSpec, Measured]] = []
    for _ in range(MAX_LISTS):
        ats = [largest(family, multiples, predictor.predict, near * wanted) for near in NEAR]
        specs = list({s.spec_id: s for s in (family(at or multiples[0]) for at in ats)}.values())
        found = clock.measure(specs)
        tried += list(zip(specs, found, strict=True))
        times = [its.fastest for its in found if its.keeps(budget)]
        if times:
            kept = wanted
            if math.isinf(passed) or max(times) >= FULL * budget.milliseconds:
                break
            wanted = math.sqrt(kept * passed)
        elif len(specs) == 1 and specs[0] == family(multiples[0]):
            break
        else:
            passed = wanted
            # One list that other work disturbed must not lead far away.
            over = statistics.median(its.fastest for its in found) / budget.milliseconds
            wanted = math.sqrt(kept * passed) if kept else wanted * max(LEAST, 0.98 / over)
    return tried


def _around(
    family: Family, multiples: Sequence[float], budget: LatencyBudget, clock: Stopwatch
) -> list[float]:
    """Return multiples around the one that is likely to take the time, in rising order.

    Raises:
        UserError: The smallest network does not keep the budget, so none does.
    """
    lowest, highest = _index(multiples[0]), _index(multiples[-1])
    place = min(0, highest)
    seen: set[int] = set()
    while place not in seen and len(seen) < MAX_STEPS:
        seen.add(place)
        spec = family(_at(place, multiples))
        its = clock.times([spec])[0]
        if place == lowest and not its.keeps(budget):
            raise _refusal([(spec, its)], budget)
        # Time rises by about the power 1.6 of the width; narrow networks have their fixed costs.
        step = round(math.log(budget.milliseconds / its.fastest, STEP) / 1.6)
        place = min(max(place + step, lowest), highest)
        if abs(step) <= CLOSE:
            break
    # As many at an end of the range: they are also what the predictor is judged by.
    first = max(min(place - REACH, highest - 2 * REACH), lowest)
    return [_at(place, multiples) for place in range(first, min(first + 2 * REACH, highest) + 1)]


def _index(multiple: float) -> int:
    return round(math.log(multiple, STEP))


def _at(place: int, multiples: Sequence[float]) -> float:
    # The ends as they are: of the smallest network it is told when nothing keeps the time.
    if place <= _index(multiples[0]):
        return multiples[0]
    return multiples[-1] if place >= _index(multiples[-1]) else STEP**place
