"""The nonlinearity study (appendix, C.1 and Table A2)."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rexnet import runs
from rexnet.data.sources import check_source
from rexnet.nn.sources import resolve
from rexnet.paper import TABLE_A2
from rexnet.runs.progress import OnProgress
from rexnet.spec import Activation, NetSpec
from rexnet.studies.config import ActivationStudy
from rexnet.studies.study import Row, TrainingStudy, or_dash, with_error
from rexnet.studies.trainings import Train, mean_and_stderr, opened, train_all, train_variants
from rexnet.train import recipe


def check(config: ActivationStudy) -> None:
    """Check recipe, network and images.

    Raises:
        UserError: One of them is not there.
    """
    recipe.load(config.recipe, config.set)
    resolve(config.model)
    check_source(config.data)


def with_activation(spec: NetSpec, activation: Activation) -> NetSpec:
    """Return ``spec`` with another activation after its expansions.

    These are the expanding convolution of every block that has one, and the penultimate
    convolution. The stem and what follows the depthwise convolutions stay.
    """
    blocks = tuple(
        dataclasses.replace(block, expand_act=activation) if block.expansion != 1 else block
        for block in spec.blocks
    )
    return dataclasses.replace(
        spec, name=f"{spec.name}-{activation}", blocks=blocks, penultimate_act=activation
    )


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a line of Table A2 for each activation of ``rows``, the lines of ``trainings.jsonl``.

    Means and standard errors over seeds are in percent; the error of a single seed is None.
    """
    table = []
    for name in dict.fromkeys(row["activation"] for row in rows):
        mine = [row for row in rows if row["activation"] == name]
        line: dict[str, Any] = {"activation": name, "seeds": len(mine)}
        for metric in ("top1", "top5"):
            found = mean_and_stderr([100 * row[metric] for row in mine])
            line[metric], line[f"{metric}_stderr"] = found
        paper = TABLE_A2.get(name)
        line |= {"macs": mine[0]["macs"], "params": mine[0]["params"]}
        line |= {"paper_top1": paper and paper.top1, "paper_top5": paper and paper.top5}
        table.append(line)
    return table


def verdict(table: Sequence[Row]) -> dict[str, Any]:
    """Compare the order of a table with the paper's.

    Returns:
        ``order``, best first; of the pairs that differ in the paper ``pairs``, how many are in the
        same order (``agree``), and how many are apart by more than two standard errors of their
        difference in the same order (``confirmed``) and in the other one (``contradicted``).
    """
    known = [line for line in table if line["paper_top1"] is not None]
    counts = {"pairs": 0, "agree": 0, "confirmed": 0, "contradicted": 0}
    for a, b in itertools.combinations(known, 2):
        expected = a["paper_top1"] - b["paper_top1"]
        if not expected:
            continue
        found = (a["top1"] - b["top1"]) * np.sign(expected)
        errors = [line["top1_stderr"] for line in (a, b)]
        counts["pairs"] += 1
        counts["agree"] += bool(found > 0)
        if None not in errors:
            noise = 2 * float(np.hypot(*errors))
            counts["confirmed"] += bool(found > noise)
            counts["contradicted"] += bool(-found > noise)
    ordered = sorted(table, key=lambda line: -line["top1"])
    return {"order": [line["activation"] for line in ordered], **counts}


def run(
    config: ActivationStudy, on_progress: OnProgress, train: Train = train_all
) -> list[dict[str, Any]]:
    """Train what is not trained yet, and return the lines of ``table.json``.

    The folder then holds ``trainings.jsonl``, a line a training, and ``table.json`` with the table
    and the verdict on its order.

    Raises:
        UserError: The config cannot be used, the folder holds something else, or a training
            failed; the others are not harmed.
    """
    folder, spec = Path(config.out), resolve(config.model)
    specs: dict[str, NetSpec] = {name: with_activation(spec, name) for name in config.activations}
    model = {"name": spec.name, "spec_id": spec.spec_id}
    with opened("activations.json", specs, config, model=model):
        places = train_variants(specs, config, on_progress, train)
        rows = [
            {"activation": name, "seed": seed, **runs.read_json(place / "result.json")}
            for (name, seed), place in places.items()
        ]
        table = summarise(rows)
        runs.write_jsonl(folder / "trainings.jsonl", rows)
        runs.write_json(folder / "table.json", {"table": table, **verdict(table)})
    return table


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row["activation"],
        str(row["seeds"]),
        with_error(row, "top1", ".2f"),
        with_error(row, "top5", ".2f"),
        f"{row['macs']:,}",
        f"{row['params']:,}",
        or_dash(row["paper_top1"], ".1f"),
    )


def _conclusion(rows: Sequence[Row]) -> str:
    found = verdict(rows)
    return (
        f"Best first: {', '.join(found['order'])}. Of {found['pairs']} pairs that differ in Table "
        f"A2, {found['agree']} are in its order; {found['confirmed']} by more than two standard "
        f"errors, and {found['contradicted']} are in the other order by as much."
    )


STUDY = TrainingStudy(
    words="The nonlinearity study (Table A2)",
    config=ActivationStudy,
    values={"activations": "To compare"},
    check=check,
    run=run,
    header=("activation", "seeds", "top-1 (%)", "top-5 (%)", "MACs", "params", "paper: top-1"),
    cells=_cells,
    conclusion=_conclusion,
)
