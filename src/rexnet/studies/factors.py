"""The factor study (section 3, Table 2): what accuracy and rank owe to each rule of design."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rexnet import families, runs
from rexnet.data.sources import check_source
from rexnet.errors import UserError
from rexnet.paper import TABLE_2
from rexnet.runs.progress import OnProgress, counting
from rexnet.studies.config import FactorStudy
from rexnet.studies.rank.config import MAX_IMAGES, NetworkStudy
from rexnet.studies.study import Row, TrainingStudy, with_error
from rexnet.studies.trainings import Train, mean_and_stderr, opened, train_all, train_variants
from rexnet.train import recipe


def check(config: FactorStudy) -> None:
    """Check recipe and images.

    Raises:
        UserError: One of them is not there.
    """
    recipe.load(config.recipe, config.set)
    check_source(config.data)


def run(
    config: FactorStudy,
    on_progress: OnProgress,
    train: Train = train_all,
) -> list[dict[str, Any]]:
    """Train what is not trained yet, and return the lines of ``table.json``.

    The folder then holds ``trainings.jsonl`` too, a line a training with the ``nuclear_norm`` and
    the ``effective_rank`` of the final feature, of all validation images.

    Args:
        config: What is trained, and how.
        on_progress: Called whenever a training tells how far it is, and after each look at a
            trained network.
        train: Trains by configs as ``train_all`` does.

    Raises:
        UserError: The config cannot be used, the folder holds something else, or a training
            failed; the others are not harmed.
    """
    folder = Path(config.out)
    specs = {name: families.factors(name) for name in families.FACTORS}
    on_look = counting(on_progress, "networks looked at")
    with opened("factors.json", specs, config):
        places = train_variants(specs, config, on_progress, train)
        rows = []
        for (name, seed), place in places.items():
            result = runs.read_json(place / "result.json")
            found = _final_feature(config, place, result["num_images"])
            rows.append({"network": name, "seed": seed, **result, **found})
            on_look(len(rows), len(places))
        table = summarise(rows)
        runs.write_jsonl(folder / "trainings.jsonl", rows)
        runs.write_json(folder / "table.json", {"table": table})
    return table


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a line of Table 2 for each network of ``rows``, the lines of ``trainings.jsonl``.

    Means and standard errors over seeds, top-1 in percent; the error of a single seed is None.
    ``gain`` is the nuclear norm by the baseline's.
    """
    table: list[dict[str, Any]] = []
    for name, paper in TABLE_2.items():
        mine = [row for row in rows if row["network"] == name]
        top1, top1_stderr = mean_and_stderr([100 * row["top1"] for row in mine])
        norm, norm_stderr = mean_and_stderr([row["nuclear_norm"] for row in mine])
        table.append(
            {
                "network": name,
                "seeds": len(mine),
                "top1": top1,
                "top1_stderr": top1_stderr,
                "nuclear_norm": norm,
                "nuclear_norm_stderr": norm_stderr,
                "gain": norm / table[0]["nuclear_norm"] if table else 1.0,
                "macs": mine[0]["macs"],
                "params": mine[0]["params"],
                "paper_top1": paper.top1,
                "paper_nuclear_norm": paper.nuclear_norm,
                "paper_gain": paper.nuclear_norm / TABLE_2["baseline"].nuclear_norm,
            }
        )
    return table


def _final_feature(config: FactorStudy, place: Path, num_images: int) -> dict[str, Any]:
    """Return nuclear norm and effective rank of the final feature of a trained network.

    Raises:
        UserError: Those at hand are not of all images to validate on.
    """
    from rexnet.studies.rank import network

    out = place / "rank"
    if not (out / network.BLOCKS).exists():
        study = NetworkStudy(model=str(place), data=config.data, images=MAX_IMAGES, out=str(out))
        network.run(study, lambda progress: None)
    *_, final = runs.read_jsonl(out / network.BLOCKS)
    if final.get("images") != min(num_images, MAX_IMAGES):
        raise UserError(
            f"{out} is of {final.get('images')} images, not of {num_images}; remove it, and it is "
            "made anew"
        )
    return {key: final[key] for key in ("nuclear_norm", "effective_rank")}


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row["network"],
        str(row["seeds"]),
        with_error(row, "top1", ".2f"),
        with_error(row, "nuclear_norm", ".2f"),
        f"{row['gain']:.3f}",
        f"{row['macs']:,}",
        f"{row['params']:,}",
        f"{row['paper_top1']:.1f}",
        f"{row['paper_nuclear_norm']:.1f}",
        f"{row['paper_gain']:.3f}",
    )


STUDY = TrainingStudy(
    words="What accuracy and rank owe to each rule of design (Table 2)",
    config=FactorStudy,
    check=check,
    run=run,
    header=(
        *("network", "seeds", "top-1 (%)", "nuclear norm", "by the baseline's", "MACs", "params"),
        *("paper: top-1", "norm", "by the baseline's"),
    ),
    cells=_cells,
)
