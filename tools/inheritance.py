"""Weights at any width on real photographs: a fine-tuning of each way to spend fewer MACs.

Everything starts from EfficientNet-Lite0 with weights of ImageNet and is fine-tuned by one recipe;
shares of MACs are of its at 120 pixels. Seeds are the outer loop. Run:

    python tools/inheritance.py --data FOLDER --out runs/inheritance

and the same again after a stop or a kill: trainings go on from their checkpoints. While the file
``pause`` is in the folder of --out, they wait. A finished training is a line of
``results/inheritance.jsonl``; one that has its line is not repeated.
"""

import argparse
import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from claim import judged, outcomes
from panel import RESULTS
from trainings import Ledger, Row, provenance, run

from rexnet import NetSpec, channels, cost, design, families, runs
from rexnet.budget import Budget
from rexnet.data.sources import open_images
from rexnet.runs.progress import OnProgress, Progress
from rexnet.studies.trainings import train_all
from rexnet.train.config import TrainConfig

SOURCE, WEIGHTS = "efficientnet_lite0", "pypi"

RESOLUTION = 120

SIDES = (120, 88, 64, 160, 224)
"""Sides in pixels at which the whole network has 31, 15, 8, 51 and 100 % of its MACs at 224."""

JUDGED = "judged.json"

SHARES = (0.7, 0.5, 0.3)

BOTH = {0.7: 112, 0.5: 104, 0.3: 88}
"""The side at which half of the saving is left to the widths."""

RECIPE = ("epochs=8", "warmup_epochs=1")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A way to a network of fewer MACs.

    Attributes:
        name: What it is called in the table.
        spec: The network.
        weights: What it starts from; None for new weights.
        taught: Whether the whole network, fine-tuned with the same seed, is its teacher.
        pruned: The share of MACs that Torch-Pruning leaves of timm's network; 0 is without.
    """

    name: str
    spec: NetSpec
    weights: str | None = WEIGHTS
    taught: bool = False
    pruned: float = 0.0


def arms() -> list[Arm]:
    """Return all ways, the whole network first: it is the teacher of others."""
    whole, found = families.get(SOURCE), []
    for share in SHARES:
        line = on_line(share, RESOLUTION)
        found += [
            Arm(name=f"line, {share:.0%}", spec=line),
            Arm(name=f"line, {share:.0%}, distilled", spec=line, taught=True),
            Arm(name=f"line, {share:.0%}, new weights", spec=line, weights=None),
            Arm(name=f"line, {share:.0%}, {BOTH[share]} px", spec=on_line(share, BOTH[share])),
        ]
    found.append(Arm(name="uniform, 50%", spec=uniform(0.5)))
    pruned = [
        Arm(name=f"Torch-Pruning, {s:.0%}", spec=at(whole, RESOLUTION), pruned=s)
        for s in (0.5, 0.3)
    ]
    sides = [Arm(name=f"whole, {side} px", spec=at(whole, side)) for side in SIDES]
    return [sides[0], *found, *pruned, *sides[1:]]


def at(spec: NetSpec, side: int) -> NetSpec:
    """Return a network for images of another side."""
    return dataclasses.replace(spec, resolution=side)


def template() -> NetSpec:
    """Return the source with shortcuts that fit any widths."""
    return channels.with_shortcuts_kept(families.get(SOURCE))


def on_line(share: float, side: int) -> NetSpec:
    """Return the source's line with a share of its MACs at 120 pixels, for images of ``side``."""
    macs = int(share * cost.count(families.get(SOURCE), RESOLUTION).macs)
    return design.on_line(at(template(), side), Budget(macs=macs)).spec


def uniform(share: float) -> NetSpec:
    """Return the source with all block widths multiplied alike, for a share of its MACs."""
    source = at(template(), RESOLUTION)
    macs = int(share * cost.count(source).macs)
    widths = np.array(source.widths, np.float64)
    return design.largest_inside(source, widths, Budget(macs=macs)).spec


