"""The optimiser of candidates, on the CPU and on accelerators."""

import torch
from torch import nn

from rexnet.search.candidates.protocol import Protocol


def make_optimizer(model: nn.Module, protocol: Protocol) -> torch.optim.Optimizer:
    """Return the optimiser of a protocol; weight decay spares batch norm and biases."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    spared = [p for p in model.parameters() if p.ndim <= 1]
    return torch.optim.SGD(
        [
            {"params": decayed, "weight_decay": protocol.weight_decay},
            {"params": spared, "weight_decay": 0.0},
        ],
        lr=protocol.lr,
        momentum=protocol.momentum,
        nesterov=protocol.momentum > 0,
        fused=True,
    )
