"""The forward and backward pass of a network by hand, for training on a CPU.

Batch norm and activations take most of the time of narrow networks: torch reads and writes every
wide activation about twenty times a step. Here batch norm, squeeze-excite gate and activation are
one pass, what can be had again from the outputs of the convolutions in one pass is not kept, and
the passes go over parts of the batch that fit into the cache, a thread a part.
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
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from rexnet.nn import kernels
from rexnet.nn.blocks import Block
from rexnet.nn.features import TapNetwork
from rexnet.nn.layers import ConvNorm, SqueezeExcite
from rexnet.nn.network import Network
from rexnet.spec import Activation, BlockSpec, NetSpec

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

aten = torch.ops.aten

PART_BYTES = 4 * 2**20
"""Size of the widest activation of a part: from one pass to the next it stays in the cache."""

LANES = 16
"""Float32 numbers in the widest vector register."""

Channels = NDArray[np.float64]
"""A number a channel (width,), or an image and channel (images, width)."""

Each = Callable[[Callable[[int], Any]], list[Any]]
"""Calls a function with the number of every part of a batch and returns what it returns."""


def can_fuse(spec: NetSpec) -> bool:
    """Tell whether ``Fused`` knows the network: all but activations before a shortcut is added."""
    # Stochastic depth scales a residual before this activation, the module after it.
    return all(b.project_act == "identity" or b.shortcut == "none" for b in spec.blocks)


class Fused(nn.Module):
    """The training-mode forward of a float32 network on the CPU, with a faster backward.

    It uses the parameters and running statistics of ``model`` and gives the same values and
    gradients but for rounding. It works on as many threads as torch is set to.

    Args:
        model: The network; for evaluation, call it itself.

    Raises:
        ValueError: ``can_fuse(model.spec)`` is false; in training, as of torch, a batch norm sees a
            single value a channel.
    """

    def __init__(self, model: Network) -> None:
        super().__init__()
        spec = model.spec
        _check_fusible(spec)
        self.model = model
        self._stem = [_layer(model.stem, spec.stem_act)]
        pairs = zip(model.blocks, spec.blocks, strict=True)
        self._blocks = [_layers(module, block) for module, block in pairs]

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) of images (N, channels, height, width)."""
        model, spec = self.model, self.model.spec
        x = _apply(self._stem, 0, False, x)
        for layers, shortcut_width in self._blocks:
            x = _apply(layers, shortcut_width, False, x)
        if model.penultimate is None:
            x = x.mean((2, 3))
        else:
            x = _apply([_layer(model.penultimate, spec.penultimate_act)], 0, True, x)
        if model.hidden is not None and model.hidden_norm is not None:
            x = model.hidden_act(model.hidden_norm(model.hidden(x)))
        y: Tensor = model.classifier(model.dropout(x))
        return y


class FusedTap(nn.Module):
    """The same of a network that gives two maps; see ``Fused``.

    Args:
        model: The network; for evaluation, call it itself.

    Raises:
        ValueError: ``can_fuse(model.spec)`` is false.
    """

    def __init__(self, model: TapNetwork) -> None:
        super().__init__()
        self.model = model
        _check_fusible(model.spec)
        self._stem = [_layer(model.stem, model.spec.stem_act)]
        pairs = zip(model.blocks, model.spec.blocks, strict=True)
        self._blocks = [_layers(module, block) for module, block in pairs]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the maps of images (N, channels, height, width)."""
        model = self.model
        x, maps = _apply(self._stem, 0, False, x), []
        for index, (layers, shortcut_width) in enumerate(self._blocks):
            if index == model.tapped:
                # A strided block has no shortcut around both parts.
                *expand, depthwise, project = layers
                maps = [_apply(expand, 0, False, x) if expand else x]
                layers, x = [depthwise, project], maps[0]
            x = _apply(layers, shortcut_width, False, x)
        if model.penultimate is not None:
            layer = _layer(model.penultimate, model.spec.penultimate_act)
            x = _apply([layer], 0, False, x)
        return [*maps, x]


def _check_fusible(spec: NetSpec) -> None:
    if not can_fuse(spec):
        raise ValueError(f"{spec.name} has activations before shortcuts, which cannot be fused")


@dataclass(frozen=True, kw_only=True)
class _Layer:
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
        """All parameters, in the order of ``_Chain``'s gradients."""
        se = self.se.parameters() if self.se else ()
        return [self.conv.weight, *self.norm.parameters(), *se]


