"""The one block of all families."""

import torch
from torch import Tensor, nn

from rexnet.nn.layers import ConvNorm, SqueezeExcite, activation, stochastic_depth
from rexnet.spec import BlockSpec


class Block(nn.Module):
    """A BlockSpec made a module: [expand] -> depthwise -> [SE] -> project (+ shortcut).

    In training, a block with a shortcut leaves out all but the shortcut for a share ``drop_path``
    of the samples (stochastic depth).
    """

    def __init__(self, width_in: int, spec: BlockSpec, drop_path: float = 0.0) -> None:
        super().__init__()
        expanded = width_in * spec.expansion
        self.expand = ConvNorm(width_in, expanded) if spec.expansion != 1 else None
        self.expand_act = activation(spec.expand_act)
        self.depthwise = ConvNorm(expanded, expanded, spec.kernel, spec.stride, groups=expanded)
        self.se = SqueezeExcite(expanded, spec.squeeze_width(expanded)) if spec.se_divisor else None
        self.depthwise_act = activation(spec.depthwise_act)
        self.project = ConvNorm(expanded, spec.width)
        self.project_act = activation(spec.project_act)
        self.shortcut_width = width_in if spec.has_shortcut(width_in) else 0
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
        if self.shortcut_width == 0:
            return y
        if self.drop_path is not None:
            y = self.drop_path(y)
        if self.shortcut_width == y.shape[1]:
            return y + x
        # differs: the official in-place add to a slice draws trace warnings at export.
        return torch.cat([y[:, : self.shortcut_width] + x, y[:, self.shortcut_width :]], dim=1)
