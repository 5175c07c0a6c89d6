import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexnet.nn import kernels

SHAPES = st.tuples(st.integers(1, 200), st.integers(1, 70))
BOUNDS = st.sampled_from([(0.0, 6.0), (0.0, math.inf), (-math.inf, math.inf)])


def draw(shape, *counts):
    generator = np.random.default_rng(sum(shape))
    rows = [3 * generator.standard_normal(shape, dtype=np.float32) for _ in range(2)]
    width = shape[1]
    return *rows, *(generator.standard_normal((n, width), dtype=np.float32) for n in counts)


def float32(bounds):
    return np.float32(bounds[0]), np.float32(bounds[1])


@settings(deadline=None, max_examples=30)
@given(SHAPES)
def test_moments(shape):
    x, _, shift = draw(shape, 1)
    away = x.astype(float) - shift
    expected = [away.sum(0), (away**2).sum(0)]
    assert kernels.moments(x, shift[0]) == pytest.approx(np.stack(expected), rel=1e-4, abs=1e-3)


@settings(deadline=None, max_examples=30)
@given(SHAPES, BOUNDS)
def test_scale_clamp(shape, bounds):
    x, out, coefficients = draw(shape, 2)
    kernels.scale_clamp(x, coefficients, *float32(bounds), out)
    expected = np.clip(x * coefficients[0] + coefficients[1], *bounds)
    assert out == pytest.approx(expected, rel=1e-5, abs=1e-5)


@settings(deadline=None, max_examples=30)
@given(SHAPES, BOUNDS)
def test_the_gradient_passes_through_what_is_inside_the_bounds_alone(shape, bounds):
    x, gradient, coefficients = draw(shape, 4)
    scaled = x * coefficients[0] + coefficients[1]
    masked = np.where((scaled > bounds[0]) & (scaled < bounds[1]), gradient, 0)
    sums = kernels.gradient_sums(x, gradient, coefficients[:3], *float32(bounds))
    moment = (masked.astype(float) * (x - coefficients[2])).sum(0)
    assert sums == pytest.approx(np.stack([masked.sum(0), moment]), rel=1e-3, abs=1e-2)
    expected = masked * coefficients[0] + x * coefficients[2] + coefficients[3]
    kernels.scale_gradient(x, gradient, coefficients, *float32(bounds))
    assert gradient == pytest.approx(expected, rel=1e-4, abs=1e-4)


@settings(deadline=None, max_examples=30)
@given(SHAPES, BOUNDS)
def test_mask_gradient(shape, bounds):
    y, gradient = draw(shape)
    y = np.clip(y, *bounds)
    expected = np.where((y > bounds[0]) & (y < bounds[1]), gradient, 0)
    sums = kernels.mask_gradient(y, gradient, *float32(bounds))
    assert np.array_equal(gradient, expected)
    assert sums == pytest.approx(expected.sum(0, dtype=float), rel=1e-4, abs=1e-3)


def test_what_is_not_a_number_stays_so():
    x = np.full((1, 16), np.nan, np.float32)
    out = np.zeros_like(x)
    kernels.scale_clamp(x, np.ones((2, 16), np.float32), np.float32(0), np.float32(6), out)
    assert np.isnan(out).all()
