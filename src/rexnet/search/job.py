"""The search job: proposals in, trained networks and a run folder out."""

import dataclasses
import hashlib
import json
import re
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rexnet import cost, runs
from rexnet.data import in_memory
from rexnet.data.batches import statistics
from rexnet.data.in_memory import ImageSet
from rexnet.data.sources import check_apart
from rexnet.design import FILL, Proposal
from rexnet.errors import UserError
from rexnet.latency import Clock, Limit, Predictor, same_device
from rexnet.runs.progress import Estimate, OnProgress, Progress, time_left
from rexnet.search import short_list
from rexnet.search.candidates.evaluator import Evaluator
from rexnet.search.candidates.protocol import Protocol
from rexnet.search.config import SearchConfig
from rexnet.search.executors.local import Evaluate, LocalExecutor, Result
from rexnet.search.space import Space, check_fast_enough, check_reachable, sample

if TYPE_CHECKING:
    from rexnet.search.executors.ray import RayExecutor
    from rexnet.search.study import Trial

    Executor = LocalExecutor | RayExecutor

MAX_ASKS = 20
"""Proposals for each network to train, after which a search gives up."""

ENDED = ("complete", "pruned", "diverged", "died")
"""The outcomes of networks that were trained, or failed to be."""

MAX_DEATHS = 5
"""Candidates in a row that died, after which a search gives up."""

NUM_MEASURED = 33
"""Networks that are measured for a budget of time, those held out included."""

REFRESH_SECONDS = 0.5

SYNC_SECONDS, LIFE_SECONDS = 5.0, 60.0
"""How often a search reads a shared study, and shows there that it lives."""


def run(config: SearchConfig, on_progress: OnProgress, clock: Clock | None = None) -> int:
    """Run or resume a search in ``config.out`` and return how many networks this call trained.

    Args:
        config: The search.
        on_progress: Called about twice a second while networks are trained.
        clock: What measures networks, for a config with a budget of time.

    Raises:
        UserError: The config, the data or the run folder cannot be used; nothing there is harmed.
    """
    config = config.resolved()
    protocol = config.protocol()
    if Path(config.data).is_dir():
        check_apart(config.out, Path(config.data))
    image_set = in_memory.load(config.data, config.resolution)
    space = Space(
        num_blocks=config.blocks or 0,
        num_classes=len(image_set.classes),
        resolution=image_set.side,
        budget=config.limits(),
    )
    folder = Path(config.out)
    if not (folder / "search.json").exists():
        check_reachable(space)
        runs.check_new(folder, "search.json")
        if config.executor == "local" and config.device != "cpu":
            _check_device(config.device)
    evaluate = Evaluator(
        images=image_set, protocol=protocol, device=config.device, prunes=config.pruner != "none"
    )
    search_identity = identity(space, protocol, image_set, config.device, config.pruner)
    with runs.locked(folder):
        limit = _limit(folder, config, space, search_identity, clock)
        if limit:
            search_identity["latency"] = limit.identity
        share = prepare(folder, config, search_identity)
        if limit:
            limit.predictor.save(folder / "latency.json")
        num_new = search(
            folder,
            space,
            partial(_executor, config, evaluate, folder / "candidates"),
            protocol=protocol,
            num_trials=config.trials,
            share=share,
            pruner=config.pruner,
            limit=limit,
            on_progress=on_progress,
        )
        if limit and clock:
            rows = runs.read_jsonl(folder / "trials.jsonl")
            short_list.choose(folder, space.template, rows, limit, clock)
        return num_new


