"""Detectors on several backbones, trained alike (Tables A3 and A4)."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rexnet import runs
from rexnet.data.coco.layouts import find_part
from rexnet.detect import recipe
from rexnet.detect.config import DetectTrainConfig
from rexnet.errors import UserError
from rexnet.nn.sources import check_model
from rexnet.paper import TABLE_A3, TABLE_A4, Precision
from rexnet.runs.parallel import at_a_time
from rexnet.runs.progress import OnProgress
from rexnet.studies.config import DetectionStudy
from rexnet.studies.study import Row, TrainingStudy, or_dash, with_error
from rexnet.studies.trainings import Train, mean_and_stderr, train_all

METRICS = ("ap", "ap50", "ap75")


def check(config: DetectionStudy) -> None:
    """Check recipe, backbones, images and weights.

    Raises:
        UserError: One of them is not there.
    """
    recipe.load(config.recipe, config.set)
    for part in ("train", "val"):
        find_part(config.data, part)
    # Trainings that go on have their own.
    weights = None if Path(config.out).exists() else config.weights
    for backbone in config.backbones:
        check_model(backbone, weights)


def run(
    config: DetectionStudy, on_progress: OnProgress, train: Train = train_all
) -> list[dict[str, Any]]:
    """Train what is not trained yet, and return the lines of ``table.json``.

    The folder then holds ``trainings.jsonl``, a line a training, too.

    Raises:
        UserError: The config cannot be used, the folder holds something else, or a training
            failed; the others are not harmed.
    """
    from rexnet.detect import job

    folder = Path(config.out)
    # A study that is stopped has as many seeds of one backbone as of another.
    jobs = {
        folder / f"{name.replace(':', '-').replace('/', '-')}-{seed}": (name, seed)
        for seed, name in itertools.product(range(config.seeds), config.backbones)
    }
    if len(jobs) < config.seeds * len(config.backbones):
        raise UserError("two backbones have one name for their folder; rename a spec")
    with _opened(config, jobs):
        configs = [_training(config, name, seed, place) for place, (name, seed) in jobs.items()]
        parallel = at_a_time(config.parallel, config.device)
        train(job.run, configs, parallel, on_progress)
        rows = [
            {"backbone": name, "seed": seed, **runs.read_json(place / "result.json")}
            for place, (name, seed) in jobs.items()
        ]
        table = summarise(rows, TABLE_A4 if config.from_scratch else TABLE_A3)
        runs.write_jsonl(folder / "trainings.jsonl", rows)
        runs.write_json(folder / "table.json", {"table": table})
    return table


def summarise(
    rows: Sequence[dict[str, Any]], paper: Mapping[str, Precision]
) -> list[dict[str, Any]]:
    """Return a line for each backbone of ``rows``, the lines of ``trainings.jsonl``.

    Means and standard errors over seeds are in percent; the error of a single seed is None.
    """
    table = []
    for name in dict.fromkeys(row["backbone"] for row in rows):
        mine = [row for row in rows if row["backbone"] == name]
        line: dict[str, Any] = {"backbone": name, "seeds": len(mine)}
        published = paper.get(name, (None, None, None))
        for metric, value in zip(METRICS, published, strict=True):
            mean, error = mean_and_stderr([100 * row[metric] for row in mine])
            line |= {metric: mean, f"{metric}_stderr": error, f"paper_{metric}": value}
        table.append(line | {"params": mine[0]["params"], "macs": mine[0]["macs"]})
    return table


@contextmanager
def _opened(config: DetectionStudy, jobs: Mapping[Path, tuple[str, int]]) -> Iterator[None]:
    """Open the folder of a study, new or the same; seeds and backbones may be other ones."""
    import torch

    from rexnet.detect import job
    from rexnet.train.distributed import on_gpu
    from rexnet.train.run_folder import opened_study

    how = recipe.load(config.recipe, config.set)
    how = how.from_scratch() if config.from_scratch else how
    train, val = job.open_parts(_training(config, config.backbones[0], 0, Path(config.out)))
    how = dataclasses.replace(how, batch_size=min(how.batch_size, len(train)))
    device = torch.device("cuda" if on_gpu(config.device) else "cpu")
    prints = train.fingerprint(), val.fingerprint()
    common = job.common(how, train, prints, config.weights, device)
    trainings = {}
    for place, (name, seed) in jobs.items():
        weights = _training(config, name, seed, place).start(how)
        backbone = job.backbone_id(name, weights)
        trainings[place] = {**common, "backbone": backbone, "seed": seed}
    with opened_study(Path(config.out), "detection.json", common, trainings):
        yield


def _training(config: DetectionStudy, name: str, seed: int, place: Path) -> DetectTrainConfig:
    return DetectTrainConfig(
        backbone=name,
        data=config.data,
        recipe=config.recipe,
        set=config.set,
        weights=None if config.from_scratch else config.weights,
        from_scratch=config.from_scratch,
        out=str(place),
        seed=seed,
        device=config.device,
        skip_corrupt=config.skip_corrupt,
    )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row["backbone"],
        str(row["seeds"]),
        *(with_error(row, metric, ".1f") for metric in METRICS),
        f"{row['params'] / 1e6:.1f}M",
        f"{row['macs'] / 1e9:.2f}B",
        or_dash(row["paper_ap"], ".1f"),
    )


STUDY = TrainingStudy(
    words="Detectors on several backbones (Tables A3 and A4)",
    config=DetectionStudy,
    values={"backbones": "To compare: names, specs in JSON, run folders, timm:NAME"},
    flags={
        "from_scratch": "Start from new weights and train twice as long (Table A4)",
        "skip_corrupt": "Leave out images that cannot be read and boxes without area",
    },
    check=check,
    run=run,
    header=("backbone", "seeds", "AP", "AP50", "AP75", "params", "MACs", "paper: AP"),
    cells=_cells,
)
