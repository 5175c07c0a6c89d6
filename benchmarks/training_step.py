"""A training step of rexnet_1.0 at 224 pixels against timm's rexnet_100, and who waits for images.

Ours is the loop of ``rexnet train`` by recipe imagenet. Theirs is what timm's train.py does in a
step, with its defaults and with its flags --channels-last and --amp --amp-dtype bfloat16. Each has
a process of its own; they take turns in random order, on all cores or on the GPU. The pipeline
reads JPEGs of ImageNet's size, 500 x 375 pixels in 100 kB, by the same recipe. Run:

    python benchmarks/training_step.py

At most 8 minutes, and 12 GB, on 2 cores: where steps take long there are fewer turns. Where the
processor does not compute in bfloat16, those contenders are left out, and the output says so.
"""

import argparse
import dataclasses
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from _turns import Deadline, has_bfloat16, matmul_peak, share_of_peak
from torch import Tensor, nn
from torch.nn import functional as F

from rexnet import cost, families
from rexnet.train import recipe as recipes

FLAGS: dict[str, tuple[bool, bool]] = {
    "timm": (False, False),
    "timm --channels-last": (True, False),
    "timm --amp": (False, True),
    "timm --channels-last --amp": (True, True),
}
"""Whether memory is channels-last, and whether convolutions are in bfloat16."""

OURS = "rexnet"
RESOLUTION, NUM_CLASSES = 224, 1000
STEPS, WARM_UP = 2, 3
NUM_PICTURES, PICTURE_SIZE, QUALITY = 320, (500, 375), 75
EPOCHS = 3
MINUTES, LEAST_ROUNDS = 5.0, 3
"""For the turns."""


def main() -> None:
    """Print the milliseconds of every contender, the pipeline's rate, and last one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=32, help="Images a step (default: 32)")
    parser.add_argument("--rounds", type=int, default=9, help="Most turns of each (default: 9)")
    parser.add_argument("--serve", choices=(OURS, *FLAGS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, torch.device(arguments.device), arguments.batch)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error(f"--device cuda: torch {torch.__version__} finds no GPU here")
    if arguments.batch < 2 or arguments.rounds < 1:
        parser.error("--batch must be at least 2, --rounds at least 1")
    flags = dict(FLAGS)
    if arguments.device == "cpu" and not has_bfloat16():
        flags = {name: kinds for name, kinds in FLAGS.items() if not kinds[1]}
    left_out = [name for name in FLAGS if name not in flags]
    if left_out:
        print(f"left out, as this processor only emulates bfloat16: {', '.join(left_out)}")
    times = take_turns((OURS, *flags), arguments.device, arguments.batch, arguments.rounds)
    for name, found in times.items():
        low, high = (round(1000 * limit) for limit in (min(found), max(found)))
        print(f"{name:>28}: {1000 * statistics.median(found):5.0f} ms ({low} to {high})")
    best = min(list(flags)[1:], key=lambda name: statistics.median(times[name]))
    ratio, spread = ratios(times["timm"], times[OURS])
    best_ratio, best_spread = ratios(times[best], times[OURS])
    model_rate = arguments.batch / statistics.median(times[OURS])
    pipeline_rate = read_images(arguments.device, arguments.batch)
    of_peak = of_cpu(model_rate) if arguments.device == "cpu" else {}
    print(
        json.dumps(
            {
                "benchmark": "training_step",
                "reference": "timm rexnet_100 in the loop of train.py, defaults",
                "ratio": ratio,
                "spread": spread,
                "best_flags": best,
                "ratio_best_flags": best_ratio,
                "spread_best_flags": best_spread,
                "milliseconds": {
                    name: round(1000 * statistics.median(found)) for name, found in times.items()
                },
                "pipeline_images_per_second": round(pipeline_rate, 1),
                "model_images_per_second": round(model_rate, 1),
                **of_peak,
                "waits": "pipeline" if pipeline_rate > model_rate else "model",
                "device": arguments.device,
                "batch_size": arguments.batch,
                "threads": torch.get_num_threads(),
                "rounds": len(times[OURS]),
                "left_out": left_out,
            }
        )
    )


def take_turns(
    names: Sequence[str], device: str, batch_size: int, rounds: int
) -> dict[str, list[float]]:
    """Return the seconds a step of every contender, one number a round."""
    deadline, servers = Deadline(MINUTES), {}
    for name in names:
        command = [sys.executable, __file__, "--serve", name]
        command += ["--device", device, "--batch", str(batch_size)]
        servers[name] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        # One at a time, so that none warms up in another's way.
        ask(servers[name], WARM_UP)
    times: dict[str, list[float]] = {name: [] for name in servers}
    for _ in deadline.turns(rounds, min(rounds, LEAST_ROUNDS)):
        for name in random.sample(list(servers), len(servers)):
            times[name].append(ask(servers[name], STEPS) / STEPS)
    for server in servers.values():
        server.communicate()
    return times


def ask(server: "subprocess.Popen[str]", steps: int) -> float:
    """Let a contender train ``steps`` and return the seconds."""
    assert server.stdin is not None
    assert server.stdout is not None
    print(steps, file=server.stdin, flush=True)
    return float(server.stdout.readline())


def ratios(theirs: list[float], ours: list[float]) -> tuple[float, list[float]]:
    """Return how many times faster ours is: the median over the rounds, and the range."""
    found = [a / b for a, b in zip(theirs, ours, strict=True)]
    return round(statistics.median(found), 2), [round(min(found), 2), round(max(found), 2)]


def of_cpu(images_per_second: float) -> dict[str, float]:
    """Return at what speed a core multiplies matrices, and the share of it that ours reaches."""
    peak, macs = matmul_peak(), cost.count(families.get("rexnet_1.0")).macs
    share = share_of_peak(images_per_second / torch.get_num_threads(), macs, peak)
    print(
        f"{images_per_second:.1f} images a second, {100 * share:.0f} % of the {peak:.0f} GFLOP/s "
        "at which a core multiplies matrices"
    )
    return {"share_of_peak": round(share, 3), "peak_gflops": round(peak, 1)}


class Turns:
    """Trains as many steps as come down standard input, and answers with the seconds."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.start()

    def start(self) -> None:
        """Wait for the next turn; the program ends with its input."""
        line = sys.stdin.readline()
        if not line:
            raise SystemExit
        self._left, self._begun = int(line), time.perf_counter()

    def end_step(self, _: object = None) -> None:
        """Count a step."""
        self._left -= 1
        if not self._left:
            if self._device.type == "cuda":
                torch.cuda.synchronize()
            print(time.perf_counter() - self._begun, flush=True)
            self.start()


