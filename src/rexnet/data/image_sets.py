"""Labelled images that are read one by one, from memory or from files."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from rexnet.data.decode import MAX_MEGAPIXELS, read_upright

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, kw_only=True)
class ArrayImages:
    """Square images in memory.

    Attributes:
        name: What the images are, for people.
        classes: Names of the classes.
        labels: Shape (num_images,), int64, from 0 to the number of classes less one.
        images: Shape (num_images, side, side, 3), uint8, RGB.
    """

    name: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    images: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> "Image":
        """Return one image."""
        from PIL import Image

        return Image.fromarray(self.images[index])

    def where(self, index: int) -> str:
        """Return how to find one image, for messages."""
        return f"image {index} of {self.name}"

    def fingerprint(self) -> str:
        """Return sixteen hex digits that depend on every pixel, every label and the classes."""
        digest = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        for array in (self.images, self.labels):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]

    def without(self, indices: Iterable[int]) -> "ArrayImages":
        """Return the same without some images."""
        kept = _others(len(self), indices)
        return replace(self, labels=self.labels[kept], images=self.images[kept])

    @property
    def max_megapixels(self) -> int:
        """Most millions of pixels of a file; here there are none."""
        return MAX_MEGAPIXELS

    def limited(self, max_megapixels: int) -> "ArrayImages":
        """Return the same: a limit is for files."""
        return self


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Files that were found and are not read.

    Attributes:
        reason: What they are, for people.
        count: How many.
        example: The path of one.
    """

    reason: str
    count: int
    example: str


@dataclass(frozen=True, kw_only=True)
class FileImages:
    """Image files below a folder, decoded whenever they are read.

    Attributes:
        name: What the images are, for people.
        classes: Names of the classes.
        labels: Shape (num_images,), int64, from 0 to the number of classes less one.
        folder: The folder.
        files: Paths from there, shape (num_images,), bytes: an array, unlike a list of strings,
            stays shared with worker processes.
        left_out: What lies there besides, by reason, the most first.
        max_megapixels: Most millions of pixels of a file.
    """

    name: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    folder: Path
    files: NDArray[Any]
    left_out: tuple[LeftOut, ...] = ()
    max_megapixels: int = MAX_MEGAPIXELS

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> "Image":
        """Return one image as RGB, turned upright (EXIF).

        Raises:
            UserError: The file cannot be decoded; it is named.
        """
        return read_upright(self.where(index), self.max_megapixels)

    def where(self, index: int) -> str:
        """Return the path of one image."""
        return os.path.join(self.folder, os.fsdecode(self.files[index]))

    def fingerprint(self) -> str:
        """Return sixteen hex digits that depend on names, sizes in bytes, labels and classes."""
        digest = hashlib.sha256(repr(self.classes).encode())
        digest.update(b"\0".join(self.files.tolist()))
        sizes = [_size(self.where(index)) for index in range(len(self))]
        digest.update(np.array(sizes, np.int64).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()[:16]

    def without(self, indices: Iterable[int]) -> "FileImages":
        """Return the same without some images."""
        kept = _others(len(self), indices)
        return replace(self, labels=self.labels[kept], files=self.files[kept])

    def limited(self, max_megapixels: int) -> "FileImages":
        """Return the same with another limit of the pixels of a file."""
        return replace(self, max_megapixels=max_megapixels)


def _size(path: str) -> int:
    """Return the size of a file in bytes; -1 if it is gone, which is told when it is read."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


Images = ArrayImages | FileImages


class Checkable(Protocol):
    """Images of which the corrupt ones can be found and left out."""

    def __len__(self) -> int:
        """Return the number of images."""

    def where(self, index: int) -> str:
        """Return the path of one image."""

    def fingerprint(self) -> str:
        """Return what depends on the images and what is known of them."""

    def without(self, indices: Iterable[int]) -> Self:
        """Return the same without some images."""

    @property
    def max_megapixels(self) -> int:
        """Most millions of pixels of a file."""

    def limited(self, max_megapixels: int) -> Self:
        """Return the same with another limit of the pixels of a file."""


C = TypeVar("C", bound=Checkable)


def _others(count: int, indices: Iterable[int]) -> NDArray[np.int64]:
    return np.delete(np.arange(count), np.fromiter(indices, np.int64))


def per_class(images: Images) -> NDArray[np.int64]:
    """Return the number of images of every class."""
    return np.bincount(images.labels, minlength=len(images.classes))