def _layer(module: ConvNorm, act: Activation) -> _Layer:
    return _Layer(conv=module.conv, norm=module.norm, act=act)


def _layers(block: nn.Module, spec: BlockSpec) -> tuple[list[_Layer], int]:
    """Return the layers of a block and the width of its shortcut."""
    assert isinstance(block, Block)
    assert block.se is None or isinstance(block.se, SqueezeExcite)
    conv, norm = block.depthwise.conv, block.depthwise.norm
    depthwise = _Layer(conv=conv, norm=norm, act=spec.depthwise_act, se=block.se)
    conv, norm = block.project.conv, block.project.norm
    project = _Layer(conv=conv, norm=norm, act=spec.project_act, drop_path=block.drop_path)
    expand = [] if block.expand is None else [_layer(block.expand, spec.expand_act)]
    return [*expand, depthwise, project], block.shortcut_width


def _apply(layers: Sequence[_Layer], shortcut_width: int, pool: bool, x: Tensor) -> Tensor:
    parameters = itertools.chain.from_iterable(layer.parameters for layer in layers)
    return _Chain.apply(layers, shortcut_width, pool, x, *parameters)


class _Chain(torch.autograd.Function):
    """Some layers, then a shortcut or the mean over all pixels if there is one."""

    @staticmethod
    def forward(
        ctx: Any, layers: Sequence[_Layer], shortcut_width: int, pool: bool, x: Tensor, *_: Tensor
    ) -> Tensor:
        x = _channels_last(x)
        ctx.save_for_backward(x)
        ctx.layers, ctx.shortcut_width, ctx.pool = layers, shortcut_width, pool
        ctx.parts = parts = _parts(x, layers[0].conv)
        ctx.norms = norms = list[_Norm]()
        xs = _split(x, parts)

        def convolve(layer: _Layer, i: int) -> tuple[Tensor, kernels.Sums]:
            y = _convolve(layer.conv, norms[-1].output(i) if norms else xs[i])
            return y, _moments(y, layer.has_gates)

        def finish(i: int) -> None:
            if pool:
                ys[i].copy_(norms[-1].output(i).mean((2, 3)))
                return
            norms[-1].output(i, ys[i])
            if shortcut_width:
                ys[i][:, :shortcut_width].add_(xs[i])

        with _team(len(parts)) as each:
            for layer in layers:
                norms.append(_Norm(layer, parts, each(functools.partial(convolve, layer))))
            y = _empty(len(x), norms[-1].inputs[0], pool)
            ys = _split(y, parts)
            each(finish)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        layers, norms, parts, (x,) = ctx.layers, ctx.norms, ctx.parts, ctx.saved_tensors
        gs = _split(gradient if ctx.pool else _channels_last(gradient), parts)
        xs, of_x = _split(x, parts), ctx.needs_input_grad[3]
        x_gradient = torch.empty_like(x) if of_x else None
        x_gradients = _split(x_gradient, parts) if x_gradient is not None else ()

        def start(i: int) -> tuple[Tensor, kernels.Sums]:
            g = _spread(gs[i], norms[-1].inputs[i]) if ctx.pool else gs[i].clone()
            return g, norms[-1].gradient_sums(i, g)

        def back(
            k: int, after: "_After", gradients: Sequence[Tensor], i: int
        ) -> tuple[Tensor | None, kernels.Sums | None, Tensor]:
            g = gradients[i]
            norms[k].to_input(i, g, after)
            wide = norms[k - 1].output(i) if k else xs[i]
            further, weight = _conv_gradients(layers[k].conv, wide, g, k > 0 or of_x)
            return further, norms[k - 1].gradient_sums(i, further) if k else None, weight

        def finish(i: int) -> None:
            x_gradients[i].copy_(gradients[i])
            if ctx.shortcut_width:
                x_gradients[i].add_(gs[i][:, : ctx.shortcut_width])

        found: list[Tensor] = []
        with _team(len(parts)) as each:
            gradients, sums = zip(*each(start), strict=True)
            for k in reversed(range(len(layers))):
                after = norms[k].after(sums)
                results = each(functools.partial(back, k, after, gradients))
                gradients, sums, weights = zip(*results, strict=True)
                found = [_like(layers[k].conv.weight, _sum(weights)), *after.parameters, *found]
            if of_x:
                each(finish)
        return None, None, None, x_gradient, *found


