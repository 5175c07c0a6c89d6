"""The run folder of a search: whose it is, and the files that follow from its study."""

import dataclasses
import hashlib
import json
import os
import re
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rexnet import runs
from rexnet.data.in_memory import ImageSet
from rexnet.errors import UserError
from rexnet.search import short_list
from rexnet.search.candidates.protocol import Protocol
from rexnet.search.config import SearchConfig
from rexnet.search.sampler import Sampler
from rexnet.search.space import Space
from rexnet.search.trial import Trial
from rexnet.spec import NetSpec

NOTED = (
    *("widths", "params", "macs", "accuracies", "seed", "seconds"),
    *("total_params", "spec_id", "protocol_id", "reason"),
)
"""What a line of ``trials.jsonl`` has of the record of its trial."""

SOMETIMES = ("expansions", "loss", "true_probability", "first_loss", "outcomes")
"""What it has where the space varies it, or where networks were really trained."""

OF_THE_MACHINE = re.compile("full|readonly|read-only|unable to open|disk I/O")
"""What SQLite says where the file is sound for all it knows."""


def identity(
    space: Space,
    protocol: Protocol,
    image_set: ImageSet,
    device: str,
    pruner: str,
    sampler: Sampler,
) -> dict[str, Any]:
    """Return what makes two searches the same."""
    mean, std = image_set.normalisation()
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
        "space": space.identity,
        "protocol": protocol.identity,
        "device": device,
        "pruner": pruner,
        "sampler": sampler.settings(),
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
    settings = dataclasses.asdict(config)
    limits = {"params": config.budget.params, "macs": config.budget.macs}
    settings["budget"] |= {key: value and int(value) for key, value in limits.items()}
    # None or plain text: YAML knows no class of ours.
    settings["budget"]["latency"] = config.budget.latency and str.__str__(config.budget.latency)
    settings["storage"] = share and _without_password(share.url)
    packages = ("torch", "numpy", "optuna")
    runs.describe(folder, path.name, search_identity, config=settings, packages=packages)
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


def own_study(folder: Path) -> str:
    """Return the URL of the folder's own study.

    Raises:
        UserError: It is an empty database beside trials, which SQLite would take for a new one.
    """
    study, trials = folder / "study.db", folder / "trials.jsonl"
    emptied = not study.exists() or study.stat().st_size == 0
    if emptied and trials.exists() and trials.stat().st_size > 0:
        raise UserError(
            f"{study} is missing or empty, but {trials.name} has networks: it was damaged; bring "
            "it back, or start anew with another --out"
        )
    if re.fullmatch(r"[\w ./:@+=,~-]+", str(study)):
        return f"sqlite:///{study}"
    # SQLite takes one of the two encodings back, what reads URLs the other.
    path = quote(quote(os.fsencode(os.path.abspath(study))))
    return f"sqlite:///file:{path}?uri=true"


def mend_of(url: str, reason: str) -> str:
    """Return what is to be done about a study that cannot be used.

    Args:
        url: Its database.
        reason: What the database says.
    """
    if not url.startswith("sqlite:"):
        return "the same command goes on once it can be reached"
    if "locked" in reason:
        return "another process holds it: wait for its end, or stop it"
    if OF_THE_MACHINE.search(reason):
        return "mend that, and the same command goes on"
    return "it is damaged: bring it back, or start anew with another --out"


class TrialLog:
    """What a run folder says of the networks that were trained: lines, sums, the best weights.

    Args:
        folder: The run folder.
        has_short_list: Whether it keeps the weights of several of the best.

    Attributes:
        rows: The lines of ``trials.jsonl``.
        num_rejected: Shapes that were not trained.
        best: The best accuracy; None before the first.
    """

    def __init__(self, folder: Path, *, has_short_list: bool = False) -> None:
        self._folder, self._has_short_list = folder, has_short_list
        self._own_best: tuple[float, int] = (-1.0, 0)
        self.rows: list[dict[str, Any]] = []
        self.num_rejected = 0
        self.best: float | None = None

    def add(self, trial: Trial, *, is_own: bool) -> None:
        """Count a trial that has ended; ``is_own`` if this search trained it."""
        self.rows.append(
            {
                "number": trial.number,
                "state": trial.state,
                "accuracy": trial.accuracy,
                **{field: trial.record[field] for field in NOTED},
                **{field: trial.record[field] for field in SOMETIMES if field in trial.record},
                # Earlier studies noted none.
                "latency_ms": trial.record.get("latency_ms"),
            }
        )
        if trial.accuracy is not None:
            self.best = max(trial.accuracy, self.best or 0.0)
            if is_own:
                self._own_best = max(self._own_best, (trial.accuracy, -trial.number))

    def write_last(self) -> None:
        """Write the trial that was added last."""
        runs.append_jsonl(self._folder / "trials.jsonl", self.rows[-1])
        if self._has_short_list:
            short_list.forget(self._folder, self.rows)

    def restore(self) -> None:
        """Write the trial file anew where it is missing, damaged or behind the study."""
        path = self._folder / "trials.jsonl"
        with suppress(UserError):
            if sorted(map(_text, runs.read_jsonl(path))) == sorted(map(_text, self.rows)):
                return
        runs.write_jsonl(path, self.rows)

    def keep(self, number: int, accuracy: float | None, spec: NetSpec, weights: Path) -> None:
        """Keep the weights of a network if it is among the best, and remove their file.

        Call it before the study is told of the network: killed in between, the same training gives
        them again.
        """
        if self._has_short_list and accuracy is not None:
            row = {"number": number, "state": "complete", "accuracy": accuracy}
            short_list.keep(self._folder, number, weights, [*self.rows, row])
        is_best = accuracy is not None and (accuracy, -number) > self._own_best
        if is_best and weights.exists():
            weights.replace(self._folder / "best.safetensors")
            runs.write_text(self._folder / "best.json", spec.to_json() + "\n")
        weights.unlink(missing_ok=True)

    def write_result(self, state: str, num_trials: int, reason: str) -> None:
        """Write how far the search is.

        Args:
            state: ``running``, ``complete`` or ``stopped``.
            num_trials: Networks to train.
            reason: Why it proposes no more networks; else empty.
        """
        states = [row["state"] for row in self.rows]
        runs.write_json(
            self._folder / "result.json",
            {
                "state": state,
                "reason": reason,
                "num_trials": num_trials,
                "num_complete": states.count("complete"),
                "num_pruned": states.count("pruned"),
                "num_diverged": states.count("diverged"),
                "num_died": states.count("died") + states.count("killed"),
                "num_rejected": self.num_rejected,
                "best_accuracy": self.best,
                "training_seconds": round(sum(row["seconds"] for row in self.rows), 3),
            },
        )


def _text(row: Mapping[str, Any]) -> str:
    return json.dumps(row, sort_keys=True)
