"""The space of channel configurations: what makes a shape, and which shapes fill a budget."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rexnet import channels
from rexnet.budget import Budget, told
from rexnet.design import FILL, Proposal, priced, propose
from rexnet.errors import UserError
from rexnet.families import search_network
from rexnet.latency import Limit, largest
from rexnet.spec import NetSpec, set_fields

MAX_SEGMENTS = 8
"""Enough for every configuration of 9 blocks, and for the steps of MobileNetV2's first 13.

A stage is a flat segment and a jump to the next: s stages take at most 2 s - 1 segments.
"""

LOWEST_SLOPE = -0.75
"""Slopes below 0 count as 0, so that three of seven segments are flat."""

PROBES = 400

MULTIPLES = tuple(2 ** (number / 64) for number in range(64 * 13))
"""Widths of the last block, not rounded, among which a time chooses: from 1 to 8,100."""


TILT = (0.0, 1.0)
"""From a flat profile to one that starts at a channel."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """Non-falling widths ``c_i = a f(i) + b`` with ``f`` a piecewise linear function (section 4).

    ``f`` bends at a subset of the block indices. Stage-wise conventions lie inside: a flat segment
    a stage, and jumps between them. Where params and MACs are limited, ``a`` and ``b`` follow from
    the budget; else the tilt, ``a / (a + b)``, is a parameter of its own and the scale follows.

    Attributes:
        num_blocks: Blocks of the network.
        num_classes: Classes of the data.
        resolution: Side of the images in pixels.
        budget: The limits.
        network: The network whose block widths are searched; the paper's search network by default.
        scale_ends: Whether its stem and penultimate layer follow the blocks.
        limit: The time that networks take, where nothing else is limited.
    """

    num_blocks: int
    num_classes: int
    resolution: int
    budget: Budget
    network: NetSpec | None = None
    scale_ends: bool = False
    limit: Limit | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What makes two spaces the same; ``limit`` stands beside it in ``search.json``."""
        found = dataclasses.asdict(dataclasses.replace(self, network=None, limit=None))
        del found["limit"]
        for field in ("network", "scale_ends"):
            if not found[field]:
                del found[field]
        return found if self.network is None else {**found, "network": set_fields(self.network)}

    @property
    def template(self) -> NetSpec:
        """The network whose block widths are searched; the search network has widths of 1."""
        if self.network is None:
            return search_network([1] * self.num_blocks, self.num_classes, self.resolution)
        return dataclasses.replace(
            channels.with_shortcuts_kept(self.network),
            name=f"search_{self.network.name}",
            num_classes=self.num_classes,
            resolution=self.resolution,
            in_channels=3,
        )

    def with_widths(self, widths: Sequence[int]) -> NetSpec:
        """Return the network of the space with these block widths."""
        return channels.with_block_widths(self.template, widths, self.scale_ends)

    def lost_input(self, spec: NetSpec) -> float:
        """Return by what share the first block is too narrow to add its input as the template does.

        Later blocks are never narrower than their input.
        """
        template, width = self.template, spec.widths[0]
        adds = template.blocks[0].has_shortcut(template.stem_width)
        return max(0.0, 1 - width / spec.stem_width) if adds else 0.0

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

    @property
    def tilts(self) -> dict[str, tuple[float, float]]:
        """Name and bounds of the tilt; nothing where it follows from two limits."""
        return {} if len(self.budget.limits) == 2 else {"tilt": TILT}

    def shape(self, parameters: Mapping[str, float]) -> NDArray[np.float64]:
        """Return the shape ``f`` from 0 to 1 for values of ``knots`` and ``slopes``."""
        return channels.piecewise_line(
            self.num_blocks,
            [int(parameters[name]) for name in self.knots],
            [parameters[name] for name in self.slopes],
        )

    def propose(self, parameters: Mapping[str, float]) -> Proposal:
        """Return the network of these parameters, inside the budget by construction."""
        return self.of_shape(self.shape(parameters), parameters.get("tilt"))

    def of_shape(self, shape: NDArray[np.float64], tilt: float | None = None) -> Proposal:
        """Return the network of a shape, and of a tilt where that is a parameter."""
        if self.limit is None:
            return propose(self.template, shape, self.budget, tilt=tilt, scale_ends=self.scale_ends)
        assert tilt is not None
        return priced(self._in_time(channels.tilted(shape, tilt), self.limit), self.budget)

    def _in_time(self, profile: NDArray[np.float64], limit: Limit) -> NetSpec:
        """Return the widest network of a profile that is predicted to keep the time.

        Raises:
            UserError: Even widths of 1 are predicted to pass it.
        """
        template = self.template

        def family(multiple: float) -> NetSpec:
            widths = channels.round_widths(multiple * profile).tolist()
            return channels.with_block_widths(template, widths, self.scale_ends)

        wanted = limit.budget.milliseconds
        multiple = largest(family, MULTIPLES, limit.predictor.predict, wanted)
        if multiple is None:
            least = limit.predictor.predict(family(MULTIPLES[0]))
            raise UserError(
                f"no network keeps {limit.budget}: one with blocks of 1 channel is predicted to "
                f"take {least:.3g} ms; raise --budget.latency"
            )
        return family(multiple)

    def draw(self, generator: np.random.Generator) -> dict[str, float]:
        """Return random values of all parameters."""
        knots = {k: int(generator.integers(lo, hi + 1)) for k, (lo, hi) in self.knots.items()}
        reals = {**self.slopes, **self.tilts}
        return knots | {k: generator.uniform(lo, hi) for k, (lo, hi) in reals.items()}

    def move(
        self, parameters: Mapping[str, float], distance: float, generator: np.random.Generator
    ) -> dict[str, float]:
        """Return parameters near the given ones; a ``distance`` of 1 crosses the whole space."""
        moved: dict[str, float] = {}
        for name, (low, high) in self.knots.items():
            anew = generator.random() < distance
            moved[name] = int(generator.integers(low, high + 1)) if anew else parameters[name]
        for name, (lowest, highest) in {**self.slopes, **self.tilts}.items():
            step = distance * (highest - lowest) * generator.standard_normal()
            moved[name] = float(np.clip(parameters[name] + step, lowest, highest))
        return moved


