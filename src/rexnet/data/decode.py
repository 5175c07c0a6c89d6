"""What files hold: pictures, and arrays in .npz files."""

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rexnet.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

Arrays = tuple[NDArray[np.uint8], NDArray[Any], tuple[str, ...]]
"""Images (N, side, side, 3), their labels (N,) and the names of the classes."""

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def read_upright(path: str | Path) -> "Image":
    """Return the picture in a file as RGB, turned upright (EXIF), 16-bit grey in 8 bits.

    Raises:
        UserError: The file cannot be decoded; it is named.
    """
    try:
        return decoded(path)
    except ValueError as error:
        raise UserError(f"corrupt image {path}: {error}; repair or remove it") from None


def decoded(path: str | Path, *, draft: bool = False) -> "Image":
    """Return the picture in a file as ``read_upright`` does.

    Args:
        path: The file.
        draft: Decode a JPEG to an eighth of its size: all of it is read, in less time.

    Raises:
        ValueError: The file cannot be decoded; the message is the reason alone.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as picture:
            if draft:
                picture.draft("RGB", (1, 1))
            ImageOps.exif_transpose(picture, in_place=True)
            if not picture.mode.startswith("I"):
                return picture.convert("RGB")
            # 16-bit grey: Pillow's own conversion clips at 255.
            grey = (np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8)
            return Image.fromarray(grey).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).replace(f" {str(path)!r}", "").removesuffix(":")
        raise ValueError(reason) from None


def read_npz(path: Path, prefix: str = "") -> Arrays:
    """Read the arrays ``images`` and ``labels``, their names after ``prefix``, and ``classes``.

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
        raise UserError(f"cannot read {path}: {error}") from None
    for key in keys:
        if key not in arrays:
            raise UserError(
                f"{path} has no array {key!r} (it has: {found}); it needs {keys[0]} "
                f"(N, side, side, 3) uint8 and {keys[1]} (N,)"
            )
    images, labels = (arrays[key] for key in keys)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise UserError(
            f"{path}: {keys[0]} are {images.dtype} of shape {images.shape}; "
            "they must be uint8 of shape (N, side, side, 3)"
        )
    if images.shape[1] != images.shape[2] or images.shape[1] < 8:
        raise UserError(
            f"{path}: {keys[0]} of {images.shape[1]} x {images.shape[2]} pixels; they must be "
            "square and at least 8 pixels wide"
        )
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"{path}: {keys[1]} are {labels.dtype} of shape {labels.shape}; "
            f"they must be integers of shape ({len(images)},)"
        )
    if "classes" not in arrays:
        # More classes than images are a mistake, and would be as many names.
        num_classes = min(int(labels.max(initial=0)) + 1, len(labels))
        return images, labels, tuple(map(str, range(num_classes)))
    if arrays["classes"].ndim != 1:
        raise UserError(f"{path}: classes must be a list of names, one a class")
    return images, labels, tuple(map(str, arrays["classes"]))
