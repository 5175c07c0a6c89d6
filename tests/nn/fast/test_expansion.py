import pytest
import torch

from rexnet.nn.blocks import Block
from rexnet.nn.fast.expansion import Expansion, can_expand
from rexnet.nn.fast.norms import Layer
from rexnet.spec import BlockSpec

pytestmark = pytest.mark.numeric


def layers_of(width_in, **fields):
    """Return the block of a spec and its expanding and depthwise layers."""
    torch.manual_seed(0)
    block = Block(width_in, BlockSpec(width=16, **fields)).to(memory_format=torch.channels_last)
    conv, norm = block.depthwise.conv, block.depthwise.norm
    behind = Layer(conv=conv, norm=norm, act="relu6")
    project = Layer(conv=block.project.conv, norm=block.project.norm, act="identity")
    if block.expand is None:
        return block, [behind, project]
    expand = Layer(conv=block.expand.conv, norm=block.expand.norm, act="silu")
    return block, [expand, behind, project]


def each_of(num_parts):
    return lambda function: [function(part) for part in range(num_parts)]


def test_statistics_of_an_input_far_from_zero_are_those_of_the_batch_norm():
    block, layers = layers_of(8)
    x = 100 + torch.randn(6, 8, 12, 12).to(memory_format=torch.channels_last)
    with torch.no_grad():
        Expansion(layers[0], layers[1], x.split(2), each_of(3))
        wide = block.expand.conv(x.double().float()).double()
    norm = block.expand.norm
    torch.testing.assert_close(
        norm.running_mean.double(), 0.1 * wide.mean((0, 2, 3)), rtol=1e-4, atol=1e-4
    )
    expected = 0.9 + 0.1 * wide.var((0, 2, 3))
    torch.testing.assert_close(norm.running_var.double(), expected, rtol=1e-4, atol=1e-4)


def test_blocks_without_an_expansion_or_with_other_kernels_are_left_to_others():
    assert can_expand(layers_of(8)[1])
    assert not can_expand(layers_of(8, kernel=5)[1])
    assert not can_expand(layers_of(8, expansion=1)[1])
    assert not can_expand(layers_of(1, expansion=6)[1])