def _limit(
    folder: Path,
    config: SearchConfig,
    space: Space,
    search_identity: Mapping[str, Any],
    clock: Clock | None,
) -> Limit | None:
    """Return the budget of time, with the predictor of the folder or one that is made now.

    Raises:
        UserError: The folder holds another search, its times are of another device, or no network
            is fast enough.
    """
    budget = config.budget.latency
    if not budget:
        return None
    assert clock is not None, "a budget of time needs what measures"
    path, known = folder / "latency.json", folder / "search.json"
    if known.exists():
        # Before minutes of measuring: only what predicts may differ, where a kill left none.
        old = runs.read_json(known).get("latency") or {}
        mine = {**old, "budget": str(budget)}
        runs.check_same(known, {**search_identity, "latency": mine})
    if path.exists():
        limit = Limit(budget=budget, predictor=Predictor.load(path))
        same_device(path, limit.predictor.device, clock.device)
        return limit
    limit = Limit(budget=budget, predictor=clock.calibrate(sample(space, NUM_MEASURED)))
    check_fast_enough(space, limit)
    return limit


def _executor(config: SearchConfig, evaluate: Evaluate, folder: Path) -> "Executor":
    if config.executor == "local":
        return LocalExecutor(evaluate, config.workers or 1, folder)
    from rexnet.search.executors.ray import RayExecutor

    return RayExecutor(
        evaluate,
        config.workers,
        folder,
        address=config.address,
        num_gpus=config.gpus_per_trial,
    )


def identity(
    space: Space, protocol: Protocol, image_set: ImageSet, device: str, pruner: str
) -> dict[str, Any]:
    """Return what makes two searches the same."""
    from rexnet.search.study import SAMPLER

    mean, std = statistics(image_set.images[~image_set.held_out])
    return {
        "data": {
            "name": image_set.name,
            "fingerprint": image_set.fingerprint(),
            "num_train": int((~image_set.held_out).sum()),
            "num_held_out": int(image_set.held_out.sum()),
            "num_classes": len(image_set.classes),
            "mean": [round(float(value) / 255, 4) for value in mean],
            "std": [round(float(value) / 255, 4) for value in std],
        },
        "space": dataclasses.asdict(space),
        "protocol": dataclasses.asdict(protocol),
        "device": device,
        "pruner": pruner,
        "sampler": SAMPLER,
    }


@dataclass(frozen=True, kw_only=True)
class Share:
    """A study that several searches share.

    Attributes:
        url: The database.
        study: The study's name there, the same for all searches of the same identity.
        owner: The name of this search in the study.
    """

    url: str
    study: str
    owner: str


def prepare(folder: Path, config: SearchConfig, search_identity: Mapping[str, Any]) -> Share | None:
    """Check that ``folder`` is new or holds the same search, and write what the search is.

    Returns:
        The study to share; None if it stands in the folder.

    Raises:
        UserError: The folder holds another search, or its study is elsewhere.
    """
    path = folder / "search.json"
    runs.check(folder, path.name, search_identity)
    share = _share(folder, config, search_identity, is_new=not path.exists())
    # Before all other files: a search killed right here is known for what it is.
    runs.write_json(path, search_identity)
    settings = dataclasses.asdict(config)
    settings["budget"] |= {key: int(settings["budget"][key]) for key in ("params", "macs")}
    # None or plain text: YAML knows no class of ours.
    settings["budget"]["latency"] = config.budget.latency and str.__str__(config.budget.latency)
    settings["storage"] = share and _without_password(share.url)
    runs.write_text(folder / "config.yaml", yaml.safe_dump(settings, sort_keys=False))
    runs.write_json(folder / "environment.json", runs.environment("torch", "numpy", "optuna"))
    return share


def _share(
    folder: Path, config: SearchConfig, search_identity: Mapping[str, Any], *, is_new: bool
) -> Share | None:
    """Return the shared study of a folder; a new folder gets a name of its own in it."""
    path = folder / "share.json"
    if is_new and config.storage:
        digest = hashlib.sha256(_text(search_identity).encode()).hexdigest()
        runs.write_json(path, {"study": f"rexnet-{digest[:16]}", "owner": uuid.uuid4().hex})
    if path.exists() != bool(config.storage):
        held = "a shared study; give its --storage" if path.exists() else "its own study"
        raise UserError(f"the search in {folder} writes to {held}, or give another --out")
    if not config.storage:
        return None
    return Share(url=config.storage, **runs.read_json(path))


def _without_password(url: str) -> str:
    return re.sub(r"(://[^:@/]*):[^@/]*@", r"\1:***@", url)


