"""Batch norm and what follows it, forward and backward by hand, for a batch in parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rexnet.nn.fast import kernels
from rexnet.nn.fast.maps import (
    Channels,
    as_pixels,
    by_channel,
    coefficients,
    float32,
    for_columns,
    in_rows,
    like,
)
from rexnet.nn.layers import SqueezeExcite
from rexnet.spec import Activation

aten = torch.ops.aten

ACTIVATIONS: dict[Activation, kernels.Act] = {
    "identity": kernels.Clamp(np.float32(-np.inf), np.float32(np.inf)),
    "relu": kernels.Clamp(np.float32(0), np.float32(np.inf)),
    "relu6": kernels.Clamp(np.float32(0), np.float32(6)),
    "leaky_relu": kernels.LeakyReLU(),
    "elu": kernels.ELU(),
    "softplus": kernels.Softplus(),
    "hardswish": kernels.HardSwish(),
    "silu": kernels.SiLU(),
}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Convolution -> batch norm -> [squeeze-excite or stochastic depth] -> activation."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d
    act: Activation
    se: SqueezeExcite | None = None
    drop_path: nn.Module | None = None

    @property
    def has_gates(self) -> bool:
        """Whether there is a factor an image between batch norm and activation."""
        return self.se is not None or self.drop_path is not None

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All parameters, in the order of their gradients."""
        se = self.se.parameters() if self.se else ()
        return [self.conv.weight, *self.norm.parameters(), *se]


@dataclass(frozen=True, kw_only=True)
class After:
    """What the backward pass of a norm knows once it has seen all pixels.

    Attributes:
        coefficients: Those of ``scale_gradient`` for every part.
        parameters: The gradients of the parameters.
    """

    coefficients: list[kernels.Coefficients]
    parameters: tuple[Tensor, ...]


