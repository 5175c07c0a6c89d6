"""What files hold: pictures."""

import io
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rexnet.errors import UserError, check_range

if TYPE_CHECKING:
    from PIL.Image import Image


ORIENTATION = 0x0112
"""The EXIF tag that says how a picture lies."""

TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""What turns a picture upright, by its orientation."""

BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, PLANAR = 0x0102, 0x0103, 0x0106, 0x011C
"""TIFF tags: how many bits a value has, how it is packed (1: it is not), what it means (0 where
white is zero), and whether each colour is a plane of its own (2)."""

MAX_MEGAPIXELS = 179
"""The millions of pixels of an image from which it is refused, if no other limit is asked for."""

MEGAPIXELS = (1, 10**4, "10,000")
"""The lowest and the highest limit that may be asked for."""

LIMIT = threading.Lock()
"""Held while Pillow's own limit is away, which is one for all threads."""

DRAFT = 256
"""The shorter side, in pixels, from which a draft of a JPEG is an eighth of its size."""

FAINT = 1 / 16
"""The share of the range of its values below which a picture is faint: it looks blank."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture as a viewer shows it.

    Attributes:
        picture: RGB, upright, on white.
        size: Width and height of the whole picture, of which ``picture`` may be a draft.
        transparent: Whether a pixel was transparent.
        faint: Whether its values have more than 8 bits and all lie within a sixteenth of what they
            can be, as of a scan of 10 bits in 16: it looks black, white or grey.
    """

    picture: "Image"
    size: tuple[int, int]
    transparent: bool
    faint: bool


def check_megapixels(limit: int) -> None:
    """Check a limit of the size of images.

    Raises:
        UserError: It is out of range.
    """
    check_range("max_megapixels", limit, *MEGAPIXELS)