def search(
    folder: Path,
    space: Space,
    make_executor: Callable[[], "Executor"],
    *,
    protocol: Protocol,
    num_trials: int,
    share: Share | None = None,
    pruner: str = "none",
    limit: Limit | None = None,
    on_progress: OnProgress,
) -> int:
    """Train networks of ``space`` until ``folder`` holds ``num_trials``; return how many are new.

    Args:
        folder: The run folder; what is there is gone on from.
        space: What to propose from.
        make_executor: Returns what trains the networks.
        protocol: How they are trained; its seed is that of the proposals too.
        num_trials: Networks to train, those in the study included.
        share: The study, if it is not the folder's own.
        pruner: What ends trainings early: ``none``, ``halving`` or ``median``.
        limit: The budget of time; networks that are predicted to pass it are not trained.
        on_progress: Called about twice a second.

    Raises:
        UserError: The folder cannot be used, or candidate after candidate dies.
    """
    leader = _Leader(folder, space, protocol, num_trials, share, pruner, limit)
    try:
        with make_executor() as executor:
            executor.judge = leader.judge
            leader.fill(executor)
            while not leader.is_done:
                for result in executor.wait(REFRESH_SECONDS):
                    leader.settle(result, executor.weights(result.number))
                leader.fill(executor)
                on_progress(leader.progress(executor.progress))
        leader.finish()
    finally:
        leader.close()
        shutil.rmtree(folder / "candidates", ignore_errors=True)
    on_progress(leader.progress(0.0))
    return leader.num_new


