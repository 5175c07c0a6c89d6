"""A search's run folder, read back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rexnet import runs
from rexnet.design import Budget
from rexnet.errors import UserError
from rexnet.families import search_network
from rexnet.report.analysis import complete
from rexnet.spec import NetSpec

FIELDS = ("number", "state", "widths", "params", "macs", "accuracy", "accuracies", "seconds")


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
    rows = runs.read_jsonl(folder / "trials.jsonl")
    for line, row in enumerate(rows, 1):
        missing = [field for field in FIELDS if field not in row]
        if missing:
            raise UserError(f"{folder / 'trials.jsonl'}, line {line}: no field {missing[0]!r}")
    if not complete(rows):
        raise UserError(f"{folder} has no trained network yet; run its search further")
    return SearchRun(
        folder=folder,
        identity=runs.read_json(folder / "search.json"),
        environment=runs.read_json(folder / "environment.json"),
        result=runs.read_json(folder / "result.json"),
        rows=rows,
    )
