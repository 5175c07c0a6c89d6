"""Augmented batches cut from an array of images, as array work."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rexnet.data.stored import Part, Pixels

PAD = 4

CHUNK = 1024
"""Images whose values are counted at a time."""


class Batches:
    """Random crops (padding of 4) and mirror images of a part of an image set, normalised.

    Args:
        images: Shape (num_images, side, side, 3), uint8; those in a file are read batch by batch.
        labels: Shape (num_images,).
        mean: Channel means in 0..255, subtracted.
        std: Channel standard deviations in 0..255, divided by.
    """

    def __init__(
        self,
        images: Pixels,
        labels: NDArray[np.int64],
        mean: NDArray[np.float32],
        std: NDArray[np.float32],
    ) -> None:
        self._labels = labels
        self._mean, self._std = mean, std
        self._stored = images if isinstance(images, Part) else None
        self._crops = None if isinstance(images, Part) else _crops(images)

    def num_batches(self, batch_size: int) -> int:
        """Return how many batches an epoch has."""
        return max(1, len(self._labels) // batch_size)

    def epoch(
        self,
        batch_size: int,
        generator: np.random.Generator,
        mirrored: NDArray[np.bool_] | None = None,
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Yield (batch_size, side, side, 3) images and labels once through, in a new random order.

        What does not fill a last batch is left out, unless there is but one batch.

        Args:
            batch_size: Images a batch.
            generator: What draws order, crops and mirror images.
            mirrored: Shape (num_images,): which images are mirrored; by default drawn.
        """
        order = generator.permutation(len(self._labels))
        size = min(batch_size, len(order))
        for start in range(0, len(order) - size + 1, size):
            index = order[start : start + size]
            top, left = generator.integers(0, 2 * PAD + 1, (2, size))
            if self._stored is not None:
                batch = _crops(self._stored[index])[np.arange(size), top, left]
            else:
                assert self._crops is not None
                batch = self._crops[index, top, left]
            turned = generator.random(size) < 0.5 if mirrored is None else mirrored[index]
            batch[turned] = batch[turned, :, ::-1]
            yield normalised(batch, self._mean, self._std), self._labels[index]


def _crops(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return all crops of images as a view (num_images, 9, 9, side, side, 3)."""
    pads = ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0))
    padded = np.pad(images, pads, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, images.shape[1:3], axis=(1, 2))
    return windows.transpose(0, 1, 2, 4, 5, 3)


def statistics(images: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the channel means and standard deviations of images (N, side, side, 3), in 0..255."""
    counts = np.zeros((3, 256), dtype=np.int64)
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        for channel in range(3):
            counts[channel] += np.bincount(part[..., channel].ravel(), minlength=256)
    values = np.arange(256)
    mean = (counts * values).sum(1) / counts.sum(1)
    variance = (counts * (values - mean[:, None]) ** 2).sum(1) / counts.sum(1)
    # A channel without any contrast is left as it is.
    std = np.where(variance > 0, np.sqrt(variance), 1.0)
    return mean.astype(np.float32), std.astype(np.float32)


def normalised(
    images: NDArray[np.uint8], mean: NDArray[np.float32], std: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return images (N, side, side, 3) with the mean taken off and divided by ``std``."""
    return (images.astype(np.float32) - mean) / std
