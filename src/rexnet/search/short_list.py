"""The best networks of a search, measured for real under a budget of time."""

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rexnet import runs
from rexnet.errors import UserError
from rexnet.latency import Clock, Limit, disturbance
from rexnet.search.groups import complete
from rexnet.search.space import Space

NUM_NETWORKS = 5

FOLDER, FILE = "short_list", "short_list.json"


def best(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the lines of the most accurate networks, the best first."""
    return complete(rows)[:NUM_NETWORKS]


def weights_of(folder: Path, number: int) -> Path:
    """Return where the weights of a network on the short list are kept."""
    return folder / FOLDER / f"{number}.safetensors"


def keep(folder: Path, number: int, weights: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep the weights of a new network if it is on the short list.

    Args:
        folder: The run folder.
        number: The trial.
        weights: Its weights; they stay where they are.
        rows: The lines of all networks so far, this one included.

    Raises:
        UserError: The folder cannot be written to.
    """
    if weights.exists() and any(row["number"] == number for row in best(rows)):
        runs.write_bytes(weights_of(folder, number), weights.read_bytes())


def forget(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Remove the weights of networks that are on the short list no more."""
    wanted = {weights_of(folder, row["number"]) for row in best(rows)}
    for path in (folder / FOLDER).glob("*.safetensors"):
        if path not in wanted:
            path.unlink(missing_ok=True)


def choose(
    folder: Path,
    space: Space,
    rows: Sequence[Mapping[str, Any]],
    limit: Limit,
    clock: Clock,
) -> None:
    """Measure the short list and make the best network that keeps the budget the best of all.

    Writes ``short_list.json``, ``best.json`` and ``best.safetensors``. If none keeps it, the best
    network stays the most accurate one. A list that was measured on a quiet machine is not measured
    again.

    Args:
        folder: The run folder.
        space: What was searched.
        rows: The lines of all networks.
        limit: The budget of time.
        clock: What measures.

    Raises:
        UserError: The folder cannot be written to.
    """
    short = best(rows)
    specs = [space.of(row["widths"], row.get("expansions")) for row in short]
    numbers = [row["number"] for row in short]
    with suppress(UserError, KeyError, TypeError):
        known = runs.read_json(folder / FILE)
        if [row["number"] for row in known["networks"]] == numbers and not known["busy"]:
            return
    if not short:
        return
    measured = clock.measure(specs)
    found = [
        {
            "number": row["number"],
            "accuracy": row["accuracy"],
            "predicted": round(limit.predictor.predict(spec), 6),
            **dataclasses.asdict(its),
            "keeps": its.keeps(limit.budget),
        }
        for row, spec, its in zip(short, specs, measured, strict=True)
    ]
    inside = [place for place, row in enumerate(found) if row["keeps"]]
    chosen = inside[0] if inside else 0
    kept = weights_of(folder, numbers[chosen])
    if kept.exists():
        runs.write_bytes(folder / "best.safetensors", kept.read_bytes())
        runs.write_text(folder / "best.json", specs[chosen].to_json() + "\n")
    best_number = numbers[chosen] if inside else None
    runs.write_json(
        folder / FILE,
        {
            "budget": str(limit.budget),
            "device": clock.device,
            "busy": disturbance(measured),
            "best": best_number,
            "networks": found,
        },
    )
