"""Networks around a budget of time that is the only limit: what its predictor is fitted to."""

import dataclasses
import math

import numpy as np

from rexnet.budget import LatencyBudget
from rexnet.design import budget_like
from rexnet.errors import UserError
from rexnet.latency import Clock
from rexnet.search.space import Space, sample
from rexnet.spec import NetSpec

SPREAD = (0.6, 0.8, 1.0, 1.25, 1.6)
"""MACs of the measured networks, times those that likely take the time."""

MAX_STEPS, CLOSE = 6, 1.15
"""Networks measured on the way to the likely MACs, and how near the time has to be met."""

LEAST, MOST = 1e-3, 1e3
"""How far one step of the MACs goes."""


def around(space: Space, limit: LatencyBudget, clock: Clock, num_networks: int) -> list[NetSpec]:
    """Return networks of a space that take about a time, all different.

    Networks of the space's mean tilt are measured one by one, each with as many MACs as the one
    before makes likely; then MACs stand in for the time.

    Raises:
        UserError: Even the narrowest network takes longer.
    """
    middle = _likely_macs(space, limit, clock)
    found: dict[str, NetSpec] = {}
    each = math.ceil(num_networks / len(SPREAD))
    for share in SPREAD:
        macs = max(int(share * middle), _least_macs(space))
        for spec in sample(_with_macs(space, macs), each):
            found[spec.spec_id] = spec
    return list(found.values())[:num_networks]


def _likely_macs(space: Space, limit: LatencyBudget, clock: Clock) -> float:
    least = _least_macs(space)
    macs = 16.0 * least
    for _ in range(MAX_STEPS):
        spec = _straight(space, int(macs))
        milliseconds = clock.times([spec])[0].fastest
        over = milliseconds / limit.milliseconds
        if over > 1 and int(macs) == least:
            raise UserError(
                f"no network keeps {limit}: one with blocks of 1 channel takes "
                f"{milliseconds:.3g} ms; raise --budget.latency to at least that"
            )
        if 1 / CLOSE <= over <= CLOSE:
            break
        # Narrow networks have their fixed costs, so time rises by less than the MACs.
        macs = max(macs * min(max(over**-1.2, LEAST), MOST), least)
    return macs


def _with_macs(space: Space, macs: int) -> Space:
    return dataclasses.replace(space, budget=dataclasses.replace(space.budget, macs=macs))


def _least_macs(space: Space) -> int:
    return budget_like(space.narrowest, space.budget).macs or 1


def _straight(space: Space, macs: int) -> NetSpec:
    tilt = float(np.mean(space.tilts["tilt"]))
    return _with_macs(space, macs).of_shape(np.linspace(0, 1, space.num_blocks), tilt).spec
