"""The search job: proposals in, trained networks and a run folder out."""

import dataclasses
import importlib.metadata
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rexnet import cost, runs
from rexnet.data import images
from rexnet.data.batches import statistics
from rexnet.data.images import ImageSet
from rexnet.design import FILL, Proposal
from rexnet.errors import UserError
from rexnet.search.config import SearchConfig
from rexnet.search.executor import Evaluate, LocalExecutor, Result
from rexnet.search.protocol import Evaluator, Protocol
from rexnet.search.space import Space, check_reachable

MAX_ASKS = 20
"""Proposals for each network to train, after which a search gives up."""

MAX_DEATHS = 5
"""Candidates in a row that died, after which a search gives up."""

REFRESH_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a search is.

    Attributes:
        trained: Networks that were trained, or failed to be.
        total: Networks to train.
        rejected: Shapes that cannot use 90 % of both limits.
        best: The best held-out accuracy; None before the first.
        share: What part of all training is done, from 0 to 1.
        seconds_left: Estimated wall time to the end; None before it can be told.
    """

    trained: int
    total: int
    rejected: int
    best: float | None
    share: float
    seconds_left: float | None


OnProgress = Callable[[Progress], None]


def run(config: SearchConfig, on_progress: OnProgress) -> int:
    """Run or resume a search in ``config.out`` and return how many networks this call trained.

    Raises:
        UserError: The config, the data or the run folder cannot be used; nothing there is harmed.
    """
    config = config.resolved()
    protocol = config.protocol()
    image_set = images.load(config.data, config.resolution)
    space = Space(
        num_blocks=config.blocks or 0,
        num_classes=len(image_set.classes),
        resolution=image_set.side,
        budget=config.limits(),
    )
    folder = Path(config.out)
    if not (folder / "search.json").exists():
        check_reachable(space)
        _check_empty(folder)
    with runs.locked(folder):
        prepare(folder, config, identity(space, protocol, image_set))
        return search(
            folder,
            space,
            Evaluator(images=image_set, protocol=protocol),
            protocol=protocol,
            num_trials=config.trials,
            num_workers=config.workers or 1,
            on_progress=on_progress,
        )


def identity(space: Space, protocol: Protocol, image_set: ImageSet) -> dict[str, Any]:
    """Return what makes two searches the same: data, space, sampler and protocol."""
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
        "sampler": SAMPLER,
    }


def prepare(folder: Path, config: SearchConfig, search_identity: Mapping[str, Any]) -> None:
    """Check that ``folder`` is new or holds the same search, and write what the search is.

    Raises:
        UserError: The folder holds another search.
    """
    path = folder / "search.json"
    if path.exists():
        differences = list(_differences(runs.read_json(path), search_identity))
        if differences:
            raise UserError(
                f"{folder} holds a search of another configuration: {', '.join(differences)}; "
                "give another --out"
            )
    # First of all files: a search killed right here is known for what it is.
    runs.write_json(path, search_identity)
    settings = dataclasses.asdict(config)
    settings["budget"] |= {key: int(settings["budget"][key]) for key in ("params", "macs")}
    runs.write_text(folder / "config.yaml", yaml.safe_dump(settings, sort_keys=False))
    runs.write_json(folder / "environment.json", _environment())


def search(
    folder: Path,
    space: Space,
    evaluate: Evaluate,
    *,
    protocol: Protocol,
    num_trials: int,
    num_workers: int,
    on_progress: OnProgress,
) -> int:
    """Train networks of ``space`` until ``folder`` holds ``num_trials``; return how many are new.

    Args:
        folder: The run folder; what is there is gone on from.
        space: What to propose from.
        evaluate: Trains a network; it runs in worker processes.
        protocol: How ``evaluate`` trains; its seed is that of the proposals too.
        num_trials: Networks to train, those in the folder included.
        num_workers: Processes.
        on_progress: Called about twice a second.

    Raises:
        UserError: The folder cannot be used, or candidate after candidate dies.
    """
    candidates = folder / "candidates"
    leader = _Leader(folder, space, protocol, num_trials)
    try:
        with LocalExecutor(evaluate, num_workers, candidates) as executor:
            leader.fill(executor)
            while executor.num_busy:
                for result in executor.wait(REFRESH_SECONDS):
                    leader.settle(result, executor.weights(result.number))
                leader.fill(executor)
                on_progress(leader.progress(executor.progress))
        leader.finish()
    finally:
        leader.close()
        shutil.rmtree(candidates, ignore_errors=True)
    on_progress(leader.progress(0.0))
    return leader.num_new


class _Leader:
    """Keeps the study, the trial file and the best weights in step."""

    def __init__(self, folder: Path, space: Space, protocol: Protocol, num_trials: int) -> None:
        from rexnet.search.study import Study

        self._folder, self._space, self._protocol = folder, space, protocol
        _check_study(folder)
        self._study = Study(f"sqlite:///{folder / 'study.db'}", space, protocol.seed)
        known = self._study.trials()
        self._rows = [
            _row(trial.number, trial.outcome, trial.accuracy, trial.record)
            for trial in known
            if trial.outcome not in ("running", "rejected")
        ]
        self._num_trials = max(num_trials, len(self._rows))
        self._unfinished = [trial for trial in known if trial.outcome == "running"]
        self._num_rejected = sum(trial.outcome == "rejected" for trial in known)
        self._num_asks = len(known)
        self._seen = {trial.record["spec_id"] for trial in known}
        self._pending: dict[int, Proposal] = {}
        self._stopped = ""
        self._started = time.monotonic()
        self.num_new = 0
        self._restore_rows()
        self._write_result("running")

    def fill(self, executor: LocalExecutor) -> None:
        """Submit candidates while there is room for them and need of them."""
        while executor.has_room and self._unfinished:
            trial = self._unfinished.pop(0)
            self._submit(executor, trial.number, self._space.propose(trial.parameters))
        while executor.has_room and self._num_missing > 0 and not self._stopped:
            self._propose(executor)

    def settle(self, result: Result, weights: Path) -> None:
        """Note what became of a candidate, and keep its weights if it is the best.

        Raises:
            UserError: Candidate after candidate died.
        """
        proposal = self._pending.pop(result.number)
        accuracies = result.evaluation.accuracies if result.evaluation else ()
        accuracy = sum(accuracies) / len(accuracies) if accuracies else None
        if accuracy is not None and self._is_best(accuracy, result.number) and weights.exists():
            # Before the study is told: killed in between, the same training gives them again.
            weights.replace(self._folder / "best.safetensors")
            runs.write_text(self._folder / "best.json", proposal.spec.to_json() + "\n")
        weights.unlink(missing_ok=True)
        notes = {
            "accuracies": list(accuracies),
            "seconds": round((result.evaluation or result).seconds, 3),
            "reason": result.reason,
        }
        self._study.settle(result.number, result.outcome, accuracy, notes)
        record = self._record(proposal) | notes
        self._rows.append(_row(result.number, result.outcome, accuracy, record))
        runs.append_jsonl(self._folder / "trials.jsonl", self._rows[-1])
        self.num_new += 1
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
        done = self.num_new + running
        left = max(self._num_trials - len(self._rows) - running, 0.0)
        seconds = time.monotonic() - self._started
        return Progress(
            trained=len(self._rows),
            total=self._num_trials,
            rejected=self._num_rejected,
            best=self._best,
            share=1 - left / self._num_trials,
            seconds_left=left * seconds / done if done else None,
        )

    @property
    def _num_missing(self) -> int:
        taken = len(self._rows) + len(self._pending) + len(self._unfinished)
        return self._num_trials - taken

    @property
    def _best(self) -> float | None:
        return max((r["accuracy"] for r in self._rows if r["accuracy"] is not None), default=None)

    def _is_best(self, accuracy: float, number: int) -> bool:
        """Tell whether a network is the first of the ranking; of equals the first by number is."""
        best = max(
            ((r["accuracy"], -r["number"]) for r in self._rows if r["accuracy"] is not None),
            default=(-1.0, 0),
        )
        return (accuracy, -number) > best

    def _propose(self, executor: LocalExecutor) -> None:
        from rexnet.search.study import Exhausted

        if self._num_asks >= MAX_ASKS * self._num_trials:
            self._stopped = f"{self._num_asks} proposals were made, most could not fill the budget"
            return
        try:
            number, parameters = self._study.ask(self._is_new)
        except Exhausted:
            self._stopped = "no draw gave a network that is new"
            return
        self._num_asks += 1
        proposal = self._space.propose(parameters)
        self._seen.add(proposal.spec.spec_id)
        budget = self._space.budget
        if proposal.fills(budget):
            self._study.start(number, self._record(proposal))
            self._submit(executor, number, proposal)
        else:
            used = min(proposal.params / budget.params, proposal.macs / budget.macs)
            self._study.settle(
                number, "rejected", record=self._record(proposal), shortfall=FILL - used
            )
            self._num_rejected += 1

    def _is_new(self, parameters: Mapping[str, float]) -> bool:
        return self._space.propose(parameters).spec.spec_id not in self._seen

    def _submit(self, executor: LocalExecutor, number: int, proposal: Proposal) -> None:
        self._pending[number] = proposal
        executor.submit(number, proposal.spec)

    def _record(self, proposal: Proposal) -> dict[str, Any]:
        return {
            "spec_id": proposal.spec.spec_id,
            "widths": list(proposal.spec.widths),
            "params": proposal.params,
            "total_params": cost.count(proposal.spec).params,
            "macs": proposal.macs,
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
    }


def _check_empty(folder: Path) -> None:
    if folder.is_dir() and any(not child.name.startswith(".") for child in folder.iterdir()):
        raise UserError(f"{folder} has files but no search.json; give another --out")


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


def _differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Yield the fields in which two nested dicts differ, with both values."""
    if isinstance(old, dict) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            name = f"{where}.{key}" if where else str(key)
            yield from _differences(old.get(key), new.get(key), name)
    elif old != new:
        yield f"{where} is {old}, not {new}"


def _environment() -> dict[str, Any]:
    packages = ("rexnet", "torch", "numpy", "optuna")
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "num_cores": os.cpu_count(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
    }
