"""What a search by surface trains: networks far apart, then those that its surface points at."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rexnet.search.space import Space
from rexnet.search.surface.model import fit_surface
from rexnet.search.surface.plan import Shape, farthest, plan
from rexnet.search.trial import VOID, Parameters, Trial

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

NUM_SHAPES = 400
"""Shapes to choose from."""

FIRST = 16
"""Networks before the first batch."""

LEAST_TRAININGS = 3
"""Trainings that a surface needs."""

PROMISING = 0.1
"""The share of shapes, by prediction or by its error, of which the one far from all is taken."""

RANDOM_DRAWS = 200
"""Random parameters that are tried when all shapes are taken."""


class SurfaceSampler:
    """Networks far apart in log widths, the line and the stage-wise one first; then batches.

    Every second network of a batch is one of those that the surface predicts to be best, the others
    are of those of which it is least sure. The surface is that of the trainings before the batch.

    Args:
        batch: Networks a batch; 0 is for none, so that all are chosen far apart.

    Attributes:
        window: See ``Sampler``; networks before these are not kept away from.
    """

    window = 250

    def __init__(self, batch: int = 0) -> None:
        self._batch = batch
        # Follows from its arguments, and takes a second to make.
        self._plan: tuple[Space, int, list[Shape]] | None = None

    def settings(self) -> dict[str, Any]:
        """Return name and settings."""
        settings = {"name": "surface", "batch": self._batch, "num_shapes": NUM_SHAPES}
        return settings | ({"first": FIRST} if self._batch else {})

    def draws(
        self,
        study: "optuna.Study",
        trial: "FrozenTrial",
        space: Space,
        seeds: Sequence[int],
        trials: Sequence[Trial],
    ) -> Iterator[Parameters]:
        """Yield the shape that says most, then the others, then random parameters."""
        shapes = self._shapes(space, seeds[0])
        for number in self._order(shapes, [t for t in trials if t.state not in VOID], space):
            yield shapes[number].parameters
        generator = np.random.default_rng(seeds)
        for _ in range(RANDOM_DRAWS):
            yield space.draw(generator)

    def _shapes(self, space: Space, seed: int) -> list[Shape]:
        if self._plan is None or self._plan[:2] != (space, seed):
            self._plan = space, seed, plan(space, seed, NUM_SHAPES)
        return self._plan[2]

    def _order(self, shapes: Sequence[Shape], taken: Sequence[Trial], space: Space) -> list[int]:
        """Return the numbers of shapes, the one to train next first."""
        if len(taken) < 2 or not shapes:
            return list(range(len(shapes)))
        features = np.array([shape.features for shape in shapes])
        away = farthest(features, _features(space, taken[-self.window :]))
        return np.argsort(-self._wanted(features, away, taken, space), kind="stable").tolist()

    def _wanted(
        self,
        features: NDArray[np.float64],
        away: NDArray[np.float64],
        taken: Sequence[Trial],
        space: Space,
    ) -> NDArray[np.float64]:
        """Return distances of shapes from all that is taken, 0 for those that do not promise."""
        place = len(taken) - FIRST
        if not self._batch or place < 0:
            return away
        place %= self._batch
        known = [t for t in taken[: len(taken) - place] if t.accuracy is not None]
        if len(known) < LEAST_TRAININGS:
            return away
        scores = np.array([trial.accuracy for trial in known], dtype=np.float64)
        predicted = fit_surface(_features(space, known), scores).predict(features)
        promise = predicted.error if place % 2 else predicted.mean
        least = np.quantile(promise[away > 0], 1 - PROMISING) if (away > 0).any() else 0.0
        return away * (promise >= least)


def _features(space: Space, trials: Sequence[Trial]) -> NDArray[np.float64]:
    records = [trial.record for trial in trials]
    widths = np.array([record["widths"] for record in records])
    expansions = [record["expansions"] for record in records if record.get("expansions")]
    return space.features_of(widths, np.array(expansions) if expansions else None)
