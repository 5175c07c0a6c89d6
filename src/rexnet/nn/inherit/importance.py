"""How much every channel of a trained network matters."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from rexnet.nn.inherit.observe import Observed
from rexnet.nn.inherit.points import Points
from rexnet.nn.layers import ConvNorm
from rexnet.nn.network import Network


def folded(layer: ConvNorm) -> Tensor:
    """Return a convolution's weight (outputs, inputs, ...) times the scale of its batch norm."""
    norm = layer.norm
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return layer.conv.weight * scale.reshape(-1, *[1] * (layer.conv.weight.ndim - 1))


def readers(model: Network) -> Points[Tensor]:
    """Return for every point the sum of squares of the weights that read each of its channels.

    Batch norms are folded in. A stream that a block without expansion reads has zeros: there what
    counts is what the projection reads.
    """
    classifier = _energy(model.classifier) if model.spec.num_classes else None
    last = model.blocks[-1].project.norm.weight
    hidden = pooled = classifier
    if model.hidden is not None:
        norm = model.hidden_norm
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        pooled = (model.hidden.weight * scale[:, None]).square().sum(0)
        hidden = torch.ones_like(norm.weight) if classifier is None else classifier
    streams = [
        _energy(block.expand)
        if block.expand is not None
        else torch.zeros_like(block.depthwise.norm.weight)
        for block in model.blocks
    ]
    penultimate = None
    if model.penultimate is not None:
        penultimate = torch.ones_like(model.penultimate.norm.weight) if pooled is None else pooled
        pooled = _energy(model.penultimate)
    streams.append(torch.ones_like(last) if pooled is None else pooled)
    return Points(
        streams=tuple(streams),
        expanded=tuple(_energy(block.project) for block in model.blocks),
        squeezed=tuple(
            None if block.se is None else _energy(block.se.expand) for block in model.blocks
        ),
        penultimate=penultimate,
        hidden=None if model.hidden is None else hidden,
    )


def _energy(layer: nn.Module) -> Tensor:
    weight = folded(layer) if isinstance(layer, ConvNorm) else layer.weight
    return weight.square().flatten(2).sum(-1).sum(0) if weight.ndim > 2 else weight.square().sum(0)


def combine(function: Callable[..., Tensor], *points: Points) -> Points:
    """Return ``function`` of what stands at every point."""

    def maybe(*values: Tensor | None) -> Tensor | None:
        return None if any(value is None for value in values) else function(*values)

    def each(field: str) -> tuple:
        return tuple(
            maybe(*values) for values in zip(*(getattr(p, field) for p in points), strict=True)
        )

    return Points(
        streams=each("streams"),
        expanded=each("expanded"),
        squeezed=each("squeezed"),
        penultimate=maybe(*(p.penultimate for p in points)),
        hidden=maybe(*(p.hidden for p in points)),
    )


def activation(model: Network, images: Tensor, observed: Observed) -> Points[Tensor]:
    """The variance of a channel over images times the squares of the weights that read it.

    It is the share of what the readers give that is lost with the channel, if none stands in for
    it. The mean is not lost: batch norms are given new statistics.
    """
    return combine(lambda maps, energy: maps.var(0) * energy, observed.points, readers(model))


def second_moment(model: Network, images: Tensor, observed: Observed) -> Points[Tensor]:
    return combine(
        lambda maps, energy: maps.square().mean(0) * energy, observed.points, readers(model)
    )


def norm(model: Network, *_: object) -> Points[Tensor]:
    """The scale of the batch norm that gives a channel (network slimming)."""
    streams = [model.stem, *(block.project for block in model.blocks)]
    return Points(
        streams=tuple(layer.norm.weight.abs() for layer in streams),
        expanded=tuple(block.depthwise.norm.weight.abs() for block in model.blocks),
        squeezed=tuple(
            None if block.se is None else block.se.norm.weight.abs() for block in model.blocks
        ),
        penultimate=None if model.penultimate is None else model.penultimate.norm.weight.abs(),
        hidden=None if model.hidden is None else model.hidden_norm.weight.abs(),
    )


def magnitude(model: Network, *_: object) -> Points[Tensor]:
    """The squares of all weights that give or read a channel."""

    def rows(weight: Tensor) -> Tensor:
        return weight.square().flatten(1).sum(1)

    blocks = list(model.blocks)
    given = Points(
        streams=tuple(
            rows(layer.conv.weight) for layer in (model.stem, *(block.project for block in blocks))
        ),
        expanded=tuple(
            rows(block.depthwise.conv.weight)
            + (0 if block.expand is None else rows(block.expand.conv.weight))
            for block in blocks
        ),
        squeezed=tuple(None if b.se is None else rows(b.se.reduce.weight) for b in blocks),
        penultimate=None if model.penultimate is None else rows(model.penultimate.conv.weight),
        hidden=None if model.hidden is None else rows(model.hidden.weight),
    )
    return combine(torch.add, given, readers(model))


def expected(model: Network, *_: object) -> Points[Tensor]:
    """``activation`` without images: the variance is the square of the batch norm's scale."""
    return combine(lambda scale, energy: scale.square() * energy, norm(model), readers(model))


IMPORTANCES: Mapping[str, Callable[..., Points[Tensor]]] = {
    "magnitude": magnitude,
    "norm": norm,
    "expected": expected,
    "activation": activation,
    "second_moment": second_moment,
}
