"""The forward and backward pass of linear bottlenecks by hand, for training on a CPU.

Wide, expanded activations bound the speed: torch reads and writes each about twenty times a step,
mostly in main memory. Here every pass goes over parts of the batch that fit into the cache, a
thread a part, and of the width of the expansion nothing is kept but the output of the depthwise
convolution.

The expanded activation can be had again in one step, because batch norm after a 1x1 convolution
depends on the convolution's input alone. With ``y = x W^T``, mean and variance of ``y`` are ``W m``
and ``diag(W C W^T)``, where ``m`` and ``C`` are mean and covariance of the far narrower ``x``. So
the scale goes into the weight, and the backward pass needs neither ``y`` nor its gradient.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from rexnet.nn import kernels
from rexnet.nn.blocks import Block
from rexnet.nn.layers import ConvNorm, SqueezeExcite
from rexnet.nn.network import Network
from rexnet.spec import Activation, NetSpec

Bounds = tuple[float, float]
BOUNDLESS = (-math.inf, math.inf)
BOUNDS: dict[str, Bounds] = {"identity": BOUNDLESS, "relu": (0.0, math.inf), "relu6": (0.0, 6.0)}
"""The activations that are clamps."""

aten = torch.ops.aten
SMOOTH: dict[str, tuple[Callable[..., Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "leaky_relu": (F.leaky_relu, lambda g, x: aten.leaky_relu_backward(g, x, 0.01, False)),
    "elu": (F.elu, lambda g, x: aten.elu_backward(g, 1, 1, 1, False, x)),
    "softplus": (F.softplus, lambda g, x: aten.softplus_backward(g, x, 1, 20)),
    "hardswish": (F.hardswish, aten.hardswish_backward),
    "silu": (F.silu, aten.silu_backward),
}
"""The others, and what makes the gradient of their output that of their input."""

PART_BYTES = 4 * 2**20
"""The widest activation of a part: it stays in the cache from one pass to the next."""

LANES = 16
"""Float32 numbers in the widest vector register."""

Each = Callable[[Callable[[int], Any]], list[Any]]
"""Calls a function with the number of every part of a batch and returns what it returns."""


def can_fuse(spec: NetSpec) -> bool:
    """Tell whether ``fused`` knows the network.

    Blocks must be linear bottlenecks with a clamp before the projection; squeeze-excite, any
    expansion and any activation after it are known.
    """
    return spec.penultimate_width > 0 and all(
        block.depthwise_act in BOUNDS and block.project_act == "identity" for block in spec.blocks
    )


def fused(model: Network) -> Callable[[Tensor], Tensor]:
    """Return the training-mode forward of a float32 ``model`` on the CPU, with a faster backward.

    It uses the parameters and running statistics of ``model`` and gives the same values and
    gradients but for rounding. Call it on ``torch.get_num_threads()`` threads.

    Raises:
        ValueError: ``can_fuse(model.spec)`` is false.
    """
    spec = model.spec
    if not can_fuse(spec):
        raise ValueError(f"{spec.name} has layers that cannot be fused")

    def forward(x: Tensor) -> Tensor:
        x = _Stem.apply(model.stem, spec.stem_act, x, *model.stem.parameters())
        for module, block in zip(model.blocks, spec.blocks, strict=True):
            acts = block.expand_act, block.depthwise_act
            x = _Bottleneck.apply(module, acts, x, *module.parameters())
        last = model.penultimate
        assert last is not None
        x = _Penultimate.apply(last, spec.penultimate_act, x, *last.parameters())
        if model.hidden is not None and model.hidden_norm is not None:
            x = model.hidden_act(model.hidden_norm(model.hidden(x)))
        return model.classifier(model.dropout(x))

    return forward


class _Stem(torch.autograd.Function):
    """Convolution -> batch norm -> activation."""

    @staticmethod
    def forward(ctx: Any, layer: ConvNorm, act: Activation, x: Tensor, *_: Tensor) -> Tensor:
        ctx.conv, ctx.act = layer.conv, act
        ctx.save_for_backward(x)
        ctx.parts = parts = _parts(x, layer.conv.out_channels / layer.conv.stride[0] ** 2)
        with _team(len(parts)) as each:

            def convolve(i: int) -> tuple[Tensor, Tensor]:
                y = layer.conv(_channels_last(x[parts[i]]))
                return y, _moments(y)

            ctx.norm = _Norm(layer.norm, BOUNDS.get(act, BOUNDLESS), parts, each(convolve))
            return torch.cat(each(lambda i: _activate(act, ctx.norm.output(i))))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        norm, act, parts, (x,) = ctx.norm, ctx.act, ctx.parts, ctx.saved_tensors
        of_x = ctx.needs_input_grad[2]
        with _team(len(parts)) as each:

            def activate(i: int) -> tuple[Tensor, Tensor]:
                g = _channels_last(gradient[parts[i]])
                g = SMOOTH[act][1](g, norm.output(i)) if act in SMOOTH else g.clone()
                return g, norm.gradient_sums(i, g)

            gradients, sums = zip(*each(activate), strict=True)
            after = norm.after(sums)

            def convolve(i: int) -> tuple[Tensor, Tensor]:
                norm.to_input(i, gradients[i], after)
                return _conv_gradients(ctx.conv, _channels_last(x[parts[i]]), gradients[i], of_x)

            x_gradients, weights = zip(*each(convolve), strict=True)
        x_gradient = torch.cat(x_gradients) if of_x else None
        return None, None, x_gradient, _sum(weights), *after.parameters


class _Bottleneck(torch.autograd.Function):
    """[expand] -> depthwise -> [squeeze-excite] -> project (+ shortcut)."""

    @staticmethod
    def forward(
        ctx: Any, block: Block, acts: tuple[Activation, Activation], x: Tensor, *_: Tensor
    ) -> Tensor:
        ctx.block, ctx.expand, ctx.gate = block, None, None
        ctx.save_for_backward(x)
        ctx.parts = parts = _parts(x, block.depthwise.conv.in_channels)
        with _team(len(parts)) as each:
            if block.expand is not None:
                ctx.expand = _Expansion(block.expand, acts[0], x, parts, each)

            def mix(i: int) -> tuple[Tensor, Tensor]:
                wide = ctx.expand.output(i) if ctx.expand else x[parts[i]]
                y = block.depthwise.conv(wide)
                return y, _moments(y, per_image=block.se is not None)

            ctx.depthwise = _Norm(block.depthwise.norm, BOUNDS[acts[1]], parts, each(mix))
            if block.se is not None:
                ctx.gate = _Gate(block.se, ctx.depthwise)
            weight = block.project.conv.weight.flatten(1)

            def project(i: int) -> tuple[Tensor, Tensor]:
                y = _linear(ctx.depthwise.output(i), weight)
                return y, _moments(y)

            ctx.project = _Norm(block.project.norm, BOUNDLESS, parts, each(project))
            if block.drop_path is not None:
                ctx.project.gates = block.drop_path(x.new_ones(len(x), 1, 1, 1)).flatten(1).double()

            def add(i: int) -> Tensor:
                y = ctx.project.output(i)
                if block.shortcut_width:
                    y[:, : block.shortcut_width] += x[parts[i]]
                return y

            return torch.cat(each(add))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        block, parts, (x,) = ctx.block, ctx.parts, ctx.saved_tensors
        expand, depthwise, project = ctx.expand, ctx.depthwise, ctx.project
        gradient = _channels_last(gradient)
        with _team(len(parts)) as each:
            sums = each(lambda i: project.gradient_sums(i, gradient[parts[i]]))
            after_project = project.after(sums)
            weight = block.project.conv.weight.flatten(1)
            transposed = weight.t().contiguous()

            def to_depthwise(i: int) -> tuple[Tensor, Tensor, Tensor]:
                g = gradient[parts[i]].clone()
                project.to_input(i, g, after_project)
                product = _product(depthwise.output(i), g)
                g = _linear(g, transposed)
                return g, product, depthwise.gradient_sums(i, g)

            gradients, products, sums = zip(*each(to_depthwise), strict=True)
            se, of_means = ctx.gate.backward(sums) if ctx.gate else ((), None)
            after_depthwise = depthwise.after(sums, of_means)

            def to_expansion(i: int) -> tuple[Tensor, ...]:
                g = gradients[i]
                depthwise.to_input(i, g, after_depthwise)
                if expand is None:
                    return _conv_gradients(block.depthwise.conv, x[parts[i]], g)
                before = expand.before(i)
                wide = _activate(expand.act, before)
                g, mixing = _conv_gradients(block.depthwise.conv, wide, g)
                return *expand.gradients(i, before, wide, g), mixing

            x_gradients, *rest, mixings = zip(*each(to_expansion), strict=True)
            after_expand = expand.after(*rest) if expand else None

            def to_input(i: int) -> Tensor:
                g = x_gradients[i]
                if expand:
                    expand.to_input(i, g, after_expand)
                if block.shortcut_width:
                    g += gradient[parts[i], : block.shortcut_width]
                return g

            x_gradient = torch.cat(each(to_input))
        return (
            None,
            None,
            x_gradient,
            *(after_expand.parameters if after_expand else ()),
            _sum(mixings),
            *after_depthwise.parameters,
            *se,
            _sum(products).view_as(block.project.conv.weight),
            *after_project.parameters,
        )


class _Penultimate(torch.autograd.Function):
    """1x1 convolution -> batch norm -> activation -> mean over all pixels."""

    @staticmethod
    def forward(ctx: Any, layer: ConvNorm, act: Activation, x: Tensor, *_: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.parts = parts = _parts(x, layer.conv.out_channels)
        with _team(len(parts)) as each:
            ctx.expand = _Expansion(layer, act, x, parts, each)
            return torch.cat(each(lambda i: ctx.expand.output(i).mean((2, 3))))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        expand, parts, (x,) = ctx.expand, ctx.parts, ctx.saved_tensors
        gradient = gradient[:, :, None, None] / (x.shape[2] * x.shape[3])
        with _team(len(parts)) as each:

            def to_expansion(i: int) -> tuple[Tensor, ...]:
                before = expand.before(i)
                g = torch.empty_like(before).copy_(gradient[parts[i]])
                return expand.gradients(i, before, _activate(expand.act, before), g)

            x_gradients, *rest = zip(*each(to_expansion), strict=True)
            after = expand.after(*rest)
            each(lambda i: expand.to_input(i, x_gradients[i], after))
        return None, None, torch.cat(x_gradients), *after.parameters


@dataclass(frozen=True, kw_only=True)
class _Affine:
    """Batch norm of one batch as ``scale x + offset``, per channel, in float64."""

    scale: Tensor
    offset: Tensor
    mean: Tensor
    inverse_std: Tensor
    num_pixels: int

    def through_statistics(self, total: Tensor, moment: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the gradient through mean and variance is: ``linear x + constant``.

        Args:
            total: Sum over the pixels of ``g``, the gradient of the output.
            moment: Sum of ``g (x - mean)``.
        """
        linear = -self.scale * self.inverse_std.square() * moment / self.num_pixels
        return linear, -self.scale * total / self.num_pixels - linear * self.mean

    def of_parameters(self, total: Tensor, moment: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of the norm's weight and bias."""
        return (moment * self.inverse_std).float(), total.float()


@dataclass(frozen=True, kw_only=True)
class _After:
    """What the backward pass of a layer knows once it has seen all pixels.

    Attributes:
        linear: With ``constant``, the gradient through mean and variance: ``linear x + constant``.
        constant: Per channel, or per image and channel.
        parameters: The gradients of the parameters.
    """

    linear: Tensor
    constant: Tensor
    parameters: tuple[Tensor, ...]


class _Norm:
    """Batch norm, then gates if there are any, then a clamp, of a batch in parts.

    Args:
        norm: The module; its running statistics move.
        bounds: The bounds of the clamp.
        parts: The images of every part.
        inputs: Every part of the input, and its moments.

    Attributes:
        gates: Factors (images, width or 1), or None.
        affine: The batch norm.
    """

    def __init__(
        self,
        norm: nn.BatchNorm2d,
        bounds: Bounds,
        parts: Sequence[slice],
        inputs: Sequence[tuple[Tensor, Tensor]],
    ) -> None:
        self._inputs, self._parts = [x for x, _ in inputs], parts
        self._bounds = np.float32(bounds[0]), np.float32(bounds[1])
        self._area = self._inputs[0].shape[2] * self._inputs[0].shape[3]
        sums = torch.cat([sums for _, sums in inputs])
        self._image_means = sums[:, 0] / self._area
        num_pixels = parts[-1].stop * self._area
        mean, square = sums.sum(0) / num_pixels
        self.affine = _affine(norm, mean, square - mean.square(), num_pixels)
        self.gates: Tensor | None = None

    def output_means(self) -> Tensor:
        """Return the means (images, width) of the batch norm's outputs."""
        return self._image_means * self.affine.scale + self.affine.offset

    def output(self, part: int) -> Tensor:
        """Return a part of the output."""
        x, scale, offset = self._inputs[part], self.affine.scale, self.affine.offset
        y = torch.empty_like(x)
        arrays, coefficients = self._arrays(part, [x, y], [scale, offset])
        kernels.scale_clamp(arrays[0], coefficients, *self._bounds, arrays[1])
        return y

    def gradient_sums(self, part: int, gradient: Tensor) -> Tensor:
        """Return the sums (groups, 2, width) of ``g`` and ``g (x - mean)``.

        ``g`` is the gradient of the output where it is within the bounds; a group is an image if
        there are gates, else the part.
        """
        affine, x = self.affine, self._inputs[part]
        rows = [affine.scale, affine.offset, affine.mean]
        (inputs, gradients), coefficients = self._arrays(part, [x, gradient], rows)
        sums = kernels.gradient_sums(inputs, gradients, coefficients, *self._bounds)
        return _by_channel(sums, x)

    def after(self, sums: Sequence[Tensor], of_means: Tensor | None = None) -> _After:
        """Sum up the parts' ``gradient_sums``.

        Args:
            sums: Those of every part.
            of_means: The gradient (images, width) of the means of the batch norm's outputs, where
                the gates depend on them.
        """
        affine, per_group = self.affine, torch.cat(list(sums))
        if self.gates is not None:
            per_group = per_group * self.gates[:, None]
        total, moment = per_group.sum(0)
        if of_means is not None:
            total = total + of_means.sum(0)
            moment = moment + (of_means * (self._image_means - affine.mean)).sum(0)
        linear, constant = affine.through_statistics(total, moment)
        if of_means is not None:
            constant = constant + affine.scale * of_means / self._area
        parameters = affine.of_parameters(total, moment)
        return _After(linear=linear, constant=constant, parameters=parameters)

    def to_input(self, part: int, gradient: Tensor, after: _After) -> None:
        """Turn the gradient of a part's output into that of its input, in place."""
        rows = [self.affine.scale, self.affine.offset, after.linear, after.constant]
        arrays, coefficients = self._arrays(part, [self._inputs[part], gradient], rows)
        kernels.scale_gradient(*arrays, coefficients, *self._bounds)

    def _arrays(
        self, part: int, tensors: Sequence[Tensor], rows: Sequence[Tensor]
    ) -> tuple[list[kernels.Pixels], kernels.Coefficients]:
        """Return ``tensors`` and the coefficients for a kernel; the first two rows are gated."""
        if self.gates is not None:
            images = self._parts[part]
            rows = [rows[0] * self.gates, rows[1] * self.gates, *rows[2:]]
            rows = [row[images] if row.ndim == 2 else row for row in rows]
        coefficients = torch.stack(torch.broadcast_tensors(*rows), -2).float()
        if self.gates is None:
            coefficients = coefficients[None]
        arrays = [_pixels(tensor, len(coefficients)) for tensor in tensors]
        repeats = arrays[0].shape[2] // coefficients.shape[2]
        return arrays, np.tile(coefficients.numpy(), repeats)


class _Gate:
    """Squeeze-excite: makes the gates of a norm from the means of its outputs."""

    def __init__(self, se: SqueezeExcite, norm: _Norm) -> None:
        self._se, self._norm = se, norm
        with torch.enable_grad():
            self._means = norm.output_means().float()[:, :, None, None].requires_grad_()
            self._gates = se.expand(se.act(se.norm(se.reduce(self._means)))).sigmoid()
        norm.gates = self._gates.detach().flatten(1).double()

    def backward(self, sums: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the gradients of the parameters and of the means from a norm's gradient sums."""
        affine = self._norm.affine
        total, moment = torch.cat(list(sums)).unbind(1)
        gradient = affine.scale * moment + (affine.offset + affine.scale * affine.mean) * total
        inputs = [*self._se.parameters(), self._means]
        *parameters, means = torch.autograd.grad(
            self._gates, inputs, gradient.float().view_as(self._gates), retain_graph=True
        )
        return tuple(parameters), means.flatten(1).double()


class _Expansion:
    """1x1 convolution -> batch norm -> activation of a batch in parts, made anew when asked for."""

    def __init__(
        self, layer: ConvNorm, act: Activation, x: Tensor, parts: Sequence[slice], each: Each
    ) -> None:
        self.act, self._x, self._parts = act, x, parts
        self._weight = weight = layer.conv.weight.detach().flatten(1)
        sums, grams = zip(
            *each(lambda i: (_moments(x[parts[i]]), _product(x[parts[i]], x[parts[i]]))),
            strict=True,
        )
        num_pixels = len(x) * x.shape[2] * x.shape[3]
        self._mean = torch.cat(sums).sum(0)[0] / num_pixels
        covariance = _sum(grams) / num_pixels - self._mean.outer(self._mean)
        self._by_covariance = _linear_rows(weight, covariance.float())
        variance = (self._by_covariance * weight).sum(1, dtype=torch.float64)
        mean = weight.double() @ self._mean
        self._affine = _affine(layer.norm, mean, variance, num_pixels)
        self._scaled = (weight * self._affine.scale[:, None]).float()
        self._offset = self._affine.offset.float()

    def before(self, part: int) -> Tensor:
        """Return a part before the activation."""
        return _linear(self._x[self._parts[part]], self._scaled, self._offset)

    def output(self, part: int) -> Tensor:
        """Return a part of the output."""
        return _activate(self.act, self.before(part))

    def gradients(
        self, part: int, before: Tensor, output: Tensor, gradient: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what a part adds to the gradients; ``gradient`` may be overwritten.

        The gradient of ``x`` but for what ``to_input`` adds, and sums for ``after``.
        """
        if self.act in SMOOTH:
            gradient = SMOOTH[self.act][1](gradient, before)
            total = _moments(gradient)[:, 0]
        else:
            low, high = BOUNDS[self.act]
            arrays = _pixels(output, 1), _pixels(gradient, 1)
            sums = kernels.mask_gradient(*arrays, np.float32(low), np.float32(high))
            total = _by_channel(sums[:, None], output)[:, 0]
        product = _product(self._x[self._parts[part]], gradient)
        return _linear(gradient, self._scaled.t().contiguous()), product, total

    def after(self, products: Sequence[Tensor], totals: Sequence[Tensor]) -> _After:
        """Sum up what ``gradients`` returned of every part; ``linear`` is a matrix here."""
        affine, weight, total = self._affine, self._weight, torch.cat(list(totals)).sum(0)
        centred = _sum(products) - total.outer(self._mean)
        moment = (centred * weight).sum(1)
        linear, constant = affine.through_statistics(total, moment)
        through = (linear * affine.num_pixels)[:, None] * self._by_covariance
        weight_gradient = affine.scale[:, None] * centred + through
        by_weight = (weight * linear[:, None]).float()
        return _After(
            linear=_product_rows(weight, by_weight),
            constant=(constant @ weight.double()).float(),
            parameters=(
                weight_gradient.float()[:, :, None, None],
                *affine.of_parameters(total, moment),
            ),
        )

    def to_input(self, part: int, gradient: Tensor, after: _After) -> None:
        """Add to the gradient of a part of ``x`` what comes through the statistics."""
        gradient += _linear(self._x[self._parts[part]], after.linear, after.constant)


def _affine(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, num_pixels: int) -> _Affine:
    """Return the batch norm that statistics give, and move the running ones towards them."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    variance = variance.clamp(min=0)
    norm.running_mean.lerp_(mean.float(), norm.momentum)
    norm.running_var.lerp_((variance * num_pixels / (num_pixels - 1)).float(), norm.momentum)
    norm.num_batches_tracked += 1
    inverse_std = (variance + norm.eps).rsqrt()
    scale = norm.weight.detach() * inverse_std
    offset = norm.bias.detach() - mean * scale
    return _Affine(
        scale=scale, offset=offset, mean=mean, inverse_std=inverse_std, num_pixels=num_pixels
    )


def _activate(act: Activation, x: Tensor) -> Tensor:
    """Return the activation of ``x``, which a clamp overwrites."""
    return SMOOTH[act][0](x) if act in SMOOTH else x.clamp_(*BOUNDS[act])


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the 1x1 convolution of ``x`` with ``weight`` (width_out, width)."""
    rows = _linear_rows(_rows(x), weight, bias)
    return rows.view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)


def _product(x: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient (width_out, width) of a 1x1 convolution's weight."""
    return _product_rows(_rows(x), _rows(gradient))


def _linear_rows(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    y = F.conv2d(_as_images(rows), weight[:, :, None, None], bias)
    return y.permute(0, 2, 3, 1).view(len(rows), -1)


def _product_rows(rows: Tensor, gradient: Tensor) -> Tensor:
    weight = rows.new_empty(gradient.shape[1], rows.shape[1], 1, 1)
    arguments = _as_images(gradient), _as_images(rows), weight, None
    geometry = (1, 1), (0, 0), (1, 1), False, (0, 0), 1
    return aten.convolution_backward(*arguments, *geometry, (False, True, False))[1].flatten(1)


def _conv_gradients(
    conv: nn.Conv2d, x: Tensor, gradient: Tensor, of_x: bool = True
) -> tuple[Tensor, Tensor]:
    """Return the gradients of ``x`` and of the weight."""
    geometry = conv.stride, conv.padding, (1, 1), False, (0, 0), conv.groups
    arguments = gradient, x, conv.weight, None
    of_input, weight, _ = aten.convolution_backward(*arguments, *geometry, (of_x, True, False))
    return of_input, weight


def _moments(x: Tensor, per_image: bool = False) -> Tensor:
    """Return the sums (groups, 2, width) of ``x`` and its square; a group is ``x`` or an image."""
    return _by_channel(kernels.moments(_pixels(x, len(x) if per_image else 1)), x)


def _sum(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(tensors)).sum(0)


def _rows(x: Tensor) -> Tensor:
    """View channels-last (N, width, H, W) as (N H W, width)."""
    return x.detach().permute(0, 2, 3, 1).view(-1, x.shape[1])


def _as_images(rows: Tensor) -> Tensor:
    """View rows as 16 images or more: for fewer, torch leaves oneDNN for a slower 1x1 convolution."""
    num_images = _num_images(len(rows))
    return rows.view(num_images, 1, -1, rows.shape[1]).permute(0, 3, 1, 2)


@functools.cache
def _num_images(num_rows: int) -> int:
    return next((n for n in range(16, num_rows) if num_rows % n == 0), num_rows)


def _pixels(x: Tensor, num_groups: int) -> kernels.Pixels:
    """View ``x`` as an array for the kernels, several pixels as one so that vectors come out."""
    width = x.shape[1]
    pixels = x.numel() // width // num_groups
    repeats = LANES // math.gcd(width, LANES)
    repeats = repeats if pixels % repeats == 0 else 1
    return _rows(x).view(num_groups, -1, repeats * width).numpy()


def _by_channel(sums: kernels.Sums, x: Tensor) -> Tensor:
    """Add up the sums (groups, count, columns) of a kernel to (groups, count, width)."""
    return torch.from_numpy(sums).unflatten(2, (-1, x.shape[1])).sum(2)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _parts(x: Tensor, width: float) -> list[slice]:
    """Divide images among the threads, into parts whose activation of ``width`` is small."""
    num_threads = torch.get_num_threads()
    num_bytes = 4 * width * x.shape[2] * x.shape[3]
    num_parts = -(-len(x) // max(1, int(PART_BYTES // num_bytes)))
    num_parts = min(len(x), -(-num_parts // num_threads) * num_threads)
    edges = [len(x) * i // num_parts for i in range(num_parts + 1)]
    return [slice(*edge) for edge in itertools.pairwise(edges)]


@contextmanager
def _team(num_parts: int) -> Iterator[Each]:
    """Yield what calls a function with the number of every part, on as many threads as torch has.

    Within, torch itself works on one thread: its own threads would stand in the way of these.
    """
    num_threads = torch.get_num_threads()
    if num_threads == 1:
        yield lambda function: [function(part) for part in range(num_parts)]
        return
    torch.set_num_threads(1)
    try:
        yield lambda function: list(
            _pool(num_threads).map(torch.no_grad()(function), range(num_parts))
        )
    finally:
        torch.set_num_threads(num_threads)


@functools.cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, "rexnet")
