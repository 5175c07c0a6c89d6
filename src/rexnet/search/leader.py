"""The leader of a search: keeps its study, the files of its run folder and its workers in step."""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rexnet import cost
from rexnet.design import Proposal
from rexnet.errors import UserError
from rexnet.latency import Limit
from rexnet.search.candidates.protocol import Evaluation, Protocol
from rexnet.search.executors.candidate import CandidateResult, Executor
from rexnet.search.run_folder import TrialLog
from rexnet.search.sampler import Exhausted
from rexnet.search.space import Space
from rexnet.search.study import Study
from rexnet.search.trial import ENDED, Trial

MAX_ASKS = 20
"""Proposals for each network to train, after which a search gives up."""

MAX_DEATHS = 5
"""Candidates in a row that died, after which a search gives up."""

SOFT = ("loss", "true_probability", "first_loss")
"""What a line notes beside the hits: means over its trainings."""

SYNC_SECONDS, HEARTBEAT_SECONDS = 5.0, 60.0
"""How often a search reads a shared study, and shows there that it lives."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Which networks are searched, and how they are trained.

    Attributes:
        space: What to propose from.
        protocol: How candidates are trained.
        limit: The budget of time; networks that are predicted to pass it are not trained.
        must_fill: Whether networks have to use the share of every limit that the space says.
    """

    space: Space
    protocol: Protocol
    limit: Limit | None = None
    must_fill: bool = True

    def shortfall(self, proposal: Proposal) -> float | None:
        """Return by what share a proposal misses the budget; None if it does not."""
        budget, limit, fill = self.space.budget, self.limit, self.space.fill
        if self.protocol.init and (missing := self.space.lost_input(proposal.spec)):
            return missing
        if self.must_fill and not proposal.fills(budget, fill):
            return fill - proposal.use(budget)
        excess = limit.excess(proposal.spec) if limit else 0.0
        if limit and self.space.limit:
            # Beside other limits a time is not to be used up, alone it is.
            excess = excess or max(fill - limit.use(proposal.spec), 0.0)
        return excess or None

    def record(self, proposal: Proposal) -> dict[str, Any]:
        """Return what the study is to note of a proposal."""
        predicted = self.limit.predictor.predict(proposal.spec) if self.limit else None
        return {
            "spec_id": proposal.spec.spec_id,
            "widths": list(proposal.spec.widths),
            **self.space.noted(proposal.spec),
            "params": proposal.params,
            "total_params": cost.count(proposal.spec).params,
            "macs": proposal.macs,
            "latency_ms": predicted and round(predicted, 6),
            "seed": self.protocol.seed,
            "protocol_id": self.protocol.protocol_id,
        }


