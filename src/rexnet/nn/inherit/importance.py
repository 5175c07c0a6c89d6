"""How much every channel of a trained network matters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rexnet.nn.inherit import parts
from rexnet.nn.inherit.observe import batches, gathered, watched
from rexnet.nn.inherit.points import Points
from rexnet.nn.layers import ConvNorm
from rexnet.nn.network import Network


@dataclass(frozen=True, kw_only=True)
class Importance:
    """A way to tell which channels matter.

    Attributes:
        score: Returns for a network in eval mode, images and its maps of them at every point a
            score of each channel, the higher the more it matters. The scores of a stream are what
            its channels mean to the block that reads it; those of a run of shortcuts are added up.
            Without images it is given none of both.
        needs_images: Whether it can do without.
    """

    score: Callable[..., Points[Tensor]]
    needs_images: bool = False


def activation(model: Network, _images: Tensor, observed: Points[Tensor]) -> Points[Tensor]:
    """Score by the variance of a channel over images times the squares of what reads it.

    It is what the readers lose with the channel if no other stands in for it. The mean is not
    counted: batch norms are given new statistics.
    """

    def score(maps: Tensor, energy: Tensor) -> Tensor:
        return (maps - maps.mean(0)).square_().mean(0) * energy

    return observed.joined(readers(model), score)


def taylor(model: Network, images: Tensor, _observed: Points[Tensor]) -> Points[Tensor]:
    """Score by how far the loss moves, to first order, when a channel is zero in an image.

    The loss is the cross-entropy of the model's own answers; of no classes, the sum of squares.
    """
    total: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[Tensor], None]:
        def call(maps: Tensor) -> None:
            def add(gradient: Tensor) -> None:
                moved = maps.detach() * gradient
                each = moved.flatten(1).unflatten(1, (maps.shape[1], -1)).sum(2)
                total[name] = total.get(name, torch.zeros_like(each[0])) + each.abs().sum(0)

            maps.register_hook(add)

        return call

    with torch.enable_grad(), watched(model, keep):
        for batch in batches(images):
            logits = model(batch)
            if model.num_classes:
                own = logits.detach().argmax(1)
                loss = functional.cross_entropy(logits, own, reduction="sum")
            else:
                loss = logits.square().sum()
            loss.backward()
    model.zero_grad()
    return gathered(model, total)


def magnitude(model: Network, *_: Any) -> Points[Tensor]:
    """Score by the squares of all weights that give or read a channel."""

    def rows(weight: Tensor) -> Tensor:
        return weight.square().flatten(1).sum(1)

    blocks = parts.blocks(model)
    squeezes = [parts.squeeze(block) for block in blocks]
    given = Points(
        streams=tuple(rows(layer.conv.weight) for layer in parts.ends(model)),
        expanded=tuple(
            rows(block.depthwise.conv.weight)
            + (0 if block.expand is None else rows(block.expand.conv.weight))
            for block in blocks
        ),
        squeezed=tuple(None if se is None else rows(se.reduce.weight) for se in squeezes),
        penultimate=None if model.penultimate is None else rows(model.penultimate.conv.weight),
        hidden=None if model.hidden is None else rows(model.hidden.weight),
    )
    return given.joined(readers(model), torch.add)


def norm(model: Network, *_: Any) -> Points[Tensor]:
    """Score by the scale of the batch norm that gives a channel, as network slimming does.

    Its square stands in for the variance of ``activation``, and what reads the channel counts, too.
    """
    return _scales(model).joined(readers(model), lambda scale, energy: scale.square() * energy)


IMPORTANCES: Mapping[str, Importance] = {
    "activation": Importance(score=activation, needs_images=True),
    "taylor": Importance(score=taylor, needs_images=True),
    "norm": Importance(score=norm),
    "magnitude": Importance(score=magnitude),
}
"""The first is taken where there are images, ``norm`` where there are none."""


def readers(model: Network) -> Points[Tensor]:
    """Return for every channel the sum of squares of the weights that read it.

    Batch norms are folded in. A stream that a block without expansion reads has zeros: what counts
    there is what the projection reads.
    """
    blocks, classifier = parts.blocks(model), parts.classifier(model)
    squeezes = [parts.squeeze(block) for block in blocks]
    features = torch.ones(model.num_features).to(model.stem.conv.weight)
    if classifier is not None:
        features = _squares(classifier.weight)
    pooled = features
    if model.hidden is not None and model.hidden_norm is not None:
        pooled = _squares(_folded(model.hidden.weight, model.hidden_norm))
    streams = [
        torch.zeros_like(block.depthwise.norm.weight)
        if block.expand is None
        else _energy(block.expand)
        for block in blocks
    ]
    streams.append(pooled if model.penultimate is None else _energy(model.penultimate))
    return Points(
        streams=tuple(streams),
        expanded=tuple(_energy(block.project) for block in blocks),
        squeezed=tuple(None if se is None else _squares(se.expand.weight) for se in squeezes),
        penultimate=None if model.penultimate is None else pooled,
        hidden=None if model.hidden is None else features,
    )


def _scales(model: Network) -> Points[Tensor]:
    blocks = parts.blocks(model)
    squeezes = [parts.squeeze(block) for block in blocks]
    return Points(
        streams=tuple(layer.norm.weight for layer in parts.ends(model)),
        expanded=tuple(block.depthwise.norm.weight for block in blocks),
        squeezed=tuple(None if se is None else se.norm.weight for se in squeezes),
        penultimate=None if model.penultimate is None else model.penultimate.norm.weight,
        hidden=None if model.hidden_norm is None else model.hidden_norm.weight,
    )


def _energy(layer: ConvNorm) -> Tensor:
    return _squares(_folded(layer.conv.weight.flatten(1), layer.norm))


def _folded(weight: Tensor, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> Tensor:
    """Return a weight (outputs, inputs) with the scale of the batch norm behind it."""
    assert norm.running_var is not None
    return weight * (norm.weight / (norm.running_var + norm.eps).sqrt())[:, None]


def _squares(weight: Tensor) -> Tensor:
    return weight.flatten(1).square().sum(0)
