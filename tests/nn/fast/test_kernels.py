import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kinks import distance

from rexnet.nn.fast import kernels
from rexnet.nn.fast.norms import ACTIVATIONS
from rexnet.nn.layers import activation

pytestmark = pytest.mark.numeric

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 200), st.integers(1, 70))
ACTS = {name: (act, activation(name)) for name, act in ACTIVATIONS.items()}


def draw(shape, num_coefficients):
    generator = np.random.default_rng(sum(shape))
    groups, _, width = shape
    x, other = (3 * generator.standard_normal(shape, dtype=np.float32) for _ in range(2))
    return generator.standard_normal((groups, num_coefficients, width), np.float32), x, other


def scaled(coefficients, x):
    """Return ``c0 x + c1`` in float64."""
    c = coefficients[:, None].astype(np.float64)
    return x * c[:, :, 0] + c[:, :, 1]


def value_and_slope(module, x):
    """Return what torch makes of ``x`` in float64."""
    x = torch.from_numpy(x).requires_grad_()
    y = module(x)
    y.sum().backward()
    return y.detach().numpy(), x.grad.numpy()


@settings(deadline=None, max_examples=30, derandomize=True)
@given(SHAPES)
def test_moments(shape):
    _, x, _ = draw(shape, 1)
    expected = np.stack([x.sum(1, dtype=float), (x.astype(float) ** 2).sum(1)], 1)
    assert kernels.moments(x) == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_a_large_mean_does_not_hide_the_variance():
    generator = np.random.default_rng(0)
    x = 1000 + generator.standard_normal((1, 4096, 16), np.float32)
    mean, square = kernels.moments(x)[0] / 4096
    assert square - mean**2 == pytest.approx(x[0].astype(float).var(0), rel=1e-3)


@pytest.mark.parametrize("name", ACTS)
@settings(deadline=None, max_examples=20, derandomize=True)
@given(SHAPES)
def test_activate(name, shape):
    act, module = ACTS[name]
    coefficients, x, out = draw(shape, 2)
    kernels.activate(act, coefficients, x, out)
    expected, _ = value_and_slope(module, scaled(coefficients, x))
    assert out == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", ACTS)
@settings(deadline=None, max_examples=20, derandomize=True)
@given(SHAPES)
def test_gradients(name, shape):
    act, module = ACTS[name]
    coefficients, x, gradient = draw(shape, 4)
    z = scaled(coefficients, x)
    # Where rounding decides the slope, there is no gradient.
    gradient[distance(module, torch.from_numpy(z)).numpy() < 1e-5] = 0
    g = gradient * value_and_slope(module, z)[1]
    sums = kernels.gradient_sums(act, np.ascontiguousarray(coefficients[:, :3]), x, gradient)
    moment = (g * (x - coefficients[:, None, 2])).sum(1)
    assert sums == pytest.approx(np.stack([g.sum(1), moment], 1), rel=1e-3, abs=1e-2)
    c = coefficients[:, None]
    expected = g * c[:, :, 0] + x * c[:, :, 2] + c[:, :, 3]
    kernels.scale_gradient(act, coefficients, x, gradient, gradient)
    assert gradient == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", ["elu", "softplus", "silu"])
def test_values_are_as_close_to_double_precision_as_float32_can_be(name):
    act, module = ACTS[name]
    x = np.linspace(-80, 80, 160_000, dtype=np.float32).reshape(1, -1, 16)
    coefficients = np.zeros((1, 2, 16), np.float32)
    coefficients[:, 0] = 1
    out = np.empty_like(x)
    kernels.activate(act, coefficients, x, out)
    expected, _ = value_and_slope(module, x.astype(float))
    assert np.abs(out - expected)[np.abs(x) < 8].max() < 1e-6
    assert np.abs(out - expected).max() < 1e-5


@pytest.mark.parametrize("name", ACTS)
def test_what_is_not_a_number_stays_so(name):
    x = np.full((1, 1, 16), np.nan, np.float32)
    out = np.zeros_like(x)
    kernels.activate(ACTS[name][0], np.ones((1, 2, 16), np.float32), x, out)
    assert np.isnan(out).all()
