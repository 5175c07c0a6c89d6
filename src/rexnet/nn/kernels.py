"""Passes over activations that torch would take several of, compiled by Numba.

Every array of activations has the axes (group, pixel, channel): channels-last memory without a
copy. A group, such as an image, has coefficients and sums of its own. The activation is SiLU where
``smooth`` is set, else a clamp, which bounds of plus and minus infinity make the identity. Sums
are taken in float32 over ``BLOCK`` pixels and in float64 over the blocks. The kernels let go of
Python's lock, so that threads can share the work.
"""

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]
Coefficients = NDArray[np.float32]
Sums = NDArray[np.float64]

BLOCK = 64

# Sums may be reordered, so that they vectorise; infinities and NaN keep their meaning.
compiled: Any = numba.njit(
    cache=True,
    nogil=True,
    error_model="numpy",
    fastmath={"contract", "reassoc", "nsz", "arcp"},
)

ZERO, ONE, HALF, LIMIT = (np.float32(number) for number in (0, 1, 0.5, 87))
LN_2, INVERSE_LN_2 = np.float32(math.log(2)), np.float32(1 / math.log(2))
C3, C4, C5, C6 = (np.float32(1 / math.factorial(n)) for n in (3, 4, 5, 6))
EXPONENT_BIAS, MANTISSA_BITS = np.int32(127), np.int32(23)


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
def activate(
    coefficients: Coefficients, x: Pixels, out: Pixels, low: float, high: float, smooth: bool
) -> None:
    """Write ``act(c0 x + c1)`` to ``out``; ``coefficients`` (groups, 2, width) are c0 and c1."""
    num_groups, num_pixels, width = x.shape
    for group in range(num_groups):
        c = coefficients[group]
        for pixel in range(num_pixels):
            for channel in range(width):
                scaled = x[group, pixel, channel] * c[0, channel] + c[1, channel]
                out[group, pixel, channel] = _value(scaled, low, high, smooth)


@compiled
def gradient_sums(
    coefficients: Coefficients, x: Pixels, gradient: Pixels, low: float, high: float, smooth: bool
) -> Sums:
    """Return the sums (groups, 2, width) over the pixels of ``g`` and of ``g (x - c2)``.

    ``g`` is ``gradient``, that of ``act(c0 x + c1)``, times the slope of the activation.
    """
    num_groups, num_pixels, width = x.shape
    sums = np.zeros((num_groups, 2, width), np.float64)
    part = np.empty((2, width), np.float32)
    for group in range(num_groups):
        c = coefficients[group]
        for start in range(0, num_pixels, BLOCK):
            part[:] = 0
            block = x[group, start : start + BLOCK]
            gradients = gradient[group, start : start + BLOCK]
            for pixel in range(len(block)):
                for channel in range(width):
                    value = block[pixel, channel]
                    scaled = value * c[0, channel] + c[1, channel]
                    g = _times_slope(gradients[pixel, channel], scaled, low, high, smooth)
                    part[0, channel] += g
                    part[1, channel] += g * (value - c[2, channel])
            sums[group] += part
    return sums


@compiled
def scale_gradient(
    coefficients: Coefficients, x: Pixels, gradient: Pixels, low: float, high: float, smooth: bool
) -> None:
    """Replace ``gradient`` by ``c0 g + c2 x + c3``, with ``g`` as in ``gradient_sums``."""
    num_groups, num_pixels, width = x.shape
    for group in range(num_groups):
        c = coefficients[group]
        for pixel in range(num_pixels):
            for channel in range(width):
                value = x[group, pixel, channel]
                scaled = value * c[0, channel] + c[1, channel]
                g = _times_slope(gradient[group, pixel, channel], scaled, low, high, smooth)
                linear = value * c[2, channel] + c[3, channel]
                gradient[group, pixel, channel] = g * c[0, channel] + linear


@compiled
def _value(x: Any, low: float, high: float, smooth: bool) -> Any:
    if smooth:
        return x * _sigmoid(x)
    x = low if x < low else x
    return high if x > high else x


@compiled
def _times_slope(gradient: Any, x: Any, low: float, high: float, smooth: bool) -> Any:
    if smooth:
        sigmoid = _sigmoid(x)
        return gradient * (sigmoid + x * sigmoid * (ONE - sigmoid))
    return gradient if (x > low) & (x < high) else ZERO


@compiled
def _sigmoid(x: Any) -> Any:
    """Return ``1 / (1 + exp(-x))`` in float32, in a way that vectorises."""
    x = -LIMIT if x < -LIMIT else x
    x = LIMIT if x > LIMIT else x
    # exp(-x) is a power of 2, whose exponent is put together, times a short series.
    power = np.floor(HALF - x * INVERSE_LN_2)
    r = -x - power * LN_2
    series = ONE + r * (ONE + r * (HALF + r * (C3 + r * (C4 + r * (C5 + r * C6)))))
    bits = np.int32((np.int32(power) + EXPONENT_BIAS) << MANTISSA_BITS)
    return ONE / (ONE + series * bits.view(np.float32))
