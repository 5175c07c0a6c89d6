"""The walk over folders of images: which files are read, and what is left out."""

import os
import re
import warnings
from collections.abc import Iterator
from functools import cache

from rexnet.data.image_sets import LeftOut
from rexnet.errors import UserError

SYSTEM = {
    "$recycle.bin",
    "#recycle",
    "@eadir",
    "__macosx",
    "__pycache__",
    "desktop.ini",
    "ehthumbs.db",
    "lost+found",
    "system volume information",
    "thumbs.db",
}
"""Names that systems give to files and folders of their own, in small letters."""

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
"""Endings of files that images may be packed in."""

NO_PICTURES = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
"""Formats that Pillow opens, maybe by another program, and that hold no photographs."""

STARTS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "TIFF", "WEBP")
"""Formats that a file without an ending is known by from its first bytes."""

ENDING = re.compile(r"\.(?=\S*[^\W\d])\S{1,15}")
"""An ending, such as .jpg; what follows the last dot may as well be a number or a sentence."""

LENGTHENED = re.compile(r"(\.[a-z0-9]+)[^a-z0-9~]")
"""An ending with more behind it, such as .jpg_large; .jpg~ is an older version of a file."""


HIDDEN, EMPTY = "hidden files and folders", "folders without images"
"""Reasons for which something is left out that says nothing of the images."""


class Tally:
    """What a walk leaves out, counted by reason."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, str] = {}

    def add(self, reason: str, path: str) -> None:
        """Count one more for a reason; the first ``path`` in the alphabet is its example."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        self._examples[reason] = min(self._examples.get(reason, path), path)

    def left_out(self) -> tuple[LeftOut, ...]:
        """Return all that was counted, the most first."""
        found = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        return tuple(
            LeftOut(reason=reason, count=count, example=self._examples[reason])
            for reason, count in found
        )


@cache
def endings() -> frozenset[str]:
    """Return the endings, in small letters, of the files that Pillow can open as pictures."""
    from PIL import Image

    kinds = Image.registered_extensions()
    # MPO, of cameras with two lenses, is opened as a JPEG.
    opened = {*Image.OPEN, "MPO"} - NO_PICTURES
    return frozenset(ending for ending, kind in kinds.items() if kind in opened)


def folders_in(folder: str | os.PathLike[str]) -> list[str]:
    """Return the names of the folders in a folder, sorted, without hidden ones.

    Raises:
        UserError: The folder cannot be read.
    """
    return sorted(entry.name for entry, is_folder in entries(folder, Tally()) if is_folder)


def entries(folder: str | os.PathLike[str], tally: Tally) -> list[tuple["os.DirEntry[str]", bool]]:
    """Return what lies in a folder, in no order, and whether it is a folder; not what is hidden.

    Args:
        folder: Path of the folder.
        tally: Counts what is hidden.

    Raises:
        UserError: The folder cannot be read.
    """
    found = []
    try:
        with os.scandir(folder) as scanned:
            for entry in scanned:
                if entry.name.startswith(".") or entry.name.lower() in SYSTEM:
                    tally.add(HIDDEN, entry.path)
                else:
                    found.append((entry, _is_folder(entry)))
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror or error}") from None
    return found


def images_in(top: str, tally: Tally) -> list[str]:
    """Return the images in a folder and in those below, as paths from it, sorted part by part.

    Args:
        top: Path of the folder.
        tally: Counts what is left out.

    Raises:
        UserError: A folder cannot be read, or a link leads back to a folder above it.
    """
    found = _images_below(top, (os.path.realpath(top),), "", tally)
    return sorted(found, key=lambda path: path.split(os.sep))


def has_images(top: str | os.PathLike[str]) -> bool:
    """Tell whether there is an image in a folder or in those below.

    Raises:
        UserError: As that of ``images_in``.
    """
    place = os.fspath(top)
    return any(True for _ in _images_below(place, (os.path.realpath(place),), "", Tally()))


def is_image(entry: "os.DirEntry[str]", tally: Tally) -> bool:
    """Tell whether a file is read as an image: by its ending or, without one, by how it starts.

    Args:
        entry: The file.
        tally: Counts it if it is not.
    """
    if _is_pipe(entry):
        tally.add("pipes and devices", entry.path)
        return False
    ending = os.path.splitext(entry.name)[1].lower()
    if ending in endings():
        return True
    if not ENDING.fullmatch(ending):
        ending = ""
    longer = LENGTHENED.match(ending)
    if (not ending or (longer and longer[1] in endings())) and _starts_as_picture(entry.path):
        return True
    reason = f"files ending in {ending}" if ending else "files without an ending"
    tally.add(reason, entry.path)
    return False


def _images_below(folder: str, above: tuple[str, ...], prefix: str, tally: Tally) -> Iterator[str]:
    """Yield what ``images_in`` returns, in no order.

    Args:
        folder: Path of the folder.
        above: Where the folders that it lies in really are, and last where it is.
        prefix: Put before each path.
        tally: Counts what is left out.
    """
    is_empty = True
    for entry, is_folder in entries(folder, tally):
        if not is_folder:
            if is_image(entry, tally):
                is_empty = False
                yield prefix + entry.name
            continue
        is_empty = False
        link = entry.is_symlink()
        place = os.path.realpath(entry.path) if link else os.path.join(above[-1], entry.name)
        if place in above:
            raise UserError(f"link {entry.path} leads back to a folder it lies in; remove it")
        below = f"{prefix}{entry.name}{os.sep}"
        yield from _images_below(entry.path, (*above, place), below, tally)
    if is_empty:
        tally.add(EMPTY, folder)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself: a file that cannot be read.
        return False


def _is_pipe(entry: "os.DirEntry[str]") -> bool:
    """Tell whether what is no folder is there and no file: a pipe would be waited for."""
    try:
        return not entry.is_file() and os.path.exists(entry.path)
    except OSError:
        return False


def _starts_as_picture(path: str) -> bool:
    """Tell whether Pillow knows a file by its first bytes; nothing is decoded."""
    from PIL import Image

    endings()
    formats = [kind for kind in STARTS if kind in Image.OPEN]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=formats):
                return True
        except Image.DecompressionBombError:
            return True
        except (OSError, ValueError, OverflowError):
            return False
