"""The file of a search under a budget of time that says what predicts times: ``latency.json``."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rexnet import runs
from rexnet.errors import UserError
from rexnet.latency import Predictor

FILE = "latency.json"


def write_predictor(folder: Path, predictor: Predictor) -> None:
    """Write what predicts times into a run folder.

    Raises:
        UserError: The file cannot be written.
    """
    runs.write_json(folder / FILE, dataclasses.asdict(predictor))


def read_predictor(folder: Path) -> Predictor:
    """Read what ``write_predictor`` wrote.

    Raises:
        UserError: The file is missing or damaged.
    """
    fields = runs.read_json(folder / FILE)
    try:
        predictor = Predictor(**fields)
        costs = {str(name): float(cost) for name, cost in predictor.costs.items()}
    except (TypeError, ValueError, AttributeError):
        raise UserError(f"{folder / FILE} is damaged: it holds no predictor of latency") from None
    return dataclasses.replace(predictor, costs=costs)


def check_device(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Check that the times in a run folder were measured on the device of today.

    Raises:
        UserError: They were not; what differs is named.
    """
    found = list(runs.differences(old, new))
    if found:
        raise UserError(
            f"the times in {folder / FILE} are of another device: {runs.told(found)}; go on there, "
            "or give another --out"
        )
