"""A 3x3 depthwise convolution between two batch norms, forward and backward in one pass each.

What comes before and after it is done row by row while the row is in the cache: the activated input
and the gradient of the output are never whole in memory. Arrays are as in ``kernels``, with an axis
for the rows: (image, row, pixel, channel). As there, several pixels may stand in one, where that
makes whole vectors. Sums are taken in float32 over a row and in float64 over the rows.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rexnet.nn.fast.kernels import Act, Coefficients, Sums, _slope, _value, compiled
from rexnet.nn.fast.vectors import LANES, add, load, multiply_add, store, subtract, zeros

Rows = NDArray[np.float32]
Weight = NDArray[np.float32]

KERNEL = 3
"""Side of the kernel."""

MIN_WIDTH = LANES
"""Fewest channels: the last vector of a pixel may overlap the one before."""


@compiled
def convolve(
    act: Act, coefficients: Coefficients, x: Rows, weight: Weight, stride: int, out: Rows
) -> Sums:
    """Write the convolution of ``act(c0 x + c1)`` to ``out``; return its sums and of its square.

    Args:
        act: The activation.
        coefficients: Shape (1 or images, 2, columns): c0 and c1.
        x: Shape (images, height, columns of pixels, columns).
        weight: Shape (9, width).
        stride: 1 or 2.
        out: Shape (images, height / stride, width / stride, width), rounded up.

    Returns:
        Shape (images, 2, width).
    """
    num_images, height, num_groups, columns = x.shape
    _, out_height, out_side, width = out.shape
    side = num_groups * columns // width
    sums = np.zeros((num_images, 2, width), np.float64)
    part = np.empty((2, width), np.float32)
    rows = np.zeros((3, (side + 2) * width), np.float32)
    for image in range(num_images):
        c = coefficients[min(image, len(coefficients) - 1)]
        num_ready = 0
        for row in range(out_height):
            top = row * stride - 1
            while num_ready < min(top + 3, height):
                inner = rows[num_ready % 3, width : (side + 1) * width]
                _activate(act, c, x[image, num_ready], inner.reshape(num_groups, columns))
                num_ready += 1
            if top < 0:
                rows[2] = 0
            if top + 2 >= height:
                rows[(top + 2) % 3] = 0
            _convolve_row(
                rows[(top + 3) % 3],
                rows[(top + 1) % 3],
                rows[(top + 2) % 3],
                weight,
                stride,
                out[image, row],
                part,
            )
            _unshift(sums[image], part, out[image, row, 0], out_side)
    return sums


@compiled
def gradients(
    act: Act,
    coefficients: Coefficients,
    x: Rows,
    weight: Weight,
    stride: int,
    out_act: Act,
    out_coefficients: Coefficients,
    y: Rows,
    gradient: Rows,
    x_gradient: Rows,
) -> tuple[Sums, Sums]:
    """Lead the gradient of what follows the convolution back to what comes before it.

    Args:
        act: The activation before the convolution.
        coefficients: Shape (1 or images, 3, columns): c0 and c1 as in ``convolve``, and c2.
        x: Shape (images, height, columns of pixels, columns).
        weight: Shape (9, width).
        stride: 1 or 2.
        out_act: The activation behind the convolution.
        out_coefficients: Shape (1 or images, 4, columns), as in ``kernels.scale_gradient``.
        y: The output of the convolution (images, rows, columns of pixels, columns).
        gradient: The gradient of the output of ``out_act``, of the same shape.
        x_gradient: Shape (images, height, width, width); ``g``, the gradient of ``c0 x + c1``, is
            written to it.

    Returns:
        The sums (images, 2, width) of ``g`` and of ``g (x - c2)``, and the gradient (9, width) of
        the weight.
    """
    num_images, height, side, width = x_gradient.shape
    _, out_height, num_groups, columns = y.shape
    out_side = num_groups * columns // width
    sums = np.zeros((num_images, 2, width), np.float64)
    of_weight = np.zeros((9, width), np.float64)
    part = np.empty((2, width), np.float32)
    of_image, of_row = np.empty((9, width), np.float32), np.empty((3, width), np.float32)
    # A pixel of zeros on either side of a gradient; pixels in pairs, if there are an odd number.
    rows = np.zeros((3, (out_side + 2) * width), np.float32)
    active = np.zeros((side + 1) * width, np.float32)
    back = np.empty((3, (side + 1) * width), np.float32)
    for image in range(num_images):
        c = coefficients[min(image, len(coefficients) - 1)]
        out_c = out_coefficients[min(image, len(out_coefficients) - 1)]
        of_image[:] = 0
        num_ready = 0
        for row in range(height):
            line, line_gradient = x[image, row], x_gradient[image, row]
            while num_ready < min((row + 1) // stride + 1, out_height):
                inner = rows[num_ready % 3, width : (out_side + 1) * width]
                _scale_gradient(
                    out_act,
                    out_c,
                    y[image, num_ready],
                    gradient[image, num_ready],
                    inner.reshape(num_groups, columns),
                )
                num_ready += 1
            _activate(act, c, line, active[: side * width].reshape(line.shape))
            num_taps = 0
            for tap in range(3):
                shifted = row + 1 - tap
                if shifted % stride == 0 and 0 <= shifted // stride < out_height:
                    g, taps = rows[shifted // stride % 3], weight[3 * tap : 3 * tap + 3]
                    _back_row(g, active, taps, stride, side, back[num_taps], of_row)
                    _add(of_image[3 * tap : 3 * tap + 3], of_row)
                    num_taps += 1
            whole = back[0, : side * width].reshape(line.shape)
            for tap in range(1, num_taps):
                _add(whole, back[tap, : side * width].reshape(line.shape))
            _times_slope(act, c, line, whole, line_gradient.reshape(line.shape))
            _sum_row(line_gradient, line.reshape(side, width), c[2], part)
            sums[image] += part
        of_weight += of_image
    return sums, of_weight


@compiled
def _activate(act: Any, c: Any, x: Any, out: Any) -> None:
    num_pixels, width = x.shape
    for pixel in range(num_pixels):
        for channel in range(width):
            out[pixel, channel] = _value(act, x[pixel, channel] * c[0, channel] + c[1, channel])


@compiled
def _scale_gradient(act: Any, c: Any, x: Any, gradient: Any, out: Any) -> None:
    num_pixels, width = x.shape
    for pixel in range(num_pixels):
        for channel in range(width):
            value = x[pixel, channel]
            scaled = value * c[0, channel] + c[1, channel]
            g = gradient[pixel, channel] * _slope(act, scaled)
            out[pixel, channel] = g * c[0, channel] + (value * c[2, channel] + c[3, channel])


@compiled
def _times_slope(act: Any, c: Any, x: Any, gradient: Any, out: Any) -> None:
    num_pixels, width = x.shape
    for pixel in range(num_pixels):
        for channel in range(width):
            scaled = x[pixel, channel] * c[0, channel] + c[1, channel]
            out[pixel, channel] = gradient[pixel, channel] * _slope(act, scaled)


@compiled
def _convolve_row(
    above: Any, middle: Any, below: Any, weight: Any, stride: int, out: Any, part: Any
) -> None:
    """Write a row of the output, and to ``part`` the sums of it and its square.

    They are those of the output less its first pixel: a large mean does not hide the variance.
    """
    side, width = out.shape
    for block in range(0, width, LANES):
        first = min(block, width - LANES)
        w0, w1, w2 = (
            load(weight, first),
            load(weight, first + width),
            load(weight, first + 2 * width),
        )
        at = first + 3 * width
        w3, w4, w5 = load(weight, at), load(weight, at + width), load(weight, at + 2 * width)
        at += 3 * width
        w6, w7, w8 = load(weight, at), load(weight, at + width), load(weight, at + 2 * width)
        origin, total, square = zeros(), zeros(), zeros()
        for pixel in range(side):
            left = pixel * stride * width + first
            right = left + 2 * width
            a = multiply_add(w0, load(above, left), zeros())
            b = multiply_add(w1, load(above, left + width), zeros())
            c = multiply_add(w2, load(above, right), zeros())
            a = multiply_add(w3, load(middle, left), a)
            b = multiply_add(w4, load(middle, left + width), b)
            c = multiply_add(w5, load(middle, right), c)
            a = multiply_add(w6, load(below, left), a)
            b = multiply_add(w7, load(below, left + width), b)
            c = multiply_add(w8, load(below, right), c)
            y = add(add(a, b), c)
            store(out, pixel * width + first, y)
            if pixel == 0:
                origin = y
            y = subtract(y, origin)
            total, square = add(total, y), multiply_add(y, y, square)
        store(part, first, total)
        store(part, width + first, square)


@compiled
def _back_row(
    g: Any, active: Any, taps: Any, stride: int, side: int, back: Any, of_taps: Any
) -> None:
    """Lead a row of the output's gradient back through three taps to a row of the input.

    Writes the input's gradient to ``back`` and that of the taps to ``of_taps``.
    """
    width = taps.shape[1]
    for block in range(0, width, LANES):
        first = min(block, width - LANES)
        w0, w1, w2 = load(taps, first), load(taps, first + width), load(taps, first + 2 * width)
        of_0, of_1, of_2 = zeros(), zeros(), zeros()
        left, middle = load(g, first), load(g, first + width)
        if stride == 1:
            for pixel in range(side):
                at = pixel * width + first
                right, a = load(g, at + 2 * width), load(active, at)
                b = multiply_add(w0, right, multiply_add(w2, left, zeros()))
                store(back, at, multiply_add(w1, middle, b))
                of_0, of_1 = multiply_add(a, right, of_0), multiply_add(a, middle, of_1)
                of_2 = multiply_add(a, left, of_2)
                left, middle = middle, right
        else:
            for pair in range((side + 1) // 2):
                at = 2 * pair * width + first
                right = load(g, (pair + 2) * width + first)
                even, odd = load(active, at), load(active, at + width)
                store(back, at, multiply_add(w1, middle, zeros()))
                b = multiply_add(w0, right, multiply_add(w2, middle, zeros()))
                store(back, at + width, b)
                of_0, of_1 = multiply_add(odd, right, of_0), multiply_add(even, middle, of_1)
                of_2 = multiply_add(odd, middle, of_2)
                middle = right
        store(of_taps, first, of_0)
        store(of_taps, first + width, of_1)
        store(of_taps, first + 2 * width, of_2)


@compiled
def _add(to: Any, other: Any) -> None:
    num_rows, width = to.shape
    for row in range(num_rows):
        for column in range(width):
            to[row, column] += other[row, column]


@compiled
def _sum_row(g: Any, x: Any, shift: Any, part: Any) -> None:
    """Write the sums of ``g`` and of ``g (x - shift)`` over the pixels of a row to ``part``."""
    side, width = g.shape
    for block in range(0, width, LANES):
        first = min(block, width - LANES)
        origin, total, moment = load(shift, first), zeros(), zeros()
        for pixel in range(side):
            at = pixel * width + first
            a = load(g, at)
            total = add(total, a)
            moment = multiply_add(a, subtract(load(x, at), origin), moment)
        store(part, first, total)
        store(part, width + first, moment)


@compiled
def _unshift(sums: Any, part: Any, shift: Any, num_pixels: int) -> None:
    """Add the sums of ``x - shift`` and its square to those of ``x`` and its square."""
    for channel in range(sums.shape[1]):
        origin, total = np.float64(shift[channel]), np.float64(part[0, channel])
        sums[0, channel] += total + num_pixels * origin
        sums[1, channel] += part[1, channel] + (2 * total + num_pixels * origin) * origin
