"""The layers that blocks are made of."""

from torch import Tensor, nn

from rexnet.spec import Activation


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


class ConvNorm(nn.Module):
    """A convolution without bias, then batch norm: ``conv`` and ``norm``."""

    def __init__(
        self, width_in: int, width: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            width_in, width, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width_in, H, W) to (N, width, H / stride, W / stride)."""
        return self.norm(self.conv(x))


class SqueezeExcite(nn.Module):
    """Scales every channel by a gate computed from all channel means (paper, section 4.4).

    As in the official model both convolutions have biases and the first has a batch norm.
    """

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, squeezed, 1)
        self.norm = nn.BatchNorm2d(squeezed)
        self.act = nn.ReLU()
        self.expand = nn.Conv2d(squeezed, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width, H, W) to the same shape."""
        gate = x.mean((2, 3), keepdim=True)
        gate = self.expand(self.act(self.norm(self.reduce(gate))))
        return x * gate.sigmoid()