class Leader:
    """Asks the study for candidates, has them evaluated, and tells what became of them.

    Args:
        study: The study; what is there is gone on from.
        log: The files that follow from it.
        task: What is searched.
        num_trials: Networks to train, those in the study included.

    Attributes:
        num_new: Networks that this process had trained.
    """

    def __init__(self, study: Study, log: TrialLog, task: Task, num_trials: int) -> None:
        self._study, self._log, self._task = study, log, task
        self._min_trials = num_trials
        self._num_asks = 0
        self._seen: set[str] = set()
        self._running_elsewhere: set[int] = set()
        self._lost: list[Trial] = []
        self._unfinished: list[Trial] = []
        self._pending: dict[int, Proposal] = {}
        self._stopped = ""
        self._synced = self._alive = time.monotonic()
        self.num_new = 0
        trials = study.trials()
        latest = {trial.record["spec_id"]: trial for trial in trials}
        for trial in trials:
            if trial.state != "killed":
                self._take_in(trial)
            elif latest[trial.record["spec_id"]] is trial:
                # Whatever killed it said nothing of the network.
                self._take_in(dataclasses.replace(trial, state="lost"))
        log.restore()
        self._write("running")

    @property
    def is_done(self) -> bool:
        """Whether nothing is trained any more, here or in another search of the study."""
        return not (self._pending or self._running_elsewhere)

    @property
    def num_trials(self) -> int:
        """Networks to train, or those that there are if they are more."""
        return max(self._min_trials, len(self._log.rows))

    def fill(self, executor: Executor) -> None:
        """Submit candidates while there is room for them and need of them."""
        if self._study.owner:
            self._keep_in_step()
        while executor.has_room and self._unfinished:
            trial = self._unfinished.pop(0)
            self._submit(executor, trial.number, self._task.space.propose(trial.parameters))
        while executor.has_room and self._num_missing > 0 and not self._stopped:
            self._propose(executor)

    def should_continue(self, number: int, epoch: int, accuracy: float) -> bool:
        """Tell whether a candidate is to be trained further."""
        return self._study.should_continue(number, epoch, accuracy)

    def tell(self, result: CandidateResult, weights: Path) -> None:
        """Note what became of a candidate, and keep its weights if it is the best.

        Raises:
            UserError: Candidate after candidate died.
        """
        proposal = self._pending.pop(result.number)
        accuracies = result.evaluation.accuracies if result.evaluation else ()
        accuracy = sum(accuracies) / len(accuracies) if accuracies else None
        self._log.keep(result.number, accuracy, proposal.spec, weights)
        notes = {
            "accuracies": list(accuracies),
            **_noted(result.evaluation),
            "seconds": round((result.evaluation or result).seconds, 3),
            "reason": result.reason,
        }
        trial = self._study.tell(result.number, result.outcome, accuracy, notes)
        if trial is None:
            return
        self.num_new += 1
        self._log.add(trial, is_own=True)
        self._log.write_last()
        self._write("running")
        last = [row["state"] for row in self._log.rows[-MAX_DEATHS:]]
        if self.num_new >= MAX_DEATHS and set(last) <= {"died", "killed"}:
            raise UserError(f"{MAX_DEATHS} candidates in a row died, the last: {result.reason}")

    def finish(self) -> None:
        """Note that the search has come to its end."""
        self._write("stopped" if self._stopped else "complete")

    def _write(self, state: str) -> None:
        self._log.write_result(state, self.num_trials, self._stopped)

    @property
    def _num_missing(self) -> int:
        here = len(self._pending) + len(self._unfinished)
        return self.num_trials - len(self._log.rows) - here - len(self._running_elsewhere)

    def _keep_in_step(self) -> None:
        """Read what other searches of the study did, and show them that this one lives."""
        now = time.monotonic()
        if now - self._alive > HEARTBEAT_SECONDS:
            self._study.heartbeat()
            self._alive = now
        if now - self._synced > SYNC_SECONDS or self._num_missing > 0:
            self._sync()
            self._synced = now

    def _sync(self) -> None:
        for trial in self._study.sync():
            self._take_in(trial)
            if trial.state in ENDED:
                self._log.write_last()
                self._write("running")

    def _take_in(self, trial: Trial) -> None:
        """Count a trial of the study."""
        self._num_asks += trial.number not in self._running_elsewhere
        self._running_elsewhere.discard(trial.number)
        self._seen.add(trial.record["spec_id"])
        is_own = trial.owner == self._study.owner
        if trial.state in ENDED:
            self._log.add(trial, is_own=is_own)
        elif trial.state == "rejected":
            self._log.num_rejected += 1
        elif trial.state == "lost":
            self._lost.append(trial)
        elif is_own:
            self._unfinished.append(trial)
        else:
            self._running_elsewhere.add(trial.number)

    def _propose(self, executor: Executor) -> None:
        if self._num_asks >= MAX_ASKS * self.num_trials:
            failed = "fill or keep" if self._task.limit else "fill"
            self._stopped = (
                f"{self._num_asks} proposals were made, most could not {failed} the budget"
            )
            return
        if self._lost:
            proposal = self._study.ask_again(self._lost.pop())
        else:
            try:
                proposal = self._study.ask(self._is_new)
            except Exhausted:
                self._stopped = "no draw gave a network that is new"
                return
        self._num_asks += 1
        self._seen.add(proposal.spec.spec_id)
        record, shortfall = self._task.record(proposal), self._task.shortfall(proposal)
        if shortfall is not None:
            self._study.reject(record, shortfall=shortfall)
            self._log.num_rejected += 1
            return
        number = self._study.start(record, self.num_trials)
        if number is None:
            self._sync()
        else:
            self._submit(executor, number, proposal)

    def _is_new(self, proposal: Proposal) -> bool:
        return proposal.spec.spec_id not in self._seen

    def _submit(self, executor: Executor, number: int, proposal: Proposal) -> None:
        self._pending[number] = proposal
        executor.submit(number, proposal.spec)


def _noted(evaluation: Evaluation | None) -> dict[str, Any]:
    """Return what is noted of the outcomes of trainings: their means, and each."""
    outcomes = evaluation.outcomes if evaluation else ()
    if not outcomes:
        return {}
    each = [dataclasses.asdict(one) for one in outcomes]
    means = {name: sum(one[name] for one in each) / len(each) for name in SOFT}
    return {**means, "outcomes": each}
