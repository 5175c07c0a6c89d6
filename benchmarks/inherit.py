"""Seconds to cut a trained network to half its MACs: ours against Torch-Pruning.

Ours inherits with importances, statistics and a refit from 256 images of 224 pixels; Torch-Pruning
prunes timm's network of the same layers by magnitude and refreshes batch norms on the same images.
Weights are random, threads the same. Two cases: EfficientNet-Lite0, where both take turns in one
process, and rexnet_0.5 from rexnet_1.0. There Torch-Pruning has a process of its own with a limit
of time: it follows all slices and concatenations of channels, of which timm's shortcuts are made.
The ratio is that of the first case. Run:

    pip install torch-pruning==1.6.1
    python benchmarks/inherit.py

About 10 minutes on 2 cores.
"""

import argparse
import dataclasses
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import timm
import torch
from _turns import Deadline
from torch import Tensor, nn

import rexnet
from rexnet import NetSpec, families
from rexnet.cost import count
from rexnet.nn.network import Network

NUM_IMAGES, SIDE, BATCH_SIZE = 256, 224, 32
WIDTH = 0.7
"""Of EfficientNet-Lite0's blocks, which leaves half of its MACs."""

SHARE_OUT = 0.3
"""Of every layer's channels that Torch-Pruning takes out, for the same MACs."""

GOAL = 2.0
"""Torch-Pruning's seconds over ours."""


def main() -> None:
    """Print the seconds of every turn, then one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="Of the turns (default: 5)")
    parser.add_argument("--limit", type=float, default=300.0, help="Seconds of Torch-Pruning's "
                        "attempt at rexnet_100 (default: 300)")  # fmt: skip
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="Of each")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    images = torch.randn(NUM_IMAGES, 3, SIDE, SIDE)
    lite = families.get("efficientnet_lite0")
    half = narrower(lite, WIDTH)
    turns = take_turns(
        {
            "ours": partial(rexnet.inherit, Network(lite), half, images=images),
            "theirs": partial(prune, "tf_efficientnet_lite0", SHARE_OUT, images),
        },
        arguments.minutes,
    )
    whole, part = families.get("rexnet_1.0"), families.get("rexnet_0.5")
    ours = timed(partial(rexnet.inherit, Network(whole), part, images=images))
    theirs = within(arguments.limit, arguments.threads)
    rexnet_case = {"ours": round(ours, 2), "theirs": theirs, "limit": arguments.limit}
    print(json.dumps(result(turns, half, rexnet_case) | {"threads": arguments.threads}))


def narrower(spec: NetSpec, width: float) -> NetSpec:
    """Return a network with the same share of the channels of every block."""
    changed = spec.with_widths([round(width * each) for each in spec.widths], name="narrower")
    return dataclasses.replace(changed, stem_width=round(width * spec.stem_width))


def prune(name: str, share_out: float, images: Tensor) -> nn.Module:
    """Prune a network of timm by magnitude as Torch-Pruning's page does, and refresh its norms."""
    import torch_pruning

    model: Any = timm.create_model(name).eval()
    pruner = torch_pruning.pruner.BasePruner(
        model,
        images[:1],
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=share_out,
        ignored_layers=[model.get_classifier()],
    )
    pruner.step()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            # None takes the mean over all batches.
            module.momentum = None
    with torch.no_grad():
        model.train()
        for batch in images.split(BATCH_SIZE):
            model(batch.contiguous(memory_format=torch.channels_last))
    return model.eval()


def take_turns(calls: dict[str, Callable[[], Any]], minutes: float) -> dict[str, list[float]]:
    """Return the seconds of each call, one after the other in every turn."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in Deadline(minutes).turns(12, 3):
        for name, call in calls.items():
            seconds[name].append(timed(call))
            print(f"{name:8} {seconds[name][-1]:6.2f} s", flush=True)
    return seconds


def timed(call: Callable[[], Any]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def within(limit: float, threads: int) -> float | None:
    """Return Torch-Pruning's seconds for rexnet_100, or None if they are more than the limit."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=prune_rexnet, args=(threads,), daemon=True)
    start = time.perf_counter()
    process.start()
    process.join(limit)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    assert process.exitcode == 0, "Torch-Pruning failed; its error stands above"
    return round(time.perf_counter() - start, 1)


def prune_rexnet(threads: int) -> None:
    """Prune rexnet_100, in a process of its own."""
    torch.set_num_threads(threads)
    prune("rexnet_100", 0.45, torch.randn(NUM_IMAGES, 3, SIDE, SIDE))


def result(
    turns: dict[str, list[float]], spec: NetSpec, rexnet_case: dict[str, Any]
) -> dict[str, Any]:
    """Return what is printed as JSON."""
    pairs = zip(turns["theirs"], turns["ours"], strict=True)
    ratios = sorted(theirs / ours for theirs, ours in pairs)
    ratio = statistics.median(ratios)
    pruned = prune("tf_efficientnet_lite0", SHARE_OUT, torch.randn(2, 3, SIDE, SIDE))
    return {
        "benchmark": "inherit",
        "reference": "torch-pruning of timm tf_efficientnet_lite0 by magnitude, 256 images",
        "ratio": round(ratio, 2),
        "spread": [round(ratios[0], 2), round(ratios[-1], 2)],
        "goal": GOAL,
        "met": ratio >= GOAL,
        "seconds": {name: round(statistics.median(each), 2) for name, each in turns.items()},
        "macs": {"ours": count(spec).macs, "theirs": macs_of(pruned)},
        "rexnet_0.5 from rexnet_1.0, seconds": rexnet_case,
        "turns": len(ratios),
        "versions": {name: version(name) for name in ("torch", "timm", "torch-pruning")},
    }


def macs_of(model: nn.Module) -> int:
    """Return the MACs of convolutions and linear layers, as Torch-Pruning counts them."""
    from torch_pruning.utils import count_ops_and_params

    return int(count_ops_and_params(model, torch.randn(1, 3, SIDE, SIDE))[0])


if __name__ == "__main__":
    main()