@dataclass(frozen=True, kw_only=True)
class _After:
    """What the backward pass of a norm knows once it has seen all pixels.

    Attributes:
        coefficients: Those of ``scale_gradient`` for every part.
        parameters: The gradients of the parameters.
    """

    coefficients: list[kernels.Coefficients]
    parameters: tuple[Tensor, ...]


class _Norm:
    """The batch norm of a layer and what comes after it, for a batch in parts.

    Args:
        layer: The layer; the running statistics of its batch norm move.
        parts: The images of every part.
        inputs: Every part of the output of the convolution, and its moments.

    Attributes:
        inputs: The outputs of the convolution.
    """

    def __init__(
        self,
        layer: _Layer,
        parts: Sequence[slice],
        inputs: Sequence[tuple[Tensor, kernels.Sums]],
    ) -> None:
        self.inputs, self._parts = [x for x, _ in inputs], parts
        self._act = ACTIVATIONS[layer.act]
        self._arrays = [_pixels(x, len(x) if layer.has_gates else 1) for x in self.inputs]
        self._area = self.inputs[0].shape[2] * self.inputs[0].shape[3]
        self._num_pixels = parts[-1].stop * self._area
        _check_size(self._num_pixels)
        sums = np.concatenate([sums for _, sums in inputs])
        self._mean, square = sums.sum(0) / self._num_pixels
        variance = np.maximum(square - self._mean**2, 0)
        self._inverse_std = 1 / np.sqrt(variance + layer.norm.eps)
        _track(layer.norm, self._mean, variance, self._num_pixels)
        self._bias = layer.norm.bias.detach().numpy().astype(np.float64)
        self._scale = layer.norm.weight.detach().numpy() * self._inverse_std
        self._gate, self._gates = None, None
        if layer.se is not None:
            self._deviations = sums[:, 0] / self._area - self._mean
            self._gate = _Gate(layer.se, self._deviations * self._scale + self._bias)
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

    def gradient_sums(self, part: int, gradient: Tensor) -> kernels.Sums:
        """Return the sums (groups, 2, width) of ``g`` and of ``g`` times the input less its mean.

        ``g`` is the gradient before the activation; a group is an image if there are gates, else
        the part.
        """
        return _by_channel(
            kernels.gradient_sums(*self._arguments(self._sums, part, gradient)), gradient
        )

    def after(self, sums: Sequence[kernels.Sums]) -> _After:
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
        constant = constant + self._scale * of_means / self._area
        return _After(
            coefficients=self._coefficients(*self._affine, linear, constant),
            parameters=(_float32(moment * self._inverse_std), _float32(total), *others),
        )

    def to_input(self, part: int, gradient: Tensor, after: _After) -> None:
        """Turn the gradient of a part of the output into that of the input, in place."""
        kernels.scale_gradient(*self._arguments(after.coefficients, part, gradient))

    def _coefficients(self, *rows: Channels) -> list[kernels.Coefficients]:
        """Return the coefficients of a kernel for every part; the first two rows are gated."""
        shape: tuple[int, ...] = ()
        if self._gates is not None:
            rows = rows[0] * self._gates, rows[1] * self._gates, *rows[2:]
            shape = (len(self._gates),)
        width = len(self._mean)
        repeated = np.empty((*shape, len(rows), _repeats(width), width), np.float32)
        with np.errstate(over="ignore"):
            for number, row in enumerate(rows):
                repeated[..., number, :, :] = row[..., None, :]
        flat = repeated.reshape(*shape, len(rows), -1)
        parts = [flat[None] if self._gates is None else flat[images] for images in self._parts]
        return [
            part if x.shape[2] == part.shape[2] else np.ascontiguousarray(part[:, :, : x.shape[2]])
            for part, x in zip(parts, self._arrays, strict=True)
        ]

    def _arguments(
        self, coefficients: Sequence[kernels.Coefficients], part: int, other: Tensor
    ) -> tuple[Any, ...]:
        """Return the arguments of a kernel for a part of the input and of another tensor."""
        x = self._arrays[part]
        return self._act, coefficients[part], x, _pixels(other, len(x))