class _Leader:
    """Keeps the study, the trial file and the best weights in step."""

    def __init__(
        self,
        folder: Path,
        space: Space,
        protocol: Protocol,
        num_trials: int,
        share: Share | None,
        pruner: str,
        limit: Limit | None,
    ) -> None:
        from rexnet.search.study import Study

        self._folder, self._space, self._protocol = folder, space, protocol
        self._limit = limit
        self._is_shared = share is not None
        self._owner = share.owner if share else ""
        if share:
            self._study = Study(
                share.url,
                space,
                protocol.seed,
                name=share.study,
                owner=share.owner,
                pruner=pruner,
            )
        else:
            _check_study(folder)
            url = f"sqlite:///{folder / 'study.db'}"
            self._study = Study(url, space, protocol.seed, pruner=pruner)
        self._min_trials = num_trials
        self._rows: list[dict[str, Any]] = []
        self._own_best: tuple[float, int] = (-1.0, 0)
        self._best: float | None = None
        self._num_rejected = 0
        self._num_asks = 0
        self._seen: set[str] = set()
        self._running_elsewhere: set[int] = set()
        self._lost: list[Trial] = []
        self._unfinished: list[Trial] = []
        self._pending: dict[int, Proposal] = {}
        self._stopped = ""
        self._estimate = Estimate()
        self._synced = self._alive = time.monotonic()
        self.num_new = 0
        for trial in self._study.trials():
            self._take_in(trial)
        self._restore_rows()
        self._write_result("running")

    @property
    def is_done(self) -> bool:
        """Whether nothing is trained any more, here or in another search of the study."""
        return not (self._pending or self._running_elsewhere)

    def fill(self, executor: "Executor") -> None:
        """Submit candidates while there is room for them and need of them."""
        if self._is_shared:
            self._keep_in_step()
        while executor.has_room and self._unfinished:
            trial = self._unfinished.pop(0)
            self._submit(executor, trial.number, self._space.propose(trial.parameters))
        while executor.has_room and self._num_missing > 0 and not self._stopped:
            self._propose(executor)

    def _keep_in_step(self) -> None:
        """Read what other searches of the study did, and show them that this one lives."""
        now = time.monotonic()
        if now - self._alive > LIFE_SECONDS:
            self._study.show_life()
            self._alive = now
        if now - self._synced > SYNC_SECONDS or self._num_missing > 0:
            self._sync()
            self._synced = now

    def _sync(self) -> None:
        for trial in self._study.sync():
            self._take_in(trial)
            if trial.outcome in ENDED:
                runs.append_jsonl(self._folder / "trials.jsonl", self._rows[-1])
                self._write_result("running")

    def _take_in(self, trial: "Trial") -> None:
        """Count a trial of the study."""
        self._num_asks += trial.number not in self._running_elsewhere
        self._running_elsewhere.discard(trial.number)
        self._seen.add(trial.record["spec_id"])
        if trial.outcome in ENDED:
            is_own = trial.owner == self._owner
            self._add_row(trial.number, trial.outcome, trial.accuracy, trial.record, is_own=is_own)
        elif trial.outcome == "rejected":
            self._num_rejected += 1
        elif trial.outcome == "lost":
            self._lost.append(trial)
        elif trial.owner == self._owner:
            self._unfinished.append(trial)
        else:
            self._running_elsewhere.add(trial.number)

    def _add_row(
        self,
        number: int,
        outcome: str,
        accuracy: float | None,
        record: Mapping[str, Any],
        *,
        is_own: bool,
    ) -> None:
        self._rows.append(_row(number, outcome, accuracy, record))
        if accuracy is not None:
            self._best = max(accuracy, self._best or 0.0)
            if is_own:
                self._own_best = max(self._own_best, (accuracy, -number))

    def judge(self, number: int, epoch: int, accuracy: float) -> bool:
        """Tell whether a candidate is to be trained further."""
        return self._study.goes_on(number, epoch, accuracy)

    def settle(self, result: Result, weights: Path) -> None:
        """Note what became of a candidate, and keep its weights if it is the best.

        Raises:
            UserError: Candidate after candidate died.
        """
        proposal = self._pending.pop(result.number)
        accuracies = result.evaluation.accuracies if result.evaluation else ()
        accuracy = sum(accuracies) / len(accuracies) if accuracies else None
        if self._limit and accuracy is not None:
            row = {"number": result.number, "state": result.outcome, "accuracy": accuracy}
            short_list.keep(self._folder, result.number, weights, [*self._rows, row])
        is_best = accuracy is not None and (accuracy, -result.number) > self._own_best
        if is_best and weights.exists():
            # Before the study is told: killed in between, the same training gives them again.
            weights.replace(self._folder / "best.safetensors")
            runs.write_text(self._folder / "best.json", proposal.spec.to_json() + "\n")
        weights.unlink(missing_ok=True)
        notes = {
            "accuracies": list(accuracies),
            "seconds": round((result.evaluation or result).seconds, 3),
            "reason": result.reason,
        }
        if not self._study.settle(result.number, result.outcome, accuracy, notes):
            return
        record = self._record(proposal) | notes
        self._add_row(result.number, result.outcome, accuracy, record, is_own=True)
        runs.append_jsonl(self._folder / "trials.jsonl", self._rows[-1])
        self.num_new += 1
        if self._limit:
            short_list.forget(self._folder, self._rows)
        self._write_result("running")
        last = [row["state"] for row in self._rows[-MAX_DEATHS:]]
        if self.num_new >= MAX_DEATHS and set(last) == {"died"}:
            raise UserError(f"{MAX_DEATHS} candidates in a row died, the last: {result.reason}")

    def finish(self) -> None:
        """Note that the search has come to its end."""
        self._write_result("stopped" if self._stopped else "complete")

    def close(self) -> None:
        """Close the study."""
        self._study.close()

    def progress(self, running: float) -> Progress:
        """Return how far the search is; ``running`` is the work done in unfinished candidates."""
        left = max(self._num_trials - len(self._rows) - running, 0.0)
        seconds = self._estimate.seconds_left(self.num_new + running, left)
        best = "-" if self._best is None else f"{100 * self._best:.1f} %"
        words = (
            f"{len(self._rows)}/{self._num_trials} candidates trained, {self._num_rejected} "
            f"rejected, best {best}, {time_left(seconds)}"
        )
        return Progress(share=1 - left / self._num_trials, words=words, seconds_left=seconds)

    @property
    def _num_missing(self) -> int:
        here = len(self._pending) + len(self._unfinished)
        return self._num_trials - len(self._rows) - here - len(self._running_elsewhere)

    @property
    def _num_trials(self) -> int:
        return max(self._min_trials, len(self._rows))

    def _propose(self, executor: "Executor") -> None:
        from rexnet.search.study import Exhausted

        if self._num_asks >= MAX_ASKS * self._num_trials:
            failed = "fill or keep" if self._limit else "fill"
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
        shortfall = self._shortfall(proposal)
        if shortfall is not None:
            self._study.reject(self._record(proposal), shortfall=shortfall)
            self._num_rejected += 1
            return
        number = self._study.start(self._record(proposal), self._num_trials)
        if number is None:
            self._sync()
        else:
            self._submit(executor, number, proposal)

    def _shortfall(self, proposal: Proposal) -> float | None:
        """Return by what share a proposal misses the budget; None if it does not."""
        budget = self._space.budget
        if not proposal.fills(budget):
            return FILL - min(proposal.params / budget.params, proposal.macs / budget.macs)
        excess = self._limit.excess(proposal.spec) if self._limit else 0.0
        return excess or None

    def _is_new(self, proposal: Proposal) -> bool:
        return proposal.spec.spec_id not in self._seen

    def _submit(self, executor: "Executor", number: int, proposal: Proposal) -> None:
        self._pending[number] = proposal
        executor.submit(number, proposal.spec)

    def _record(self, proposal: Proposal) -> dict[str, Any]:
        predicted = self._limit.predictor.predict(proposal.spec) if self._limit else None
        return {
            "spec_id": proposal.spec.spec_id,
            "widths": list(proposal.spec.widths),
            "params": proposal.params,
            "total_params": cost.count(proposal.spec).params,
            "macs": proposal.macs,
            "latency_ms": predicted and round(predicted, 6),
            "seed": self._protocol.seed,
            "protocol_id": self._protocol.protocol_id,
        }

    def _restore_rows(self) -> None:
        """Write the trial file anew where it is missing, damaged or behind the study."""
        path = self._folder / "trials.jsonl"
        with suppress(UserError):
            if sorted(map(_text, runs.read_jsonl(path))) == sorted(map(_text, self._rows)):
                return
        runs.write_jsonl(path, self._rows)

    def _write_result(self, state: str) -> None:
        states = [row["state"] for row in self._rows]
        runs.write_json(
            self._folder / "result.json",
            {
                "state": state,
                "reason": self._stopped,
                "num_trials": self._num_trials,
                "num_complete": states.count("complete"),
                "num_pruned": states.count("pruned"),
                "num_diverged": states.count("diverged"),
                "num_died": states.count("died"),
                "num_rejected": self._num_rejected,
                "best_accuracy": self._best,
                "training_seconds": round(sum(row["seconds"] for row in self._rows), 3),
            },
        )


