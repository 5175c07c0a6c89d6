"""Least squares: weights with which a cut layer gives what the whole one gave."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rexnet.nn.layers import ConvNorm

RIDGE = 0.3
"""What holds a convolution to its cut weights, in parts of the mean variance of what it reads."""

TINY = 1e-8
"""A row below this length is none."""


def refit(layer: ConvNorm, x: Tensor, target: Tensor, places: Sequence[int]) -> None:
    """Let channels of a 1x1 convolution, after its batch norm, give ``target``.

    Scale and shift of the batch norm become those of what the fitted rows give; its statistics are
    to be measured afterwards. A row keeps its length: it means nothing to a batch norm, but much to
    a learning rate.

    Args:
        layer: The convolution and its batch norm.
        x: What it reads: (rows, channels).
        target: (rows, number of ``places``).
        places: The channels that are refitted.
    """
    norm, places = layer.norm, list(places)
    assert norm.running_var is not None
    old = layer.conv.weight.flatten(1)[places]
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt())[places, None]
    fitted, covariance = _solve(x, target, old * scale)
    spread = ((fitted @ covariance) * fitted).sum(1)
    before, after = old.norm(dim=1), fitted.norm(dim=1)
    length = torch.where(before.minimum(after) > TINY, before / after, 1.0)
    layer.conv.weight[places] = (fitted * length[:, None])[:, :, None, None]
    # The statistics are of the row as it is stored; eps then counts as little as before.
    norm.weight[places] = (spread + norm.eps / length.square()).sqrt()
    norm.bias[places] = target.mean(0)


def _solve(x: Tensor, target: Tensor, old: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weight nearest to ``old`` that gives ``target`` for ``x``, and x's covariance."""
    x = x - x.mean(0)
    missing = target - target.mean(0) - x @ old.T
    covariance = x.T @ x / len(x)
    step = RIDGE * covariance.diagonal().mean() + torch.finfo(x.dtype).tiny
    held = covariance.double()
    held.diagonal().add_(step)
    cross = (x.T @ missing).double() / len(x)
    return old + torch.linalg.solve(held, cross).T.to(old), covariance
