"""The paper's claim at full length: networks of one cost and different shapes, trained alike.

Six networks of preset a, 30 epochs on all training images, judged on the test set, by which nothing
is chosen. Seeds are the outer loop, so that every finished round is a fair comparison. Run:

    python tools/claim.py --data cifar100 --out runs/claim

and the same again after a stop or a kill: trainings go on from their checkpoints. While the file
``pause`` is in the folder of --out, they wait. A finished training is a line of
``results/claim_DATA.jsonl``; one that has its line is not repeated.
"""

import argparse
import os
import time
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from panel import RESULTS, TABLE_3
from trainings import Ledger, Row, provenance, run

from rexnet import NetSpec, channels, cost, runs
from rexnet.budget import Budget, Count
from rexnet.data.image_sets import Images
from rexnet.data.sources import open_images
from rexnet.design import propose
from rexnet.families import search_network
from rexnet.runs.progress import OnProgress, Progress
from rexnet.search.candidates.outcomes import packed
from rexnet.search.config import PRESETS
from rexnet.studies.trainings import train_all
from rexnet.train.config import TrainConfig

RECIPE = "cifar"

JUMPS = {"late jump": (0, 0, 0, 1, 1), "early jump": (0, 1, 1, 1, 1)}
"""Shapes of the networks that widen at one block; Table 3's worst jumps at the last."""

BATCH = 250


def main() -> None:
    """Train what has no line yet, and add its line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", choices=("cifar100", "cifar10"), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5, help="Trainings a network")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="Trainings at a time")
    parser.add_argument("--set", nargs="*", default=(), help="Fields of the recipe: FIELD=VALUE")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    # What is asked for by hand goes first.
    os.nice(19)
    _, test = open_images(arguments.data)
    out, lines = arguments.out, arguments.results / f"claim_{arguments.data}.jsonl"
    networks = claimed(len(test.classes))
    with runs.locked(out):
        for name, spec in networks.items():
            runs.write_text(out / f"{name}.json", spec.to_json() + "\n")
        trainings = {
            (name, seed): TrainConfig(
                model=str(out / f"{name}.json"),
                data=arguments.data,
                recipe=RECIPE,
                set=tuple(arguments.set),
                out=str(out / f"{name}-{seed}"),
                seed=seed,
                device="cpu",
            )
            for seed, name in product(range(arguments.seeds), networks)
        }

        ledger = Ledger(
            lines=lines,
            trainings=trainings,
            done="result.json",
            line=lambda name, config: line(name, config, networks[name], test),
        )
        known = ledger.record()
        waiting = [config for key, config in trainings.items() if key not in known]
        job = partial(train, out / "pause")
        train_all(job, waiting, arguments.workers, ledger.watch())
        ledger.record()


def claimed(num_classes: int) -> dict[str, NetSpec]:
    """Return the networks by name: preset a's of Table 3, and shapes that fill its limits."""
    preset = PRESETS["a"]
    budget = Budget(
        params=int(Count(preset.params)), macs=int(Count(preset.macs)), count_classifier=False
    )
    template = search_network([1] * preset.blocks, num_classes)
    best, worst = TABLE_3["a"]
    shapes = {
        "line": np.linspace(0, 1, preset.blocks),
        "stage-wise": channels.stage_wise(template),
        **{name: np.array(shape, np.float64) for name, shape in JUMPS.items()},
    }
    found = {name: propose(template, shape, budget).spec for name, shape in shapes.items()}
    found |= {
        "Table 3, best": template.with_widths(best),
        "Table 3, worst": template.with_widths(worst),
    }
    return {name: replace(spec, name=name) for name, spec in found.items()}


def train(pause: Path, config: TrainConfig, on_progress: OnProgress) -> dict[str, Any]:
    """Train as ``rexnet train`` does, and wait while the file ``pause`` is there."""
    from rexnet.train import job

    def show(progress: Progress) -> None:
        on_progress(progress)
        while pause.exists():
            time.sleep(1)

    return job.run(config, show)


def line(name: str, config: TrainConfig, spec: NetSpec, test: Images) -> Row:
    """Return the line of a training that has ended."""
    folder = Path(config.out)
    result, total = runs.read_json(folder / "result.json"), cost.count(spec)
    environment = runs.read_json(folder / "environment.json")
    return {
        "network": name,
        "widths": list(spec.widths),
        "params": total.params - cost.classifier_params(spec, spec.widths[-1]),
        "macs": total.macs,
        "seed": config.seed,
        **judged(folder, test),
        **{key: result[key] for key in ("epochs", "num_train", "seconds")},
        "recipe": [config.recipe, *config.set],
        **provenance(),
        "cores": environment["num_cores"],
        "torch": environment["packages"]["torch"],
    }


def judged(folder: Path, test: Images) -> Row:
    """Return how good the model of a run folder is on the test images, and which it gets right."""
    from rexnet.nn.hub import load_model

    return outcomes(load_model(folder), test)


def outcomes(model: Any, test: Images) -> Row:
    """Return how good a network is on the test images, and which it gets right."""
    import torch
    from torch.nn import functional as F

    from rexnet.data.loader import LabelledImages, evaluation_batches
    from rexnet.data.transforms import evaluation_transform

    samples = LabelledImages(test, evaluation_transform(model.preprocessing))
    with torch.inference_mode():
        logits = torch.cat([model(x) for x, _ in evaluation_batches(samples, batch_size=BATCH)])
    labels = torch.from_numpy(test.labels)
    ranked = logits.topk(5).indices == labels[:, None]
    return {
        "top1": float(ranked[:, 0].double().mean()),
        "top5": float(ranked.any(1).double().mean()),
        "loss": float(F.cross_entropy(logits, labels)),
        "right": packed(ranked[:, 0].numpy()),
    }


def read(lines: Path) -> list[Row]:
    """Return the lines of the trainings that have ended."""
    return runs.read_jsonl(lines) if lines.exists() else []


if __name__ == "__main__":
    run(main)
