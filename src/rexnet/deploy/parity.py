"""Whether a written file computes what its model does."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from rexnet.deploy.runtimes import Array, Run

LIMIT = 1e-3
"""Highest difference of a file in float32."""

HALF_LIMIT = 0.2
"""Highest difference of a file in float16, which rounds the weights.

That alone moves outputs of networks with settled norms by 0.01 to 0.12 of their spread; a file that
gave its biases alone would be off by more than 1.
"""

LIMITS = {"float32": LIMIT, "float16": 5e-2, "bfloat16": 0.4}
"""Highest share that outputs may differ by from those in float32, by the precision.

bfloat16 rounds 8 times as coarsely as float16, and random weights let it grow: to 0.14 in ReXNets.
"""

BATCHES = (1, 2, 5)
"""Images of each batch that is compared."""

CELLS = 4
"""Squares of one colour along a side of a random image."""

FAINT = 0.05
"""The share of the largest output below which the spread over images drowns in rounding."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far outputs are from those wanted, as of a file from those of its model.

    Attributes:
        share: The largest difference of an output, as a share of the largest of that output. It is
            known of a single image, too.
        difference: The largest difference of an output, relative to the spread: the largest
            standard deviation of an output over the images. Relative to the largest output, a file
            that gave a bias alone would seem right wherever images change little. A spread up to
            ``FAINT`` of the largest output counts as that much.
        is_faint: Whether it was that small, so that the difference says little of the layers.
    """

    share: float
    difference: float
    is_faint: bool

    @property
    def holds(self) -> bool:
        """Whether the difference, of numbers that are all finite, is within the limit."""
        return self.difference <= LIMIT


def batches(size: tuple[int, int, int]) -> list[Array]:
    """Return random images (N, channels, height, width) for each of ``BATCHES``.

    They are normal noise on squares of random colours: networks average noise alone away, so that
    all images would be the same to them.

    Args:
        size: Channels, height and width of an image.
    """
    return [_noise(num_images, size, seed) for seed, num_images in enumerate(BATCHES)]


def other_sizes(size: tuple[int, int, int], free: Sequence[str]) -> list[tuple[int, int, int]]:
    """Return sizes of images to compare where height, width or both are free: odd ones, oblong.

    Args:
        size: Channels, height and width that a file was made at.
        free: ``height``, ``width``, both or none.
    """
    if not free:
        return []
    # A file with free sizes takes 8 pixels and more.
    sides = size[1] + 33 - size[1] % 2, max(8, size[1] // 2) | 1
    return [
        (
            size[0],
            height if "height" in free else size[1],
            width if "width" in free else size[2],
        )
        for height, width in (sides, sides[::-1])
    ]


def compare(ours: Run, theirs: Run, images: Sequence[Array]) -> Parity:
    """Compare what two runtimes make of batches of images, of at least two images together.

    Args:
        ours: The model.
        theirs: The file; it has the same outputs.
        images: The batches, from ``batches``.
    """
    return agreement(_together(theirs, images), _together(ours, images))


def agreement(found: Sequence[Array], wanted: Sequence[Array]) -> Parity:
    """Compare outputs with those wanted.

    Args:
        found: One array (N, ...) an output.
        wanted: The same of the model.
    """
    shares, differences, faint = [], [], []
    for theirs, ours in zip(found, wanted, strict=True):
        if theirs.shape != ours.shape or not np.isfinite([theirs, ours]).all():
            return Parity(share=float("inf"), difference=float("inf"), is_faint=False)
        spread, largest = float(ours.std(0).max()), float(np.abs(ours).max())
        error = float(np.abs(theirs - ours).max())
        shares.append(error / largest if error else 0.0)
        differences.append(error / max(spread, FAINT * largest) if error else 0.0)
        faint.append(spread <= FAINT * largest)
    return Parity(share=max(shares), difference=max(differences), is_faint=any(faint))


def stirred(module: nn.Module, images: Array) -> nn.Module:
    """Return a copy whose outputs depend on every layer, whatever its weights.

    The signal of a network with new weights dies away from layer to layer until its outputs are
    its last biases. In the copy batch norms have weights and biases drawn from 1 to 3 and -1 to 1,
    which reach both ends of ReLU6, and the statistics of ``images``.

    Args:
        module: In evaluation mode, on the CPU.
        images: Shape (N, channels, height, width), N at least 2.
    """
    copied = copy.deepcopy(module)
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in copied.modules():
            if isinstance(part, _BatchNorm):
                part.weight.uniform_(1, 3, generator=draws)
                part.bias.uniform_(-1, 1, generator=draws)
    return settled(copied, images)


def settled(module: nn.Module, images: Array) -> nn.Module:
    """Return a copy whose batch norms have the statistics of ``images``.

    Args:
        module: In evaluation mode, on the CPU.
        images: Shape (N, channels, height, width), N at least 2.
    """
    copied = copy.deepcopy(module)
    for part in copied.modules():
        if isinstance(part, _BatchNorm):
            part.reset_running_stats()
            # The average over all batches, here of one.
            part.momentum = None
            part.train()
    with torch.no_grad():
        copied(torch.from_numpy(images))
    return copied.eval()


def _noise(num_images: int, size: tuple[int, int, int], seed: int) -> Array:
    channels, height, width = size
    random = np.random.default_rng(seed)
    colours = random.standard_normal((num_images, channels, CELLS, CELLS))
    rows, columns = (np.arange(length) * CELLS // length for length in (height, width))
    squares = colours[:, :, rows][:, :, :, columns]
    noise = random.standard_normal((num_images, *size))
    return (squares + noise / 2).astype(np.float32)


def _together(run: Run, images: Sequence[Array]) -> list[Array]:
    """Return each output for all images at once."""
    return [np.concatenate(parts) for parts in zip(*map(run, images), strict=True)]
