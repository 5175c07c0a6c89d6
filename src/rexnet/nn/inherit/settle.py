"""What follows a cut: batch-norm statistics from images, and a least-squares refit."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rexnet.nn.inherit.coupling import Slots
from rexnet.nn.inherit.observe import BATCH_SIZE, Observed, rows
from rexnet.nn.inherit.points import Points
from rexnet.nn.layers import ConvNorm
from rexnet.nn.network import Network

RIDGE = 1e-3
"""What pulls a refitted weight to the cut one, in parts of the mean variance of what is read."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    statistics: bool = True
    expand: bool = True
    project: bool = True
    penultimate: bool = True
    classifier: bool = True


@torch.no_grad()
def settle(
    model: Network, source: Network, slots: Points[Slots], images: Tensor, observed: Observed,
    steps: Steps = Steps(),
) -> None:
    """Give a cut network statistics, layer by layer, and refit its weights."""
    count = len(images)
    parts = [
        model.stem(part.contiguous(memory_format=torch.channels_last))
        for part in images.split(BATCH_SIZE)
    ]
    # The stem reads images alone: its statistics are the source's.
    x = [model.stem_act(part) for part in parts]
    lossy = set(range(source.spec.stem_width)) - set(slots.streams[0]) != set()
    for number, block in enumerate(model.blocks):
        theirs = source.blocks[number]
        stream, output = slots.streams[number], slots.streams[number + 1]
        expanded = slots.expanded[number]
        x_rows = torch.cat([rows(part, count) for part in x])
        if block.expand is not None:
            if lossy and steps.expand:
                wide = observed.points.streams[number]
                target = _apply(theirs.expand, wide)[:, _known(expanded)]
                refit(block.expand, x_rows, target, _places(expanded))
            set_statistics(block.expand, x, lossy, expanded)
        d = []
        for part in x:
            d.append(block.depthwise.conv(block.expanded(part)))
        moments(block.depthwise.norm, d, lossy, expanded)
        lossy = lossy or bool(set(range(theirs.depthwise.norm.num_features)) - set(expanded))
        d = [block.depthwise.norm(part) for part in d]
        if block.se is not None:
            pooled = torch.cat([part.mean((2, 3), keepdim=True) for part in d])
            narrow = block.se.reduce(pooled)
            moments(block.se.norm, [narrow], lossy, slots.squeezed[number])
            lossy = lossy or bool(set(range(theirs.se.norm.num_features)) - set(slots.squeezed[number]))
            d = [block.se(part) for part in d]
        z = [block.depthwise_act(part) for part in d]
        if lossy and steps.project:
            z_rows = torch.cat([rows(part, count) for part in z])
            kept = _known(output, block.project.norm.num_features if False else theirs.project.norm.num_features)
            places = _places(output, theirs.project.norm.num_features)
            if isinstance(block.project_act, nn.Identity):
                target = observed.points.streams[number + 1][:, kept]
                if block.shortcut is not None:
                    added = torch.zeros(len(z_rows), len(output))
                    added[:, : x_rows.shape[1]] = x_rows
                    target = target - added[:, places]
            else:
                target = observed.projected[number][:, kept]
            refit(block.project, z_rows, target, places)
        y = [block.project.conv(part) for part in z]
        moments(block.project.norm, y, lossy, output)
        lossy = lossy or bool(set(range(theirs.project.norm.num_features)) - set(output))
        out = []
        for part, before in zip(y, x, strict=True):
            part = block.project_act(block.project.norm(part))
            out.append(part if block.shortcut is None else block.shortcut(part, before))
        x = out
    _settle_head(model, source, slots, x, observed, lossy, steps)


