"""The study: what Optuna knows of the search. Samplers aside, no other file imports Optuna."""

import dataclasses
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    IntegrityError,
    NoSuchModuleError,
    ProgrammingError,
    SQLAlchemyError,
)

from rexnet.design import Proposal
from rexnet.errors import UserError
from rexnet.search.run_folder import mend_of
from rexnet.search.sampler import DEFAULT, NewNetwork, Sampler, distributions, seen
from rexnet.search.space import Space
from rexnet.search.trial import VOID, Parameters, State, Trial

PRUNERS: dict[str, Callable[[], BasePruner]] = {
    "none": NopPruner,
    "halving": partial(SuccessiveHalvingPruner, min_resource=1, reduction_factor=2),
    "median": partial(MedianPruner, n_startup_trials=10, n_warmup_steps=1),
}
"""What ``--pruner`` names: Optuna's pruners, of the accuracies after whole epochs."""

MAX_OPENINGS = 5

HEARTBEAT_SECONDS, GRACE_SECONDS = 60, 300
"""How often a search of a shared study shows that it lives, and when it counts as dead."""

STATES: dict[State, TrialState] = {
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    # TPE takes a pruned trial for worse than all complete ones, and passes over a failed one.
    "diverged": TrialState.PRUNED,
    "died": TrialState.FAIL,
    "killed": TrialState.FAIL,
    "lost": TrialState.FAIL,
    # With a constraint: TPE takes it for worse than all feasible ones.
    "rejected": TrialState.PRUNED,
}


