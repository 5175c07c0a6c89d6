"""Maps in channels-last memory, as tensors and as the arrays of kernels; their convolutions."""

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rexnet.nn.fast import kernels
from rexnet.nn.layers import SameConv2d

LANES = 16
"""Float32 numbers in the widest vector register."""

Channels = NDArray[np.float64]
"""A number a channel (width,), or an image and channel (images, width)."""


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return the convolution of ``x``, both channels-last."""
    if conv.kernel_size != (1, 1):
        return channels_last(conv(x))
    y = channels_last(torch.conv2d(as_images(x), conv.weight))
    return reshaped(y, x.shape)


def conv_gradients(
    conv: nn.Conv2d, weight: Tensor, x: Tensor, gradient: Tensor, of_x: bool
) -> tuple[Tensor | None, Tensor]:
    """Return the gradients of ``x``, if asked for, and of the weight, which may be another's."""
    shape, is_1x1 = x.shape, conv.kernel_size == (1, 1)
    if is_1x1:
        x, gradient = as_images(x), as_images(gradient)
    if isinstance(conv, SameConv2d):
        x = channels_last(conv.padded(x))
    geometry = conv.stride, conv.padding, conv.dilation, False, (0, 0), conv.groups
    mask = of_x, True, False
    found = torch.ops.aten.convolution_backward(gradient, x, weight, None, *geometry, mask)
    g, of_weight, _ = found
    if isinstance(conv, SameConv2d) and of_x:
        g = conv.unpadded(g, shape[2:])
    if of_x:
        g = reshaped(channels_last(g), shape) if is_1x1 else channels_last(g)
    return g, of_weight


def as_rows(x: Tensor) -> NDArray[np.float32]:
    """View ``x`` as (images, height, width, channels)."""
    return x.numpy().transpose(0, 2, 3, 1)


def in_rows(
    x: Tensor, coefficients: kernels.Coefficients
) -> tuple[kernels.Coefficients, NDArray[np.float32]]:
    """Return coefficients and ``x`` as (images, height, columns of pixels, columns)."""
    rows = as_rows(x)
    *_, side, width = rows.shape
    num_repeats = coefficients.shape[2] // width
    if side % num_repeats:
        num_repeats = 1
    columns = num_repeats * width
    return for_columns(coefficients, columns), rows.reshape(*rows.shape[:2], -1, columns)


def as_images(x: Tensor) -> Tensor:
    """View pixels as at least 16 images: with fewer, torch convolves 1x1 with a slower library."""
    width = x.shape[1]
    num_pixels = x.numel() // width
    count = _num_images(num_pixels)
    image = num_pixels // count * width
    return x.as_strided((count, width, 1, image // width), (image, 1, image, width))


def reshaped(x: Tensor, shape: Sequence[int]) -> Tensor:
    """View the pixels of ``x`` as images of ``shape``, but for the width."""
    num_images, _, height, columns = shape
    width = x.shape[1]
    strides = height * columns * width, 1, columns * width, width
    return x.as_strided((num_images, width, height, columns), strides)


@functools.cache
def _num_images(num_pixels: int) -> int:
    return next((n for n in range(16, num_pixels) if num_pixels % n == 0), num_pixels)


def moments(x: Tensor, per_image: bool) -> kernels.Sums:
    """Return the sums (groups, 2, width) of ``x`` and its square; a group is ``x`` or an image."""
    return by_channel(kernels.moments(as_pixels(x, len(x) if per_image else 1)), x)


def as_pixels(x: Tensor, num_groups: int) -> kernels.Pixels:
    """View ``x`` as an array for a kernel, with several pixels in one if that comes out."""
    width = x.shape[1]
    num_repeats = repeats(width)
    if x.numel() % (num_groups * num_repeats * width):
        num_repeats = 1
    array = x.numpy()
    found = array.transpose(0, 2, 3, 1).reshape(num_groups, -1, num_repeats * width)
    assert np.may_share_memory(found, array)
    return found


def coefficients(*rows: Channels) -> kernels.Coefficients:
    """Return rows (width,) or (images, width) as coefficients (1 or images, rows, columns).

    They are repeated for as many pixels as stand in one, as in ``as_pixels``.
    """
    broadcast = np.broadcast_arrays(*rows)
    stacked = np.stack([np.atleast_2d(row) for row in broadcast], 1)
    with np.errstate(over="ignore"):
        return np.tile(stacked.astype(np.float32), repeats(stacked.shape[2]))


def for_columns(coefficients: kernels.Coefficients, columns: int) -> kernels.Coefficients:
    """Return coefficients for arrays of ``columns``, at most as many as they are for."""
    return np.ascontiguousarray(coefficients[:, :, :columns])


def repeats(width: int) -> int:
    """Return how many pixels make a whole number of vectors."""
    return LANES // math.gcd(width, LANES)


def by_channel(sums: kernels.Sums, x: Tensor) -> kernels.Sums:
    """Add up a kernel's sums (..., columns) to (..., width)."""
    width = x.shape[1]
    return sums if sums.shape[-1] == width else sums.reshape(*sums.shape[:-1], -1, width).sum(-2)


def like(weight: Tensor, gradient: Tensor) -> Tensor:
    """Return a weight's gradient in the layout that autograd would copy it into."""
    if 1 in (weight.shape[1], weight[0, 0].numel()):
        return gradient.as_strided(weight.shape, weight.stride())
    return torch.empty_like(weight).copy_(gradient)


def float32(array: NDArray[np.float64]) -> Tensor:
    """Return an array as a tensor in float32."""
    # Numbers of a training that explodes become infinite, as in torch, without a warning.
    with np.errstate(over="ignore"):
        return torch.from_numpy(array.astype(np.float32))


def channels_last(x: Tensor) -> Tensor:
    """Return ``x`` in channels-last memory."""
    return x.contiguous(memory_format=torch.channels_last)
