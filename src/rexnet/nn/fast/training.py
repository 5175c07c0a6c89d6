"""The forward and backward pass of a network by hand, for training on a CPU.

Batch norm and activations take most of the time of narrow networks: torch reads and writes every
wide activation about twenty times a step. Here batch norm, squeeze-excite gate and activation are
one pass, what can be had again from the outputs of the convolutions in one pass is not kept, and
the passes go over parts of the batch that fit into the cache, a thread a part.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from rexnet.nn.blocks import Block
from rexnet.nn.fast import kernels
from rexnet.nn.fast.expansion import Each, Expansion, can_expand
from rexnet.nn.fast.maps import channels_last, conv_gradients, convolve, like, moments
from rexnet.nn.fast.norms import After, Layer, Norm
from rexnet.nn.layers import ConvNorm, SqueezeExcite
from rexnet.nn.network import Network
from rexnet.spec import Activation, BlockSpec, NetSpec

PART_BYTES = 4 * 2**20
"""Size of the widest activation of a part: from one pass to the next it stays in the cache."""


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
        check_fusible(spec)
        self.model = model
        self._stem = [fused_layer(model.stem, spec.stem_act)]
        pairs = zip(model.blocks, spec.blocks, strict=True)
        self._blocks = [fused_layers(module, block) for module, block in pairs]

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) of images (N, channels, height, width)."""
        model, spec = self.model, self.model.spec
        x = apply_layers(self._stem, x)
        for layers, shortcut_width in self._blocks:
            x = apply_layers(layers, x, shortcut_width=shortcut_width)
        if model.penultimate is None:
            x = x.mean((2, 3))
        else:
            layer = fused_layer(model.penultimate, spec.penultimate_act)
            x = apply_layers([layer], x, pool=True)
        if model.hidden is not None and model.hidden_norm is not None:
            x = model.hidden_act(model.hidden_norm(model.hidden(x)))
        y: Tensor = model.classifier(model.dropout(x))
        return y


def check_fusible(spec: NetSpec) -> None:
    """Check that the network can be fused.

    Raises:
        ValueError: ``can_fuse(spec)`` is false.
    """
    if not can_fuse(spec):
        raise ValueError(f"{spec.name} has activations before shortcuts, which cannot be fused")


def fused_layer(module: ConvNorm, act: Activation) -> Layer:
    """Return a convolution, the batch norm and the activation behind it as one layer."""
    return Layer(conv=module.conv, norm=module.norm, act=act)


def fused_layers(block: nn.Module, spec: BlockSpec) -> tuple[list[Layer], int]:
    """Return the layers of a block and the width of its shortcut."""
    assert isinstance(block, Block)
    assert block.se is None or isinstance(block.se, SqueezeExcite)
    conv, norm = block.depthwise.conv, block.depthwise.norm
    depthwise = Layer(conv=conv, norm=norm, act=spec.depthwise_act, se=block.se)
    conv, norm = block.project.conv, block.project.norm
    project = Layer(conv=conv, norm=norm, act=spec.project_act, drop_path=block.drop_path)
    expand = [] if block.expand is None else [fused_layer(block.expand, spec.expand_act)]
    return [*expand, depthwise, project], block.shortcut_width


def apply_layers(
    layers: Sequence[Layer], x: Tensor, *, shortcut_width: int = 0, pool: bool = False
) -> Tensor:
    """Return what layers make of maps (N, channels, height, width), in training mode.

    Args:
        layers: One behind another.
        x: The input of the first.
        shortcut_width: Its first channels that are added to those of the output.
        pool: Return the mean over all pixels, (N, width), instead of the map.
    """
    parameters = itertools.chain.from_iterable(layer.parameters for layer in layers)
    return _Chain.apply(layers, shortcut_width, pool, x, *parameters)


