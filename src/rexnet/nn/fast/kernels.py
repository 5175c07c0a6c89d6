"""Passes over activations that torch would take several of, compiled by Numba.

Every array of activations has the axes (group, pixel, channel): channels-last memory without a
copy. A group, such as an image, has sums of its own, and coefficients of its own unless one set
serves all. A gradient of one pixel a group is that of every pixel. Sums are taken in float32
over ``BLOCK`` pixels and in float64 over the blocks. The kernels let go of Python's lock, so that
threads can share the work. An activation function is a type, so that Numba compiles a kernel for
each.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload
from numpy.typing import NDArray

from rexnet.nn.fast.caching import kept

Pixels = NDArray[np.float32]
Coefficients = NDArray[np.float32]
Sums = NDArray[np.float64]

BLOCK = 64

# Sums may be reordered, so that they vectorise; infinities and NaN keep their meaning.
FAST: Any = {"error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz", "arcp"}}
compiled: Any = partial(kept, nogil=True, **FAST)

ZERO, ONE, TWO, THREE, SIX, HALF, LIMIT = (np.float32(n) for n in (0, 1, 2, 3, 6, 0.5, 87))
LN_2, INVERSE_LN_2 = np.float32(math.log(2)), np.float32(1 / math.log(2))
C3, C4, C5, C6 = (np.float32(1 / math.factorial(n)) for n in (3, 4, 5, 6))
D3, D5, D7, D9, D11 = (np.float32(2 / n) for n in (3, 5, 7, 9, 11))
EXPONENT_BIAS, MANTISSA_BITS = np.int32(127), np.int32(23)
LEAK = np.float32(0.01)


class Clamp(NamedTuple):
    """ReLU and ReLU6, and the identity with bounds at plus and minus infinity."""

    low: np.float32
    high: np.float32


class LeakyReLU(NamedTuple):
    """With a slope of 0.01 below zero."""


class ELU(NamedTuple):
    """With alpha 1."""


class Softplus(NamedTuple):
    """With beta 1."""


class HardSwish(NamedTuple):
    """As in MobileNetV3."""


class SiLU(NamedTuple):
    """Swish with beta 1."""


Act = Clamp | LeakyReLU | ELU | Softplus | HardSwish | SiLU


@compiled
def moments(x: Pixels) -> Sums:
    """Return the sums (groups, 2, width) over the pixels of ``x`` and of its square."""
    num_groups, num_pixels, width = x.shape
    sums = np.zeros((num_groups, 2, width), np.float64)
    part = np.empty((2, width), np.float32)
    for group in range(num_groups):
        # Less any pixel of its own, a channel with a large mean keeps its variance.
        shift = x[group, 0]
        for start in range(0, num_pixels, BLOCK):
            part[:] = 0
            block = x[group, start : start + BLOCK]
            for pixel in range(len(block)):
                for channel in range(width):
                    value = block[pixel, channel] - shift[channel]
                    part[0, channel] += value
                    part[1, channel] += value * value
            sums[group] += part
        for channel in range(width):
            origin, total = np.float64(shift[channel]), sums[group, 0, channel]
            sums[group, 0, channel] += num_pixels * origin
            sums[group, 1, channel] += (2 * total + num_pixels * origin) * origin
    return sums


@compiled
def activate(act: Act, coefficients: Coefficients, x: Pixels, out: Pixels) -> None:
    """Write ``act(c0 x + c1)`` to ``out``; ``coefficients`` (groups, 2, width) are c0 and c1."""
    num_groups, num_pixels, width = x.shape
    for group in range(num_groups):
        c = coefficients[min(group, len(coefficients) - 1)]
        for pixel in range(num_pixels):
            for channel in range(width):
                scaled = x[group, pixel, channel] * c[0, channel] + c[1, channel]
                out[group, pixel, channel] = _value(act, scaled)


@compiled
def activated_sums(act: Act, coefficients: Coefficients, x: Pixels) -> Sums:
    """Return the sums (groups, width) of ``act(c0 x + c1)`` over the pixels."""
    num_groups, num_pixels, width = x.shape
    sums = np.zeros((num_groups, width), np.float64)
    part = np.empty(width, np.float32)
    for group in range(num_groups):
        c = coefficients[min(group, len(coefficients) - 1)]
        for start in range(0, num_pixels, BLOCK):
            part[:] = 0
            block = x[group, start : start + BLOCK]
            for pixel in range(len(block)):
                for channel in range(width):
                    scaled = block[pixel, channel] * c[0, channel] + c[1, channel]
                    part[channel] += _value(act, scaled)
            sums[group] += part
    return sums


@compiled
def gradient_sums(act: Act, coefficients: Coefficients, x: Pixels, gradient: Pixels) -> Sums:
    """Return the sums (groups, 2, width) over the pixels of ``g`` and of ``g (x - c2)``.

    ``g`` is ``gradient``, that of ``act(c0 x + c1)``, times the slope of the activation.
    """
    num_groups, num_pixels, width = x.shape
    sums = np.zeros((num_groups, 2, width), np.float64)
    part = np.empty((2, width), np.float32)
    last = gradient.shape[1] - 1
    for group in range(num_groups):
        c = coefficients[min(group, len(coefficients) - 1)]
        for start in range(0, num_pixels, BLOCK):
            part[:] = 0
            block = x[group, start : start + BLOCK]
            for pixel in range(len(block)):
                at = min(start + pixel, last)
                for channel in range(width):
                    value = block[pixel, channel]
                    scaled = value * c[0, channel] + c[1, channel]
                    g = gradient[group, at, channel] * _slope(act, scaled)
                    part[0, channel] += g
                    part[1, channel] += g * (value - c[2, channel])
            sums[group] += part
    return sums


@compiled
def scale_gradient(
    act: Act, coefficients: Coefficients, x: Pixels, gradient: Pixels, out: Pixels
) -> None:
    """Write ``c0 g + c2 x + c3`` to ``out``, with ``g`` as in ``gradient_sums``."""
    num_groups, num_pixels, width = x.shape
    last = gradient.shape[1] - 1
    for group in range(num_groups):
        c = coefficients[min(group, len(coefficients) - 1)]
        for pixel in range(num_pixels):
            at = min(pixel, last)
            for channel in range(width):
                value = x[group, pixel, channel]
                scaled = value * c[0, channel] + c[1, channel]
                g = gradient[group, at, channel] * _slope(act, scaled)
                linear = value * c[2, channel] + c[3, channel]
                out[group, pixel, channel] = g * c[0, channel] + linear


def _value(act: Act, x: Any) -> Any:
    """Return ``act(x)``; compiled code alone calls it."""
    raise NotImplementedError


def _slope(act: Act, x: Any) -> Any:
    """Return the derivative of ``act`` at ``x``; compiled code alone calls it."""
    raise NotImplementedError


def _clamp(act: Any, x: Any) -> Any:
    x = act.low if x < act.low else x
    return act.high if x > act.high else x


def _clamp_slope(act: Any, x: Any) -> Any:
    return ONE if (x > act.low) & (x < act.high) else ZERO


def _leaky_relu(act: Any, x: Any) -> Any:
    return x if x > ZERO else x * LEAK


def _leaky_relu_slope(act: Any, x: Any) -> Any:
    return ONE if x > ZERO else LEAK


def _elu(act: Any, x: Any) -> Any:
    return x if x > ZERO else _exp(x) - ONE


def _elu_slope(act: Any, x: Any) -> Any:
    return ONE if x > ZERO else _exp(x)


def _softplus(act: Any, x: Any) -> Any:
    return (x if x > ZERO else ZERO) + _log1p(_exp(-abs(x)))


def _softplus_slope(act: Any, x: Any) -> Any:
    return ONE / (ONE + _exp(-x))


def _hardswish(act: Any, x: Any) -> Any:
    return x * min(max(x + THREE, ZERO), SIX) / SIX


def _hardswish_slope(act: Any, x: Any) -> Any:
    slope = x / THREE + HALF
    slope = ZERO if x <= -THREE else slope
    return ONE if x >= THREE else slope


def _silu(act: Any, x: Any) -> Any:
    return x / (ONE + _exp(-x))


def _silu_slope(act: Any, x: Any) -> Any:
    sigmoid = ONE / (ONE + _exp(-x))
    return sigmoid + x * sigmoid * (ONE - sigmoid)


FORMULAS = {
    Clamp: (_clamp, _clamp_slope),
    LeakyReLU: (_leaky_relu, _leaky_relu_slope),
    ELU: (_elu, _elu_slope),
    Softplus: (_softplus, _softplus_slope),
    HardSwish: (_hardswish, _hardswish_slope),
    SiLU: (_silu, _silu_slope),
}


@overload(_value, jit_options=FAST)
def _compiled_value(act: Any, x: Any) -> Callable[[Any, Any], Any]:
    return FORMULAS[act.instance_class][0]


@overload(_slope, jit_options=FAST)
def _compiled_slope(act: Any, x: Any) -> Callable[[Any, Any], Any]:
    return FORMULAS[act.instance_class][1]


@compiled
def _exp(x: Any) -> Any:
    """Return ``exp(x)`` in float32, in a way that vectorises."""
    x = -LIMIT if x < -LIMIT else x
    x = LIMIT if x > LIMIT else x
    # A power of 2, whose exponent is put together, times a short series.
    power = np.floor(HALF + x * INVERSE_LN_2)
    r = x - power * LN_2
    series = ONE + r * (ONE + r * (HALF + r * (C3 + r * (C4 + r * (C5 + r * C6)))))
    bits = np.int32((np.int32(power) + EXPONENT_BIAS) << MANTISSA_BITS)
    return series * bits.view(np.float32)


@compiled
def _log1p(x: Any) -> Any:
    """Return ``log(1 + x)`` for ``x`` from 0 to 1 in float32, in a way that vectorises."""
    z = x / (TWO + x)
    s = z * z
    return z * (TWO + s * (D3 + s * (D5 + s * (D7 + s * (D9 + s * D11)))))
