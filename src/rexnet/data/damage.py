"""Damage in the midst of JPEG and PNG files that decoders read over."""

import re
import zlib

MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
"""A JPEG marker; what the entropy-coded data may hold, FF00 and restarts, is none."""

END_OF_IMAGE = 0xD9

SEGMENTS = {*range(0xC0, 0xD0), *range(0xDA, 0xF0), 0xFE}
"""Codes of the markers that a JPEG may hold between its start and its end."""


PNG = b"\x89PNG\r\n\x1a\n"


def png_damage(content: bytes) -> str:
    """Return what is wrong with the pixels of a PNG by their checksums; empty if nothing."""
    if not content.startswith(PNG):
        return ""
    view, place = memoryview(content), len(PNG)
    while place + 8 <= len(content):
        end = place + 8 + int.from_bytes(view[place : place + 4], "big")
        kind = content[place + 4 : place + 8]
        if kind == b"IEND":
            return ""
        # Viewers do not mind what is wrong with texts.
        if kind == b"IDAT" and zlib.crc32(view[place + 4 : end]) != int.from_bytes(
            view[end : end + 4], "big"
        ):
            return f"the checksum of the PNG's pixels at byte {place} is wrong"
        place = end + 4
    return ""


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
