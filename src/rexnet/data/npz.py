"""Arrays in .npz files: images and labels, also as others write them."""

import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rexnet.errors import UserError

Arrays = tuple[NDArray[np.uint8], NDArray[Any], tuple[str, ...]]
"""Images (N, side, side, 3), their labels (N,) and the names of the classes."""

MIN_SIDE = 8


def read_npz(path: Path, prefix: str = "") -> Arrays:
    """Read the arrays ``images`` and ``labels``, their names after ``prefix``, and ``classes``.

    Grey images (N, side, side) or (N, side, side, 1) get three channels, labels (N, 1) one axis.
    Without ``classes`` the labels are the names.

    Raises:
        UserError: The file cannot be read, or an array is missing or has another type or shape.
    """
    keys = (f"{prefix}images", f"{prefix}labels")
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            arrays = {key: file[key] for key in (*keys, "classes") if key in file}
            found = ", ".join(file) or "none"
    except TypeError:
        raise UserError(f"{path} is a single array; it must hold images and labels") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"cannot read {path}: {_reason(path, error)}") from None
    for key in keys:
        if key not in arrays:
            raise UserError(
                f"{path} has no array {key!r} (it has: {found}); it needs {keys[0]} "
                f"(N, side, side, 3) uint8 and {keys[1]} (N,)"
            )
    images = _images(path, keys[0], arrays[keys[0]])
    labels = _labels(path, keys[1], arrays[keys[1]], len(images))
    if "classes" not in arrays:
        if not prefix and len(labels) and labels.min() == 1:
            raise UserError(f"{path}: {_from_one(keys[1], int(labels.max()))}")
        # More classes than images are a mistake, and would be as many names.
        num_classes = min(int(labels.max(initial=0)) + 1, len(labels))
        return images, labels, tuple(map(str, range(num_classes)))
    classes = arrays["classes"]
    if classes.ndim != 1:
        raise UserError(f"{path}: classes must be a list of names, one a class")
    check_start(path.name, labels, len(classes), keys[1])
    names = _names(classes)
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{path}: two classes are called {twice!r}; give each a name of its own")
    return images, labels, names


def _names(classes: NDArray[Any]) -> tuple[str, ...]:
    # Bytes are what HDF5 makes of names.
    return tuple(
        name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in classes
    )


def _reason(path: Path, error: Exception) -> str:
    # Numpy takes what it does not know for a pickle, and advises to run it.
    if isinstance(error, ValueError) and "pickle" in str(error):
        if zipfile.is_zipfile(path):
            return "it holds Python objects, not numbers and names alone; save arrays of those"
        return "it is no .npz file"
    return f"{error}; it is damaged" if isinstance(error, zipfile.BadZipFile) else str(error)


def check_start(name: str, labels: NDArray[Any], num_classes: int, key: str = "labels") -> None:
    """Check that labels do not run from 1 to the number of classes.

    Raises:
        UserError: They do.
    """
    if len(labels) and labels.min() >= 1 and labels.max() == num_classes:
        raise UserError(f"{name}: {_from_one(key, num_classes)}")


def _from_one(key: str, last: int) -> str:
    return f"{key} run from 1 to {last}; they must start at 0: save {key} - 1"


def _images(path: Path, key: str, images: NDArray[Any]) -> NDArray[np.uint8]:
    """Return images (N, side, side, 3).

    Raises:
        UserError: They are of another type or shape.
    """
    shape = images.shape
    is_grey = images.ndim == 4 and shape[3] == 1
    if images.ndim == 3 and shape[1] == shape[2]:
        images, is_grey = images[..., None], True
    if images.dtype != np.uint8 or images.ndim != 4 or not (images.shape[3] == 3 or is_grey):
        raise UserError(
            f"{path}: {key} are {images.dtype} of shape {shape}; they must be uint8 of shape "
            f"(N, side, side, 3){_advice(key, images)}"
        )
    if images.shape[1] != images.shape[2] or images.shape[1] < MIN_SIDE:
        raise UserError(
            f"{path}: {key} of {images.shape[1]} x {images.shape[2]} pixels; they must be "
            f"square and at least {MIN_SIDE} pixels wide"
        )
    return np.repeat(images, 3, axis=3) if is_grey else images


def _advice(key: str, images: NDArray[Any]) -> str:
    """Return how to save images that are of another type or shape; empty if nobody knows."""
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3):
        return f": the channels stand first, save {key}.transpose(0, 2, 3, 1)"
    if images.ndim == 4 and images.shape[3] == 4:
        return f": save {key}[..., :3], without transparency"
    if images.ndim == 2:
        return f": each image is a row, save {key}.reshape(N, side, side, 3)"
    if not images.size or images.dtype.kind not in "fiu":
        return ""
    least, most = float(images.min()), float(images.max())
    if images.dtype.kind == "f" and least >= 0 and most <= 1:
        return f": save ({key} * 255).round().astype('uint8')"
    if least >= 0 and most <= 255:
        return f": save {key}.round().astype('uint8')"
    return f": their values are from {least:g} to {most:g}, not from 0 to 255"


def _labels(path: Path, key: str, labels: NDArray[Any], count: int) -> NDArray[Any]:
    """Return labels (N,).

    Raises:
        UserError: They are of another type or shape.
    """
    if labels.shape == (count, 1):
        labels = labels[:, 0]
    if labels.shape == (count,) and np.issubdtype(labels.dtype, np.integer):
        return labels
    advice = ""
    if labels.ndim == 2 and len(labels) == count and labels.dtype.kind in "fiub":
        is_one_hot = bool(((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all())
        if is_one_hot:
            advice = f": they have a column a class, save {key}.argmax(1)"
    elif labels.dtype.kind in "US" and labels.shape == (count,):
        advice = f": they are names, save classes, {key} = numpy.unique({key}, return_inverse=True)"
    elif labels.dtype.kind == "b" or (
        labels.dtype.kind == "f" and (labels == labels.round()).all()
    ):
        advice = f": save {key}.astype('int64')"
    raise UserError(
        f"{path}: {key} are {labels.dtype} of shape {labels.shape}; "
        f"they must be integers of shape ({count},){advice}"
    )
