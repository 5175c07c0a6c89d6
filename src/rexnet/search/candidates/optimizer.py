"""The optimiser of candidates, on the CPU and on accelerators."""

import torch
from torch import nn

from rexnet.search.candidates.protocol import Protocol


def make_optimizer(model: nn.Module, protocol: Protocol) -> torch.optim.Optimizer:
    """Return the optimiser of a protocol; weight decay spares batch norm and biases.

    The field ``factor`` of a group says by how much its rate is higher.
    """
    faster = norm_biases(model) if protocol.norm_bias_lr != 1 else []
    others = {id(p) for p in faster}
    decayed = [p for p in model.parameters() if p.ndim > 1]
    spared = [p for p in model.parameters() if p.ndim <= 1 and id(p) not in others]
    groups = [
        {"params": decayed, "weight_decay": protocol.weight_decay, "factor": 1.0},
        {"params": spared, "weight_decay": 0.0, "factor": 1.0},
        {"params": faster, "weight_decay": 0.0, "factor": protocol.norm_bias_lr},
    ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=protocol.lr,
        momentum=protocol.momentum,
        nesterov=protocol.momentum > 0,
        fused=True,
    )


def norm_biases(model: nn.Module) -> list[nn.Parameter]:
    """Return the biases of batch norms."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    return [norm.bias for norm in norms]


class Average:
    """A moving average of the weights and the batch-norm statistics of a network.

    Args:
        model: The network.
        decay: The share of the average that a step keeps; 0 keeps none, and the average is empty.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._tensors = [
            t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()
        ]
        self._averages = [t.detach().clone() for t in self._tensors] if decay else []

    @torch.no_grad()
    def update(self) -> None:
        """Take in the network as it is."""
        if self._averages:
            torch._foreach_lerp_(self._averages, self._tensors, 1 - self._decay)

    @torch.no_grad()
    def take(self) -> None:
        """Make the network its average."""
        if self._averages:
            for tensor, average in zip(self._tensors, self._averages, strict=True):
                tensor.copy_(average)

    @property
    def state(self) -> list[torch.Tensor]:
        """The tensors of the average."""
        return self._averages
