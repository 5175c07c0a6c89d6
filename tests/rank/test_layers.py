import dataclasses
from typing import get_args

import numpy as np
import pytest
import torch
from torch.nn import functional

from rexnet.nn.layers import activation
from rexnet.rank import layers
from rexnet.rank.config import FITTED, Architecture, Function


@pytest.mark.parametrize("function", [name for name in get_args(Function) if name != "linear"])
def test_a_function_is_that_of_torch(function):
    x = np.linspace(-9, 9, 301, dtype=np.float32)
    ours = layers.FUNCTIONS[function](x)
    theirs = activation(function)(torch.from_numpy(x))
    torch.testing.assert_close(torch.from_numpy(np.asarray(ours)), theirs, rtol=1e-5, atol=1e-6)
    assert ours.dtype == np.float32


PADDING = pytest.mark.parametrize(("padding", "zeros"), [("none", 0), ("zeros", 1)])
"""And the pixels of it, as torch counts them."""


@PADDING
@pytest.mark.parametrize("norm", ["before", "after"])
def test_a_convolution_is_that_of_torch(norm, padding, zeros):
    choices = dataclasses.replace(FITTED["conv"], norm=norm, padding=padding, samples=2)
    ours = layers.output("conv", "silu", 5, 12, choices, np.random.default_rng(3))
    generator = np.random.default_rng(3)
    side = 5 + 2 * (1 - zeros)
    x = generator.random((5, side, side), dtype=np.float32)
    weights = generator.standard_normal((12, 45), dtype=np.float32).reshape(12, 5, 3, 3)
    y = functional.conv2d(torch.from_numpy(x)[None], torch.from_numpy(weights), padding=zeros)
    if norm == "before":
        wanted = functional.silu(functional.batch_norm(y, None, None, training=True))
    else:
        wanted = functional.batch_norm(functional.silu(y), None, None, training=True)
    found = torch.from_numpy(ours).reshape(1, 12, 5, 5)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


@PADDING
def test_a_depthwise_bottleneck_is_that_of_torch(padding, zeros):
    choices = dataclasses.replace(FITTED["depthwise"], padding=padding)
    ours = layers.output("depthwise", "relu", 6, 8, choices, np.random.default_rng(4))
    generator = np.random.default_rng(4)
    border = 1 - zeros
    side = 4 + 2 * border
    x = torch.from_numpy(generator.random((6, side, side), dtype=np.float32))[None]

    def drawn(*shape):
        return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))

    def normed(y):
        return functional.batch_norm(functional.relu(y), None, None, training=True)

    h = normed(functional.conv2d(x, drawn(6, 6)[..., None, None]))
    h = normed(functional.conv2d(h, drawn(6, 3, 3)[:, None], padding=zeros, groups=6))
    y = functional.conv2d(h, drawn(8, 6)[..., None, None])
    y[:, :6] += x[:, :, border : side - border, border : side - border]
    found = torch.from_numpy(ours).reshape(1, 8, 4, 4)
    torch.testing.assert_close(found, y, rtol=1e-3, atol=1e-3)


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
