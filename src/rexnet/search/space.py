"""The space of channel configurations: what makes a shape, and which shapes fill a budget."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rexnet import channels
from rexnet.budget import Budget, told
from rexnet.design import FILL, Proposal, priced, propose
from rexnet.errors import UserError
from rexnet.families import search_network
from rexnet.latency import Limit, widest
from rexnet.search.expansions import Vary, bounds_of, each_of, parameters_of, varied
from rexnet.search.trial import Parameters
from rexnet.spec import NetSpec, set_fields

MAX_SEGMENTS = 8
"""Enough for every configuration of 9 blocks, and for the steps of MobileNetV2's first 13.

A stage is a flat segment and a jump to the next: s stages take at most 2 s - 1 segments.
"""

LOWEST_SLOPE = -0.75
"""Slopes below 0 count as 0, so that three of seven segments are flat."""

PROBES = 400

TILT = (0.0, 1.0)
"""From a flat profile to one that starts at a channel."""

BALANCE = (-1.0, 1.0)
"""From a network that leaves params open, as far as it may, to one that leaves MACs open."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """Non-falling widths ``c_i = a f(i) + b`` with ``f`` a piecewise linear function (section 4).

    ``f`` bends at a subset of the block indices. Stage-wise conventions lie inside: a flat segment
    a stage, and jumps between them. Where params and MACs are limited, ``a`` and ``b`` follow from
    the budget; else the tilt, ``a / (a + b)``, is a parameter of its own and the scale follows.
    Of two limits one may be left open, as far as ``slack`` lets a parameter of its own say.

    Attributes:
        num_blocks: Blocks of the network.
        num_classes: Classes of the data.
        resolution: Side of the images in pixels.
        budget: The limits.
        network: The network whose block widths are searched; the paper's search network by default.
        scale_ends: Whether its stem and penultimate layer follow the blocks.
        limit: The time that networks take, where nothing else is limited.
        fill: The share of each limit that a network must use.
        slack: The share of one of two limits that networks may leave open on purpose.
        vary: What is varied beside the widths; expansions of 1 never are.
    """

    num_blocks: int
    num_classes: int
    resolution: int
    budget: Budget
    network: NetSpec | None = None
    scale_ends: bool = False
    limit: Limit | None = None
    fill: float = FILL
    slack: float = 0.0
    vary: Vary = "widths"

    @property
    def identity(self) -> dict[str, Any]:
        """What makes two spaces the same; ``limit`` stands beside it in ``search.json``."""
        found = dataclasses.asdict(dataclasses.replace(self, network=None, limit=None))
        del found["limit"]
        # Searches from before these fields stay what they are.
        for field in ("network", "scale_ends", "fill", "slack", "vary"):
            if found[field] == getattr(Space, field):
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

    def of(self, widths: Sequence[int], expansions: Sequence[int] | None = None) -> NetSpec:
        """Return the network of the space with these block widths, and expansions one a block."""
        return channels.with_block_widths(self._expanded(expansions), widths, self.scale_ends)

    def _expanded(self, expansions: Sequence[int] | None) -> NetSpec:
        template = self.template
        return template if expansions is None else channels.with_expansions(template, expansions)

    @property
    def narrowest(self) -> NetSpec:
        """The network of widths 1 and the highest expansions.

        A budget that it keeps leaves room for every proposal.
        """
        highest = {name: high for name, (_, high) in self.expansions.items()}
        return self.of([1] * self.num_blocks, each_of(self.template, self.vary, highest))

    def noted(self, spec: NetSpec) -> dict[str, Any]:
        """Return what a line of ``trials.jsonl`` needs beside the widths to give ``spec`` again."""
        return {"expansions": [block.expansion for block in spec.blocks]} if self.varies else {}

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

    @property
    def balances(self) -> dict[str, tuple[float, float]]:
        """Name and bounds of the balance, where of two limits one may be left open."""
        return {"balance": BALANCE} if self.slack and len(self.budget.limits) == 2 else {}

    @property
    def reals(self) -> dict[str, tuple[float, float]]:
        """Names and bounds of all parameters that are real numbers."""
        return {**self.slopes, **self.tilts, **self.balances}

    @property
    def varies(self) -> bool:
        """Whether expansions are parameters."""
        return self.vary != "widths"

    @property
    def expansions(self) -> dict[str, tuple[int, int]]:
        """Names and bounds (both included) of the expansions that vary; see ``bounds_of``."""
        return bounds_of(self.template, self.vary) if self.varies else {}

    def shape(self, parameters: Mapping[str, float]) -> NDArray[np.float64]:
        """Return the shape ``f`` from 0 to 1 for values of ``knots`` and ``slopes``."""
        return channels.piecewise_line(
            self.num_blocks,
            [int(parameters[name]) for name in self.knots],
            [parameters[name] for name in self.slopes],
        )

    def propose(self, parameters: Mapping[str, float]) -> Proposal:
        """Return the network of these parameters, inside the budget by construction."""
        each = each_of(self.template, self.vary, parameters) if self.varies else None
        balance = parameters.get("balance", 0.0)
        return self.of_shape(self.shape(parameters), parameters.get("tilt"), each, balance)

    def of_shape(
        self,
        shape: NDArray[np.float64],
        tilt: float | None = None,
        expansions: Sequence[int] | None = None,
        balance: float = 0.0,
    ) -> Proposal:
        """Return the network of a shape, inside the budget by construction.

        Args:
            shape: The non-falling ``f``, from 0 to 1, one value a block.
            tilt: The tilt, where that is a parameter.
            expansions: One a block; the template's by default.
            balance: Which of two limits is left open and how far, from -1 (params, by the whole
                ``slack``) over 0 (none is) to 1 (MACs are).
        """
        template = self._expanded(expansions)
        if self.limit is None:
            budget = self._aimed_at(balance)
            return propose(template, shape, budget, tilt=tilt, scale_ends=self.scale_ends)
        assert tilt is not None
        profile = channels.tilted(shape, tilt)
        return priced(widest(template, profile, self.limit, self.scale_ends), self.budget)

    def _aimed_at(self, balance: float) -> Budget:
        """Return the budget with one of its limits lowered, but not below the narrowest network."""
        if not balance:
            return self.budget
        field = "params" if balance < 0 else "macs"
        limit = self.budget.limits[field]
        least = priced(self.narrowest, self.budget).counts(self.budget)[field]
        lowered = max(int(limit * (1 - abs(balance) * self.slack)), least)
        changed: dict[str, Any] = {field: min(lowered, limit)}
        return dataclasses.replace(self.budget, **changed)

    def parameters_of(
        self,
        shape: NDArray[np.float64],
        tilt: float | None = None,
        expansion: int | Sequence[int] | None = None,
        balance: float = 0.0,
    ) -> Parameters:
        """Return the parameters whose ``shape`` is the given one, or the closest simple one.

        It is the given one where ``num_segments`` linear pieces suffice (``channels.bends_of``).

        Args:
            shape: Non-falling, from 0 to 1 or all zero, one value a block.
            tilt: The tilt, where that is a parameter; by default that of the template, or the
                middle where it is flat.
            expansion: One for all blocks that vary, or one a block, where they are parameters; by
                default the template's, their rounded mean where there is one for all.
            balance: The balance, where that is a parameter.
        """
        knots, slopes = channels.bends_of(np.asarray(shape, dtype=np.float64), self.num_segments)
        found: Parameters = dict(zip(self.knots, knots, strict=True))
        found |= zip(self.slopes, slopes, strict=True)
        if self.tilts:
            own = channels.tilt_of(self.template.widths) or sum(TILT) / 2
            found["tilt"] = own if tilt is None else tilt
        if self.balances:
            found["balance"] = balance
        if self.varies:
            found |= parameters_of(self.template, self.vary, expansion)
        return found

    def features(self, spec: NetSpec) -> NDArray[np.float64]:
        """Return the features of a network, shape (d,): see ``features_of``."""
        expansions = [[block.expansion for block in spec.blocks]]
        found: NDArray[np.float64] = self.features_of([spec.widths], expansions)[0]
        return found

    def features_of(
        self, widths: ArrayLike, expansions: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """Return the natural logs of block widths, then of the expansions that vary.

        Args:
            widths: Shape (num_networks, num_blocks).
            expansions: The same, one a block; needed where they vary.

        Returns:
            Shape (num_networks, num_blocks + the number of ``expansions``).
        """
        found = np.log(np.asarray(widths, dtype=np.float64))
        if not self.expansions:
            return found
        assert expansions is not None, "expansions vary in this space"
        places = varied(self.template, range(self.num_blocks))[: len(self.expansions)]
        logs = np.log(np.asarray(expansions, dtype=np.float64)[:, places])
        return np.concatenate([found, logs], axis=1)

    def draw(self, generator: np.random.Generator) -> dict[str, float]:
        """Return random values of all parameters."""
        knots = {k: int(generator.integers(lo, hi + 1)) for k, (lo, hi) in self.knots.items()}
        reals = {k: generator.uniform(lo, hi) for k, (lo, hi) in self.reals.items()}
        expansions = {
            k: int(generator.integers(lo, hi + 1)) for k, (lo, hi) in self.expansions.items()
        }
        return {**knots, **reals, **expansions}

    def move(
        self, parameters: Mapping[str, float], distance: float, generator: np.random.Generator
    ) -> dict[str, float]:
        """Return parameters near the given ones; a ``distance`` of 1 crosses the whole space."""
        moved: dict[str, float] = {}
        for name, (low, high) in self.knots.items():
            anew = generator.random() < distance
            moved[name] = int(generator.integers(low, high + 1)) if anew else parameters[name]
        for name, (lowest, highest) in {**self.reals, **self.expansions}.items():
            step = distance * (highest - lowest) * generator.standard_normal()
            moved[name] = float(np.clip(parameters[name] + step, lowest, highest))
        return moved | {name: round(moved[name]) for name in self.expansions}


def check_reachable(space: Space) -> None:
    """Check that a network of the space can use the share ``fill`` of every limit.

    Raises:
        UserError: None can; the nearest budget that can is named.
    """
    budget = space.budget
    smallest = priced(space.narrowest, budget).counts(budget)
    # No budget below the smallest network's cost can be met: the nearest one is no lower.
    limits = {field: max(limit, smallest[field]) for field, limit in budget.limits.items()}
    raised = Budget(**limits, count_classifier=budget.count_classifier)
    wide = dataclasses.replace(space, budget=raised)
    proposals = []
    for proposal in _probes(wide):
        proposals.append(proposal)
        if raised == budget and proposal.fills(budget, space.fill):
            return
    fillable = [
        {f: min(limits[f], int(count / space.fill)) for f, count in proposal.counts(raised).items()}
        for proposal in proposals
    ]
    nearest = max(fillable, key=lambda found: math.prod(found[f] / limits[f] for f in found))
    both = "both" if len(limits) == 2 else "that"
    raise UserError(
        f"no network of {space.num_blocks} blocks at {space.resolution} px keeps "
        f"{told(budget.limits)} and uses {space.fill:.0%} of {both}; the nearest budget that can "
        f"be filled is {told(nearest).replace(' and ', ' with ')}"
    )


def _probes(space: Space) -> Iterator[Proposal]:
    """Yield networks: random ones, on the line, the flat one and the steepest."""
    generator = np.random.default_rng(0)
    for _ in range(PROBES):
        # No limit is left open on purpose, which would fill it less.
        yield space.propose(space.draw(generator) | {"balance": 0.0})
    tilt = TILT[1] if space.tilts else None
    yield space.of_shape(np.linspace(0, 1, space.num_blocks), tilt)
    yield space.of_shape(np.zeros(space.num_blocks), tilt)
    # The steepest profile of all spends most parameters a MAC.
    yield space.of_shape(np.append(np.zeros(space.num_blocks - 1), 1.0), tilt)


def sample(space: Space, num_networks: int) -> list[NetSpec]:
    """Return random networks that fill every limit, all different, the same every time.

    There are fewer where ``PROBES`` draws do not give so many, and the nearest to filling the
    budget if none fills it.
    """
    generator = np.random.default_rng(0)
    proposals = [space.propose(space.draw(generator)) for _ in range(PROBES)]
    filled = [proposal.spec for proposal in proposals if proposal.fills(space.budget, space.fill)]
    nearest = max(proposals, key=lambda p: (p.macs, p.params)).spec
    found = {spec.spec_id: spec for spec in filled or [nearest]}
    return list(found.values())[:num_networks]


def check_fast_enough(space: Space, limit: Limit) -> float:
    """Check that networks of the space are predicted to keep the latency.

    Returns:
        The share of random networks that fill the other limits and do.

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
        f"no network that uses {space.fill:.0%} of {' and '.join(names[f] for f in limits)} is "
        f"predicted to keep {limit.budget}: the fastest of {len(specs)} takes {fastest:.3g} ms; "
        f"raise --budget.latency, or lower {' and '.join(f'--budget.{field}' for field in limits)}"
    )
