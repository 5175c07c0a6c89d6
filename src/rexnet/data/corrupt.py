"""Corrupt image files: found, named, left out."""

import re
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from rexnet.data.decode import decoded
from rexnet.data.image_sets import ArrayImages, C, Checkable, FileImages, per_class
from rexnet.errors import UserError

CHUNK = 64
"""Files checked by one task of a thread."""

NAMED = 5
"""Corrupt files that an error names."""

MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
"""A JPEG marker; what the entropy-coded data may hold, FF00 and restarts, is none."""

END_OF_IMAGE = 0xD9

SEGMENTS = {*range(0xC0, 0xD0), *range(0xDA, 0xF0), 0xFE}
"""Codes of the markers that a JPEG may hold between its start and its end."""


def find_corrupt(
    images: Checkable, on_progress: Callable[[int, int], None]
) -> list[tuple[int, str]]:
    """Decode every file once and return the indices of those that are corrupt, with the reasons.

    Every file that is cut short is found. Damage in its midst is found as far as the format lets
    anybody see it: always in PNG, nearly always in GIF and, from a kilobyte on, in JPEG, seldom in
    WebP, never in BMP.

    Args:
        images: The images; those in memory are sound.
        on_progress: Called now and then with the number of files that are done and of all.
    """
    if isinstance(images, ArrayImages):
        return []
    count = len(images)
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    found: list[tuple[int, str]] = []
    pool = ThreadPoolExecutor()
    try:
        with warnings.catch_warnings():
            # Pillow warns of oddities, such as EXIF it cannot read, that do no harm.
            warnings.simplefilter("ignore")
            results = pool.map(partial(_corrupt_of, images), chunks)
            for chunk, corrupt in zip(chunks, results, strict=True):
                found += corrupt
                on_progress(chunk.stop, count)
    finally:
        # After an interrupt, do not go through the rest first.
        pool.shutdown(cancel_futures=True)
    return found


def _corrupt_of(images: Checkable, indices: Iterable[int]) -> list[tuple[int, str]]:
    damages = ((index, _damage(images.where(index))) for index in indices)
    return [(index, damage) for index, damage in damages if damage]


def _damage(path: str) -> str:
    """Return why a file is corrupt; empty if it is not."""
    try:
        decoded(path, draft=True)
        with open(path, "rb") as file:
            content = file.read()
    except (OSError, ValueError) as error:
        return str(error)
    return _jpeg_damage(content) if content.startswith(b"\xff\xd8") else ""


def _jpeg_damage(content: bytes) -> str:
    """Return what is wrong with the markers of a JPEG, which Pillow reads over; empty if nothing.

    Content that is damaged holds markers out of place or, filled with zeros, none at its end.
    """
    place = 2
    while match := MARKER.search(content, place):
        code = match[1][0]
        if code == END_OF_IMAGE:
            return ""
        if code not in SEGMENTS:
            return f"no JPEG marker has code {code:#x}, at byte {match.start(1)}"
        place = match.end() + int.from_bytes(content[match.end() : match.end() + 2], "big")
    return "the JPEG has no end"


def checked(
    images: C, skip_corrupt: bool, on_progress: Callable[[int, int], None]
) -> tuple[C, list[tuple[str, str]]]:
    """Return the images that are not corrupt, and where those are that are, with the reasons.

    Args:
        images: The images.
        skip_corrupt: Leave corrupt images out, instead of raising an error.
        on_progress: As that of ``find_corrupt``.

    Raises:
        UserError: Images are corrupt and not to be skipped, or all those of a class are.
    """
    corrupt = find_corrupt(images, on_progress)
    listed = [(images.where(index), reason) for index, reason in corrupt]
    if corrupt and not skip_corrupt:
        names = ", ".join(f"{where} ({reason})" for where, reason in listed[:NAMED])
        more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
        raise UserError(
            f"{len(listed)} of {len(images)} images are corrupt: {names}{more}; repair or remove "
            "them, or pass --skip-corrupt"
        )
    rest = images.without(index for index, _ in corrupt)
    if isinstance(images, FileImages) and isinstance(rest, FileImages):
        _check_left(images, rest)
    return rest, listed


def _check_left(images: FileImages, rest: FileImages) -> None:
    lost = np.flatnonzero((per_class(rest) == 0) & (per_class(images) > 0))
    if len(lost):
        raise UserError(
            f"all images of class {images.classes[lost[0]]!r} of {images.name} are corrupt; "
            "repair them or remove the class"
        )
