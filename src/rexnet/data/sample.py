"""The sample of CIFAR-10 in the package, and the sheets it lies in: 1,000 images a picture."""

from importlib.resources import files
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from rexnet.data.npz import Arrays

COLUMNS, ROWS, SIDE = 40, 25, 32

NUM_TRAIN = 4000
"""Images of the sample to train on; those behind them are held out."""


def read_sample() -> Arrays:
    """Return the 5,000 images of the sample, of 32 x 32 pixels, their labels and the classes."""
    folder = files("rexnet.data") / "sample"
    sheets = []
    for number in range(5):
        with (folder / f"{number:02}.webp").open("rb") as file:
            sheets.append(read_sheet(file))
    with (folder / "labels.npy").open("rb") as file:
        labels = np.load(file)
    classes = tuple((folder / "classes.txt").read_text().split())
    return np.concatenate(sheets), labels, classes


def read_sheet(file: str | Path | IO[bytes]) -> NDArray[np.uint8]:
    """Return the images of a sheet, a lossless WebP, shape (1000, 32, 32, 3), row by row.

    Raises:
        OSError: The file cannot be read or is no picture.
        ValueError: The picture does not have the size of a sheet.
    """
    from PIL import Image

    with Image.open(file) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    tiles = pixels.reshape(ROWS, SIDE, COLUMNS, SIDE, 3).swapaxes(1, 2)
    return tiles.reshape(-1, SIDE, SIDE, 3)


def write_sheet(file: str | Path, images: NDArray[np.uint8]) -> None:
    """Write 1000 images of shape (1000, 32, 32, 3) as one lossless WebP sheet."""
    from PIL import Image

    tiles = images.reshape(ROWS, COLUMNS, SIDE, SIDE, 3).swapaxes(1, 2)
    picture = Image.fromarray(tiles.reshape(ROWS * SIDE, COLUMNS * SIDE, 3))
    picture.save(file, "WEBP", lossless=True, quality=100, method=6)
