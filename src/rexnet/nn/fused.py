"""The forward and backward pass of linear bottlenecks by hand, for training on one CPU thread.

Small networks are bound by memory: torch reads and writes every expanded activation about twenty
times a step. Here batch norm and clamp (ReLU6) are one pass, and around the expanding convolution
there is hardly any: batch norm after a 1x1 convolution depends on the convolution's input alone.
With ``y = x W^T``, mean and variance of ``y`` are ``W m`` and ``diag(W C W^T)``, where ``m`` and
``C`` are mean and covariance of the far narrower ``x``. So the scale goes into the weight, and
the backward pass needs neither ``y`` nor its gradient.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from rexnet.nn import kernels
from rexnet.nn.blocks import Block
from rexnet.nn.layers import ConvNorm
from rexnet.nn.network import Network
from rexnet.spec import NetSpec

BOUNDS = {"identity": (-math.inf, math.inf), "relu": (0.0, math.inf), "relu6": (0.0, 6.0)}
"""The activations that are clamps."""

LANES = 16
"""Float32 numbers in the widest vector register."""


def can_fuse(spec: NetSpec) -> bool:
    """Tell whether ``fused`` knows the network: linear bottlenecks with clamps, without SE."""
    return (
        spec.stem_act in BOUNDS
        and spec.penultimate_width > 0
        and spec.penultimate_act in BOUNDS
        and spec.hidden_width == 0
        and all(
            block.expansion != 1
            and block.se_divisor == 0
            and block.expand_act in BOUNDS
            and block.depthwise_act in BOUNDS
            and block.project_act == "identity"
            for block in spec.blocks
        )
    )


def fused(model: Network) -> Callable[[Tensor], Tensor]:
    """Return the training-mode forward of a channels-last CPU ``model``, with a faster backward.

    It uses the parameters and running statistics of ``model`` and gives the same values and
    gradients but for rounding.

    Raises:
        ValueError: ``can_fuse(model.spec)`` is false.
    """
    spec = model.spec
    if not can_fuse(spec):
        raise ValueError(f"{spec.name} has layers that cannot be fused")

    def forward(x: Tensor) -> Tensor:
        norm = model.stem.norm
        x = _NormClamp.apply(norm, BOUNDS[spec.stem_act], model.stem.conv(x), *norm.parameters())
        for module, block in zip(model.blocks, spec.blocks, strict=True):
            bounds = BOUNDS[block.expand_act], BOUNDS[block.depthwise_act]
            x = _Bottleneck.apply(module, bounds, x, *module.parameters())
        last = model.penultimate
        assert last is not None
        x = _Penultimate.apply(last, BOUNDS[spec.penultimate_act], x, *last.parameters())
        return model.classifier(model.dropout(x))

    return forward


class _NormClamp(torch.autograd.Function):
    """Batch norm and a clamp."""

    @staticmethod
    def forward(
        ctx: Any, norm: nn.BatchNorm2d, bounds: tuple[float, float], x: Tensor, *_: Tensor
    ) -> Tensor:
        y, ctx.scaling = _normalise(norm, bounds, x)
        ctx.save_for_backward(x)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        gradient = gradient.clone(memory_format=torch.channels_last)
        return None, None, gradient, *_normalise_backward(ctx.scaling, x, gradient)


class _Bottleneck(torch.autograd.Function):
    """expand -> depthwise -> project (+ shortcut)."""

    @staticmethod
    def forward(
        ctx: Any,
        block: Block,
        bounds: tuple[tuple[float, float], tuple[float, float]],
        x: Tensor,
        *_: Tensor,
    ) -> Tensor:
        assert block.expand is not None
        ctx.block = block
        expanded, ctx.expansion = _expand(block.expand, bounds[0], x)
        mixed = block.depthwise.conv(expanded)
        clamped, ctx.depthwise = _normalise(block.depthwise.norm, bounds[1], mixed)
        projected = block.project.conv(clamped)
        y, ctx.project = _normalise(block.project.norm, BOUNDS["identity"], projected)
        if block.shortcut_width:
            y[:, : block.shortcut_width] += x
        ctx.save_for_backward(x, expanded, mixed, clamped, projected)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        block, (x, expanded, mixed, clamped, projected) = ctx.block, ctx.saved_tensors
        g = gradient.clone(memory_format=torch.channels_last)
        project_norm = _normalise_backward(ctx.project, projected, g)
        g, project = _conv_backward(block.project.conv, clamped, g)
        depthwise_norm = _normalise_backward(ctx.depthwise, mixed, g)
        g, depthwise = _conv_backward(block.depthwise.conv, expanded, g)
        g, expand = _expand_backward(ctx.expansion, x, expanded, g)
        if block.shortcut_width:
            g += gradient[:, : block.shortcut_width]
        return None, None, g, *expand, depthwise, *depthwise_norm, project, *project_norm


class _Penultimate(torch.autograd.Function):
    """1x1 convolution -> batch norm -> clamp -> mean over all pixels."""

    @staticmethod
    def forward(
        ctx: Any, layer: ConvNorm, bounds: tuple[float, float], x: Tensor, *_: Tensor
    ) -> Tensor:
        y, ctx.expansion = _expand(layer, bounds, x)
        ctx.save_for_backward(x, y)
        return y.mean((2, 3))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y = ctx.saved_tensors
        pixels = y.shape[2] * y.shape[3]
        spread = torch.empty_like(y).copy_((gradient / pixels)[:, :, None, None])
        g, gradients = _expand_backward(ctx.expansion, x, y, spread)
        return None, None, g, *gradients


@dataclass(frozen=True, kw_only=True)
class _Scaling:
    """Batch norm of one batch as ``scale x + offset``, per channel, in float64."""

    scale: Tensor
    offset: Tensor
    mean: Tensor
    inverse_std: Tensor
    bounds: tuple[float, float]


def _normalise(
    norm: nn.BatchNorm2d, bounds: tuple[float, float], x: Tensor
) -> tuple[Tensor, _Scaling]:
    rows = _rows(x)
    num_rows, width = rows.shape
    # Less any pixel of its own, a channel with a large mean keeps its variance.
    shift = rows[0].clone()
    sums = torch.from_numpy(kernels.moments(_tiled(rows), _periodic(shift, rows)))
    first, second = sums.view(2, -1, width).sum(1) / num_rows
    scaling = _scaling(norm, bounds, shift + first, second - first.square(), num_rows)
    y = torch.empty_like(x)
    coefficients = _periodic(torch.stack([scaling.scale, scaling.offset]), rows)
    kernels.scale_clamp(_tiled(rows), coefficients, *_float32(bounds), _tiled(_rows(y)))
    return y, scaling


def _normalise_backward(scaling: _Scaling, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Turn the gradient of the output into that of ``x``, in place; return those of the norm."""
    rows, bounds = _rows(x), _float32(scaling.bounds)
    num_rows, width = rows.shape
    affine = [scaling.scale, scaling.offset]
    tiled, gradients = _tiled(rows), _tiled(_rows(gradient))
    coefficients = _periodic(torch.stack([*affine, scaling.mean]), rows)
    sums = torch.from_numpy(kernels.gradient_sums(tiled, gradients, coefficients, *bounds))
    total, moment = sums.view(2, -1, width).sum(1)
    linear, constant = _statistics_gradient(scaling, total, moment, num_rows)
    coefficients = _periodic(torch.stack([*affine, linear, constant]), rows)
    kernels.scale_gradient(tiled, gradients, coefficients, *bounds)
    return (moment * scaling.inverse_std).float(), total.float()


