"""Layers for evaluation on a CPU in float32, channels last, by oneDNN."""

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

from rexnet.nn.layers import SqueezeExcite

POINTWISE: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.Identity: ("none", []),
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.SiLU: ("swish", []),
    nn.Hardswish: ("hardswish", []),
}
"""The activations that oneDNN applies in the pass of a convolution."""


def can_be_onednn(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Tell whether the module is a convolution that a ``OneDnnConv`` can stand for."""
    # Subclasses do more.
    return type(module) is nn.Conv2d and not isinstance(module.padding, str)


def follows(activation: nn.Module) -> bool:
    """Tell whether a ``OneDnnConv`` can apply the activation."""
    return type(activation) in POINTWISE


class OneDnnConv(nn.Module):
    """A convolution with an activation behind it, in one pass.

    ATen sends some convolutions of single images elsewhere, at half the speed, and lays out the
    weights in every call. Here they are laid out once for every size of the input.

    Args:
        conv: One that ``can_be_onednn``.
        activation: One that ``follows``.
    """

    def __init__(self, conv: nn.Conv2d, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self._geometry = (
            [int(side) for side in conv.padding],
            list(conv.stride),
            list(conv.dilation),
            conv.groups,
        )
        self._pointwise = POINTWISE[type(activation or nn.Identity())]
        self._laid_out: Tensor | None = None
        self._size: torch.Size | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width_in, H, W) to (N, width, H / stride, W / stride)."""
        if self._size != x.shape or self._laid_out is None:
            self._laid_out = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, *self._geometry, list(x.shape)
            )
            self._size = x.shape
        name, scalars = self._pointwise
        return torch.ops.mkldnn._convolution_pointwise(
            x, self._laid_out, self.bias, *self._geometry, name, scalars, ""
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> "OneDnnConv":
        raise TypeError("a fused model cannot be copied; copy the model and fuse the copy")


class LinearGate(nn.Module):
    """A folded ``SqueezeExcite`` as two linear layers, in place."""

    def __init__(self, se: SqueezeExcite) -> None:
        super().__init__()
        self.reduce, self.expand = _linear(se.reduce), _linear(se.expand)

    def forward(self, x: Tensor) -> Tensor:
        """Scale (N, width, H, W)."""
        gate = functional.relu_(self.reduce(x.mean((2, 3))))
        return x.mul_(self.expand(gate).sigmoid_()[:, :, None, None])


class InPlaceShortcut(nn.Module):
    """A ``Shortcut`` that adds to the block's output where it lies."""

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Map (N, width, H, W) and (N, width_in, H, W), not wider, to (N, width, H, W)."""
        y[:, : x.shape[1]].add_(x)
        return y


def _linear(conv: nn.Conv2d) -> nn.Linear:
    linear = nn.Linear(conv.in_channels, conv.out_channels)
    linear.weight = nn.Parameter(conv.weight.flatten(1), requires_grad=False)
    assert conv.bias is not None
    linear.bias = nn.Parameter(conv.bias, requires_grad=False)
    return linear
