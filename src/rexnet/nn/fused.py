"""The forward and backward pass of linear bottlenecks by hand, for training on a CPU.

Wide, expanded activations bound the speed: torch reads and writes each about twenty times a step,
and most of them from and to main memory. Here few of them ever get there. Every pass goes over
parts of the batch small enough for the cache, a thread a part, and nothing of the width of the
expansion is kept but the output of the depthwise convolution.

The expanded activation can be had again at any time, because batch norm after a 1x1 convolution
depends on the convolution's input alone. With ``y = x W^T``, mean and variance of ``y`` are ``W m``
and ``diag(W C W^T)``, where ``m`` and ``C`` are mean and covariance of the far narrower ``x``. So
the scale goes into the weight, and the backward pass needs neither ``y`` nor its gradient.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

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

BOUNDS = {"identity": (-math.inf, math.inf), "relu": (0.0, math.inf), "relu6": (0.0, 6.0)}
"""The activations that are clamps."""

aten = torch.ops.aten
SMOOTH: dict[str, tuple[Callable[..., Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "silu": (F.silu, aten.silu_backward),
    "hardswish": (F.hardswish, aten.hardswish_backward),
    "softplus": (F.softplus, lambda g, x: aten.softplus_backward(g, x, 1, 20)),
    "leaky_relu": (F.leaky_relu, lambda g, x: aten.leaky_relu_backward(g, x, 0.01, False)),
    "elu": (F.elu, lambda g, x: aten.elu_backward(g, 1, 1, 1, False, x)),
}
"""The other activations, and what gives the gradient of their input."""

PART_BYTES = 4 * 2**20
"""Size of the widest activation of a part, so that what is done to it finds it in the cache."""

LANES = 16
"""Float32 numbers in the widest vector register."""

T = TypeVar("T")
Run = Callable[[Callable[[int], T], int], list[T]]


def can_fuse(spec: NetSpec) -> bool:
    """Tell whether ``fused`` knows the network: linear bottlenecks, clamps before the projection.

    Expansions, the stem and the last convolution may have any activation, blocks may have squeeze
    and excitation.
    """
    return spec.penultimate_width > 0 and all(
        block.depthwise_act in BOUNDS and block.project_act == "identity" for block in spec.blocks
    )


def fused(model: Network) -> Callable[[Tensor], Tensor]:
    """Return the training-mode forward of a CPU ``model`` in float32, with a faster backward.

    It uses the parameters and running statistics of ``model`` and gives the same values and
    gradients but for rounding. It works on ``torch.get_num_threads()`` threads.

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
        ctx.layer, ctx.act = layer, act
        bounds = BOUNDS.get(act, BOUNDS["identity"])
        x = x.contiguous(memory_format=torch.channels_last)
        with _team() as run:
            size = -(-x.shape[2] // layer.conv.stride[0])
            ctx.parts = parts = _parts(x, layer.conv.out_channels * size * size)

            def convolve(i: int) -> tuple[Tensor, Tensor]:
                y = _channels_last(layer.conv(x[parts[i]]))
                return y, _moments(y)

            ctx.before, sums = zip(*run(convolve, len(parts)), strict=True)
            ctx.norm = norm = _norm(layer.norm, sums, ctx.before)

            def activate(i: int) -> Tensor:
                return _activate(act, _normalise(norm, bounds, ctx.before[i]))

            y = torch.cat(run(activate, len(parts)))
        ctx.save_for_backward(x)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,), parts, norm, act = ctx.saved_tensors, ctx.parts, ctx.norm, ctx.act
        bounds = BOUNDS.get(act, BOUNDS["identity"])
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        with _team() as run:

            def activate(i: int) -> tuple[Tensor, Tensor]:
                g, before = gradient[parts[i]], ctx.before[i]
                if act in BOUNDS:
                    g = g.clone()
                else:
                    g = SMOOTH[act][1](g, _normalise(norm, bounds, before))
                return g, _gradient_sums(norm, bounds, before, g)

            gradients, sums = zip(*run(activate, len(parts)), strict=True)
            through = _through(norm, *torch.cat(sums).sum(0))

            def convolve(i: int) -> tuple[Tensor, Tensor]:
                _scale_gradient(norm, bounds, ctx.before[i], gradients[i], through)
                return _conv_backward(ctx.layer.conv, x[parts[i]], gradients[i], of_x)

            of_x = ctx.needs_input_grad[2]
            x_gradients, weights = zip(*run(convolve, len(parts)), strict=True)
        x_gradient = torch.cat(x_gradients) if of_x else None
        return None, None, x_gradient, _total(weights), *through.parameters