class _Chain(torch.autograd.Function):
    """Some layers, then a shortcut or the mean over all pixels if there is one."""

    @staticmethod
    def forward(
        ctx: Any, layers: Sequence[Layer], shortcut_width: int, pool: bool, x: Tensor, *_: Tensor
    ) -> Tensor:
        x = channels_last(x)
        ctx.save_for_backward(x)
        ctx.shortcut_width, ctx.pool = shortcut_width, pool
        ctx.parts = parts = _parts(x, layers[0].conv)
        ctx.norms = norms = list[Norm]()
        ctx.expansion, xs = None, _split(x, parts)

        def convolved(layer: Layer, i: int) -> tuple[Tensor, kernels.Sums]:
            if not norms and ctx.expansion is not None:
                found: tuple[Tensor, kernels.Sums] = ctx.expansion.convolved(i)
                return found
            y = convolve(layer.conv, norms[-1].output(i) if norms else xs[i])
            return y, moments(y, layer.has_gates or pool)

        def finish(i: int) -> None:
            if pool:
                ys[i].copy_(norms[-1].mean_output(i))
                return
            norms[-1].output(i, ys[i])
            if shortcut_width:
                ys[i][:, :shortcut_width].add_(xs[i])

        with _team(len(parts)) as each:
            if can_expand(layers):
                ctx.expansion = Expansion(layers[0], layers[1], xs, each)
                layers = layers[1:]
            for layer in layers:
                norms.append(Norm(layer, parts, each(functools.partial(convolved, layer)), pool))
            y = _empty(len(x), norms[-1].inputs[0], pool)
            ys = _split(y, parts)
            each(finish)
        ctx.layers = layers
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        layers, norms, expansion = ctx.layers, ctx.norms, ctx.expansion
        parts, (x,) = ctx.parts, ctx.saved_tensors
        gs = _split(gradient if ctx.pool else channels_last(gradient), parts)
        xs, of_x = _split(x, parts), ctx.needs_input_grad[3]
        x_gradient = torch.empty_like(x) if of_x else None
        x_gradients = _split(x_gradient, parts) if x_gradient is not None else ()

        def start(i: int) -> tuple[Tensor, kernels.Sums]:
            g = gs[i] / norms[-1].area if ctx.pool else gs[i]
            return g, norms[-1].gradient_sums(i, g)

        def back(k: int, after: After, gradients: Sequence[Tensor], i: int) -> tuple[Any, ...]:
            if k == 0 and expansion is not None:
                found: tuple[Any, ...] = expansion.gradients(i, norms[0], after, gradients[i], of_x)
                return found
            # What comes from outside is not to be written to.
            g = norms[k].to_input(i, gradients[i], after, own=k + 1 < len(layers))
            conv, before = layers[k].conv, norms[k - 1].output(i) if k else xs[i]
            further, weight = conv_gradients(conv, conv.weight, before, g, k > 0 or of_x)
            return further, norms[k - 1].gradient_sums(i, further) if k else None, weight

        def finish(i: int) -> None:
            if expansion is not None:
                expansion.add_correction(i, gradients[i], correction)
            x_gradients[i].copy_(gradients[i])
            if ctx.shortcut_width:
                x_gradients[i].add_(gs[i][:, : ctx.shortcut_width])

        of_parameters: list[Tensor] = []
        with _team(len(parts)) as each:
            gradients, sums = zip(*each(start), strict=True)
            for k in reversed(range(len(layers))):
                after = norms[k].after(sums)
                results = each(functools.partial(back, k, after, gradients))
                gradients, sums, weights = zip(*results, strict=True)
                of_weight = like(layers[k].conv.weight, _sum(weights))
                of_parameters = [of_weight, *after.parameters, *of_parameters]
            if expansion is not None:
                correction = expansion.correction(sums)
                of_parameters = [*correction.parameters, *of_parameters]
            if of_x:
                each(finish)
        return None, None, None, x_gradient, *of_parameters


def _sum(tensors: Sequence[Tensor]) -> Tensor:
    """Add up ``tensors`` in the first of them."""
    return functools.reduce(torch.Tensor.add_, tensors)


def _empty(num_images: int, x: Tensor, pool: bool) -> Tensor:
    """Return memory for ``num_images`` images like those of ``x``, or for their means."""
    shape = num_images, *x.shape[1 : 2 if pool else 4]
    return torch.empty(
        shape, memory_format=torch.contiguous_format if pool else torch.channels_last
    )


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