def check_reachable(space: Space) -> None:
    """Check that a network of the space can use at least 90 % of every limit.

    Raises:
        UserError: None can; the nearest budget that can is named.
    """
    budget = space.budget
    smallest = priced(space.with_widths([1] * space.num_blocks), budget).counts(budget)
    # No budget below the smallest network's cost can be met: the nearest one is no lower.
    limits = {field: max(limit, smallest[field]) for field, limit in budget.limits.items()}
    raised = Budget(**limits, count_classifier=budget.count_classifier)
    wide = dataclasses.replace(space, budget=raised)
    proposals = []
    for shape, tilt in _probes(space):
        proposals.append(wide.of_shape(shape, tilt))
        if raised == budget and proposals[-1].fills(budget):
            return
    fillable = [
        {f: min(limits[f], int(count / FILL)) for f, count in proposal.counts(raised).items()}
        for proposal in proposals
    ]
    nearest = max(fillable, key=lambda found: math.prod(found[f] / limits[f] for f in found))
    both = "both" if len(limits) == 2 else "that"
    raise UserError(
        f"no network of {space.num_blocks} blocks at {space.resolution} px keeps "
        f"{told(budget.limits)} and uses {FILL:.0%} of {both}; the nearest budget that can be "
        f"filled is {told(nearest).replace(' and ', ' with ')}"
    )


def _probes(space: Space) -> Iterator[tuple[NDArray[np.float64], float | None]]:
    """Yield shapes with their tilts: random ones, the line, the flat one and the steepest."""
    generator = np.random.default_rng(0)
    for _ in range(PROBES):
        drawn = space.draw(generator)
        yield space.shape(drawn), drawn.get("tilt")
    tilt = TILT[1] if space.tilts else None
    yield np.linspace(0, 1, space.num_blocks), tilt
    yield np.zeros(space.num_blocks), tilt
    # The steepest profile of all spends most parameters a MAC.
    yield np.append(np.zeros(space.num_blocks - 1), 1.0), tilt


def sample(space: Space, num_networks: int) -> list[NetSpec]:
    """Return random networks that use 90 % of every limit, all different, the same every time.

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
        The share of random networks that use 90 % of the other limits and do.

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
    names = {"params": "params", "macs": "MACs"}
    limits = list(space.budget.limits)
    raise UserError(
        f"no network that uses {FILL:.0%} of {' and '.join(names[f] for f in limits)} is predicted "
        f"to keep {limit.budget}: the fastest of {len(specs)} takes {fastest:.3g} ms; raise "
        f"--budget.latency, or lower {' and '.join(f'--budget.{field}' for field in limits)}"
    )
