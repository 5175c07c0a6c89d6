"""Parameters, MACs and activations of a NetSpec in closed form, one network or arrays of them.

MACs are multiply-accumulates of the convolutions and linear layers, which is what the paper calls
FLOPs; normalisation, activations and pooling are not counted.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rexnet import channels
from rexnet.errors import UserError
from rexnet.spec import BlockSpec, NetSpec

CHUNK = 4096

_Ends = tuple[Any, Any]
"""Stem and penultimate width."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerCost:
    """The cost of one layer; every number is an int, or an array with an entry a network.

    Attributes:
        name: Where the layer stands, such as ``block 3 depthwise``.
        width: Output channels.
        size: Side of the square output in pixels.
        params: Learnable parameters, normalisation included.
        macs: Multiply-accumulates for one image.
        activations: Elements of the layer's output for one image.
    """

    name: str
    width: Any
    size: int
    params: Any
    macs: Any
    activations: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Totals of a network for one image: ``params``, ``macs``, ``activations`` (elements)."""

    params: int
    macs: int
    activations: int


def layers(spec: NetSpec, resolution: int | None = None) -> list[LayerCost]:
    """Return the cost of every layer of ``spec`` at ``resolution`` pixels (its own by default)."""
    return list(_layers(spec, spec.widths, _resolution(spec, resolution)))


def count(spec: NetSpec, resolution: int | None = None) -> Cost:
    """Return the total cost of ``spec`` at ``resolution`` pixels (its own by default)."""
    rows = layers(spec, resolution)
    return Cost(
        params=sum(row.params for row in rows),
        macs=sum(row.macs for row in rows),
        activations=sum(row.activations for row in rows),
    )


def classifier_params(spec: NetSpec, last: Any = None, penultimate: Any = None) -> Any:
    """Return the parameters of the final linear layer, weights and biases.

    Args:
        spec: The network.
        last: Width of the last block, or an array with an entry a network; the spec's by default.
        penultimate: The same of the penultimate layer.
    """
    last = spec.widths[-1] if last is None else last
    penultimate = spec.penultimate_width if penultimate is None else penultimate
    features = spec.hidden_width or (penultimate if spec.penultimate_width else last)
    return (features + 1) * spec.num_classes


def count_many(
    spec: NetSpec,
    widths: NDArray[Any],
    resolution: int | None = None,
    *,
    scale_ends: bool = False,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return params and MACs of many networks that differ from ``spec`` in their block widths.

    Args:
        spec: The network that fixes all but the block widths.
        widths: Shape (num_networks, num_blocks). Integers are counted exactly; real numbers give
            the smooth relaxation, in which a squeeze of SE is not rounded down.
        resolution: Side of the input in pixels; the spec's own by default.
        scale_ends: Whether stem and penultimate layer follow the widths, as in
            ``channels.scaled_ends``; else they are the spec's.

    Returns:
        ``params`` and ``macs``, each of shape (num_networks,), int64 for integer widths.

    Raises:
        UserError: The second axis of ``widths`` does not match the blocks.
    """
    if widths.ndim != 2 or widths.shape[1] != len(spec.blocks):
        raise UserError(
            f"widths of shape {widths.shape} for {len(spec.blocks)} blocks; "
            f"give (num_networks, {len(spec.blocks)})"
        )
    size = _resolution(spec, resolution)
    kind = np.int64 if np.issubdtype(widths.dtype, np.integer) else np.float64
    params, macs = np.empty((2, len(widths)), dtype=kind)
    # A chunk's temporaries stay in the processor's cache.
    for start in range(0, len(widths), CHUNK):
        part = slice(start, start + CHUNK)
        columns = np.ascontiguousarray(widths[part].T, dtype=kind)
        total_params, total_macs = np.zeros((2, columns.shape[1]), dtype=kind)
        ends: _Ends | None = None
        if scale_ends:
            ends = channels.scaled_ends(spec, np.asarray(widths[part], dtype=kind))
        for row in _layers(spec, columns, size, ends):
            total_params += row.params
            total_macs += row.macs
        params[part], macs[part] = total_params, total_macs
    return params, macs


def _layers(
    spec: NetSpec, widths: Iterable[Any], size: int, ends: "_Ends | None" = None
) -> Iterator[LayerCost]:
    """Yield the layers; ``widths`` are ints, or arrays with an entry a network, as are ``ends``."""
    stem_width, penultimate_width = ends or (spec.stem_width, spec.penultimate_width)
    size = -(-size // spec.stem_stride)
    yield _conv("stem", spec.in_channels, stem_width, 9, size)
    width_in: Any = stem_width
    for number, (block, width) in enumerate(zip(spec.blocks, widths, strict=True), 1):
        where = f"block {number}"
        expanded = width_in * block.expansion
        if block.expansion != 1:
            yield _conv(f"{where} expand", width_in, expanded, 1, size)
        size = -(-size // block.stride)
        yield _conv(f"{where} depthwise", 1, expanded, block.kernel**2, size)
        if block.se_divisor:
            squeezed = _squeeze(block, expanded)
            yield _conv(f"{where} squeeze", expanded, squeezed, 1, 1, bias=True)
            yield _linear(f"{where} excite", squeezed, expanded)
        yield _conv(f"{where} project", expanded, width, 1, size)
        width_in = width
    if spec.penultimate_width:
        yield _conv("penultimate", width_in, penultimate_width, 1, size)
        width_in = penultimate_width
    if spec.hidden_width:
        yield _conv("hidden", width_in, spec.hidden_width, 1, 1, bias=True)
        width_in = spec.hidden_width
    yield _linear("classifier", width_in, spec.num_classes)


def _conv(name: str, fan: Any, width: Any, taps: int, size: int, bias: bool = False) -> LayerCost:
    """A convolution with batch norm; ``fan`` counts the input channels of an output channel."""
    weights = fan * width if taps == 1 else width * (fan * taps)
    area = size * size
    return LayerCost(
        name=name,
        width=width,
        size=size,
        params=weights + width * (3 if bias else 2),
        macs=weights * area,
        activations=width * area,
    )


def _linear(name: str, width_in: Any, width: Any) -> LayerCost:
    weights = width_in * width
    return LayerCost(
        name=name, width=width, size=1, params=weights + width, macs=weights, activations=width
    )


def _squeeze(block: BlockSpec, expanded: Any) -> Any:
    if not isinstance(expanded, np.ndarray):
        return block.squeeze_width(expanded)
    if expanded.dtype == np.float64:
        return expanded / block.se_divisor
    return np.maximum(expanded // block.se_divisor, 1)


def _resolution(spec: NetSpec, resolution: int | None) -> int:
    if resolution is None:
        return spec.resolution
    if not 8 <= resolution <= 4096:
        raise UserError(f"resolution {resolution} must be from 8 to 4096 pixels")
    return resolution