class _Bottleneck(torch.autograd.Function):
    """[expand] -> depthwise -> [squeeze and excite] -> project (+ shortcut)."""

    @staticmethod
    def forward(
        ctx: Any, block: Block, acts: tuple[Activation, Activation], x: Tensor, *_: Tensor
    ) -> Tensor:
        ctx.block, ctx.acts = block, acts
        bounds = BOUNDS[acts[1]]
        width = block.depthwise.conv.in_channels
        with _team() as run:
            ctx.parts = parts = _parts(x, width * x.shape[2] * x.shape[3])
            ctx.expansion = None
            if block.expand is not None:
                ctx.expansion = _expansion(run, block.expand, acts[0], x, parts)

            def mix(i: int) -> tuple[Tensor, Tensor]:
                wide = x[parts[i]]
                if ctx.expansion is not None:
                    wide = ctx.expansion.activated(wide)
                y = _channels_last(block.depthwise.conv(wide))
                return y, _moments(y, per_image=block.se is not None)

            ctx.mixed, sums = zip(*run(mix, len(parts)), strict=True)
            ctx.depthwise = _norm(block.depthwise.norm, sums, ctx.mixed)
            ctx.gate = None if block.se is None else _Gate(block.se, ctx.depthwise, sums)
            matrix = block.project.conv.weight.flatten(1)

            def project(i: int) -> tuple[Tensor, Tensor]:
                gates = ctx.gate.values[parts[i]] if ctx.gate else None
                y = _linear(_normalise(ctx.depthwise, bounds, ctx.mixed[i], gates), matrix)
                return y, _moments(y)

            ctx.projected, sums = zip(*run(project, len(parts)), strict=True)
            ctx.project = _norm(block.project.norm, sums, ctx.projected)
            ctx.kept = None
            if block.drop_path is not None:
                ctx.kept = block.drop_path(x.new_ones(len(x), 1, 1, 1)).view(-1, 1).double()

            def finish(i: int) -> Tensor:
                kept = None if ctx.kept is None else ctx.kept[parts[i]]
                y = _normalise(ctx.project, BOUNDS["identity"], ctx.projected[i], kept)
                if block.shortcut_width:
                    y[:, : block.shortcut_width] += x[parts[i]]
                return y

            y = torch.cat(run(finish, len(parts)))
        ctx.save_for_backward(x)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        block, (x,), parts = ctx.block, ctx.saved_tensors, ctx.parts
        bounds = BOUNDS[ctx.acts[1]]
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        with _team() as run:

            def finish(i: int) -> Tensor:
                g, kept = gradient[parts[i]], None if ctx.kept is None else ctx.kept[parts[i]]
                sums = _gradient_sums(
                    ctx.project, BOUNDS["identity"], ctx.projected[i], g, kept is not None
                )
                return sums if kept is None else sums * kept[:, None]

            sums = torch.cat(run(finish, len(parts)))
            project_through = _through(ctx.project, *sums.sum(0))
            matrix = block.project.conv.weight.flatten(1)
            transposed = matrix.t().contiguous()

            def project(i: int) -> tuple[Tensor, Tensor, Tensor]:
                g = gradient[parts[i]].clone()
                kept = None if ctx.kept is None else ctx.kept[parts[i]]
                gates = ctx.gate.values[parts[i]] if ctx.gate else None
                _scale_gradient(
                    ctx.project, BOUNDS["identity"], ctx.projected[i], g, project_through, kept
                )
                mixed = ctx.mixed[i]
                weight = _product(_normalise(ctx.depthwise, bounds, mixed, gates), g)
                g = _linear(g, transposed)
                return g, weight, _gradient_sums(ctx.depthwise, bounds, mixed, g, gates=gates)

            wide_gradients, projects, sums = zip(*run(project, len(parts)), strict=True)
            ...
