"""The space of channel configurations: what makes a shape, and which shapes fill a budget."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rexnet import channels
from rexnet.budget import Budget
from rexnet.design import FILL, Proposal, priced, propose
from rexnet.errors import UserError
from rexnet.families import search_network
from rexnet.latency import Limit
from rexnet.spec import NetSpec

MAX_SEGMENTS = 8
"""Enough for every configuration of 9 blocks, and for the steps of MobileNetV2's first 13.

A stage is a flat segment and a jump to the next: s stages take at most 2 s - 1 segments.
"""

LOWEST_SLOPE = -0.75
"""Slopes below 0 count as 0, so that three of seven segments are flat."""

PROBES = 400


@dataclass(frozen=True, kw_only=True)
class Space:
    """Non-falling widths ``c_i = a f(i) + b`` with ``f`` a piecewise linear function (section 4).

    ``f`` bends at a subset of the block indices; ``a`` and ``b`` follow from the budget. Stage-wise
    conventions lie inside: a flat segment a stage, and jumps between them.

    Attributes:
        num_blocks: Inverted bottlenecks of the search network.
        num_classes: Classes of the data.
        resolution: Side of the images in pixels.
        budget: The limits.
    """

    num_blocks: int
    num_classes: int
    resolution: int
    budget: Budget

    @property
    def template(self) -> NetSpec:
        """The search network, with widths of 1."""
        return search_network([1] * self.num_blocks, self.num_classes, self.resolution)

    @property
    def num_segments(self) -> int:
        """Linear pieces of a shape, at most."""
        return min(MAX_SEGMENTS, self.num_blocks - 1)

    @property
    def knots(self) -> dict[str, tuple[int, int]]:
        """Names and bounds (both included) of the block indices at which a shape may bend."""
        bounds = (2, self.num_blocks - 1)
        return {f"knot_{number}": bounds for number in range(1, self.num_segments)}

    @property
    def slopes(self) -> dict[str, tuple[float, float]]:
        """Names and bounds of the slopes of the segments."""
        return {
            f"slope_{number}": (LOWEST_SLOPE, 1.0) for number in range(1, self.num_segments + 1)
        }

    def shape(self, parameters: Mapping[str, float]) -> NDArray[np.float64]:
        """Return the shape ``f`` from 0 to 1 for values of ``knots`` and ``slopes``."""
        return channels.piecewise_line(
            self.num_blocks,
            [int(parameters[name]) for name in self.knots],
            [parameters[name] for name in self.slopes],
        )

    def propose(self, parameters: Mapping[str, float]) -> Proposal:
        """Return the network of these parameters, inside the budget by construction."""
        return propose(self.template, self.shape(parameters), self.budget)

    def draw(self, generator: np.random.Generator) -> dict[str, float]:
        """Return random values of ``knots`` and ``slopes``."""
        knots = {k: int(generator.integers(lo, hi + 1)) for k, (lo, hi) in self.knots.items()}
        return knots | {k: generator.uniform(lo, hi) for k, (lo, hi) in self.slopes.items()}

    def move(
        self, parameters: Mapping[str, float], distance: float, generator: np.random.Generator
    ) -> dict[str, float]:
        """Return parameters near the given ones; a ``distance`` of 1 crosses the whole space."""
        moved: dict[str, float] = {}
        for name, (low, high) in self.knots.items():
            anew = generator.random() < distance
            moved[name] = int(generator.integers(low, high + 1)) if anew else parameters[name]
        for name, (lowest, highest) in self.slopes.items():
            step = distance * (highest - lowest) * generator.standard_normal()
            moved[name] = float(np.clip(parameters[name] + step, lowest, highest))
        return moved


def check_reachable(space: Space) -> None:
    """Check that a network of the space can use at least 90 % of both limits.

    Raises:
        UserError: None can; the nearest budget that can is named.
    """
    budget = space.budget
    smallest = priced(space.template, budget)
    # No budget below the smallest network's cost can be met: the nearest one is no lower.
    raised = dataclasses.replace(
        budget,
        params=max(budget.params, smallest.params),
        macs=max(budget.macs, smallest.macs),
    )
    generator = np.random.default_rng(0)
    shapes = [space.shape(space.draw(generator)) for _ in range(PROBES)]
    shapes += [np.linspace(0, 1, space.num_blocks), np.zeros(space.num_blocks)]
    # The steepest profile of all spends most parameters a MAC.
    shapes.append(np.append(np.zeros(space.num_blocks - 1), 1.0))
    proposals = []
    for shape in shapes:
        proposals.append(propose(space.template, shape, raised))
        if raised == budget and proposals[-1].fills(budget):
            return
    fillable = [
        (min(raised.params, int(p.params / FILL)), min(raised.macs, int(p.macs / FILL)))
        for p in proposals
    ]
    params, macs = max(fillable, key=lambda pair: pair[0] / raised.params * pair[1] / raised.macs)
    raise UserError(
        f"no network of {space.num_blocks} blocks at {space.resolution} px keeps params "
        f"{budget.params:,} and MACs {budget.macs:,} and uses {FILL:.0%} of both; the nearest "
        f"budget that can be filled is params {params:,} with MACs {macs:,}"
    )


def sample(space: Space, num_networks: int) -> list[NetSpec]:
    """Return random networks that use 90 % of both limits, all different, the same every time.

    There are fewer where ``PROBES`` draws do not give so many, and the nearest to filling the
    budget if none fills it.
    """
    generator = np.random.default_rng(0)
    proposals = [space.propose(space.draw(generator)) for _ in range(PROBES)]
    filled = [proposal.spec for proposal in proposals if proposal.fills(space.budget)]
    nearest = max(proposals, key=lambda p: (p.macs, p.params)).spec
    found = {spec.spec_id: spec for spec in filled or [nearest]}
    return list(found.values())[:num_networks]


def check_fast_enough(space: Space, limit: Limit) -> float:
    """Check that networks of the space are predicted to keep the latency.

    Returns:
        The share of random networks that use 90 % of both limits and do.

    Raises:
        UserError: None does; the fastest prediction is named, or what disturbed the measuring.
    """
    specs = sample(space, PROBES)
    share = sum(limit.excess(spec) == 0 for spec in specs) / len(specs)
    if share:
        return share
    if limit.predictor.busy:
        raise UserError(
            f"the machine was busy, so {limit.budget} was not decided: {limit.predictor.busy} "
            "while networks were measured; end the other work (see `rexnet doctor`) and run again"
        )
    fastest = min(limit.predictor.predict(spec) for spec in specs)
    raise UserError(
        f"no network that uses {FILL:.0%} of params and MACs is predicted to keep {limit.budget}: "
        f"the fastest of {len(specs)} takes {fastest:.3g} ms; raise --budget.latency, or lower "
        "--budget.params and --budget.macs"
    )