def read_upright(path: str | Path, max_megapixels: int | None = MAX_MEGAPIXELS) -> "Image":
    """Return the picture in a file as a viewer shows it: RGB, upright, on white.

    Args:
        path: The file.
        max_megapixels: As that of ``shown``.

    Raises:
        UserError: The file cannot be read or decoded; it is named.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    try:
        return shown(content, max_megapixels=max_megapixels).picture
    except ValueError as error:
        raise UserError(f"corrupt image {path}: {error}; repair or remove it") from None


def shown(
    content: bytes, *, draft: bool = False, max_megapixels: int | None = MAX_MEGAPIXELS
) -> Shown:
    """Return the picture in a file as a viewer shows it.

    It is turned as EXIF or XMP says, or left as it is where they cannot be read. What is
    transparent is laid on white. Grey of more than 8 bits keeps its upper 8; floats are taken for 0
    to 1 if all are, else for 0 to 255. Of several pictures it is the first.

    Args:
        content: The content of the file; of a path Pillow would turn some TIFFs wrongly.
        draft: Decode a large JPEG to an eighth of its size: all of it is read, in less time.
        max_megapixels: Most millions of pixels; None for any number.

    Raises:
        ValueError: It cannot be decoded, is too large, or has values that no picture has; the
            message is the reason alone.
    """
    from PIL import Image

    too_large = Image.DecompressionBombError, Image.DecompressionBombWarning
    try:
        try:
            return _shown(content, draft, max_megapixels)
        except too_large:
            with _pillows_limit_away():
                return _shown(content, draft, max_megapixels)
    except Exception as error:  # noqa: BLE001
        # Of damaged files Pillow raises nearly everything: struct.error, KeyError, TypeError.
        raise ValueError(_reason(error)) from None


@contextmanager
def _pillows_limit_away() -> Iterator[None]:
    from PIL import Image

    with LIMIT:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _shown(content: bytes, draft: bool, max_megapixels: int | None) -> Shown:
    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        size = picture.size
        if max_megapixels is not None and size[0] * size[1] > max_megapixels * 10**6:
            raise ValueError(
                f"{size[0]:,} x {size[1]:,} pixels are more than --max-megapixels {max_megapixels}"
            )
        if draft and min(size) >= DRAFT:
            picture.draft("RGB", (1, 1))
        tags = getattr(picture, "tag_v2", {})
        _check_planes(tags)
        picture.load()
        upright, is_turned = _upright(picture)
        narrow, faint = upright, False
        if upright.mode == "F" or upright.mode.startswith("I"):
            narrow, faint = _narrowed(upright, tags)
        opaque, transparent = _on_white(narrow)
    return Shown(
        picture=opaque,
        size=size[::-1] if is_turned else size,
        transparent=transparent,
        faint=faint,
    )


def _check_planes(tags: Mapping[int, Any]) -> None:
    """Refuse a TIFF of which Pillow makes noise: it takes each half of a value for a pixel.

    Raises:
        ValueError: It is one.
    """
    bits = tags.get(BITS_PER_SAMPLE, (1,))
    is_plain = tags.get(PLANAR, 1) == 2 and tags.get(COMPRESSION, 1) == 1
    if is_plain and len(bits) > 1 and max(bits) > 8:
        raise ValueError(
            f"planes of {max(bits)} bits without compression cannot be read; save its colours "
            "interleaved"
        )


def _upright(picture: "Image") -> tuple["Image", bool]:
    """Return a picture upright, and whether width and height changed places."""
    from PIL import Image

    try:
        orientation = picture.getexif().get(ORIENTATION, 1)
        turn = TURNS.get(orientation)
    except Exception:  # noqa: BLE001
        # Devices and editors leave EXIF of which Pillow raises nearly everything, too.
        return picture, False
    if turn is None:
        return picture, False
    return picture.transpose(Image.Transpose[turn]), orientation >= 5


def _narrowed(picture: "Image", tags: Mapping[int, Any]) -> tuple["Image", bool]:
    """Return a grey picture of more than 8 bits in 8, and whether it is faint.

    Pillow's own conversion clips at 255.

    Args:
        picture: Of 16 or 32 bits, or of floats.
        tags: Those of a TIFF.

    Raises:
        ValueError: A value is out of range.
    """
    from PIL import Image

    values = np.asarray(picture)
    low, high = values.min(), values.max()
    if picture.mode == "F":
        top = 1 if high <= 1 else 255
    else:
        top = 4095 if tags.get(BITS_PER_SAMPLE) == (12,) else 65535
    # Not a number is in no range.
    if not (low >= 0 and high <= top):
        kind = "numbers from 0 to 1 or 0 to 255" if picture.mode == "F" else f"0 to {top:,}"
        raise ValueError(f"its values are from {low:g} to {high:g}; those of pictures are {kind}")
    if picture.mode == "F":
        grey = np.rint(values * (255 / top)).astype(np.uint8)
    else:
        grey = (values >> (4 if top == 4095 else 8)).astype(np.uint8)
    if tags.get(PHOTOMETRIC) == 0:
        grey = 255 - grey
    narrow = Image.fromarray(grey)
    clear = picture.info.get("transparency")
    if clear is not None:
        narrow.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return narrow, bool(low < high and high - low < FAINT * top)


def _on_white(picture: "Image") -> tuple["Image", bool]:
    """Return a picture as RGB on white, and whether it has a transparent pixel."""
    from PIL import Image

    if picture.mode == "LAB":
        return _from_lab(picture), False
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        if layer.getchannel("A").histogram()[255] < layer.width * layer.height:
            ground = Image.new("RGBA", layer.size, "white")
            ground.alpha_composite(layer)
            return ground.convert("RGB"), True
    return picture.convert("RGB"), False


def _from_lab(picture: "Image") -> "Image":
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")
    assert converted is not None
    return converted


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "cannot identify image file"
    words = " ".join(str(error).split())
    is_plain = words and isinstance(error, OSError | ValueError | SyntaxError)
    return words if is_plain else f"{type(error).__name__}: {words}".removesuffix(": ")
