import dataclasses
from typing import get_args

import numpy as np
import pytest
import torch
from torch.nn import functional

from rexnet.nn.layers import activation
from rexnet.studies.rank import layers
from rexnet.studies.rank.config import FITTED, Architecture, Function

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("function", [name for name in get_args(Function) if name != "linear"])
def test_a_function_is_that_of_torch(function):
    x = np.linspace(-9, 9, 301, dtype=np.float32)
    ours = layers.FUNCTIONS[function](x)
    theirs = activation(function)(torch.from_numpy(x))
    torch.testing.assert_close(torch.from_numpy(np.asarray(ours)), theirs, rtol=1e-5, atol=1e-6)
    assert ours.dtype == np.float32


def draw_input(generator, maps, width, pixels):
    """Return the input of a layer as torch has it, images by channels, and what draws weights."""
    side = int(pixels**0.5)
    shape = (width, side, side) if maps == "image" else (width, 1, pixels)
    x = torch.from_numpy(generator.random(shape, dtype=np.float32))
    return x[None] if maps == "image" else x.permute(2, 0, 1)[..., None]


def draw_weights(generator, maps, *shape):
    """Return weights of 3x3 convolutions; of points only those in the middle are drawn."""
    if maps == "image":
        return torch.from_numpy(generator.standard_normal((*shape, 3, 3), dtype=np.float32))
    weights = torch.randn(*shape, 3, 3)
    weights[..., 1, 1] = torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
    return weights


def by_channels(y):
    return y.transpose(0, 1).flatten(1)


MAPS = pytest.mark.parametrize("maps", ["points", "image"])


@MAPS
@pytest.mark.parametrize("norm", ["before", "after"])
def test_a_convolution_is_that_of_torch(norm, maps):
    choices = dataclasses.replace(FITTED["conv"], norm=norm, maps=maps, samples=25 / 12)
    ours = layers.output("conv", "silu", 5, 12, choices, np.random.default_rng(3))
    generator = np.random.default_rng(3)
    x = draw_input(generator, maps, 5, 25)
    y = functional.conv2d(x, draw_weights(generator, maps, 12, 5), padding=1)
    if norm == "before":
        wanted = functional.silu(functional.batch_norm(y, None, None, training=True))
    else:
        wanted = functional.batch_norm(functional.silu(y), None, None, training=True)
    found = torch.from_numpy(ours)
    torch.testing.assert_close(found, by_channels(wanted), rtol=1e-3, atol=1e-4)


@MAPS
def test_a_depthwise_bottleneck_is_that_of_torch(maps):
    choices = dataclasses.replace(FITTED["depthwise"], maps=maps, expansion=1)
    ours = layers.output("depthwise", "relu", 6, 8, choices, np.random.default_rng(4))
    generator = np.random.default_rng(4)
    x = draw_input(generator, maps, 6, 16)

    def pointwise(*shape):
        weights = torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
        return weights[..., None, None]

    def normed(y):
        return functional.batch_norm(functional.relu(y), None, None, training=True)

    h = normed(functional.conv2d(x, pointwise(6, 6)))
    weights = draw_weights(generator, maps, 6)[:, None]
    h = normed(functional.conv2d(h, weights, padding=1, groups=6))
    y = functional.conv2d(h, pointwise(8, 6))
    y[:, :6] += x
    torch.testing.assert_close(torch.from_numpy(ours), by_channels(y), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_an_output_has_a_row_a_channel_and_more_pixels_than_channels(architecture):
    choices = FITTED[architecture]
    y = layers.output(architecture, "relu", 8, 40, choices, np.random.default_rng(0))
    assert y.shape[0] == 40
    assert y.shape[1] > 40
    assert y.dtype == np.float32
    assert np.isfinite(y).all()


def test_functions_follow_the_same_weights_and_inputs():
    choices = FITTED["bottleneck"]
    linear, relu = (
        layers.output("bottleneck", name, 4, 16, choices, np.random.default_rng(7))
        for name in ("linear", "relu")
    )
    # The shortcut adds the same input to both.
    assert linear.shape == relu.shape
    assert not np.array_equal(linear, relu)