def serve(name: str, device: torch.device, batch_size: int) -> NoReturn:
    """Train on one batch again and again, as ``name`` does."""
    torch.manual_seed(0)
    x = torch.randn(batch_size, 3, RESOLUTION, RESOLUTION, device=device)
    y = torch.randint(NUM_CLASSES, (batch_size,), device=device)
    if name == OURS:
        train_ours(x, y)
    train_theirs(*FLAGS[name], x, y)


def train_ours(x: Tensor, y: Tensor) -> NoReturn:
    """Train in the loop of ``rexnet train``."""
    from rexnet.nn.network import Network
    from rexnet.train.distributed import joined, resolved_precision
    from rexnet.train.job import training_module
    from rexnet.train.loop import Batch, Loop, Task

    class OneBatch:
        steps_per_epoch = 10**6

        def epoch(self, number: int, start_step: int = 0) -> Iterator[Batch]:
            while True:
                yield x, y

    def loss(forward: nn.Module, batch: Batch) -> Tensor:
        inputs = batch[0].contiguous(memory_format=torch.channels_last)
        smoothing = recipe.label_smoothing
        return F.cross_entropy(forward(inputs).float(), batch[1], label_smoothing=smoothing)

    recipe = recipes.load("imagenet", [f"batch_size={len(x)}"])
    with joined("cuda" if x.is_cuda else "cpu") as world, tempfile.TemporaryDirectory() as folder:
        spec = dataclasses.replace(families.get("rexnet_1.0"), dropout=recipe.dropout)
        model = Network(spec).to(memory_format=torch.channels_last).to(world.device)
        dtype = resolved_precision(recipe.precision, world.device)
        Loop(
            model,
            training_module(model, world.device, dtype),
            OneBatch(),
            Task(loss=loss, evaluate=lambda _: {}, metric="top1"),
            recipe=recipe,
            world=world,
            folder=Path(folder),
            seed=0,
            checkpoint_seconds=86_400,
            on_progress=Turns(world.device).end_step,
        ).run()
    raise AssertionError("the loop ended before its input")


def train_theirs(channels_last: bool, bfloat16: bool, x: Tensor, y: Tensor) -> NoReturn:
    """Train as timm's train.py does."""
    import timm
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2

    model = timm.create_model("rexnet_100", num_classes=NUM_CLASSES, drop_rate=0.2).to(x.device)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    if x.is_cuda:
        torch.backends.cudnn.benchmark = True
    loss_function = LabelSmoothingCrossEntropy(0.1)
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.01, weight_decay=1e-5, momentum=0.9)
    turns = Turns(x.device)
    while True:
        optimizer.zero_grad()
        inputs = x.contiguous(memory_format=torch.channels_last) if channels_last else x
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bfloat16):
            loss = loss_function(model(inputs), y)
        loss.backward()
        optimizer.step()
        turns.end_step()


def read_images(device: str, batch_size: int) -> float:
    """Return how many images a second the input pipeline hands over, with nobody in its way."""
    from rexnet.data.loader import LabelledImages, TrainingBatches
    from rexnet.data.sources import open_images
    from rexnet.data.transforms import training_transform
    from rexnet.preprocessing import Preprocessing
    from rexnet.train.config import num_readers
    from rexnet.train.job import augmentation_of

    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder))
        images, _ = open_images(folder)
        batches = TrainingBatches(
            LabelledImages(
                images,
                training_transform(Preprocessing(), augmentation_of(recipes.load("imagenet"))),
            ),
            batch_size=batch_size,
            seed=0,
            num_workers=num_readers(None, device, 1, from_files=True),
        )
        return statistics.median(rate(batches.epoch(epoch)) for epoch in range(EPOCHS))


def rate(batches: Iterator[tuple[Tensor, Tensor]]) -> float:
    """Return the images a second after the first batch."""
    next(batches)
    begun = time.perf_counter()
    count = sum(len(labels) for _, labels in batches)
    return count / (time.perf_counter() - begun)


def write_pictures(folder: Path) -> None:
    """Write JPEGs in two classes."""
    from PIL import Image

    generator = np.random.default_rng(0)
    for part in ("train", "val"):
        for label in range(2):
            (folder / part / str(label)).mkdir(parents=True)
    small = (PICTURE_SIZE[1] // 2, PICTURE_SIZE[0] // 2, 3)
    for number in range(NUM_PICTURES + 2):
        noise = generator.integers(0, 256, small, dtype=np.uint8)
        part = "train" if number < NUM_PICTURES else "val"
        path = folder / part / str(number % 2) / f"{number}.jpeg"
        Image.fromarray(noise).resize(PICTURE_SIZE).save(path, quality=QUALITY)


if __name__ == "__main__":
    main()
