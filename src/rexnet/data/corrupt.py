"""Corrupt image files: known by their markers, named, left out."""

import re
from collections.abc import Mapping

import numpy as np

from rexnet.data.image_sets import C, FileImages, per_class
from rexnet.errors import UserError

NAMED = 5
"""Corrupt files that an error names."""

MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
"""A JPEG marker; what the entropy-coded data may hold, FF00 and restarts, is none."""

END_OF_IMAGE = 0xD9

SEGMENTS = {*range(0xC0, 0xD0), *range(0xDA, 0xF0), 0xFE}
"""Codes of the markers that a JPEG may hold between its start and its end."""


def jpeg_damage(content: bytes) -> str:
    """Return what is wrong with the markers of a JPEG, which Pillow reads over; empty if nothing.

    Content that is damaged holds markers out of place or, filled with zeros, none at its end.
    """
    if not content.startswith(b"\xff\xd8"):
        return ""
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
    images: C, damage: Mapping[int, str], skip_corrupt: bool
) -> tuple[C, list[tuple[str, str]]]:
    """Return the images that are not corrupt, and where those are that are, with the reasons.

    Args:
        images: The images.
        damage: Why an image is corrupt, by its index.
        skip_corrupt: Leave corrupt images out, instead of raising an error.

    Raises:
        UserError: Images are corrupt and not to be skipped, or all those of a class are.
    """
    listed = [(images.where(index), damage[index]) for index in sorted(damage)]
    if listed and not skip_corrupt:
        names = ", ".join(f"{where} ({reason})" for where, reason in listed[:NAMED])
        more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
        raise UserError(
            f"{len(listed)} of {len(images)} images are corrupt: {names}{more}; repair or remove "
            "them, or pass --skip-corrupt"
        )
    rest = images.without(damage)
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
