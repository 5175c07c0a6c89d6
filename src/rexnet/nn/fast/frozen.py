"""A network in training whose batch norms keep their statistics, as part of its convolutions."""

from torch import Tensor, nn
from torch.nn import functional

from rexnet.nn.blocks import Block
from rexnet.nn.layers import ConvNorm, SameConv2d
from rexnet.nn.network import Network


class Frozen(nn.Module):
    """The training-mode forward of a network whose batch norms are in evaluation mode.

    A batch norm that keeps its statistics scales and shifts every channel; here the convolution
    before it does, which saves the passes over its maps. Values and gradients are those of
    ``model`` but for rounding.

    Args:
        model: The network.
    """

    def __init__(self, model: Network) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) of images (N, channels, height, width)."""
        model = self.model
        x = model.stem_act(folded(model.stem, x))
        for block in model.blocks:
            assert isinstance(block, Block)
            x = _block(block, x)
        if model.penultimate is not None:
            x = model.penultimate_act(folded(model.penultimate, x))
        x = x.mean((2, 3))
        if model.hidden is not None and model.hidden_norm is not None:
            x = model.hidden_act(model.hidden_norm(model.hidden(x)))
        y: Tensor = model.classifier(model.dropout(x))
        return y


def folded(layer: ConvNorm, x: Tensor) -> Tensor:
    """Return what a convolution and its batch norm in evaluation mode make of ``x``."""
    conv, norm = layer.conv, layer.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    if isinstance(conv, SameConv2d):
        x = conv.padded(x)
    return functional.conv2d(
        x,
        conv.weight * scale[:, None, None, None],
        norm.bias - norm.running_mean * scale,
        conv.stride,
        conv.padding,
        groups=conv.groups,
    )


def _block(block: Block, x: Tensor) -> Tensor:
    y = x if block.expand is None else block.expand_act(folded(block.expand, x))
    y = folded(block.depthwise, y)
    if block.se is not None:
        y = block.se(y)
    y = block.project_act(folded(block.project, block.depthwise_act(y)))
    if block.shortcut is None:
        return y
    added: Tensor = block.shortcut(y if block.drop_path is None else block.drop_path(y), x)
    return added
