"""Random layers and what they make of random images (section 3)."""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rexnet.studies.rank.config import Architecture, Choices, Function

Maps = NDArray[np.float32]
"""Shape (channels, height, width)."""

SLOPE = 0.01
"""Of LeakyReLU below 0."""

EPSILON = 1e-5
"""Added to the variance of a batch norm."""


def output(
    architecture: Architecture,
    function: Function,
    width_in: int,
    width: int,
    choices: Choices,
    generator: np.random.Generator,
) -> NDArray[np.float32]:
    """Return the output of a random layer for random pixels, shape (width, pixels).

    Of an inverted bottleneck it is what leaves the shortcut (section 3.1). Weights are standard
    normal.

    Args:
        architecture: The layer.
        function: What follows its convolutions; of a bottleneck the first two.
        width_in: Input channels, at most ``width``.
        width: Output channels.
        choices: The rest.
        generator: Draws weights and input; functions draw nothing.
    """
    pixels = max(width + 1, round(choices.samples * width))
    side = math.ceil(math.sqrt(pixels))
    points = architecture == "pointwise" or choices.maps == "points"
    shape = (width_in, 1, pixels) if points else (width_in, side, side)
    x = _input(shape, choices, generator)
    if architecture == "pointwise":
        return _after(_pointwise(x, width, generator), function, choices).reshape(width, -1)
    if architecture == "conv":
        return _after(_conv(x, width, choices, generator), function, choices).reshape(width, -1)
    inner = choices.expansion * width_in
    h = _after(_pointwise(x, inner, generator), function, choices)
    spatial = (
        _conv(h, inner, choices, generator)
        if architecture == "bottleneck"
        else _depthwise(h, choices, generator)
    )
    y = _pointwise(_after(spatial, function, choices), width, generator)
    y[:width_in] += x
    return y.reshape(width, -1)


def _input(shape: tuple[int, ...], choices: Choices, generator: np.random.Generator) -> Maps:
    if choices.input == "uniform":
        return generator.random(shape, dtype=np.float32)
    return generator.standard_normal(shape, dtype=np.float32)


def _pointwise(x: Maps, width: int, generator: np.random.Generator) -> Maps:
    weights = generator.standard_normal((width, len(x)), dtype=np.float32)
    return (weights @ x.reshape(len(x), -1)).reshape(width, *x.shape[1:])


def _conv(x: Maps, width: int, choices: Choices, generator: np.random.Generator) -> Maps:
    if choices.maps == "points":
        # Eight of nine weights meet zeros.
        return _pointwise(x, width, generator)
    weights = generator.standard_normal((width, 9 * len(x)), dtype=np.float32)
    columns = _windows(x).transpose(0, 3, 4, 1, 2).reshape(9 * len(x), -1)
    return (weights @ columns).reshape(width, *x.shape[1:])


def _depthwise(x: Maps, choices: Choices, generator: np.random.Generator) -> Maps:
    if choices.maps == "points":
        return x * generator.standard_normal((len(x), 1, 1), dtype=np.float32)
    weights = generator.standard_normal((len(x), 3, 3), dtype=np.float32)
    return np.einsum("chwij,cij->chw", _windows(x), weights)


def _windows(x: Maps) -> Maps:
    """Return the 3x3 neighbourhoods with zeros around, (channels, height, width, 3, 3)."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    return sliding_window_view(padded, (3, 3), axis=(1, 2))


def _after(x: Maps, function: Function, choices: Choices) -> Maps:
    """Return what a function and its batch norm make of a convolution's output."""
    if choices.norm == "before":
        return FUNCTIONS[function](_norm(x))
    return _norm(FUNCTIONS[function](x))


def _norm(x: Maps) -> Maps:
    mean = x.mean((1, 2), keepdims=True)
    variance = x.var((1, 2), keepdims=True)
    return (x - mean) / np.sqrt(variance + np.float32(EPSILON))


def _sigmoid(x: Maps) -> Maps:
    half: Maps = np.tanh(x / np.float32(2)) / np.float32(2)
    return half + np.float32(0.5)


FUNCTIONS: Mapping[Function, Callable[[Maps], Maps]] = {
    "linear": lambda x: x,
    "relu6": lambda x: x.clip(0, 6),
    "relu": lambda x: x.clip(0, None),
    "leaky_relu": lambda x: np.maximum(x, np.float32(SLOPE) * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "softplus": lambda x: np.logaddexp(x, np.float32(0)),
    "hardswish": lambda x: x * (x + 3).clip(0, 6) / 6,
    "silu": lambda x: x * _sigmoid(x),
}