class Study:
    """A study in a database, and as much of it in memory as proposals are made from.

    A trial enters the database whole, so a search killed at any moment leaves nothing half asked.
    The sampler is seeded anew for every trial by the search's seed and the number of trials: with
    one worker a resumed study goes on exactly as an uninterrupted one.

    Args:
        url: The database, such as ``sqlite:///runs/S/study.db``.
        space: What to propose from.
        seed: Seed of all proposals.
        name: The study in the database.
        owner: The name of this search in a study that several share; empty if it has the study to
            itself; also an attribute.
        pruner: ``none``, ``halving`` or ``median``.
        sampler: What proposes.

    Raises:
        UserError: The database is damaged, cannot be reached or cannot be written to.
    """

    def __init__(
        self,
        url: str,
        space: Space,
        seed: int,
        *,
        name: str = "search",
        owner: str = "",
        pruner: str = "none",
        sampler: Sampler = DEFAULT,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._seed, self._sampler = space, seed, sampler
        self.owner = owner
        self._pruner = PRUNERS[pruner]()
        self._url = url
        with self._database():
            address = make_url(url)
            self._url = address.render_as_string(hide_password=True)
            if address.drivername == "postgresql":
                address = address.set(drivername="postgresql+psycopg")
            self._storage = self._open(address.render_as_string(hide_password=False))
            self._stored = optuna.create_study(
                storage=self._storage, study_name=name, direction="maximize", load_if_exists=True
            )
            self._study_id = self._storage.get_study_id_from_name(name)
        self._trials: dict[int, Trial] = {}
        self._ids: dict[int, int] = {}
        self._asked: tuple[optuna.Trial, Parameters] | None = None
        self._handles: dict[int, optuna.Trial] = {}
        self._news: list[Trial] = []
        self._read_new()
        self._recall()

    def _open(self, url: str) -> RDBStorage:
        for attempt in range(1, MAX_OPENINGS + 1):
            try:
                return RDBStorage(
                    url,
                    heartbeat_interval=HEARTBEAT_SECONDS if self.owner else None,
                    grace_period=GRACE_SECONDS if self.owner else None,
                )
            except (IntegrityError, ProgrammingError):
                # Two searches that meet an empty database both make the tables; one is refused.
                if attempt == MAX_OPENINGS or not self.owner:
                    raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close the database."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def trials(self) -> list[Trial]:
        """Return all known trials in the order of their numbers."""
        return [self._trials[number] for number in sorted(self._trials)]

    def sync(self) -> list[Trial]:
        """Read what others wrote; return the trials that are new or have ended since the last call.

        Raises:
            UserError: The database cannot be reached.
        """
        self._update()
        news, self._news = self._news, []
        return news

    def _update(self) -> None:
        for trial in self._read_new():
            self._news.append(trial)
            if handle := self._handles.pop(trial.number, None):
                _end(handle, trial)
            else:
                self._memorise(trial)

    def _read_new(self) -> list[Trial]:
        with self._database():
            stored = self._stored.get_trials(deepcopy=False)
        changed = []
        for frozen in stored:
            known = self._trials.get(frozen.number)
            ended = frozen.state != TrialState.RUNNING
            if known is None or (known.state == "running" and ended):
                self._ids[frozen.number] = frozen._trial_id
                self._trials[frozen.number] = _read(frozen)
                changed.append(self._trials[frozen.number])
        return changed

    def heartbeat(self) -> None:
        """Tell other searches that this one lives, and count out the trials of dead ones.

        Raises:
            UserError: The database cannot be reached.
        """
        with self._database():
            for trial in self._trials.values():
                if trial.state == "running" and trial.owner == self.owner:
                    self._storage.record_heartbeat(self._ids[trial.number])
            fail_stale_trials(self._stored)

    def ask(self, is_new: Callable[[Proposal], bool]) -> Proposal:
        """Return a new proposal; ``start`` or ``reject`` it next.

        Args:
            is_new: Tells whether a network was not proposed before.

        Raises:
            Exhausted: No draw gave a new network.
        """
        if len(self._trials) // self._sampler.window != self._window:
            self._recall()
        seeds = [self._seed, zlib.crc32(self.owner.encode()), len(self._trials)]
        sampler = NewNetwork(self._sampler, self._space, seeds, is_new, [*self._trials.values()])
        self._memory.sampler = sampler
        trial = self._memory.ask(distributions(self._space))
        self._asked = trial, trial.params
        assert sampler.proposal is not None
        return sampler.proposal

    def ask_again(self, trial: Trial) -> Proposal:
        """Take a lost trial for what was asked; ``start`` it next."""
        again = dataclasses.replace(trial, state="running")
        self._asked = self._memorise(again), trial.parameters
        del self._handles[trial.number]
        return self._space.propose(trial.parameters)

    def start(self, record: Mapping[str, Any], num_wanted: int) -> int | None:
        """Note that what was asked is being trained.

        Args:
            record: What to note.
            num_wanted: Networks that the study is to train in all.

        Returns:
            Its number; None if other searches had the same network first, or enough of them.

        Raises:
            UserError: The database cannot be written to.
        """
        number = self._add("running", record).number
        if not self.owner:
            return number
        with self._database():
            self._storage.record_heartbeat(self._ids[number])
        # The numbers of the database decide who was first.
        self._update()
        earlier = [
            trial
            for trial in self._trials.values()
            if trial.number < number and trial.state not in VOID
        ]
        taken = any(trial.record["spec_id"] == record["spec_id"] for trial in earlier)
        if taken or len(earlier) >= num_wanted:
            reason = "another search trains the network" if taken else "there are enough networks"
            self.tell(number, "rejected", record={"reason": reason})
            return None
        return number

    def reject(self, record: Mapping[str, Any], shortfall: float) -> int:
        """Note that what was asked is not trained; return its number.

        Args:
            record: What to note.
            shortfall: By what share the shape misses the budget.

        Raises:
            UserError: The database cannot be written to.
        """
        return self._add("rejected", {**record, "shortfall": shortfall}).number

    def should_continue(self, number: int, epoch: int, accuracy: float) -> bool:
        """Note the accuracy of a trial after an epoch; tell whether to train it further.

        Raises:
            UserError: The database cannot be written to.
        """
        with self._database():
            self._storage.set_trial_intermediate_value(self._ids[number], epoch, accuracy)
        trial = self._trials[number]
        self._trials[number] = dataclasses.replace(trial, scores={**trial.scores, epoch: accuracy})
        handle = self._handles[number]
        handle.report(accuracy, epoch)
        return not handle.should_prune()

    def tell(
        self,
        number: int,
        state: State,
        accuracy: float | None = None,
        record: Mapping[str, Any] | None = None,
    ) -> Trial | None:
        """Tell what became of a trial that was started.

        Args:
            number: The trial.
            state: What became of it.
            accuracy: Held-out accuracy of a complete trial.
            record: What else to note.

        Returns:
            The trial; None if others counted it out, since this search gave no sign of life.

        Raises:
            UserError: The database cannot be written to.
        """
        result = dict(record or {})
        values = None if accuracy is None else [accuracy]
        with self._database():
            try:
                self._storage.set_trial_user_attr(
                    self._ids[number], "result", {"outcome": state, **result}
                )
                self._storage.set_trial_state_values(self._ids[number], STATES[state], values)
            except UpdateFinishedTrialError:
                return None
        trial = self._trials[number]
        trial = self._trials[number] = dataclasses.replace(
            trial, state=state, accuracy=accuracy, record=trial.record | result
        )
        if handle := self._handles.pop(number, None):
            _end(handle, trial)
        return trial

    def _add(self, state: State, record: Mapping[str, Any]) -> Trial:
        """Write what was asked to the database, whole, with what is known of it."""
        assert self._asked is not None
        (handle, parameters), self._asked = self._asked, None
        trial = Trial(
            number=-1,
            parameters=parameters,
            state=state,
            record=dict(record),
            owner=self.owner,
        )
        with self._database():
            trial_id = self._storage.create_new_trial(self._study_id, self._frozen(trial))
            # A study of its own is numbered by itself; asking would cost a tenth of the trial.
            number = len(self._trials)
            if self.owner:
                number = self._storage.get_trial(trial_id).number
        self._trials[number] = dataclasses.replace(trial, number=number)
        self._ids[number] = trial_id
        if state == "running":
            self._handles[number] = handle
        else:
            _end(handle, trial)
        return self._trials[number]

    def _recall(self) -> None:
        """Make the study in memory anew from the trials that the sampler is to see."""
        self._window = len(self._trials) // self._sampler.window
        self._memory = optuna.create_study(direction="maximize", pruner=self._pruner)
        self._handles = {}
        for trial in seen(self.trials(), self._sampler.window):
            self._memorise(trial)

    def _memorise(self, trial: Trial) -> optuna.Trial:
        """Add a trial of the database to the study in memory; return its handle there."""
        self._memory.add_trial(self._frozen(trial))
        # Optuna gives no public way to go on with a trial that was added.
        handle = optuna.Trial(self._memory, self._memory.get_trials(deepcopy=False)[-1]._trial_id)
        if trial.state == "running":
            self._handles[trial.number] = handle
        return handle

    def _frozen(self, trial: Trial) -> FrozenTrial:
        shortfall = trial.record.get("shortfall")
        return create_trial(
            state=STATES[trial.state],
            value=trial.accuracy,
            params=trial.parameters,
            distributions=distributions(self._space),
            intermediate_values=trial.scores,
            user_attrs={"network": trial.record, "owner": trial.owner},
            constraints=None if shortfall is None else {"budget": shortfall},
        )

    @contextmanager
    def _database(self) -> Iterator[None]:
        try:
            with warnings.catch_warnings():
                # Heartbeats are experimental; the tests tell when they change.
                warnings.simplefilter("ignore", ExperimentalWarning)
                yield
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"the storage {self._url!r} cannot be used: {reason}; give a URL such as "
                "postgresql://USER:PASSWORD@HOST/DATABASE, and install rexnet[postgres]"
            ) from None
        except (SQLAlchemyError, StorageInternalError) as error:
            # Optuna wraps some of the database's errors in its own.
            error = error.__cause__ if isinstance(error.__cause__, SQLAlchemyError) else error
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise UserError(
                f"the study {self._url} cannot be used: {reason}; {mend_of(self._url, reason)}"
            ) from None


def _end(handle: optuna.Trial, trial: Trial) -> None:
    """Tell the study in memory what became of a trial."""
    if "shortfall" in trial.record:
        handle.set_constraint("budget", trial.record["shortfall"])
    assert trial.state != "running"
    handle.study.tell(handle, trial.accuracy, STATES[trial.state])


def _read(frozen: FrozenTrial) -> Trial:
    network, result = frozen.user_attrs["network"], dict(frozen.user_attrs.get("result", {}))
    state: State = result.pop("outcome", "rejected" if "shortfall" in network else "lost")
    if frozen.state == TrialState.RUNNING:
        # A killed search may have noted a result and not told that the trial has ended.
        state, result = "running", {}
    return Trial(
        number=frozen.number,
        parameters=frozen.params,
        state=state,
        accuracy=frozen.value if state == "complete" else None,
        scores={} if state == "running" else frozen.intermediate_values,
        record=network | result,
        owner=frozen.user_attrs["owner"],
    )
