"""Passes over activations that torch would take several of, compiled by Numba.

Every array of activations has the axes (group, pixel, channel): channels-last memory without a
copy. A group, such as an image, has coefficients and sums of its own. Bounds of plus and minus
infinity make a clamp the identity. Sums are taken in float32 over ``BLOCK`` pixels and in float64
over the blocks. The kernels let go of Python's lock, so that threads can share the work.
"""

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
def scale_clamp(
    x: Pixels, coefficients: Coefficients, low: float, high: float, out: Pixels
) -> None:
    """Write ``clamp(c0 x + c1)`` to ``out``; ``coefficients`` (groups, 2, width) are c0 and c1."""
    num_groups, num_pixels, width = x.shape
    for group in range(num_groups):
        c = coefficients[group]
        for pixel in range(num_pixels):
            for channel in range(width):
                value = x[group, pixel, channel] * c[0, channel] + c[1, channel]
                value = low if value < low else value
                out[group, pixel, channel] = high if value > high else value


@compiled
def gradient_sums(
    x: Pixels, gradient: Pixels, coefficients: Coefficients, low: float, high: float
) -> Sums:
    """Return the sums (groups, 2, width) over the pixels of ``g`` and of ``g (x - c2)``.

    ``g`` is the gradient where ``c0 x + c1`` lies between the bounds, and 0 elsewhere.
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
                    inside = (scaled > low) & (scaled < high)
                    g = gradients[pixel, channel] if inside else np.float32(0)
                    part[0, channel] += g
                    part[1, channel] += g * (value - c[2, channel])
            sums[group] += part
    return sums


@compiled
def scale_gradient(
    x: Pixels, gradient: Pixels, coefficients: Coefficients, low: float, high: float
) -> None:
    """Replace ``gradient`` by ``c0 g + c2 x + c3``, with ``g`` as in ``gradient_sums``."""
    num_groups, num_pixels, width = x.shape
    for group in range(num_groups):
        c = coefficients[group]
        for pixel in range(num_pixels):
            for channel in range(width):
                value = x[group, pixel, channel]
                scaled = value * c[0, channel] + c[1, channel]
                inside = (scaled > low) & (scaled < high)
                g = gradient[group, pixel, channel] if inside else np.float32(0)
                linear = value * c[2, channel] + c[3, channel]
                gradient[group, pixel, channel] = g * c[0, channel] + linear


@compiled
def mask_gradient(y: Pixels, gradient: Pixels, low: float, high: float) -> Sums:
    """Set ``gradient`` to 0 where ``y`` lies on a bound; return its sums (groups, width)."""
    num_groups, num_pixels, width = y.shape
    sums = np.zeros((num_groups, width), np.float64)
    part = np.empty(width, np.float32)
    for group in range(num_groups):
        for start in range(0, num_pixels, BLOCK):
            part[:] = 0
            block = y[group, start : start + BLOCK]
            gradients = gradient[group, start : start + BLOCK]
            for pixel in range(len(block)):
                for channel in range(width):
                    inside = (block[pixel, channel] > low) & (block[pixel, channel] < high)
                    g = gradients[pixel, channel] if inside else np.float32(0)
                    gradients[pixel, channel] = g
                    part[channel] += g
            sums[group] += part
    return sums
