"""The parts of a network by their types, as it is trained."""

from torch import nn

from rexnet.nn.blocks import Block
from rexnet.nn.layers import ConvNorm, SqueezeExcite
from rexnet.nn.network import Network


def blocks(model: Network) -> list[Block]:
    """Return the blocks."""
    return [block for block in model.blocks if isinstance(block, Block)]


def ends(model: Network) -> list[ConvNorm]:
    """Return the layers that give the streams."""
    return [model.stem, *(block.project for block in blocks(model))]


def squeeze(block: Block) -> SqueezeExcite | None:
    """Return the SE of a block that has one."""
    return block.se if isinstance(block.se, SqueezeExcite) else None


def classifier(model: Network) -> nn.Linear | None:
    """Return the last layer where there are classes."""
    return model.classifier if isinstance(model.classifier, nn.Linear) else None