def main() -> None:
    """Train what has no line yet, and add its line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True, help="Photographs, as tools/crops.py makes them")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3, help="Trainings a network")
    parser.add_argument("--workers", type=int, default=1, help="Trainings at a time")
    parser.add_argument("--only", nargs="*", help="Names of ways (default: all)")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    out, lines = arguments.out, arguments.results / "inheritance.jsonl"
    known_arms = [a for a in arms() if arguments.only is None or a.name in arguments.only]
    pruned = {arm.name: arm.pruned for arm in known_arms}
    with runs.locked(out):
        trainings = {
            (arm.name, seed): config_of(arm, seed, arguments.data, out)
            for seed, arm in product(range(arguments.seeds), known_arms)
        }
        shares = {config.out: pruned[name] for (name, _), config in trainings.items()}
        ledger = Ledger(lines=lines, trainings=trainings, done=JUDGED, line=line)
        # A teacher must have ended before its students begin.
        for seed, taught in product(range(arguments.seeds), (False, True)):
            known = ledger.record()
            waiting = [
                config
                for key, config in trainings.items()
                if key not in known
                and key[1] == seed
                and any("teacher=" in s for s in config.set) == taught
            ]
            job = partial(train, out / "pause", shares)
            train_all(job, waiting, arguments.workers, ledger.watch())
        ledger.record()


def config_of(arm: Arm, seed: int, data: str, out: Path) -> TrainConfig:
    """Return the training of a network by a seed."""
    place = out / arm.name.replace(" ", "-").replace(",", "").replace("%", "")
    spec = place.with_suffix(".json")
    runs.write_text(spec, arm.spec.to_json() + "\n")
    settings = [*RECIPE, f"resolution={arm.spec.resolution}"]
    if arm.weights is None:
        settings.append("pretrained=false")
    if arm.taught:
        settings.append(f"teacher={out / f'whole-{RESOLUTION}-px-{seed}'}")
    return TrainConfig(
        model=str(spec),
        data=data,
        recipe="finetune",
        set=tuple(settings),
        weights=arm.weights,
        out=f"{place}-{seed}",
        seed=seed,
        device="cpu",
    )


def train(
    pause: Path, shares: Mapping[str, float], config: TrainConfig, on_progress: OnProgress
) -> dict[str, Any]:
    """Train as ``rexnet train`` does, waiting while ``pause`` is there, and judge the result."""
    from rexnet.train import job
    from rexnet.train.start import starting_network

    pruned, folder = [], Path(config.out)

    def show(progress: Progress) -> None:
        on_progress(progress)
        while pause.exists():
            time.sleep(1)

    def make_start(*given: Any) -> Any:
        pruned.append(pruned_start(shares[config.out], *given))
        return pruned[-1]

    ways = {"make_start": make_start} if shares[config.out] else {"make_start": starting_network}
    result = job.run(config, show, **ways)
    _, val = open_images(config.data)
    # What is pruned has no name to be read by: it is judged while it is in memory.
    found = outcomes(pruned[-1].model.eval(), val) if pruned else judged(folder, val)
    runs.write_json(folder / JUDGED, found)
    return result


def pruned_start(share: float, config: TrainConfig, recipe: Any, data: Any) -> Any:
    """Return timm's network with a share of its MACs, as Torch-Pruning 1.6 prunes it."""
    import timm
    import torch
    import torch_pruning as tp
    from torch import nn

    from rexnet.nn.create import create_model
    from rexnet.nn.model_folder import TimmModel
    from rexnet.nn.timm_models import TimmNetwork
    from rexnet.train.inherited import sample
    from rexnet.train.start import Start

    ours = create_model(SOURCE, WEIGHTS)
    body: Any = timm.create_model(f"tf_{SOURCE}")
    # The tensors stand in the same order.
    pairs = zip(body.state_dict(), ours.state_dict().values(), strict=True)
    body.load_state_dict(dict(pairs))
    torch.manual_seed(config.seed)
    example = torch.zeros(1, 3, RESOLUTION, RESOLUTION)
    pruner = tp.pruner.BasePruner(
        body.eval(),
        example,
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=0.9,
        iterative_steps=120,
        ignored_layers=[body.classifier],
    )
    whole, _ = tp.utils.count_ops_and_params(body, example)
    while tp.utils.count_ops_and_params(body, example)[0] > share * whole:
        pruner.step()
    preprocessing = dataclasses.replace(ours.preprocessing, resolution=recipe.resolution)
    _refresh(body, sample(data.train, preprocessing))
    classes = data.train.classes
    body.num_features = body.head_hidden_size = body.classifier.in_features
    body.classifier = nn.Linear(body.num_features, len(classes))
    body.num_classes = len(classes)
    body.drop_rate = recipe.dropout
    model = TimmNetwork(body, TimmModel(name=f"tf_{SOURCE}", num_classes=len(classes)))
    model.preprocessing, model.classes = preprocessing, classes
    return Start(model=model, inherited={}, has_new_classifier=True)


def _refresh(body: Any, images: Any) -> None:
    """Set the statistics of all batch norms to those of the images, as theirs is set here."""
    import torch
    from torch import nn

    norms = [m for m in body.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    body.train()
    with torch.no_grad():
        for batch in images.split(64):
            body(batch)
    for norm in norms:
        norm.momentum = 0.1


def line(name: str, config: TrainConfig) -> Row:
    """Return the line of a training that has ended."""
    folder = Path(config.out)
    result = runs.read_json(folder / "result.json")
    spec = NetSpec.load(config.model)
    return {
        "network": name,
        "widths": list(spec.widths),
        "params": result["params"],
        "macs": result["macs"],
        "resolution": spec.resolution,
        "seed": config.seed,
        **runs.read_json(folder / JUDGED),
        "probe_top1": result.get("probe_top1"),
        **{key: result[key] for key in ("num_images", "epochs", "num_train", "seconds")},
        "recipe": [config.recipe, *(s for s in config.set if not s.startswith("teacher="))],
        **provenance(),
    }


if __name__ == "__main__":
    run(main)
