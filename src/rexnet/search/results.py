"""A search's run folder, read back."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from rexnet import runs
from rexnet.budget import Budget
from rexnet.errors import UserError
from rexnet.families import search_network
from rexnet.search.groups import complete
from rexnet.spec import NetSpec

NUMBER = (int, float)
SEARCH = {
    "data": {
        "name": str,
        "num_train": int,
        "num_held_out": int,
        "num_classes": int,
        "mean": [NUMBER],
        "std": [NUMBER],
    },
    "space": {
        "num_blocks": int,
        "num_classes": int,
        "resolution": int,
        "budget": {"params": int, "macs": int, "count_classifier": bool},
    },
    "protocol": {
        "epochs": int,
        "batch_size": int,
        "lr": NUMBER,
        "momentum": NUMBER,
        "weight_decay": NUMBER,
        "warmup": NUMBER,
        "repeats": int,
        "seed": int,
    },
    "sampler": dict,
}
ENVIRONMENT = {"python": str, "system": str, "num_cores": int, "packages": dict}
RESULT = {
    "state": str,
    "reason": str,
    "num_trials": int,
    "num_complete": int,
    "num_pruned": int,
    "num_diverged": int,
    "num_died": int,
    "num_rejected": int,
}
ROW = {
    "number": int,
    "state": str,
    "widths": [int],
    "params": int,
    "total_params": int,
    "macs": int,
    "accuracy": (int, float, NoneType),
    "accuracies": [NUMBER],
    "seconds": NUMBER,
    "reason": str,
}
"""What the files must hold, as far as reports read them: types by key, ``[type]`` for a list."""


@dataclass(frozen=True, kw_only=True)
class SearchRun:
    """What a run folder says of a search.

    Attributes:
        folder: The run folder.
        identity: ``search.json``: data, space, protocol and sampler.
        environment: ``environment.json``: versions and machine of the last call.
        result: ``result.json``: how far the search is.
        rows: ``trials.jsonl``, a dict a trained network.
    """

    folder: Path
    identity: dict[str, Any]
    environment: dict[str, Any]
    result: dict[str, Any]
    rows: list[dict[str, Any]]

    @property
    def budget(self) -> Budget:
        """The limits of the search."""
        return Budget(**self.identity["space"]["budget"])

    @property
    def template(self) -> NetSpec:
        """The search network, with widths of 1."""
        space = self.identity["space"]
        return search_network([1] * space["num_blocks"], space["num_classes"], space["resolution"])


def read_search(folder: Path) -> SearchRun:
    """Read the run folder of a search, finished or not.

    Raises:
        UserError: It is no such folder, a file in it is damaged, or no network was trained yet.
    """
    if not (folder / "search.json").exists():
        raise UserError(f"{folder} is no run folder of a search: it has no search.json")
    identity = _checked(folder / "search.json", SEARCH)
    path = folder / "trials.jsonl"
    rows = runs.read_jsonl(path)
    for line, row in enumerate(rows, 1):
        where = f"{path}, line {line}"
        _check(row, ROW, where)
        if len(row["widths"]) != identity["space"]["num_blocks"]:
            raise UserError(f"{where}: widths {row['widths']} are not one for each block")
        if row["state"] == "complete" and row["accuracy"] is None:
            raise UserError(f"{where}: a complete trial has no accuracy")
    if not complete(rows):
        raise UserError(
            f"{folder} has no network that was trained to the end ({len(rows)} were tried); run "
            "its search further, or lower --lr if all diverged"
        )
    return SearchRun(
        folder=folder,
        identity=identity,
        environment=_checked(folder / "environment.json", ENVIRONMENT),
        result=_checked(folder / "result.json", RESULT),
        rows=rows,
    )


def _checked(path: Path, shape: dict[str, Any]) -> dict[str, Any]:
    value: dict[str, Any] = runs.read_json(path)
    _check(value, shape, str(path))
    return value


def _check(value: Any, shape: Any, where: str) -> None:
    """Check that a JSON value has the keys and types of ``shape``.

    Raises:
        UserError: It does not; the field is named.
    """
    kind = type(shape) if isinstance(shape, dict | list) else shape
    if not isinstance(value, kind):
        raise UserError(f"{where}: {json.dumps(value)} is no {_name(kind)}; the file is damaged")
    if isinstance(shape, list):
        for item in value:
            _check(item, shape[0], where)
    elif isinstance(shape, dict):
        for key, inner in shape.items():
            if key not in value:
                raise UserError(f"{where}: no field {key!r}; the file is damaged")
            _check(value[key], inner, f"{where}: {key}")


def _name(kind: type | tuple[type, ...]) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(each.__name__ for each in kinds)
