import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexnet.nn import kernels

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 200), st.integers(1, 70))
INFINITE = (-math.inf, math.inf)
ACTS = st.sampled_from(
    [(0.0, 6.0, False), (0.0, math.inf, False), (*INFINITE, False), (*INFINITE, True)]
)


def draw(shape, num_coefficients):
    generator = np.random.default_rng(sum(shape))
    groups, _, width = shape
    x, other = (3 * generator.standard_normal(shape, dtype=np.float32) for _ in range(2))
    return generator.standard_normal((groups, num_coefficients, width), np.float32), x, other


def float32(act):
    return np.float32(act[0]), np.float32(act[1]), act[2]


def scaled(coefficients, x):
    """Return ``c0 x + c1`` in float32, as the kernels must to see the same side of a bound."""
    return (x * coefficients[:, None, 0] + coefficients[:, None, 1]).astype(np.float64)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def slope(x, act):
    low, high, smooth = act
    if smooth:
        return sigmoid(x) * (1 + x * (1 - sigmoid(x)))
    return ((x > low) & (x < high)).astype(float)


@settings(deadline=None, max_examples=30)
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


@settings(deadline=None, max_examples=30)
@given(SHAPES, ACTS)
def test_activate(shape, act):
    coefficients, x, out = draw(shape, 2)
    kernels.activate(coefficients, x, out, *float32(act))
    y = scaled(coefficients, x)
    expected = y * sigmoid(y) if act[2] else np.clip(y, *act[:2])
    assert out == pytest.approx(expected, rel=1e-5, abs=1e-5)


@settings(deadline=None, max_examples=30)
@given(SHAPES, ACTS)
def test_gradients(shape, act):
    coefficients, x, gradient = draw(shape, 4)
    g = gradient * slope(scaled(coefficients, x), act)
    sums = kernels.gradient_sums(
        np.ascontiguousarray(coefficients[:, :3]), x, gradient, *float32(act)
    )
    moment = (g * (x - coefficients[:, None, 2])).sum(1)
    assert sums == pytest.approx(np.stack([g.sum(1), moment], 1), rel=1e-3, abs=1e-2)
    c = coefficients[:, None]
    expected = g * c[:, :, 0] + x * c[:, :, 2] + c[:, :, 3]
    kernels.scale_gradient(coefficients, x, gradient, *float32(act))
    assert gradient == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_silu_is_as_close_to_double_precision_as_float32_can_be():
    x = np.linspace(-80, 80, 160_000, dtype=np.float32).reshape(1, -1, 16)
    coefficients = np.zeros((1, 2, 16), np.float32)
    coefficients[:, 0] = 1
    out = np.empty_like(x)
    kernels.activate(coefficients, x, out, *float32((*INFINITE, True)))
    expected = x.astype(float) * sigmoid(x.astype(float))
    assert np.abs(out / expected - 1).max() < 1e-5
    assert np.abs(out - expected)[np.abs(x) < 8].max() < 1e-6


def test_what_is_not_a_number_stays_so():
    x = np.full((1, 1, 16), np.nan, np.float32)
    for act in ((0.0, 6.0, False), (*INFINITE, True)):
        out = np.zeros_like(x)
        kernels.activate(np.ones((1, 2, 16), np.float32), x, out, *float32(act))
        assert np.isnan(out).all()
