"""The form of a network in which runtimes compute it fastest, for export."""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from rexnet.nn.blocks import Block
from rexnet.nn.fuse import fold
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


def fill(model: Network) -> Network:
    """Return a copy for evaluation with widths filled up to multiples of 16 by zeros.

    Runtimes keep the channels of 8 or 16 at a time together, and leave that layout for widths
    that are no multiple and for the slices and concatenations of the partial shortcut. The added
    channels have weights of zero and reach nothing: the logits are the same but for rounding.

    Args:
        model: The network; its batch norms are folded.
    """
    filled = fold(model)
    # An activation that makes zeros something else would leak from added channels.
    if any(isinstance(module, nn.Softplus) for module in filled.modules()):
        return filled
    width = model.spec.in_channels
    with torch.no_grad():
        _fill(filled.stem, width, width := _up(model.spec.stem_width))
        for block, wanted in zip(filled.blocks, model.spec.widths, strict=True):
            assert isinstance(block, Block)
            _fill_block(block, width, width := _up(wanted))
        if filled.penultimate is not None:
            _fill(filled.penultimate, width, filled.penultimate.conv.out_channels)
        elif filled.hidden is not None:
            filled.hidden = _filled_linear(filled.hidden, width)
        else:
            filled.classifier = _filled_linear(filled.classifier, width)
    return filled.requires_grad_(False)


def _up(width: int) -> int:
    return -(-width // MULTIPLE) * MULTIPLE


def _fill_block(block: Block, width_in: int, width: int) -> None:
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
    if block.shortcut is not None:
        block.shortcut = PaddingShortcut()


def _fill(layer: ConvNorm, width_in: int, width: int) -> None:
    layer.conv = _filled(layer.conv, width_in, width)


def _filled(conv: nn.Conv2d, width_in: int, width: int) -> nn.Conv2d:
    """Return the convolution with added channels whose weights are zero."""
    filled = nn.Conv2d(
        width_in,
        width,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        groups=1 if conv.groups == 1 else width,
    )
    return _copied(conv, filled)


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