@dataclass(frozen=True, kw_only=True)
class _Expansion:
    """What the backward pass of a 1x1 convolution with batch norm needs."""

    weight: Tensor
    gram: Tensor
    mean: Tensor
    scaling: _Scaling


def _expand(layer: ConvNorm, bounds: tuple[float, float], x: Tensor) -> tuple[Tensor, _Expansion]:
    weight = layer.conv.weight
    matrix = weight.detach().flatten(1).double()
    rows = _rows(x)
    mean = rows.mean(0).double()
    gram = (rows.t() @ rows).double()
    covariance = gram / len(rows) - mean.outer(mean)
    variance = (matrix @ covariance * matrix).sum(1)
    scaling = _scaling(layer.norm, bounds, matrix @ mean, variance.clamp(min=0), len(rows))
    scaled = (matrix * scaling.scale[:, None]).float().view_as(weight)
    y = F.conv2d(x, scaled, scaling.offset.float()).clamp_(*bounds)
    return y, _Expansion(weight=matrix, gram=gram, mean=mean, scaling=scaling)


def _expand_backward(
    expansion: _Expansion, x: Tensor, y: Tensor, gradient: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Return the gradients of ``x`` and of the parameters; ``gradient`` is overwritten."""
    matrix, scaling = expansion.weight, expansion.scaling
    rows = _rows(y)
    width, num_rows = rows.shape[1], len(rows)
    masked, bounds = _tiled(_rows(gradient)), _float32(scaling.bounds)
    sums = torch.from_numpy(kernels.mask_gradient(_tiled(rows), masked, *bounds))
    total = sums.view(-1, width).sum(0)
    # The gradient of the unscaled output would be: scale g + linear (x W^T) + constant.
    shape = (*matrix.shape, 1, 1)
    products = _conv_gradients(x, matrix.float().view(shape), gradient, of_x=False)[1]
    product = products.flatten(1).double()
    moment = (product * matrix).sum(1) - scaling.mean * total
    linear, constant = _statistics_gradient(scaling, total, moment, num_rows)
    scaled = matrix * scaling.scale[:, None]
    weight = scaling.scale[:, None] * product + linear[:, None] * (matrix @ expansion.gram)
    weight += constant.outer(expansion.mean * num_rows)
    by_width = matrix.t() @ (linear[:, None] * matrix)
    out = F.conv2d(gradient, scaled.t().float()[:, :, None, None], (constant @ matrix).float())
    out += F.conv2d(x, by_width.t().float()[:, :, None, None])
    norm = (moment * scaling.inverse_std).float(), total.float()
    return out, (weight.float().view(shape), *norm)


def _scaling(
    norm: nn.BatchNorm2d,
    bounds: tuple[float, float],
    mean: Tensor,
    variance: Tensor,
    num_rows: int,
) -> _Scaling:
    """Return the scaling that batch statistics give, and move the running ones towards them."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    norm.running_mean.lerp_(mean.float(), norm.momentum)
    norm.running_var.lerp_((variance * num_rows / (num_rows - 1)).float(), norm.momentum)
    norm.num_batches_tracked += 1
    inverse_std = (variance + norm.eps).rsqrt()
    scale = norm.weight.detach() * inverse_std
    return _Scaling(
        scale=scale,
        offset=norm.bias.detach() - mean * scale,
        mean=mean,
        inverse_std=inverse_std,
        bounds=bounds,
    )


def _statistics_gradient(
    scaling: _Scaling, total: Tensor, moment: Tensor, num_rows: int
) -> tuple[Tensor, Tensor]:
    """Return what the gradient through mean and variance is: ``linear x + constant``."""
    linear = -scaling.scale * scaling.inverse_std.square() * moment / num_rows
    return linear, -scaling.scale * total / num_rows - linear * scaling.mean


def _conv_backward(conv: nn.Conv2d, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of ``x`` and of the weight."""
    return _conv_gradients(x, conv.weight, gradient, True, conv.stride, conv.padding, conv.groups)


def _conv_gradients(
    x: Tensor,
    weight: Tensor,
    gradient: Tensor,
    of_x: bool,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    groups: int = 1,
) -> tuple[Tensor, Tensor]:
    x_gradient, weight_gradient, _ = torch.ops.aten.convolution_backward(
        gradient,
        x,
        weight,
        None,
        stride=stride,
        padding=padding,
        dilation=(1, 1),
        transposed=False,
        output_padding=(0, 0),
        groups=groups,
        output_mask=(of_x, True, False),
    )
    return x_gradient, weight_gradient


def _rows(x: Tensor) -> Tensor:
    """View channels-last (N, width, H, W) as (N H W, width)."""
    return x.detach().permute(0, 2, 3, 1).view(-1, x.shape[1])


def _repeats(rows: Tensor) -> int:
    """Return how many rows make a whole number of vectors, or 1 if that does not come out."""
    repeats = LANES // math.gcd(rows.shape[1], LANES)
    return repeats if len(rows) % repeats == 0 else 1


def _tiled(rows: Tensor) -> kernels.Rows:
    """Return ``rows`` as an array with several rows in one, so that no vector is cut off."""
    return rows.view(-1, _repeats(rows) * rows.shape[1]).numpy()


def _periodic(channels: Tensor, rows: Tensor) -> kernels.Rows:
    """Return per-channel coefficients repeated along the rows of ``_tiled``."""
    return np.tile(channels.float().numpy(), _repeats(rows))


def _float32(bounds: tuple[float, float]) -> tuple[np.float32, np.float32]:
    return np.float32(bounds[0]), np.float32(bounds[1])
