import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from rexnet.nn.fast import depthwise
from rexnet.nn.fast.norms import ACTIVATIONS
from rexnet.nn.layers import activation

pytestmark = pytest.mark.numeric

WIDTHS = st.integers(depthwise.MIN_WIDTH, 40)
SIDES = st.integers(1, 9)


def draw(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


def in_columns(x, num_pixels):
    """Let several pixels stand in one."""
    num_images, height, side, width = x.shape
    return x.reshape(num_images, height, side // num_pixels, num_pixels * width)


def scaled(coefficients, x):
    c = torch.from_numpy(coefficients).double()[:, :, None, None]
    return x * c[:, 0] + c[:, 1]


def convolved(x, weight, stride):
    """Return torch's convolution of (images, height, width, channels)."""
    taps = weight.t().reshape(-1, 1, 3, 3)
    y = F.conv2d(x.permute(0, 3, 1, 2), taps, stride=stride, padding=1, groups=len(taps))
    return y.permute(0, 2, 3, 1)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(WIDTHS, SIDES, SIDES, st.integers(1, 2), st.booleans(), st.booleans())
def test_values_gradients_and_sums_are_those_of_torch(width, height, side, stride, own, pairs):
    num_images = 2
    num_groups, num_pixels = num_images if own else 1, 2 if pairs and side % 2 == 0 else 1
    x, weight = draw(num_images, height, side, width), draw(9, width)
    before, behind = draw(num_groups, 3, width), draw(num_groups, 4, width)
    out_height, out_side = -(-height // stride), -(-side // stride)
    gradient = draw(num_images, out_height, out_side, width)
    y, x_gradient = np.empty_like(gradient), np.empty_like(x)
    columns = in_columns(x, num_pixels)
    tiled = np.tile(before, num_pixels)
    sums = depthwise.convolve(ACTIVATIONS["silu"], tiled, columns, weight, stride, y)
    found, of_weight = depthwise.gradients(
        ACTIVATIONS["silu"],
        tiled,
        columns,
        weight,
        stride,
        ACTIVATIONS["elu"],
        behind,
        y,
        gradient,
        x_gradient,
    )

    inner = scaled(before, torch.from_numpy(x).double()).requires_grad_()
    taps = torch.from_numpy(weight).double().requires_grad_()
    expected = convolved(activation("silu")(inner), taps, stride)
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-4, atol=1e-4)
    exact = y.astype(np.float64)
    np.testing.assert_allclose(sums[:, 0], exact.sum((1, 2)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(sums[:, 1], (exact**2).sum((1, 2)), rtol=1e-4, atol=1e-4)
    output = torch.from_numpy(exact).requires_grad_()
    activation("elu")(scaled(behind, output)).backward(torch.from_numpy(gradient).double())
    # The gradient of the scaled output holds c0 once, as c0 g of the docstring does.
    linear = torch.from_numpy(behind).double()[:, 2:, None, None]
    expected.backward(output.grad + linear[:, 0] * output.detach() + linear[:, 1])
    g = inner.grad.numpy()
    np.testing.assert_allclose(x_gradient, g, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(of_weight, taps.grad, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found[:, 0], g.sum((1, 2)), rtol=1e-3, atol=1e-2)
    moment = (g * (x - before[:, 2][:, None, None])).sum((1, 2))
    np.testing.assert_allclose(found[:, 1], moment, rtol=1e-3, atol=1e-2)


def test_a_large_mean_does_not_hide_the_variance_of_the_output():
    x, weight = 1000 + draw(2, 16, 16, 8), np.zeros((9, 8), np.float32)
    weight[4] = 1
    identity = np.stack([np.ones(8), np.zeros(8)]).astype(np.float32)[None]
    y = np.empty_like(x)
    sums = depthwise.convolve(ACTIVATIONS["identity"], identity, x, weight, 1, y)
    mean, square = sums.sum(0) / 512
    assert square - mean**2 == pytest.approx(x.astype(float).var((0, 1, 2)), rel=1e-3)
