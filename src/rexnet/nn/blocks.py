"""The one block of all families."""

import torch
from torch import Tensor, nn

from rexnet.nn.layers import ConvNorm, SqueezeExcite, activation, stochastic_depth
from rexnet.spec import BlockSpec, Padding


class Shortcut(nn.Module):
    """Adds the input of a block to the first channels of what the block made of it."""

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Map (N, width, H, W) and (N, width_in, H, W), not wider, to (N, width, H, W)."""
        width = x.shape[1]
        if width == y.shape[1]:
            return y + x
        # differs: the official in-place add to a slice draws trace warnings at export.
        return torch.cat([y[:, :width] + x, y[:, width:]], dim=1)


class Block(nn.Module):
    """A BlockSpec made a module: [expand] -> depthwise -> [SE] -> project (+ shortcut).

    In training, a block with a shortcut leaves out all but the shortcut for a share ``drop_path``
    of the samples (stochastic depth).
    """

    def __init__(
        self,
        width_in: int,
        spec: BlockSpec,
        drop_path: float = 0.0,
        padding: Padding = "symmetric",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        expanded = width_in * spec.expansion
        self.expand = ConvNorm(width_in, expanded, eps=eps) if spec.expansion != 1 else None
        self.expand_act = activation(spec.expand_act)
        geometry = spec.kernel, spec.stride, expanded, padding
        self.depthwise = ConvNorm(expanded, expanded, *geometry, eps)
        squeezed = spec.squeeze_width(expanded) if spec.se_divisor else 0
        self.se: nn.Module | None = SqueezeExcite(expanded, squeezed, eps) if squeezed else None
        self.depthwise_act = activation(spec.depthwise_act)
        self.project = ConvNorm(expanded, spec.width, eps=eps)
        self.project_act = activation(spec.project_act)
        self.shortcut_width = width_in if spec.has_shortcut(width_in) else 0
        self.shortcut: nn.Module | None = Shortcut() if self.shortcut_width else None
        drops = drop_path > 0 and self.shortcut_width > 0
        self.drop_path = stochastic_depth(drop_path) if drops else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width_in, H, W) to (N, width, H / stride, W / stride)."""
        return self.finished(self.expanded(x), x)

    def expanded(self, x: Tensor) -> Tensor:
        """Map (N, width_in, H, W) to (N, expansion * width_in, H, W), the first half of forward."""
        return x if self.expand is None else self.expand_act(self.expand(x))

    def finished(self, expanded: Tensor, x: Tensor) -> Tensor:
        """Return the output for the input ``x`` and what ``expanded`` made of it."""
        y = self.depthwise(expanded)
        if self.se is not None:
            y = self.se(y)
        y = self.project_act(self.project(self.depthwise_act(y)))
        if self.shortcut is None:
            return y
        return self.shortcut(y if self.drop_path is None else self.drop_path(y), x)
