"""The study: what Optuna knows of the search. No other file imports Optuna."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import StorageInternalError
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from rexnet.errors import UserError
from rexnet.search.space import Space

Outcome = Literal["running", "complete", "diverged", "died", "rejected"]
Parameters = dict[str, float]

SAMPLER: dict[str, Any] = {
    "name": "TPE",
    "multivariate": True,
    "group": False,
    "constant_liar": True,
    "n_startup_trials": 10,
    "n_ei_candidates": 24,
    "tpe_draws": 32,
    "random_draws": 200,
}
"""The sampler's settings, every one stated since Optuna's defaults change between versions.

A proposal is the first new network of at most ``tpe_draws`` draws of TPE, then ``random_draws``.
"""

STATES: dict[Outcome, TrialState] = {
    "complete": TrialState.COMPLETE,
    # TPE takes a pruned trial for worse than all complete ones, and passes over a failed one.
    "diverged": TrialState.PRUNED,
    "died": TrialState.FAIL,
    # With a constraint: TPE takes it for worse than all feasible ones.
    "rejected": TrialState.PRUNED,
}


class Exhausted(Exception):
    """No draw gave a network that the search has not seen."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial of the study.

    Attributes:
        number: Its number, from 0.
        parameters: Values of the space's knots and slopes.
        outcome: What became of it.
        accuracy: Held-out accuracy; None where there is none.
        record: All that the search noted of it.
    """

    number: int
    parameters: Parameters
    outcome: Outcome
    accuracy: float | None
    record: dict[str, Any]


class Study:
    """A study in a database, mirrored in memory, where proposals are made.

    A trial enters the database whole, so a search killed at any moment leaves nothing half asked.
    The sampler is seeded anew for every trial by the search's seed and the trial's number: with one
    worker a resumed study goes on exactly as an uninterrupted one.

    Args:
        url: The database, such as ``sqlite:///runs/S/study.db``.
        space: What to propose from.
        seed: Seed of all proposals.

    Raises:
        UserError: The database is damaged or cannot be written to.
    """

    def __init__(self, url: str, space: Space, seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._url, self._space, self._seed = url, space, seed
        self._running: dict[int, optuna.Trial] = {}
        self._memory = optuna.create_study(direction="maximize")
        with self._database():
            self._storage = RDBStorage(url)
            self._stored = optuna.create_study(
                storage=self._storage,
                study_name="search",
                direction="maximize",
                load_if_exists=True,
            )
            known = self._stored.get_trials()
        self._memory.add_trials(known)
        for trial in self._memory.get_trials(deepcopy=False):
            if trial.state == TrialState.RUNNING:
                self._running[trial.number] = _handle(self._memory, trial)

    def close(self) -> None:
        """Close the database."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def trials(self) -> list[Trial]:
        """Return all trials in the order of their numbers."""
        return [_read(trial) for trial in self._memory.get_trials(deepcopy=False)]

    def ask(self, is_new: Callable[[Parameters], bool]) -> tuple[int, Parameters]:
        """Return the number and parameters of a new proposal; ``start`` or ``settle`` it next.

        Args:
            is_new: Tells whether parameters give a network that was not proposed before.

        Raises:
            Exhausted: No draw gave a new network.
        """
        self._memory.sampler = _NewNetworks(self._space, self._seed, is_new)
        trial = self._memory.ask()
        parameters: Parameters = {}
        for name, (low, high) in self._space.knots.items():
            parameters[name] = trial.suggest_int(name, low, high)
        for name, (lowest, highest) in self._space.slopes.items():
            parameters[name] = trial.suggest_float(name, lowest, highest)
        self._running[trial.number] = trial
        return trial.number, parameters

    def start(self, number: int, record: Mapping[str, Any]) -> None:
        """Note that the asked trial is being trained.

        Raises:
            UserError: The database cannot be written to.
        """
        _note(self._running[number], {"outcome": "running", **record})
        with self._database():
            self._stored.add_trial(self._frozen(number))

    def settle(
        self,
        number: int,
        outcome: Outcome,
        accuracy: float | None = None,
        record: Mapping[str, Any] | None = None,
        shortfall: float = 0.0,
    ) -> None:
        """Tell what became of a trial that was asked, or asked and started.

        Args:
            number: The trial.
            outcome: What became of it.
            accuracy: Held-out accuracy of a complete trial.
            record: What else to note.
            shortfall: By what share a rejected shape misses the budget.

        Raises:
            UserError: The database cannot be written to.
        """
        notes = {"outcome": outcome, **(record or {})}
        started = "outcome" in self._frozen(number).user_attrs
        trial = self._running.pop(number)
        for study, handle in self._handles(trial, started):
            with self._database():
                _note(handle, notes)
                if outcome == "rejected":
                    handle.set_constraint("budget", shortfall)
                study.tell(handle, accuracy, STATES[outcome])
        if not started:
            with self._database():
                self._stored.add_trial(self._frozen(number))

    def _handles(
        self, trial: optuna.Trial, started: bool
    ) -> Iterator[tuple[optuna.Study, optuna.Trial]]:
        yield self._memory, trial
        if started:
            with self._database():
                stored = self._stored.get_trials(deepcopy=False)[trial.number]
                handle = _handle(self._stored, stored)
            yield self._stored, handle

    def _frozen(self, number: int) -> FrozenTrial:
        return self._memory.get_trials(deepcopy=False)[number]

    @contextmanager
    def _database(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, StorageInternalError) as error:
            # Optuna wraps some of the database's errors in its own.
            error = error.__cause__ if isinstance(error.__cause__, SQLAlchemyError) else error
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise UserError(
                f"the study {self._url} cannot be used: {reason}; if the file is damaged, start "
                "anew with another --out"
            ) from None


