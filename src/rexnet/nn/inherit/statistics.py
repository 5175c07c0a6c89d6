"""Batch-norm statistics of all images at once."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rexnet.nn.layers import ConvNorm

Norm = nn.BatchNorm1d | nn.BatchNorm2d

TINY = 1e-8
"""A variance below this is none."""


def as_rows(maps: Tensor) -> Tensor:
    """Return maps (N, channels, ...) as (N * positions, channels)."""
    return maps.movedim(1, -1).reshape(-1, maps.shape[1])


def from_maps(norm: Norm, maps: Sequence[Tensor], chosen: Sequence[int]) -> None:
    """Give the ``chosen`` channels of a batch norm the statistics of maps (N, channels, ...)."""
    parts = [as_rows(part) for part in maps]
    total = sum(map(len, parts))
    mean = torch.stack([part.sum(0).double() for part in parts]).sum(0) / total
    centred = [(part - mean.to(part)).square().sum(0).double() for part in parts]
    _set(norm, mean, torch.stack(centred).sum(0) / total, chosen)


def from_inputs(layer: ConvNorm, maps: Sequence[Tensor], chosen: Sequence[int]) -> None:
    """Do the same for a 1x1 convolution that reads the maps.

    The covariance of the narrow input says it: the wide map is not made.
    """
    parts = [as_rows(part) for part in maps]
    total = sum(map(len, parts))
    mean = torch.stack([part.sum(0).double() for part in parts]).sum(0) / total
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.double, device=mean.device)
    for part in parts:
        centred = part - mean.to(part)
        covariance += (centred.T @ centred).double()
    weight = layer.conv.weight.flatten(1).double()
    variance = ((weight @ (covariance / total)) * weight).sum(1)
    _set(layer.norm, weight @ mean, variance, chosen)


def match(norm: Norm, wanted: Tensor, places: Sequence[int]) -> None:
    """Let channels of a batch norm with statistics of its inputs give a mean and a variance.

    Images of other kinds than those of the weights have other moments than scale and bias tell.

    Args:
        norm: The batch norm; its statistics stay.
        wanted: Mean and variance of every place: (2, number of ``places``).
        places: The channels.
    """
    assert norm.running_var is not None
    chosen = list(places)
    variance, old = norm.running_var[chosen], norm.weight[chosen]
    scale = (wanted[1] * (variance + norm.eps) / variance.clamp(min=TINY)).sqrt()
    # A channel that says nothing keeps its scale; the sign is that of what the filter finds.
    with torch.no_grad():
        norm.weight[chosen] = torch.where(variance > TINY, scale.copysign(old), old)
        norm.bias[chosen] = wanted[0]


def _set(norm: Norm, mean: Tensor, variance: Tensor, chosen: Sequence[int]) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    places = list(chosen)
    norm.running_mean[places] = mean.to(norm.running_mean)[places]
    norm.running_var[places] = variance.to(norm.running_var)[places]
