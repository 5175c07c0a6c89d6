"""Files that compute in 8 bits: quantised after training, with ranges seen on images."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rexnet.data.image_sets import FileImages, Images
from rexnet.data.loader import LabelledImages, counted, evaluation_batches
from rexnet.data.sources import open_images
from rexnet.data.transforms import evaluation_transform
from rexnet.deploy import runtimes
from rexnet.deploy.runtimes.onnxruntime import ONNXRUNTIME
from rexnet.deploy.runtimes.runtime import quiet
from rexnet.errors import UserError
from rexnet.nn.network import Network
from rexnet.preprocessing import Preprocessing
from rexnet.train.config import num_readers
from rexnet.train.distributed import World
from rexnet.train.evaluate import evaluate
from rexnet.train.validate import relabelled

QUANTISED = ("Conv", "Sigmoid", "Mul", "Clip", "Relu", "Pad", "Add", "ReduceMean")
"""Operators that compute in 8 bits: with convolutions alone every one goes to float32 and back."""

BATCH_SIZE = 32
"""Images at a time."""


def open_parts(source: str, model: nn.Module) -> tuple[Images, Images]:
    """Open the images that set the ranges and those that count the accuracy, for ``model``.

    Raises:
        UserError: The images cannot be had or have other classes, or the model is no classifier of
            this package.
    """
    if not isinstance(model, Network):
        raise UserError("--int8 is for classifiers of this package, not for detectors or timm's")
    train, val = open_images(source)
    return relabelled(train, model), relabelled(val, model)


def quantise(source: Path, path: Path, batches: Iterable[runtimes.Array]) -> None:
    """Write an ONNX file again with blocks that compute in 8 bits.

    Weights are signed, from -64 to 64, with a scale for each output channel; activations are
    unsigned. Gates of squeeze-excite and the layers behind the global average stay in float32: they
    are fast as they are, and an error in a gate scales a whole channel.

    Args:
        source: The file in float32.
        path: The file to be made; it says of itself what ``source`` does.
        batches: Images (N, channels, height, width) that the ranges of activations are seen on.

    Raises:
        UserError: A library is not installed.
    """
    runtimes.check(ONNXRUNTIME)
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    model = onnx.load(source)
    with quiet():
        quantize_static(
            model,
            path,
            _Reader(model.graph.input[0].name, batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=list(_behind_averages(model.graph.node)),
            per_channel=True,
            # Without VNNI a processor adds two products in 16 bits: 2 * 255 * 64 still fits.
            reduce_range=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
        )


def chosen(
    images: Images,
    preprocessing: Preprocessing,
    num_images: int,
    on_progress: Callable[[int, int], None],
) -> Iterator[runtimes.Array]:
    """Yield batches of ``num_images`` drawn images, or all if there are fewer.

    Args:
        images: What is drawn from, always the same.
        preprocessing: What an image goes through.
        num_images: How many are drawn.
        on_progress: Called with the number of images done and of all images.
    """
    left_out = np.random.default_rng(0).permutation(len(images))[num_images:]
    for batch, _ in _read(images.without(left_out.tolist()), preprocessing, on_progress):
        yield batch.numpy()


def top1(
    run: runtimes.Run,
    images: Images,
    preprocessing: Preprocessing,
    on_progress: Callable[[int, int], None],
) -> float:
    """Return the share of ``images`` that a file classifies right.

    Args:
        run: The file in its runtime.
        images: Images with the labels of the model.
        preprocessing: What an image goes through.
        on_progress: Called with the number of images done and of all images.

    Raises:
        UserError: An image is corrupt; it is named.
    """
    batches = _read(images, preprocessing, on_progress)
    here = World(rank=0, size=1, device=torch.device("cpu"))
    return evaluate(_File(run), batches, here).top1


def check_fall(
    name: str, accept: float, *, num_images: int, top1_float: float, top1: float
) -> None:
    """Check that a file in 8 bits costs no more accuracy than is accepted.

    Args:
        name: The file's name.
        accept: How many percentage points of top-1 it may cost.
        num_images: The images that were classified.
        top1_float: The share of them that the file in float32 classifies right.
        top1: The share that the file in 8 bits does.

    Raises:
        UserError: It costs more.
    """
    # A fall of just the limit stays one, though shares are no round binary numbers.
    fall = round(100 * (top1_float - top1), 6)
    if fall > accept:
        raise UserError(
            f"{name} classifies {100 * top1:.2f} % of {num_images:,} images right, the file in "
            f"float32 {100 * top1_float:.2f} %: a fall of {fall:g} points, above --accept "
            f"{accept:g}; nothing was kept; give more --images to set the ranges, raise --accept, "
            "or leave out --int8 for the file in float32 alone"
        )


class _File(nn.Module):
    """A file in its runtime as a module."""

    def __init__(self, run: runtimes.Run) -> None:
        super().__init__()
        self._run = run

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, channels, height, width) to logits (N, classes)."""
        return torch.from_numpy(self._run(x.numpy())[0])


class _Reader:
    """Images as ONNX Runtime's calibration asks for them, a batch a call."""

    def __init__(self, name: str, batches: Iterable[runtimes.Array]) -> None:
        self._name, self._batches = name, iter(batches)

    def get_next(self) -> dict[str, runtimes.Array] | None:
        """Return the next batch, by the name of the input."""
        images = next(self._batches, None)
        return None if images is None else {self._name: images}


def _read(
    images: Images, preprocessing: Preprocessing, on_progress: Callable[[int, int], None]
) -> Iterator[tuple[Tensor, Tensor]]:
    batches = evaluation_batches(
        LabelledImages(images, evaluation_transform(preprocessing)),
        batch_size=BATCH_SIZE,
        num_workers=num_readers(None, "cpu", 1, from_files=isinstance(images, FileImages)),
    )
    return counted(batches, len(images), on_progress)


def _behind_averages(nodes: Iterable[Any]) -> Iterator[str]:
    """Yield the names of the nodes between a global average and the gate that is made of it."""
    averaged: set[str] = set()
    for node in nodes:
        # In a file every node stands behind those that it depends on.
        if node.op_type == "ReduceMean":
            averaged |= set(node.output)
        elif node.op_type != "Mul" and averaged & set(node.input):
            averaged |= set(node.output)
            yield node.name