class Norm:
    """The batch norm of a layer and what comes after it, for a batch in parts.

    Args:
        layer: The layer; the running statistics of its batch norm move.
        parts: The images of every part.
        inputs: Every part of the output of the convolution, and its moments.
        pool: Whether the mean over all pixels follows; gradients are those of every pixel then.

    Attributes:
        inputs: The outputs of the convolution.
        area: Pixels of an image.
    """

    def __init__(
        self,
        layer: Layer,
        parts: Sequence[slice],
        inputs: Sequence[tuple[Tensor, kernels.Sums]],
        pool: bool,
    ) -> None:
        self.inputs, self._parts = [x for x, _ in inputs], parts
        self._act = ACTIVATIONS[layer.act]
        by_image = layer.has_gates or pool
        self._arrays = [as_pixels(x, len(x) if by_image else 1) for x in self.inputs]
        self.area = self.inputs[0].shape[2] * self.inputs[0].shape[3]
        self._num_pixels = parts[-1].stop * self.area
        check_size(self._num_pixels)
        sums = np.concatenate([sums for _, sums in inputs])
        self._mean, square = sums.sum(0) / self._num_pixels
        variance = np.maximum(square - self._mean**2, 0)
        self._inverse_std = 1 / np.sqrt(variance + layer.norm.eps)
        track(layer.norm, self._mean, variance, self._num_pixels)
        self._bias = layer.norm.bias.detach().numpy().astype(np.float64)
        self._scale = layer.norm.weight.detach().numpy() * self._inverse_std
        self._gate, self._gates = None, None
        if layer.se is not None:
            self._deviations = sums[:, 0] / self.area - self._mean
            self._gate = Gate(layer.se, self._deviations * self._scale + self._bias)
            self._gates = self._gate.values
        elif layer.drop_path is not None:
            ones = torch.ones(parts[-1].stop, 1, 1, 1)
            self._gates = layer.drop_path(ones).flatten(1).double().numpy()
        self._affine = self._scale, self._bias - self._mean * self._scale
        self._output = self._coefficients(*self._affine)
        self._sums = self._coefficients(*self._affine, self._mean)

    def output(self, part: int, y: Tensor | None = None) -> Tensor:
        """Return a part of the layer's output, in ``y`` if that is given."""
        y = torch.empty_like(self.inputs[part]) if y is None else y
        kernels.activate(*self._arguments(self._output, part, y))
        return y

    def mean_output(self, part: int) -> Tensor:
        """Return the means (images, width) over the pixels of a part of the layer's output."""
        sums = kernels.activated_sums(self._act, self._output[part], self._arrays[part])
        width = self.inputs[part].shape[1]
        return float32(sums.reshape(len(sums), -1, width).sum(1) / self.area)

    def gradient_sums(self, part: int, gradient: Tensor) -> kernels.Sums:
        """Return the sums (groups, 2, width) of ``g`` and of ``g`` times the input less its mean.

        ``g`` is the gradient before the activation; a group is an image if there are gates, else
        the part.
        """
        return by_channel(
            kernels.gradient_sums(*self._arguments(self._sums, part, gradient)), gradient
        )

    def after(self, sums: Sequence[kernels.Sums]) -> After:
        """Sum up the parts' ``gradient_sums``."""
        per_group = np.concatenate(sums)
        gated = per_group if self._gates is None else per_group * self._gates[:, None]
        total, moment = gated.sum(0)
        others: tuple[Tensor, ...] = ()
        of_means: Channels | float = 0.0
        if self._gate is not None:
            of_gates = self._scale * per_group[:, 1] + self._bias * per_group[:, 0]
            of_means, others = self._gate.gradients(of_gates)
            total = total + of_means.sum(0)
            moment = moment + (of_means * self._deviations).sum(0)
        # Through mean and variance, the gradient of the input is: linear x + constant.
        linear = -self._scale * self._inverse_std**2 * moment / self._num_pixels
        constant = -self._scale * total / self._num_pixels - linear * self._mean
        constant = constant + self._scale * of_means / self.area
        return After(
            coefficients=self._coefficients(*self._affine, linear, constant),
            parameters=(float32(moment * self._inverse_std), float32(total), *others),
        )

    def to_input(self, part: int, gradient: Tensor, after: After, own: bool) -> Tensor:
        """Return the gradient of a part of the input from that of the output.

        Args:
            part: The number of the part.
            gradient: The gradient of the output.
            after: What is known of it.
            own: Whether its memory can be used.
        """
        found = gradient if own else torch.empty_like(self.inputs[part])
        kernels.scale_gradient(
            *self._arguments(after.coefficients, part, gradient),
            as_pixels(found, len(self._arrays[part])),
        )
        return found

    def rows(
        self, given: Sequence[kernels.Coefficients], part: int
    ) -> tuple[kernels.Act, kernels.Coefficients, NDArray[np.float32]]:
        """Return the activation, coefficients and a part of the input for ``depthwise``."""
        return self._act, *in_rows(self.inputs[part], given[part])

    def _coefficients(self, *rows: Channels) -> list[kernels.Coefficients]:
        """Return the coefficients of a kernel for every part; the first two rows are gated."""
        if self._gates is not None:
            rows = rows[0] * self._gates, rows[1] * self._gates, *rows[2:]
        found = coefficients(*rows)
        parts = [found if self._gates is None else found[images] for images in self._parts]
        return [for_columns(part, x.shape[2]) for part, x in zip(parts, self._arrays, strict=True)]

    def _arguments(
        self, given: Sequence[kernels.Coefficients], part: int, other: Tensor
    ) -> tuple[Any, ...]:
        """Return the arguments of a kernel for a part of the input and of another tensor."""
        x = self._arrays[part]
        if other.ndim == 2:
            columns = np.tile(other.numpy(), x.shape[2] // other.shape[1])
            return self._act, given[part], x, columns[:, None]
        return self._act, given[part], x, as_pixels(other, len(x))


class Gate:
    """Squeeze-excite: gates made of the means (images, width) of what they scale.

    Attributes:
        values: The gates (images, width).
    """

    def __init__(self, se: SqueezeExcite, means: Channels) -> None:
        self._se, self._means, norm = se, float32(means), se.norm
        assert norm.num_batches_tracked is not None
        check_size(len(means))
        self._squeezed = F.linear(self._means, se.reduce.weight.flatten(1), se.reduce.bias)
        statistics = norm.running_mean, norm.running_var
        normalised, *self._statistics = aten.native_batch_norm(
            self._squeezed, norm.weight, norm.bias, *statistics, True, norm.momentum, norm.eps
        )
        norm.num_batches_tracked += 1
        self._active = normalised.relu_()
        gates = F.linear(self._active, se.expand.weight.flatten(1), se.expand.bias)
        self.values = gates.sigmoid_().double().numpy()

    def gradients(self, of_values: Channels) -> tuple[Channels, tuple[Tensor, ...]]:
        """Return the gradients of the means and of the parameters from that of the gates."""
        se, norm = self._se, self._se.norm
        g = float32(of_values * self.values * (1 - self.values))
        expand = like(se.expand.weight, g.t() @ self._active), g.sum(0)
        g = g @ se.expand.weight.flatten(1) * (self._active > 0)
        statistics = norm.running_mean, norm.running_var, *self._statistics
        g, *norms = aten.native_batch_norm_backward(
            g, self._squeezed, norm.weight, *statistics, True, norm.eps, (True, True, True)
        )
        reduce = like(se.reduce.weight, g.t() @ self._means), g.sum(0)
        means = g @ se.reduce.weight.flatten(1)
        return means.double().numpy(), (*reduce, *norms, *expand)


def check_size(num_values: int) -> None:
    """Raise ValueError if a batch norm sees a single value a channel."""
    if num_values == 1:
        raise ValueError("batch norm needs more than one value a channel when training")


def track(norm: nn.BatchNorm2d, mean: Channels, variance: Channels, num_pixels: int) -> None:
    """Move the running statistics towards those of a batch."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    norm.running_mean.lerp_(float32(mean), norm.momentum)
    norm.running_var.lerp_(float32(variance * num_pixels / (num_pixels - 1)), norm.momentum)
    norm.num_batches_tracked += 1
