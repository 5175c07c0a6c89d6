"""A 1x1 convolution that expands, and a depthwise one behind it, in one go over each part.

What the batch norm between them must know of the whole batch follows from the mean and covariance
of the narrow input: of ``y = W x`` the mean is ``W E[x]`` and the variance ``diag(W Cov[x] W')``.
Backward, the gradient of ``y`` is that of a pixel, scaled, plus a function that is linear in ``y``;
what the latter adds to the gradients of ``W`` and ``x`` follows from the same moments. So no part
waits for the others: of the wide maps, which are too large for the cache, ``y`` alone is written
once and read once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rexnet.nn.fast import depthwise, kernels
from rexnet.nn.fast.maps import (
    as_rows,
    coefficients,
    conv_gradients,
    convolve,
    float32,
    in_rows,
    like,
)
from rexnet.nn.fast.norms import ACTIVATIONS, After, Layer, Norm, check_size, track

Each = Callable[[Callable[[int], Any]], list[Any]]
"""Calls a function with the number of every part of a batch and returns what it returns."""


def can_expand(layers: Sequence[Layer]) -> bool:
    """Tell whether the first two of the layers of a block are an ``Expansion``."""
    if len(layers) < 3:
        return False
    conv = layers[1].conv
    # A subclass pads otherwise.
    is_known = type(conv) is nn.Conv2d and conv.kernel_size == (3, 3)
    return is_known and conv.out_channels >= depthwise.MIN_WIDTH


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What the backward pass knows once it has seen all pixels.

    Attributes:
        matrix: Shape (width, width); to the gradient of the input, ``x matrix + offset`` is added.
        offset: Shape (width,).
        parameters: The gradients of the parameters of the expanding layer.
    """

    matrix: Tensor
    offset: Tensor
    parameters: tuple[Tensor, ...]


class Expansion:
    """The expanding layer and the depthwise convolution of a block, for a batch in parts.

    Args:
        expand: The expanding layer; the running statistics of its batch norm move.
        behind: The depthwise layer, of which only the convolution is computed here.
        xs: Every part of the input.
        each: What calls a function for every part.
    """

    def __init__(self, expand: Layer, behind: Layer, xs: Sequence[Tensor], each: Each) -> None:
        self._xs, self._expand, self._stride = xs, expand, behind.conv.stride[0]
        self._wide: dict[int, Tensor] = {}
        taps = behind.conv.weight.detach().numpy().reshape(-1, 9)
        self._taps = np.ascontiguousarray(taps.T)
        self._num_pixels = sum(x.numel() // x.shape[1] for x in xs)
        check_size(self._num_pixels)
        products, sums = (sum(found) for found in zip(*each(self._moments), strict=True))
        # By torch: NumPy's library would keep a thread of its own waiting beside those of the team.
        self._weight = expand.conv.weight.detach().flatten(1).double()
        self._input_mean = sums / self._num_pixels
        covariance = products / self._num_pixels - self._input_mean.outer(self._input_mean)
        self._spread = self._weight @ covariance
        self._mean = (self._weight @ self._input_mean).numpy()
        variance = (self._spread * self._weight).sum(1).clamp(min=0).numpy()
        self._inverse_std = 1 / np.sqrt(variance + expand.norm.eps)
        track(expand.norm, self._mean, variance, self._num_pixels)
        self._scale = expand.norm.weight.detach().numpy() * self._inverse_std
        self._scaled = expand.conv.weight.detach() * float32(self._scale)[:, None, None, None]
        offset = expand.norm.bias.detach().numpy() - self._mean * self._scale
        self._output = coefficients(self._scale, offset)
        self._sums = coefficients(self._scale, offset, self._mean)

    def convolved(self, part: int) -> tuple[Tensor, kernels.Sums]:
        """Return a part of the output of the depthwise convolution, and its sums of images."""
        self._wide[part] = wide = convolve(self._expand.conv, self._xs[part])
        sides = (-(-side // self._stride) for side in wide.shape[2:])
        y = torch.empty((*wide.shape[:2], *sides), memory_format=torch.channels_last)
        sums = depthwise.convolve(
            *self._rows(wide, self._output), self._taps, self._stride, as_rows(y)
        )
        return y, sums

    def gradients(
        self, part: int, norm: Norm, after: After, gradient: Tensor, of_x: bool
    ) -> tuple[Tensor | None, tuple[kernels.Sums, Tensor], Tensor]:
        """Lead the gradient of what follows the depthwise convolution back to the input.

        Args:
            part: The number of the part.
            norm: The batch norm behind the convolution.
            after: What is known of it.
            gradient: The gradient of a part of that one's output.
            of_x: Whether the gradient of the input is needed.

        Returns:
            The gradient of the input without its correction, what ``correction`` sums up, and the
            gradient of the depthwise weight.
        """
        x, wide, conv = self._xs[part], self._wide[part], self._expand.conv
        found = torch.empty_like(wide)
        act, out_coefficients, y = norm.rows(after.coefficients, part)
        sums, of_taps = depthwise.gradients(
            *self._rows(wide, self._sums),
            self._taps,
            self._stride,
            act,
            out_coefficients,
            y,
            as_rows(gradient).reshape(y.shape),
            as_rows(found),
        )
        further, of_weight = conv_gradients(conv, self._scaled, x, found, of_x)
        side = depthwise.KERNEL
        of_taps = float32(np.ascontiguousarray(of_taps.T)).view(-1, 1, side, side)
        return further, (sums, of_weight), of_taps

    def correction(self, found: Sequence[tuple[kernels.Sums, Tensor]]) -> Correction:
        """Sum up what ``gradients`` found for every part."""
        total, moment = np.concatenate([sums for sums, _ in found]).sum(0)
        direct = sum(of_weight.flatten(1).double() for _, of_weight in found)
        # Through mean and variance, the gradient of y is: linear (y - mean) + constant.
        scale, linear, constant = (
            torch.from_numpy(row)
            for row in (
                self._scale,
                -self._scale * self._inverse_std**2 * moment / self._num_pixels,
                -self._scale * total / self._num_pixels,
            )
        )
        through_mean = constant.outer(self._input_mean) + linear[:, None] * self._spread
        weight = scale[:, None] * direct + self._num_pixels * through_mean
        matrix = self._weight.t() @ (linear[:, None] * self._weight)
        conv = self._expand.conv
        return Correction(
            matrix=matrix.float(),
            offset=(self._weight.t() @ constant - self._input_mean @ matrix).float(),
            parameters=(
                like(conv.weight, weight.float().view(conv.weight.shape)),
                float32(moment * self._inverse_std),
                float32(total),
            ),
        )

    def add_correction(self, part: int, gradient: Tensor, correction: Correction) -> None:
        """Correct the gradient of a part of the input, in place."""
        x, g = (_flat(tensor) for tensor in (self._xs[part], gradient))
        g.addmm_(x, correction.matrix).add_(correction.offset)

    def _moments(self, part: int) -> tuple[Tensor, Tensor]:
        """Return the sums over the pixels of a part of ``x' x`` and of ``x``."""
        # In double precision: a variance may be small beside the mean.
        x = _flat(self._xs[part]).double()
        return x.t() @ x, x.sum(0)

    def _rows(
        self, wide: Tensor, given: kernels.Coefficients
    ) -> tuple[kernels.Act, kernels.Coefficients, NDArray[np.float32]]:
        return ACTIVATIONS[self._expand.act], *in_rows(wide, given)


def _flat(x: Tensor) -> Tensor:
    """View channels-last ``x`` as (pixels, width)."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)
