"""The weights of a network whose channels are some of another's, or new."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rexnet.nn.inherit import parts
from rexnet.nn.inherit.coupling import NEW, Slots
from rexnet.nn.inherit.points import Points, widths
from rexnet.nn.inherit.statistics import Norm
from rexnet.nn.layers import ConvNorm, SqueezeExcite
from rexnet.nn.network import Network
from rexnet.spec import Activation

QUIET = -40.0
"""A batch norm of this shift and no scale is zero after a softplus, to rounding."""


@torch.no_grad()
def copy_channels(target: Network, source: Network, slots: Points[Slots]) -> None:
    """Give ``target``, whose weights are random, those of the channels that ``slots`` name.

    New channels keep their random weights. What was there does not read them: its weights for them
    are zero, so the function is the source's where no channel of it is left out. Channels that are
    new in a stream now and the source's later on are zero until then.
    """
    blocks, act = source.spec.blocks, source.spec.stem_act
    have, images = widths(source.spec), tuple(range(source.spec.in_channels))
    _conv_norm(target.stem, source.stem, slots.streams[0], images)
    _hush(target.stem, slots.streams[0], have.streams[0], act)
    for number, (ours, theirs) in enumerate(
        zip(parts.blocks(target), parts.blocks(source), strict=True)
    ):
        stream, output = slots.streams[number : number + 2]
        expanded, squeezed = slots.expanded[number], slots.squeezed[number]
        if ours.expand is not None and theirs.expand is not None:
            inputs = _known(stream, have.streams[number])
            _conv_norm(ours.expand, theirs.expand, expanded, inputs)
        _conv_norm(ours.depthwise, theirs.depthwise, expanded, (0,))
        if squeezed is not None:
            _squeeze(parts.squeeze(ours), parts.squeeze(theirs), expanded, squeezed)
        _conv_norm(ours.project, theirs.project, output, expanded)
        _hush(ours.project, output, have.streams[number + 1], blocks[number].project_act)
    _head(target, source, slots)


def _head(target: Network, source: Network, slots: Points[Slots]) -> None:
    features = slots.streams[-1]
    if target.penultimate is not None and source.penultimate is not None:
        assert slots.penultimate is not None
        _conv_norm(target.penultimate, source.penultimate, slots.penultimate, features)
        features = slots.penultimate
    if target.hidden is not None and source.hidden is not None:
        assert slots.hidden is not None
        _affine(target.hidden, source.hidden, slots.hidden, features)
        _norm(target.hidden_norm, source.hidden_norm, slots.hidden)


@torch.no_grad()
def copy_classifier(target: Network, source: Network, features: Slots) -> None:
    """Give ``target``, of at most as many classes, the source's first rows."""
    ours, theirs = parts.classifier(target), parts.classifier(source)
    if ours is not None and theirs is not None:
        _affine(ours, theirs, tuple(range(ours.out_features)), features)


def _squeeze(
    target: SqueezeExcite | None, source: SqueezeExcite | None, wide: Slots, narrow: Slots
) -> None:
    assert target is not None
    assert source is not None
    _affine(target.reduce, source.reduce, narrow, wide)
    _norm(target.norm, source.norm, narrow)
    _affine(target.expand, source.expand, wide, narrow)


def _conv_norm(
    target: ConvNorm, source: ConvNorm, outputs: Sequence[int], inputs: Sequence[int]
) -> None:
    _affine(target.conv, source.conv, _known(outputs, source.norm.num_features), inputs)
    _norm(target.norm, source.norm, outputs)


def _known(slots: Sequence[int], width: int) -> Slots:
    """Return the slots with every channel that the source does not have here as a new one."""
    return tuple(slot if slot < width else NEW for slot in slots)


def _affine(
    target: nn.Conv2d | nn.Linear,
    source: nn.Conv2d | nn.Linear,
    outputs: Sequence[int],
    inputs: Sequence[int],
) -> None:
    """Copy a weight (outputs, inputs, ...) and a bias; kept outputs read no new input."""
    rows, columns = _places(outputs), _places(inputs)
    weight = torch.zeros_like(target.weight[rows[0]])
    weight[:, columns[0]] = source.weight[rows[1]][:, columns[1]]
    target.weight[rows[0]] = weight
    if target.bias is not None and source.bias is not None:
        target.bias[rows[0]] = source.bias[rows[1]]


def _norm(target: nn.Module | None, source: nn.Module | None, outputs: Sequence[int]) -> None:
    assert isinstance(target, Norm)
    assert isinstance(source, Norm)
    ours, theirs = _places(_known(outputs, source.num_features))
    for name, tensor in source.state_dict().items():
        mine = target.state_dict()[name]
        if tensor.ndim:
            mine[ours] = tensor[theirs]
        else:
            mine.copy_(tensor)


def _hush(target: ConvNorm, outputs: Sequence[int], width: int, act: Activation) -> None:
    """Make the channels zero that the source has further on only."""
    waiting = [place for place, slot in enumerate(outputs) if slot >= width]
    target.norm.weight[waiting] = 0
    target.norm.bias[waiting] = QUIET if act == "softplus" else 0


def _places(slots: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return where the source's channels stand, and which they are."""
    kept = [(place, slot) for place, slot in enumerate(slots) if slot >= 0]
    ours, theirs = torch.tensor(kept, dtype=torch.long).reshape(-1, 2).T
    return ours, theirs
