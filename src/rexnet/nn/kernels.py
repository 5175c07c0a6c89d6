"""Passes over activations that torch would take several of, compiled by Numba.

Every array of activations has a row a pixel and a column a channel: channels-last memory without a
copy. Bounds of plus and minus infinity make a clamp the identity. Sums over the rows are taken in
float32 over ``BLOCK`` rows and in float64 over the blocks.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
Sums = NDArray[np.float64]

BLOCK = 64

# Sums may be reordered, so that they vectorise; infinities and NaN keep their meaning.
compiled: Any = numba.njit(
    cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"}
)


@compiled
def moments(x: Rows, shift: Rows) -> Sums:
    """Return the column sums (2, width) of ``x - shift`` and of its square."""
    num_rows, width = x.shape
    sums = np.zeros((2, width), np.float64)
    part = np.empty((2, width), np.float32)
    for start in range(0, num_rows, BLOCK):
        part[:] = 0
        block = x[start : start + BLOCK]
        for row in range(len(block)):
            for column in range(width):
                value = block[row, column] - shift[column]
                part[0, column] += value
                part[1, column] += value * value
        sums += part
    return sums


@compiled
def scale_clamp(x: Rows, coefficients: Rows, low: float, high: float, out: Rows) -> None:
    """Write ``clamp(c0 x + c1)`` to ``out``; ``coefficients`` has the rows c0 and c1."""
    num_rows, width = x.shape
    for row in range(num_rows):
        for column in range(width):
            value = x[row, column] * coefficients[0, column] + coefficients[1, column]
            value = low if value < low else value
            out[row, column] = high if value > high else value


@compiled
def gradient_sums(x: Rows, gradient: Rows, coefficients: Rows, low: float, high: float) -> Sums:
    """Return the column sums (2, width) of ``g`` and of ``g (x - c2)``.

    ``g`` is the gradient where ``c0 x + c1`` lies between the bounds, and 0 elsewhere.
    """
    num_rows, width = x.shape
    sums = np.zeros((2, width), np.float64)
    part = np.empty((2, width), np.float32)
    for start in range(0, num_rows, BLOCK):
        part[:] = 0
        block, gradients = x[start : start + BLOCK], gradient[start : start + BLOCK]
        for row in range(len(block)):
            for column in range(width):
                value = block[row, column]
                scaled = value * coefficients[0, column] + coefficients[1, column]
                inside = (scaled > low) & (scaled < high)
                g = gradients[row, column] if inside else np.float32(0)
                part[0, column] += g
                part[1, column] += g * (value - coefficients[2, column])
        sums += part
    return sums


@compiled
def scale_gradient(x: Rows, gradient: Rows, coefficients: Rows, low: float, high: float) -> None:
    """Replace ``gradient`` by ``c0 g + c2 x + c3``, with ``g`` as in ``gradient_sums``."""
    num_rows, width = x.shape
    for row in range(num_rows):
        for column in range(width):
            value = x[row, column]
            scaled = value * coefficients[0, column] + coefficients[1, column]
            inside = (scaled > low) & (scaled < high)
            g = gradient[row, column] if inside else np.float32(0)
            linear = value * coefficients[2, column] + coefficients[3, column]
            gradient[row, column] = g * coefficients[0, column] + linear


@compiled
def mask_gradient(y: Rows, gradient: Rows, low: float, high: float) -> Sums:
    """Set ``gradient`` to 0 where ``y`` lies on a bound, and return its column sums (width,)."""
    num_rows, width = y.shape
    sums = np.zeros(width, np.float64)
    part = np.empty(width, np.float32)
    for start in range(0, num_rows, BLOCK):
        part[:] = 0
        block, gradients = y[start : start + BLOCK], gradient[start : start + BLOCK]
        for row in range(len(block)):
            for column in range(width):
                inside = (block[row, column] > low) & (block[row, column] < high)
                g = gradients[row, column] if inside else np.float32(0)
                gradients[row, column] = g
                part[column] += g
        sums += part
    return sums
