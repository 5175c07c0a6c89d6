"""The layers that blocks are made of."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from rexnet.spec import Activation, Padding


def activation(name: Activation) -> nn.Module:
    """Return a new activation module."""
    modules = {
        "identity": nn.Identity,
        "relu": nn.ReLU,
        "relu6": nn.ReLU6,
        "leaky_relu": nn.LeakyReLU,
        "elu": nn.ELU,
        "softplus": nn.Softplus,
        "hardswish": nn.Hardswish,
        "silu": nn.SiLU,
    }
    return modules[name]()


def stochastic_depth(rate: float) -> nn.Module:
    """Return a module that drops samples at ``rate`` in training and scales up the others."""
    from torchvision.ops import StochasticDepth

    return StochasticDepth(rate, mode="row")


class SameConv2d(nn.Conv2d):
    """A square convolution of stride 2 with TensorFlow's ``SAME`` padding.

    Of an even side it pads one pixel less than ``nn.Conv2d`` of the same padding, at the left and
    at the top.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.padding = (0, 0)

    def padded(self, x: Tensor) -> Tensor:
        """Return (N, width_in, H, W) with zeros around it."""
        sides = [self._missing(side) for side in (x.shape[3], x.shape[2])]
        return functional.pad(x, [part for n in sides for part in (n // 2, n - n // 2)])

    def unpadded(self, x: Tensor, sides: Sequence[int]) -> Tensor:
        """Return what ``padded`` left as it was of a map of ``sides``, such as its gradient."""
        top, left = (self._missing(side) // 2 for side in sides)
        return x[:, :, top : top + sides[0], left : left + sides[1]]

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width_in, H, W) to (N, width, H / 2, W / 2), rounded up."""
        return super().forward(self.padded(x))

    def _missing(self, side: int) -> int:
        kernel, stride = int(self.kernel_size[0]), int(self.stride[0])
        return max(0, (-(-side // stride) - 1) * stride + kernel - side)


class ConvNorm(nn.Module):
    """A convolution without bias, then batch norm: ``conv`` and ``norm``."""

    def __init__(
        self,
        width_in: int,
        width: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        padding: Padding = "symmetric",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        # At stride 1 both are the same.
        kind = SameConv2d if padding == "same" and stride > 1 else nn.Conv2d
        self.conv = kind(width_in, width, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(width, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width_in, H, W) to (N, width, H / stride, W / stride)."""
        return self.norm(self.conv(x))


class SqueezeExcite(nn.Module):
    """Scales every channel by a gate computed from all channel means (paper, section 4.4).

    As in the official model both convolutions have biases and the first has a batch norm.
    """

    def __init__(self, width: int, squeezed: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, squeezed, 1)
        self.norm = nn.BatchNorm2d(squeezed, eps=eps)
        self.act = nn.ReLU()
        self.expand = nn.Conv2d(squeezed, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width, H, W) to the same shape."""
        gate = x.mean((2, 3), keepdim=True)
        gate = self.expand(self.act(self.norm(self.reduce(gate))))
        return x * gate.sigmoid()