class _NewNetworks(BaseSampler):
    """TPE, drawn again until the network is new.

    Every draw is seeded by the search's seed, the trial's number and the draw's.
    """

    def __init__(self, space: Space, seed: int, is_new: Callable[[Parameters], bool]) -> None:
        self._space, self._seed, self._is_new = space, seed, is_new

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {
            **{name: IntDistribution(*bounds) for name, bounds in self._space.knots.items()},
            **{name: FloatDistribution(*bounds) for name, bounds in self._space.slopes.items()},
        }

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        tpe_draws = SAMPLER["tpe_draws"]
        for draw in range(tpe_draws + SAMPLER["random_draws"]):
            seeds = np.random.SeedSequence([self._seed, trial.number, draw])
            parameters: Parameters = {}
            if draw < tpe_draws:
                sampler = _tpe(int(seeds.generate_state(1)[0]))
                parameters = sampler.sample_relative(study, trial, search_space)
            # TPE itself gives nothing before its start-up trials are done.
            parameters = parameters or self._space.draw(np.random.default_rng(seeds))
            if self._is_new(parameters):
                return parameters
        raise Exhausted

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        raise AssertionError(f"{param_name} was not sampled with the others")


def _tpe(seed: int) -> TPESampler:
    return TPESampler(
        n_startup_trials=SAMPLER["n_startup_trials"],
        n_ei_candidates=SAMPLER["n_ei_candidates"],
        multivariate=SAMPLER["multivariate"],
        group=SAMPLER["group"],
        constant_liar=SAMPLER["constant_liar"],
        seed=seed,
    )


def _handle(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    # Optuna gives no public way to go on with a trial of another process.
    return optuna.Trial(study, trial._trial_id)


def _note(trial: optuna.Trial, notes: Mapping[str, Any]) -> None:
    for key, value in notes.items():
        trial.set_user_attr(key, value)


def _read(trial: FrozenTrial) -> Trial:
    running = trial.state == TrialState.RUNNING
    return Trial(
        number=trial.number,
        parameters=trial.params,
        # Until it is told, a killed search's notes of the outcome do not count.
        outcome="running" if running else trial.user_attrs["outcome"],
        accuracy=trial.value if trial.state == TrialState.COMPLETE else None,
        record=trial.user_attrs,
    )
