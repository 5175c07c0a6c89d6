"""Shapes to choose from: the line, the stage-wise one and random ones, all inside the budget."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rexnet import channels
from rexnet.design import Proposal
from rexnet.search.space import Space
from rexnet.search.trial import Parameters

MAX_DRAWS = 3
"""Random draws for each shape that is wanted, after which those that are found must do."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A network that a search can choose.

    Attributes:
        name: ``line``, ``stage-wise``, or empty.
        parameters: Those of the space.
        proposal: The network with its cost.
        features: Shape (num_features,): see ``Space.features``.
    """

    name: str
    parameters: Parameters
    proposal: Proposal
    features: NDArray[np.float64]

    @property
    def widths(self) -> tuple[int, ...]:
        """Output channels of every block."""
        return self.proposal.spec.widths


def line_of(space: Space) -> Shape:
    """Return the straight line that fills the budget: what a search has to beat."""
    return _shape(space, "line", space.parameters_of(np.linspace(0.0, 1.0, space.num_blocks)))


def plan(space: Space, seed: int, count: int) -> list[Shape]:
    """Return different networks that fill the budget, the line and the stage-wise one first.

    Those two are left out where they do not fill it. There are fewer than ``count`` in a space that
    has no more.

    Args:
        space: What to draw from.
        seed: Seed of the random ones.
        count: Networks at most.
    """
    found: dict[str, Shape] = {}
    for shape in _candidates(space, np.random.default_rng(seed), MAX_DRAWS * count):
        if shape.proposal.fills(space.budget, space.fill):
            found.setdefault(shape.proposal.spec.spec_id, shape)
        if len(found) == count:
            break
    return list(found.values())


def farthest(features: NDArray[np.float64], taken: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far networks are from the nearest one that is taken.

    Args:
        features: Shape (num_networks, num_features).
        taken: Shape (num_taken, num_features); at least one.

    Returns:
        Shape (num_networks,): distances in log widths.
    """
    nearest = np.full(len(features), np.inf)
    for one in taken:
        np.minimum(nearest, ((features - one) ** 2).sum(1), out=nearest)
    return np.sqrt(nearest)


def _candidates(space: Space, generator: np.random.Generator, draws: int) -> Iterator[Shape]:
    yield line_of(space)
    yield _shape(space, "stage-wise", space.parameters_of(channels.stage_wise(space.template)))
    for _ in range(draws):
        yield _shape(space, "", space.draw(generator))


def _shape(space: Space, name: str, parameters: Parameters) -> Shape:
    proposal = space.propose(parameters)
    features = space.features(proposal.spec)
    return Shape(name=name, parameters=parameters, proposal=proposal, features=features)
