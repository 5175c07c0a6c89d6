"""SSDLite on rexnet_1.0 against torchvision's ssdlite320_mobilenet_v3_large, each for its MACs.

Inference is the whole detector at batch 1, from an image of 480 x 640 pixels to boxes; a training
step is forward, loss, backward and SGD at batch 8, from such images and boxes. Both have 80 classes
and random weights and take turns in one process, in random order. Random weights put all scores
near 1 in 81: with a lowest score of 0.05, as here, no box is left over, with torchvision's 0.001
nearly all. Both are measured, and the ratio is the lower one. Run:

    python benchmarks/detection.py

About 3 minutes on 2 cores.
"""

import argparse
import functools
import json
import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rexnet.detect.backbone import create_backbone
from rexnet.detect.detector import of_detector
from rexnet.detect.fused import training_module
from rexnet.detect.heads import loss
from rexnet.detect.heads.boxes import detections
from rexnet.detect.heads.ssdlite import SSDLite
from rexnet.detect.samples import Input
from rexnet.nn.fast.inference import fuse
from rexnet.runs.memory import keep_freed_memory

NUM_CLASSES = 80
SCORES = {"0.05": 0.05, "0.001": 0.001}
BATCH, NUM_OBJECTS = 8, 7

Contenders = Mapping[str, Callable[[], Any]]


def main() -> None:
    """Print the milliseconds of both, then one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30, help="Turns of each (default: 30)")
    rounds = parser.parse_args().rounds
    if rounds < 3:
        parser.error("--rounds must be at least 3")
    keep_freed_memory()
    torch.manual_seed(0)
    image = torch.randint(256, (3, 480, 640), dtype=torch.uint8)
    model, theirs = ours(), torchvisions(0.05)
    macs = {"rexnet": count(model, 320), "torchvision": count(theirs, 320)}
    found: dict[str, Any] = {}
    for name, score in SCORES.items():
        times = take_turns(inference(model, image, score), rounds)
        found[f"inference, scores from {name}"] = compared(times, macs)
    found["training"] = compared(take_turns(training(model, theirs), max(3, rounds // 4)), macs)
    both = [value for name, value in found.items() if name.startswith("inference")]
    worse = min(both, key=lambda value: value["ratio"])
    print(
        json.dumps(
            {
                "benchmark": "detection",
                "reference": "torchvision ssdlite320_mobilenet_v3_large, per MAC, batch 1",
                "ratio": worse["ratio"],
                "spread": worse["spread"],
                "ratio_training": found["training"]["ratio"],
                "spread_training": found["training"]["spread"],
                "measured": found,
                "milliseconds_boxes": {
                    name: boxes_time(model, score, rounds) for name, score in SCORES.items()
                },
                "macs": macs,
                "threads": torch.get_num_threads(),
                "rounds": rounds,
            }
        )
    )


def ours() -> SSDLite:
    """Return the detector of this package."""
    backbone = create_backbone("rexnet_1.0")
    names = [str(number) for number in range(NUM_CLASSES)]
    model = SSDLite(backbone, names, preprocessing=of_detector(backbone.preprocessing, 320))
    return model.to(memory_format=torch.channels_last)


def torchvisions(score: float) -> nn.Module:
    """Return the detector of torchvision."""
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    return ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=NUM_CLASSES + 1, score_thresh=score
    )


def count(model: nn.Module, side: int) -> int:
    """Return the MACs for one image."""
    images: Any = torch.zeros(1, 3, side, side)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(images if isinstance(model, SSDLite) else [images[0]])
    return counter.get_total_flops() // 2


def inference(model: SSDLite, image: Tensor, score: float) -> Contenders:
    """Return what takes an image to boxes."""
    fused, transform = fuse(model), Input(model.preprocessing)
    theirs = torchvisions(score).eval()

    @torch.inference_mode()
    def our_boxes() -> Any:
        raw = fused(transform(image)[None].contiguous(memory_format=torch.channels_last))
        return detections(raw, fused.anchors, fused.criterion, score=score, iou=0.55, num_boxes=300)

    @torch.inference_mode()
    def their_boxes() -> Any:
        return theirs([image.float() / 255])

    return {"rexnet": our_boxes, "torchvision": their_boxes}


def training(model: SSDLite, theirs: nn.Module) -> Contenders:
    """Return what trains a step."""
    images = torch.randint(256, (BATCH, 3, 480, 640), dtype=torch.uint8)
    corners = torch.rand(BATCH, NUM_OBJECTS, 2, 2).sort(2).values.flatten(2)
    labels = torch.randint(1, NUM_CLASSES + 1, (BATCH, NUM_OBJECTS))
    targets = torch.cat([labels[..., None].float(), corners], 2)
    scale = torch.tensor([640.0, 480.0]).repeat(2)
    listed = [
        {"boxes": own * scale, "labels": numbers}
        for own, numbers in zip(corners, labels, strict=True)
    ]
    transform = Input(model.preprocessing)
    forward = training_module(model, torch.device("cpu"), torch.float32)

    def our_loss() -> Tensor:
        x = torch.stack([transform(image) for image in images])
        raw = forward(x.contiguous(memory_format=torch.channels_last))
        return loss.loss(raw, *loss.matched(model.anchors, targets), "multibox")

    def their_loss() -> Tensor:
        losses = theirs([image.float() / 255 for image in images], listed)
        return sum(losses.values(), torch.zeros(()))

    return {
        "rexnet": functools.partial(step, model.train(), our_loss),
        "torchvision": functools.partial(step, theirs.train(), their_loss),
    }


def step(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    """Train a step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, fused=True)
    loss().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def boxes_time(model: SSDLite, score: float, rounds: int) -> float:
    """Return the milliseconds of decoding and non-maximum suppression of an image."""
    with torch.inference_mode():
        raw = fuse(model)(torch.randn(1, 3, 320, 320))

        def choose() -> Any:
            return detections(raw, model.anchors, "multibox", score=score, iou=0.55, num_boxes=300)

        times = take_turns({"boxes": choose}, rounds)["boxes"]
    return round(1000 * statistics.median(times), 2)


def take_turns(contenders: Contenders, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of every contender, one number a round."""
    for run in contenders.values():
        for _ in range(2):
            run()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name in random.sample(list(contenders), len(contenders)):
            start = time.perf_counter()
            contenders[name]()
            times[name].append(time.perf_counter() - start)
    return times


def compared(times: Mapping[str, list[float]], macs: Mapping[str, int]) -> dict[str, Any]:
    """Return the medians, and how many times faster ours is for each MAC, with quartiles."""
    scale = macs["rexnet"] / macs["torchvision"]
    pairs = zip(times["torchvision"], times["rexnet"], strict=True)
    ratios = sorted(scale * theirs / own for theirs, own in pairs)
    middle = {name: statistics.median(found) for name, found in times.items()}
    quarter = len(ratios) // 4
    return {
        "milliseconds": {name: round(1000 * value, 1) for name, value in middle.items()},
        "ratio": round(scale * middle["torchvision"] / middle["rexnet"], 2),
        "spread": [round(ratios[quarter], 2), round(ratios[-quarter - 1], 2)],
    }


if __name__ == "__main__":
    main()
