"""Images of one size in a file, for sets that do not fit into memory."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rexnet.errors import UserError
from rexnet.runs import read_json, write_json

IN_MEMORY_BYTES = 2**28
"""More pixels than these are kept in a file, of which every process sees the same pages."""

CHUNK = 256
"""Images that are in memory while the file is written."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some of the images in a file, which are read when they are asked for.

    Attributes:
        images: Shape (num_images, side, side, 3), uint8, mapped from the file.
        index: Which of them.
    """

    images: NDArray[np.uint8]
    index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, chosen: slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return images in memory, of shape (N, side, side, 3)."""
        return np.array(self.images[self.index[chosen]])


Pixels = NDArray[np.uint8] | Part
"""Images (num_images, side, side, 3), in memory or in a file; indexed, they are in memory."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """The place of a file of images.

    Attributes:
        folder: The run folder; the file is ``.pixels.npy`` in it.
        tell: Called with what is about to be written, in words.
    """

    folder: Path
    tell: Callable[[str], None]

    def array(
        self,
        key: str,
        shape: tuple[int, int, int, int],
        read: Callable[[range], NDArray[np.uint8]],
    ) -> NDArray[np.uint8]:
        """Return the images of the file, which is written first unless it has them.

        The file is whole or not there: it gets its name once it is complete.

        Args:
            key: What the images follow from.
            shape: (num_images, side, side, 3).
            read: Returns images by their numbers.

        Raises:
            UserError: The disk has no room, or the folder cannot be written to.
        """
        path, note = self.folder / ".pixels.npy", self.folder / ".pixels.json"
        with suppress(UserError, OSError, ValueError, KeyError, TypeError):
            if read_json(note)["key"] == key:
                return opened(path, shape)
        num_bytes = int(np.prod(shape))
        self._check_room(num_bytes)
        self.tell(
            f"{shape[0]:,} images of {shape[1]} px are too many for memory: {_told(num_bytes)} are "
            f"written to {path}; what reads them again, reads them there"
        )
        temporary = path.with_name(".pixels.npy.tmp")
        try:
            # A note of other images must not stand beside these.
            note.unlink(missing_ok=True)
            _write(temporary, shape, read)
            temporary.replace(path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise UserError(f"cannot write {path}: {error.strerror or error}") from None
        write_json(note, {"key": key})
        return opened(path, shape)

    def _check_room(self, num_bytes: int) -> None:
        """Make the folder and check that its disk has room.

        Raises:
            UserError: It has not, or the folder cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise UserError(f"cannot write to {self.folder}: {error.strerror or error}") from None
        if free < num_bytes:
            raise UserError(
                f"the images take {_told(num_bytes)} and the disk of {self.folder} has "
                f"{_told(free)} left: make room, or give another --out or a lower --resolution"
            )


def opened(path: Path, shape: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
    """Map the images of a file.

    Raises:
        OSError, ValueError: There is no such file, or it has another shape than ``shape``.
    """
    images: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    if images.dtype != np.uint8 or shape not in (None, images.shape):
        raise ValueError(f"{path} holds {images.dtype} of shape {images.shape}")
    return images


def _write(
    path: Path,
    shape: tuple[int, int, int, int],
    read: Callable[[range], NDArray[np.uint8]],
) -> None:
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, shape[0], CHUNK):
            images = read(range(start, min(start + CHUNK, shape[0])))
            file.write(np.ascontiguousarray(images).data)
        file.flush()
        os.fsync(file.fileno())


def _told(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"
