"""rexnet_1.0 against timm's rexnet_100 in every runtime: one image of 224 pixels, float32.

Both networks have random weights and the same layers. timm's is taken as it is and exported the
plain way; ours is fused for eager mode and exported in the form of ``rexnet export``. All take
turns in one process, in random order. The ratio is timm's eager time over that of the fastest
runtime of ours; the others are times of ours over timm's in the same runtime. Run:

    python benchmarks/inference.py

About 3 minutes on 2 cores.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rexnet.deploy import models, runtimes
from rexnet.deploy.runtimes.torch import module_run
from rexnet.deploy.timing import Timing, ratio, take_turns
from rexnet.nn.fast.inference import fuse

GOALS = {"torch": 0.60, "onnxruntime": 0.85, "openvino": 0.90, "best": 0.30}
"""Shares of timm's time, in the same runtime; of the best runtime, of timm's eager time."""


def main() -> None:
    """Print the milliseconds of all, then one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60, help="Turns of each (default: 60)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="Of each")
    arguments = parser.parse_args()
    if arguments.rounds < 4 or arguments.threads < 1:
        parser.error("--rounds must be at least 4 and --threads at least 1")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        times = take_turns(contenders(Path(folder), arguments.threads), arguments.rounds)
    for name, timing in sorted(times.items(), key=lambda item: item[1].median):
        print(f"{name:22} {timing.median:7.2f} ms  {timing.quartiles[0]:7.2f} to "
              f"{timing.quartiles[1]:.2f}")  # fmt: skip
    print(json.dumps(result(times) | {"threads": arguments.threads, "rounds": arguments.rounds}))


def contenders(folder: Path, threads: int) -> dict[str, Callable[[], Any]]:
    """Return all that is compared, as calls without arguments."""
    ours, theirs = models.load("rexnet_1.0"), models.load("timm:rexnet_100")
    images = np.random.default_rng(0).standard_normal((1, *ours.size), dtype=np.float32)
    runs: dict[str, runtimes.Run] = {
        "rexnet torch": module_run(fuse(ours.module)),
        "timm torch": plain_run(theirs.module),
    }
    for runtime in (runtimes.RUNTIMES[name] for name in ("onnxruntime", "openvino")):
        files = {"rexnet": runtime.form(ours.module), "timm": theirs.module}
        for name, module in files.items():
            path = folder / f"{name}{runtime.suffix}"
            runtimes.write(runtime, module, path, size=ours.size)
            runs[f"{name} {runtime.name}"] = runtimes.run(runtime, path, threads)
    return {name: partial(run, images) for name, run in runs.items()}


def plain_run(module: nn.Module) -> runtimes.Run:
    """Return a module as a user of timm calls it: channels first in memory, as images are."""

    def run(images: runtimes.Array) -> list[runtimes.Array]:
        with torch.inference_mode():
            return [module(torch.from_numpy(images)).numpy()]

    return run


def result(times: Mapping[str, Timing]) -> dict[str, Any]:
    """Return what is printed as JSON: every share with its goal."""
    ours = {name: timing for name, timing in times.items() if name.startswith("rexnet")}
    best = min(ours, key=lambda name: ours[name].median)
    gain = ratio(times["timm torch"], ours[best])
    shares = {
        name: ratio(times[f"rexnet {name}"], times[f"timm {name}"])
        for name in ("torch", "onnxruntime", "openvino")
    } | {"best": ratio(ours[best], times["timm torch"])}
    return {
        "benchmark": "inference",
        "reference": "timm rexnet_100 in eager mode, float32, batch 1",
        "ratio": round(gain.value, 2),
        "spread": [round(quartile, 2) for quartile in gain.quartiles],
        "best": best.removeprefix("rexnet "),
        "shares": {
            name: {
                "share": round(share.value, 3),
                "spread": [round(quartile, 3) for quartile in share.quartiles],
                "goal": GOALS[name],
                "met": share.value <= GOALS[name],
            }
            for name, share in shares.items()
        },
        "milliseconds": {name: round(timing.median, 2) for name, timing in times.items()},
        "versions": {name: version(name) for name in ("torch", "timm", "onnxruntime", "openvino")},
    }


if __name__ == "__main__":
    main()