class _Gate:
    """Squeeze-excite: gates made of the means (images, width) of what they scale.

    Attributes:
        values: The gates (images, width).
    """

    def __init__(self, se: SqueezeExcite, means: Channels) -> None:
        self._se, self._means, norm = se, _float32(means), se.norm
        assert norm.num_batches_tracked is not None
        _check_size(len(means))
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
        g = _float32(of_values * self.values * (1 - self.values))
        expand = _like(se.expand.weight, g.t() @ self._active), g.sum(0)
        g = g @ se.expand.weight.flatten(1) * (self._active > 0)
        statistics = norm.running_mean, norm.running_var, *self._statistics
        g, *norms = aten.native_batch_norm_backward(
            g, self._squeezed, norm.weight, *statistics, True, norm.eps, (True, True, True)
        )
        reduce = _like(se.reduce.weight, g.t() @ self._means), g.sum(0)
        means = g @ se.reduce.weight.flatten(1)
        return means.double().numpy(), (*reduce, *norms, *expand)


def _check_size(num_values: int) -> None:
    if num_values == 1:
        raise ValueError("batch norm needs more than one value a channel when training")


def _track(norm: nn.BatchNorm2d, mean: Channels, variance: Channels, num_pixels: int) -> None:
    """Move the running statistics towards those of a batch."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    norm.running_mean.lerp_(_float32(mean), norm.momentum)
    norm.running_var.lerp_(_float32(variance * num_pixels / (num_pixels - 1)), norm.momentum)
    norm.num_batches_tracked += 1


def _convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    if conv.kernel_size != (1, 1):
        return _channels_last(conv(x))
    y = _channels_last(torch.conv2d(_as_images(x), conv.weight))
    return _reshaped(y, x.shape)


def _conv_gradients(
    conv: nn.Conv2d, x: Tensor, gradient: Tensor, of_x: bool
) -> tuple[Tensor | None, Tensor]:
    """Return the gradients of ``x``, if asked for, and of the weight."""
    shape, is_1x1 = x.shape, conv.kernel_size == (1, 1)
    if is_1x1:
        x, gradient = _as_images(x), _as_images(gradient)
    geometry = conv.stride, conv.padding, conv.dilation, False, (0, 0), conv.groups
    mask = of_x, True, False
    g, weight, _ = aten.convolution_backward(gradient, x, conv.weight, None, *geometry, mask)
    if of_x:
        g = _reshaped(_channels_last(g), shape) if is_1x1 else _channels_last(g)
    return g, weight


def _as_images(x: Tensor) -> Tensor:
    """View pixels as at least 16 images: with fewer, torch convolves 1x1 with a slower library."""
    width = x.shape[1]
    num_pixels = x.numel() // width
    num_images = _num_images(num_pixels)
    image = num_pixels // num_images * width
    return x.as_strided((num_images, width, 1, image // width), (image, 1, image, width))


def _reshaped(x: Tensor, shape: Sequence[int]) -> Tensor:
    """View the pixels of ``x`` as images of ``shape``, but for the width."""
    num_images, _, height, columns = shape
    width = x.shape[1]
    strides = height * columns * width, 1, columns * width, width
    return x.as_strided((num_images, width, height, columns), strides)


@functools.cache
def _num_images(num_pixels: int) -> int:
    return next((n for n in range(16, num_pixels) if num_pixels % n == 0), num_pixels)


def _moments(x: Tensor, per_image: bool) -> kernels.Sums:
    """Return the sums (groups, 2, width) of ``x`` and its square; a group is ``x`` or an image."""
    return _by_channel(kernels.moments(_pixels(x, len(x) if per_image else 1)), x)


def _spread(gradient: Tensor, x: Tensor) -> Tensor:
    """Return the gradient of ``x`` from that of its means over all pixels."""
    area = x.shape[2] * x.shape[3]
    return torch.empty_like(x).copy_((gradient / area)[:, :, None, None])


def _pixels(x: Tensor, num_groups: int) -> kernels.Pixels:
    """View ``x`` as an array for a kernel, with several pixels in one if that comes out."""
    width = x.shape[1]
    repeats = _repeats(width)
    if x.numel() % (num_groups * repeats * width):
        repeats = 1
    array = x.numpy()
    pixels = array.transpose(0, 2, 3, 1).reshape(num_groups, -1, repeats * width)
    assert np.may_share_memory(pixels, array)
    return pixels


def _repeats(width: int) -> int:
    """Return how many pixels make a whole number of vectors."""
    return LANES // math.gcd(width, LANES)


def _by_channel(sums: kernels.Sums, x: Tensor) -> kernels.Sums:
    """Add up a kernel's sums (..., columns) to (..., width)."""
    width = x.shape[1]
    return sums if sums.shape[-1] == width else sums.reshape(*sums.shape[:-1], -1, width).sum(-2)