def _row(
    number: int, state: str, accuracy: float | None, record: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the line of ``trials.jsonl`` for a network that was trained."""
    noted = ["widths", "params", "macs", "accuracies", "seed", "seconds"]
    noted += ["total_params", "spec_id", "protocol_id", "reason"]
    return {
        "number": number,
        "state": state,
        "accuracy": accuracy,
        **{field: record[field] for field in noted},
        # Earlier studies noted none.
        "latency_ms": record.get("latency_ms"),
    }


def _check_device(device: str) -> None:
    # torch takes seconds to import, and a search on the CPU needs none in this process.
    from rexnet.search.candidates.evaluator import trainer

    trainer(device)


def _check_study(folder: Path) -> None:
    """Refuse an empty database beside trials: SQLite would take it for a new one.

    Raises:
        UserError: The study was emptied.
    """
    study, trials = folder / "study.db", folder / "trials.jsonl"
    emptied = not study.exists() or study.stat().st_size == 0
    if emptied and trials.exists() and trials.stat().st_size > 0:
        raise UserError(
            f"{study} is missing or empty, but {trials.name} has networks: it was damaged; bring "
            "it back, or start anew with another --out"
        )


def _text(row: Mapping[str, Any]) -> str:
    return json.dumps(row, sort_keys=True)
