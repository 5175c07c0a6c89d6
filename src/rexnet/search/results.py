"""A search's run folder, read back."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import (
    Any,
    Literal,
    NotRequired,
    TypedDict,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from rexnet import runs
from rexnet.budget import Budget
from rexnet.errors import UserError
from rexnet.search.candidates.protocol import Protocol
from rexnet.search.groups import complete
from rexnet.search.space import Space
from rexnet.spec import NetSpec


class Data(TypedDict):
    """What ``search.json`` says of the images."""

    name: str
    num_train: int
    num_held_out: int
    num_classes: int
    mean: list[float]
    std: list[float]


class Identity(TypedDict):
    """``search.json``."""

    data: Data
    space: Space
    protocol: Protocol
    sampler: dict[str, Any]
    latency: NotRequired[dict[str, Any]]


class Environment(TypedDict):
    """``environment.json``, as far as it is read."""

    python: str
    system: str
    num_cores: int
    packages: dict[str, str]


class Result(TypedDict):
    """``result.json``."""

    state: str
    reason: str
    num_trials: int
    num_complete: int
    num_pruned: int
    num_diverged: int
    num_died: int
    num_rejected: int


class Row(TypedDict):
    """A line of ``trials.jsonl``."""

    number: int
    state: str
    widths: list[int]
    expansions: NotRequired[list[int]]
    params: int
    total_params: int
    macs: int
    accuracy: float | None
    accuracies: list[float]
    loss: NotRequired[float]
    true_probability: NotRequired[float]
    first_loss: NotRequired[float]
    outcomes: NotRequired[list[dict[str, Any]]]
    seconds: float
    reason: str


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
    identity: Identity
    environment: Environment
    result: Result
    rows: list[Row]

    @property
    def budget(self) -> Budget:
        """The limits of the search."""
        return self.space.budget

    @property
    def space(self) -> Space:
        """What was searched."""
        return self.identity["space"]

    @property
    def template(self) -> NetSpec:
        """The network whose block widths were searched."""
        return self.space.template


def read_search(folder: Path) -> SearchRun:
    """Read the run folder of a search, finished or not.

    Raises:
        UserError: It is no such folder, a file in it is damaged, or no network was trained yet.
    """
    if not (folder / "search.json").exists():
        raise UserError(f"{folder} is no run folder of a search: it has no search.json")
    identity = _read(folder / "search.json", Identity)
    path, rows = folder / "trials.jsonl", []
    for line, value in enumerate(runs.read_jsonl(path), 1):
        where = f"{path}, line {line}"
        row: Row = _rebuilt(Row, value, where)
        rows.append(row)
        space = identity["space"]
        if len(row["widths"]) != space.num_blocks:
            raise UserError(f"{where}: widths {row['widths']} are not one for each block")
        if len(row.get("expansions", ())) != (space.num_blocks if space.varies else 0):
            raise UserError(f"{where}: expansions are to be one for each block where they vary")
        if row["state"] == "complete" and row["accuracy"] is None:
            raise UserError(f"{where}: a complete trial has no accuracy")
    if not complete(rows):
        raise UserError(
            f"{folder} has no network that was trained to the end ({len(rows)} were tried); "
            f"{_mend(rows)}"
        )
    return SearchRun(
        folder=folder,
        identity=identity,
        environment=_read(folder / "environment.json", Environment),
        result=_read(folder / "result.json", Result),
        rows=rows,
    )


def _mend(rows: Sequence[Row]) -> str:
    """Return what is to be done where no network was trained to the end."""
    if rows and all(row["state"] == "diverged" for row in rows):
        return "all diverged: search with a lower --lr in another --out"
    for row in reversed(rows):
        if row["state"] == "killed":
            return f"the last was killed ({row['reason']}): give its command again"
        if row["state"] == "died":
            return f"the last died ({row['reason']}): mend that and search on with more --trials"
    return "run its search further"


def _read(path: Path, kind: Any) -> Any:
    return _rebuilt(kind, runs.read_json(path), str(path))


def _rebuilt(kind: Any, value: Any, where: str) -> Any:
    """Return a JSON value as the type that it was written from; what that has not stays or is lost.

    Args:
        kind: A ``TypedDict``, whose values keep other keys, a dataclass, which has no others, a
            list, or what JSON has.
        value: What was read.
        where: The file and the field.

    Raises:
        UserError: It has another type or lacks a field; the field is named.
    """
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            known = ", ".join(get_args(kind))
            raise UserError(f"{where}: {json.dumps(value)} is none of {known}; the file is damaged")
        return value
    if kind == NetSpec | None:
        return value and NetSpec.from_json(json.dumps(value), where)
    if is_typeddict(kind) or dataclasses.is_dataclass(kind):
        # A class has the defaults of its fields.
        found, has_default = {}, getattr(kind, "__optional_keys__", None) or vars(kind)
        for name, inner in get_type_hints(kind).items():
            if name in _plain(value, (dict,), where):
                found[name] = _rebuilt(inner, value[name], f"{where}: {name}")
            elif name not in has_default:
                raise UserError(f"{where}: no field {name!r}; the file is damaged")
        return value | found if is_typeddict(kind) else kind(**found)
    if get_origin(kind) is list:
        return [_rebuilt(get_args(kind)[0], item, where) for item in _plain(value, (list,), where)]
    kinds = get_args(kind) if isinstance(kind, UnionType) else (get_origin(kind) or kind,)
    return _plain(value, (int, *kinds) if float in kinds else kinds, where)


def _plain(value: Any, kinds: tuple[type, ...], where: str) -> Any:
    if not isinstance(value, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise UserError(f"{where}: {json.dumps(value)} is no {names}; the file is damaged")
    return value
