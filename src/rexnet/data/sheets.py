"""Sheets: a thousand small images in one lossless WebP picture."""

from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLUMNS, ROWS, SIDE = 40, 25, 32


def read_sheet(file: str | Path | IO[bytes]) -> NDArray[np.uint8]:
    """Return the images of a sheet, shape (1000, 32, 32, 3), row by row.

    Raises:
        OSError: The file cannot be read or is no picture.
        ValueError: The picture does not have the size of a sheet.
    """
    with Image.open(file) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    tiles = pixels.reshape(ROWS, SIDE, COLUMNS, SIDE, 3).swapaxes(1, 2)
    return tiles.reshape(-1, SIDE, SIDE, 3)


def write_sheet(file: str | Path, images: NDArray[np.uint8]) -> None:
    """Write 1000 images of shape (1000, 32, 32, 3) as one lossless WebP sheet."""
    tiles = images.reshape(ROWS, COLUMNS, SIDE, SIDE, 3).swapaxes(1, 2)
    picture = Image.fromarray(tiles.reshape(ROWS * SIDE, COLUMNS * SIDE, 3))
    picture.save(file, "WEBP", lossless=True, quality=100, method=6)
