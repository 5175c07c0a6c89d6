"""Weights under the official names, and what the official models make of them."""

import functools
import json
import math
from pathlib import Path

import torch

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "official-models.json").read_text(encoding="utf-8")
)
NAMES = {"v1:1.0": "rexnet_1.0", "v1:1.5": "rexnet_1.5", "lite:1.0": "rexnet_lite_1.0"}


@functools.cache
def official_tensors(key):
    """Return the fixed weights of the golden file under the names of the official file."""
    tensors = {}
    for place, (name, shape) in enumerate(GOLDEN[key]["state_dict"]):
        count = math.prod(shape)
        value = torch.sin(0.37 * torch.arange(count, dtype=torch.float64) + place)
        if name.endswith("running_var"):
            value = 1 + 0.5 * value**2
        elif len(shape) == 4:
            value = value * math.sqrt(2 / math.prod(shape[1:]))
        elif name.endswith(("running_mean", "bias")):
            value = 0.1 * value
        else:
            value = 1 + 0.1 * value
        tensors[name] = value.reshape(shape).float()
    return tensors
