"""Samplers: what proposes parameters from the trials so far. The study alone uses them."""

import bisect
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial

from rexnet.design import Proposal
from rexnet.search.space import Space
from rexnet.search.surface.sampler import SurfaceSampler
from rexnet.search.trial import Parameters, Trial

NUM_GOOD = 25
"""The most trials that TPE takes for good ones."""


class Sampler(Protocol):
    """Proposes parameters from the trials so far, and has no state of its own."""

    @property
    def window(self) -> int:
        """About how many trials it is to see of a long search; see ``seen``."""

    def settings(self) -> dict[str, Any]:
        """Return its name and settings, which ``search.json`` holds: they make a search its own."""

    def draws(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        space: Space,
        seeds: Sequence[int],
        trials: Sequence[Trial],
    ) -> Iterator[Parameters]:
        """Yield parameters, the most promising first; the first of a new network are taken.

        Args:
            study: The trials to learn from, in memory.
            trial: The trial of ``study`` that the parameters are for.
            space: What they are the parameters of.
            seeds: What all randomness follows from, the seed of the search first.
            trials: All trials, with what the search noted of them.
        """


@dataclass(frozen=True, kw_only=True)
class TPE:
    """Optuna's tree-structured Parzen estimator, and steps away from what it draws.

    Every setting is stated, since Optuna's defaults change between versions.

    Attributes:
        multivariate: Whether all parameters are drawn together.
        group: Whether they are drawn in groups, where spaces differ between trials.
        constant_liar: Whether running trials count as bad ones, to be kept away from.
        n_startup_trials: Random trials before TPE begins.
        n_ei_candidates: Draws of which TPE takes that of the highest expected improvement.
        window: See ``Sampler``.
        moves: Neighbours of a draw of TPE, ever farther away, that are tried after it.
        random_draws: Random parameters that are tried then.
    """

    multivariate: bool = True
    group: bool = False
    constant_liar: bool = True
    n_startup_trials: int = 10
    n_ei_candidates: int = 24
    window: int = 250
    moves: int = 8
    random_draws: int = 200

    def settings(self) -> dict[str, Any]:
        """Return name and settings."""
        return {"name": "TPE", **dataclasses.asdict(self)}

    def draws(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        space: Space,
        seeds: Sequence[int],
        trials: Sequence[Trial],
    ) -> Iterator[Parameters]:
        """Yield what TPE draws, then its neighbours, then random parameters."""
        tpe = TPESampler(
            n_startup_trials=self.n_startup_trials,
            n_ei_candidates=self.n_ei_candidates,
            multivariate=self.multivariate,
            group=self.group,
            constant_liar=self.constant_liar,
            seed=int(np.random.SeedSequence(seeds).generate_state(1)[0]),
        )
        generator = np.random.default_rng(seeds)
        # TPE gives nothing before its start-up trials are done.
        if drawn := tpe.sample_relative(study, trial, distributions(space)):
            yield drawn
            for move in range(1, self.moves + 1):
                yield space.move(drawn, move / self.moves, generator)
        for _ in range(self.random_draws):
            yield space.draw(generator)


DEFAULT = TPE()

SAMPLERS: dict[str, Callable[[], Sampler]] = {"TPE": TPE, "surface": SurfaceSampler}
"""All samplers, by the names in their settings."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """Gives parameters from a list, one after the other.

    Attributes:
        parameters: The list.
        window: See ``Sampler``.
    """

    parameters: tuple[Parameters, ...]
    window: int = 250

    def settings(self) -> dict[str, Any]:
        """Return name and settings."""
        return {"name": "listed", "parameters": [dict(one) for one in self.parameters]}

    def draws(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        space: Space,
        seeds: Sequence[int],
        trials: Sequence[Trial],
    ) -> Iterator[Parameters]:
        """Yield the list."""
        yield from self.parameters


class Exhausted(Exception):
    """No draw gave a network that the search has not seen."""


class NewNetwork(BaseSampler):
    """Makes Optuna ask for the first draw of a sampler whose network is new.

    Args:
        sampler: What draws.
        space: What it draws from.
        seeds: See ``Sampler.draws``.
        is_new: Tells whether a network was not proposed before.
        trials: See ``Sampler.draws``.

    Attributes:
        proposal: The network; None before Optuna has asked.
    """

    def __init__(
        self,
        sampler: Sampler,
        space: Space,
        seeds: Sequence[int],
        is_new: Callable[[Proposal], bool],
        trials: Sequence[Trial],
    ) -> None:
        self._sampler, self._space, self._seeds, self._is_new = sampler, space, seeds, is_new
        self._trials = trials
        self.proposal: Proposal | None = None

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the distributions of all parameters."""
        return distributions(self._space)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the parameters of a new network.

        Raises:
            Exhausted: No draw gave one.
        """
        drawn = self._sampler.draws(study, trial, self._space, self._seeds, self._trials)
        for parameters in drawn:
            self.proposal = self._space.propose(parameters)
            if self._is_new(self.proposal):
                return parameters
        raise Exhausted

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Fail: all parameters are sampled together."""
        raise AssertionError(f"{param_name} was not sampled with the others")


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return the parameters of a space as Optuna has them."""
    return {
        **{name: IntDistribution(*bounds) for name, bounds in space.knots.items()},
        **{name: FloatDistribution(*bounds) for name, bounds in space.reals.items()},
        **{name: IntDistribution(*bounds) for name, bounds in space.expansions.items()},
    }


def seen(trials: Sequence[Trial], window: int) -> Iterator[Trial]:
    """Yield the trials that a sampler is to see, so that a proposal costs the same after 10,000.

    These are all since the last full ``window``; every second, fourth, ... of those before, as
    makes at most ``window`` of them; what was among the best when it came; and what is running.
    """
    older = len(trials) // window * window
    step = 1
    while older / step > window:
        step *= 2
    best: list[float] = []
    for index, trial in enumerate(trials):
        is_good = trial.accuracy is not None and (
            len(best) < NUM_GOOD or trial.accuracy > best[-NUM_GOOD]
        )
        if is_good and trial.accuracy is not None:
            bisect.insort(best, trial.accuracy)
        if index >= older or index % step == 0 or is_good or trial.state == "running":
            yield trial
