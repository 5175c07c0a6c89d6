"""How many candidates a second the closed-form cost model counts, against the built module.

The reference builds the module on the meta device and asks torch's FlopCounterMode. Both count
params and MACs of the same search networks, on one core, in turns. Run:

    python benchmarks/cost_model.py

About 15 seconds.
"""

import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from rexnet import cost
from rexnet.families import search_network
from rexnet.nn.network import Network
from rexnet.spec import NetSpec

NUM_BLOCKS = (5, 9, 13)
BATCH, MODULES, ROUNDS = 200_000, 3, 7


def count_module(spec: NetSpec) -> tuple[int, int]:
    """Return params and MACs of a network by building it."""
    with torch.device("meta"):
        model = Network(spec).eval()
        images = torch.empty(1, 3, spec.resolution, spec.resolution)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2


def rate(count: int, work: Callable[[], object]) -> float:
    """Return how many of ``count`` things a second ``work`` does."""
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def compare(num_blocks: int) -> dict[str, object]:
    """Measure both on random networks of one depth, in turns, and check that they agree."""
    generator = np.random.default_rng(num_blocks)
    widths = np.sort(generator.integers(8, 256, (BATCH, num_blocks)), axis=1)
    template = search_network([1] * num_blocks, num_classes=10)
    specs = [template.with_widths(row) for row in widths[:MODULES].tolist()]
    params, macs = cost.count_many(template, widths)
    for index, spec in enumerate(specs):
        assert count_module(spec) == (params[index], macs[index])
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(rate(BATCH, lambda: cost.count_many(template, widths)))
        theirs.append(rate(MODULES, lambda: [count_module(spec) for spec in specs]))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "num_blocks": num_blocks,
        "candidates_per_second": round(statistics.median(ours)),
        "modules_per_second": round(statistics.median(theirs), 1),
        "ratio": round(statistics.median(ratios)),
        "spread": [round(min(ratios)), round(max(ratios))],
    }


def main() -> None:
    """Print a line for each depth, and last one JSON object for the paper's middle depth."""
    torch.set_num_threads(1)
    results = {num_blocks: compare(num_blocks) for num_blocks in NUM_BLOCKS}
    for result in results.values():
        print(
            f"{result['num_blocks']:>2} blocks: {result['candidates_per_second']:>12,} candidates "
            f"a second in closed form, {result['modules_per_second']:>6} modules a second"
        )
    print(
        json.dumps(
            {
                "benchmark": "cost_model",
                "reference": "module on the meta device with FlopCounterMode",
                **results[9],
            }
        )
    )


if __name__ == "__main__":
    main()