def _settle_head(model, source, slots, x, observed, lossy, steps):
    count = sum(map(len, x))
    if model.penultimate is not None:
        if lossy and steps.penultimate:
            x_rows = torch.cat([rows(part, count) for part in x])
            kept = _known(slots.penultimate)
            refit(model.penultimate, x_rows, observed.penultimate[:, kept], _places(slots.penultimate))
        set_statistics(model.penultimate, x, lossy, slots.penultimate)
        x = [model.penultimate_act(model.penultimate(part)) for part in x]
        lossy = lossy or bool(set(range(source.spec.penultimate_width)) - set(slots.penultimate))
    pooled = torch.cat([part.mean((2, 3)) for part in x])
    if model.hidden is not None:
        h = model.hidden(pooled)
        moments(model.hidden_norm, [h], lossy, slots.hidden)
        pooled = model.hidden_act(model.hidden_norm(h))
    if steps.classifier and model.spec.num_classes and lossy and model.spec.num_classes == source.spec.num_classes:
        target = source.classifier(observed.points.features)
        B = _solve(pooled, target, model.classifier.weight, 0.1)
        model.classifier.weight.copy_(B)
        model.classifier.bias.copy_(target.mean(0) - B @ pooled.mean(0))


def _places(slots, width=10**9):
    return [place for place, slot in enumerate(slots) if 0 <= slot < width]


def _known(slots, width=10**9):
    return [slot for slot in slots if 0 <= slot < width]


def _apply(layer: ConvNorm, x: Tensor) -> Tensor:
    return layer(x[:, :, None, None])[:, :, 0, 0]


def moments(norm, parts, lossy, slots):
    """Set a batch norm's statistics to those of maps."""
    total = sum(part[:, 0].numel() for part in parts)
    dims = [d for d in range(parts[0].ndim) if d != 1]
    mean = sum(part.double().sum(dims) for part in parts) / total
    shape = [1, -1] + [1] * (parts[0].ndim - 2)
    var = sum((part - mean.float().reshape(shape)).square().sum(dims).double() for part in parts) / total
    _set(norm, mean, var, lossy, slots)


def _set(norm, mean, var, lossy, slots):
    chosen = slice(None) if lossy else [p for p, s in enumerate(slots) if not 0 <= s < 10**9]
    norm.running_mean[chosen] = mean.to(norm.running_mean)[chosen]
    norm.running_var[chosen] = var.to(norm.running_var)[chosen]


def set_statistics(layer: ConvNorm, x: list[Tensor], lossy, slots) -> None:
    """Of a 1x1 convolution: from the covariance of what it reads."""
    total = sum(part[:, 0].numel() for part in x)
    flat = [part.transpose(0, 1).flatten(1) for part in x]
    mean = sum(part.sum(1).double() for part in flat) / total
    centred = [part - mean.to(part)[:, None] for part in flat]
    cov = sum((part @ part.T).double() for part in centred) / total
    w = layer.conv.weight[:, :, 0, 0].double()
    _set(layer.norm, w @ mean, ((w @ cov) * w).sum(1), lossy, slots)


def refit(layer: ConvNorm, x: Tensor, target: Tensor, places: list[int]) -> None:
    """Refit rows of a 1x1 convolution and its norm, so that it gives ``target`` for ``x``."""
    norm, weight = layer.norm, layer.conv.weight[:, :, 0, 0]
    old = weight[places]
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt())[places]
    fitted = _solve(x, target, old * scale[:, None], RIDGE)
    given = x @ fitted.T
    # The length of a row means nothing to a batch norm, but much to a learning rate.
    length = old.norm(dim=1) / fitted.norm(dim=1).clamp(min=1e-12)
    layer.conv.weight[places] = (fitted * length[:, None])[:, :, None, None]
    norm.weight[places] = (given.var(0, correction=0) + norm.eps).sqrt()
    norm.bias[places] = target.mean(0)


def _solve(x: Tensor, target: Tensor, old: Tensor, ridge: float) -> Tensor:
    x = x - x.mean(0)
    target = target - target.mean(0)
    cov = (x.T @ x).double() / len(x)
    cross = ((target - x @ old.T).T @ x).double() / len(x)
    cov.diagonal().add_(ridge * cov.diagonal().mean() + 1e-12)
    return old + torch.linalg.solve(cov, cross.T).T.to(old)
