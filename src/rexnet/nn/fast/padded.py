"""The form of a network in which runtimes compute it fastest, for export."""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from rexnet.nn.blocks import Block
from rexnet.nn.fast.inference import fold
from rexnet.nn.layers import ConvNorm, SqueezeExcite
from rexnet.nn.network import Network

L = TypeVar("L", nn.Conv2d, nn.Linear)

MULTIPLE = 16
"""Channels that a CPU with 512-bit registers computes at a time."""


class PaddingShortcut(nn.Module):
    """A ``Shortcut`` that adds zeros to the channels that the input lacks."""

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Map (N, width, H, W) and (N, width_in, H, W), not wider, to (N, width, H, W)."""
        missing = y.shape[1] - x.shape[1]
        return y + (functional.pad(x, (0, 0, 0, 0, 0, missing)) if missing else x)


class SplitShortcut(nn.Module):
    """A projection and a ``Shortcut`` behind it: a convolution for the channels that get the input.

    Args:
        conv: The whole projection.
        act: What follows it.
        width_in: The first channels of its output, to which the input is added.
    """

    def __init__(self, conv: nn.Conv2d, act: nn.Module, width_in: int) -> None:
        super().__init__()
        self.first, self.second = _cut(conv, 0, width_in), _cut(conv, width_in, conv.out_channels)
        self.act = act

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        """Map (N, expanded, H, W) and the input (N, width_in, H, W) to (N, width, H, W)."""
        return torch.cat([self.act(self.first(h)) + x, self.act(self.second(h))], dim=1)


def fill(model: Network, *, split: bool = False) -> Network:
    """Return a copy for evaluation with widths filled up to multiples of 16 by zeros.

    Runtimes keep the channels of 8 or 16 at a time together, and leave that layout for widths
    that are no multiple and for the slices and concatenations of the partial shortcut. The added
    channels have weights of zero and reach nothing: the logits are the same but for rounding.

    Args:
        model: The network; its batch norms are folded.
        split: Cut projections in two instead of padding shortcuts, which ONNX Runtime prefers.
    """
    filled = fold(model)
    # An activation that makes zeros something else would leak from added channels.
    if any(isinstance(module, nn.Softplus) for module in filled.modules()):
        return filled
    # Without a layer behind the last block its channels are the output.
    if not (model.spec.penultimate_width or model.spec.hidden_width or model.spec.num_classes):
        return filled
    width = model.spec.in_channels
    with torch.no_grad():
        _fill(filled.stem, width, width := _up(model.spec.stem_width))
        for block, wanted in zip(filled.blocks, model.spec.widths, strict=True):
            assert isinstance(block, Block)
            _fill_block(block, width, width := _up(wanted), split)
        if filled.penultimate is not None:
            _fill(filled.penultimate, width, filled.penultimate.conv.out_channels)
        elif filled.hidden is not None:
            filled.hidden = _filled_linear(filled.hidden, width)
        else:
            assert isinstance(filled.classifier, nn.Linear)
            filled.classifier = _filled_linear(filled.classifier, width)
    return filled.requires_grad_(False)


def _up(width: int) -> int:
    return -(-width // MULTIPLE) * MULTIPLE


def _fill_block(block: Block, width_in: int, width: int, split: bool) -> None:
    expanded = width_in
    if block.expand is not None:
        expanded = _up(block.expand.conv.out_channels)
        _fill(block.expand, width_in, expanded)
    _fill(block.depthwise, expanded, expanded)
    if isinstance(block.se, SqueezeExcite):
        squeezed = block.se.reduce.out_channels
        block.se.reduce = _filled(block.se.reduce, expanded, squeezed)
        block.se.expand = _filled(block.se.expand, squeezed, expanded)
    _fill(block.project, expanded, width)
    if block.shortcut is None:
        return
    block.shortcut = PaddingShortcut()
    if split and width > width_in:
        block.shortcut = SplitShortcut(block.project.conv, block.project_act, width_in)
        for name in ("project", "project_act"):
            block.add_module(name, nn.Identity())


def _fill(layer: ConvNorm, width_in: int, width: int) -> None:
    layer.conv = _filled(layer.conv, width_in, width)


def _filled(conv: nn.Conv2d, width_in: int, width: int) -> nn.Conv2d:
    """Return the convolution with added channels whose weights are zero."""
    filled = type(conv)(
        width_in,
        width,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        groups=1 if conv.groups == 1 else width,
    )
    return _copied(conv, filled)


def _cut(conv: nn.Conv2d, start: int, end: int) -> nn.Conv2d:
    """Return a 1x1 convolution for a part of the channels of the output."""
    part = nn.Conv2d(conv.in_channels, end - start, 1).to(conv.weight)
    assert conv.bias is not None
    assert part.bias is not None
    part.weight.copy_(conv.weight[start:end])
    part.bias.copy_(conv.bias[start:end])
    return part


def _filled_linear(linear: nn.Linear, width_in: int) -> nn.Linear:
    return _copied(linear, nn.Linear(width_in, linear.out_features))


def _copied(layer: L, filled: L) -> L:
    filled = filled.to(layer.weight)
    assert layer.bias is not None
    assert filled.bias is not None
    width, width_in = layer.weight.shape[:2]
    filled.weight.zero_()[:width, :width_in] = layer.weight
    filled.bias.zero_()[:width] = layer.bias
    return filled