def _sum(tensors: Sequence[Tensor]) -> Tensor:
    """Add up ``tensors`` in the first of them."""
    return functools.reduce(torch.Tensor.add_, tensors)


def _like(weight: Tensor, gradient: Tensor) -> Tensor:
    """Return a weight's gradient in the layout that autograd would copy it into."""
    if 1 in (weight.shape[1], weight[0, 0].numel()):
        return gradient.as_strided(weight.shape, weight.stride())
    return torch.empty_like(weight).copy_(gradient)


def _float32(array: Channels) -> Tensor:
    # Numbers of a training that explodes become infinite, as in torch, without a warning.
    with np.errstate(over="ignore"):
        return torch.from_numpy(array.astype(np.float32))


def _empty(num_images: int, x: Tensor, pool: bool) -> Tensor:
    """Return memory for ``num_images`` images like those of ``x``, or for their means."""
    shape = num_images, *x.shape[1 : 2 if pool else 4]
    return torch.empty(
        shape, memory_format=torch.contiguous_format if pool else torch.channels_last
    )


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _parts(x: Tensor, conv: nn.Conv2d) -> list[slice]:
    """Divide images among the threads, into parts with small inputs and outputs of ``conv``."""
    num_threads = torch.get_num_threads()
    width = max(x.shape[1], conv.out_channels / conv.stride[0] ** 2)
    num_bytes = 4 * width * x.shape[2] * x.shape[3]
    num_parts = -(-len(x) // max(1, int(PART_BYTES // num_bytes)))
    num_parts = min(len(x), -(-num_parts // num_threads) * num_threads)
    edges = [len(x) * i // num_parts for i in range(num_parts + 1)]
    return [slice(*edge) for edge in itertools.pairwise(edges)]


def _split(x: Tensor, parts: Sequence[slice]) -> Sequence[Tensor]:
    return x.split([part.stop - part.start for part in parts])


@contextmanager
def _team(num_parts: int) -> Iterator[Each]:
    """Yield what calls a function with the number of every part, on as many threads as torch has.

    Within, torch itself works on one thread: its own threads would stand in the way of these.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield functools.partial(_share, num_parts, min(num_threads, num_parts))
    finally:
        torch.set_num_threads(num_threads)


def _share(num_parts: int, num_threads: int, function: Callable[[int], Any]) -> list[Any]:
    results: list[Any] = [None] * num_parts
    parts = iter(range(num_parts))

    @torch.no_grad()
    def work() -> None:
        for part in parts:
            results[part] = function(part)

    others = [_pool(num_threads - 1).submit(work) for _ in range(num_threads - 1)]
    work()
    for other in others:
        other.result()
    return results


@functools.cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, "rexnet")
