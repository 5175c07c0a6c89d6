"""Fonts for names in any language: what a picture can show of a name, and by which of them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from matplotlib import rcParams
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from PIL import ImageFont

SURROGATES = re.compile("[\ud800-\udfff]")
"""What Python makes of bytes in the name of a file that are no text."""

UNKNOWN = "\N{REPLACEMENT CHARACTER}"

LONGEST = 40
"""Characters of a name that a figure has room for."""

LAST_RESORT = "Last Resort"
"""How the family begins that has a square for every character."""


def lettered(names: Sequence[str]) -> tuple[list[str], dict[Any, Any]]:
    """Return names as a figure shows them, and the style that has the fonts for it.

    A name for which this machine has no font is its number among the names, from 0. The middle of a
    long one is left out.
    """
    names = [_shortened(as_text(name)) for name in names]
    style, known = _style("".join(names))
    shown = [
        name if name and known >= set(name) else str(number) for number, name in enumerate(names)
    ]
    return shown, style


def titled(title: str) -> tuple[str, dict[Any, Any]]:
    """Return a title as a figure shows it, and the style that has the fonts for it.

    A character for which this machine has no font is replaced.
    """
    title = as_text(title)
    style, known = _style(title)
    return "".join(sign if sign in known else UNKNOWN for sign in title), style


def caption_font(caption: str, size: int) -> Any:
    """Return a font of Pillow's that has all characters of a caption; None if there is none."""
    if caption.isascii() and caption.isprintable():
        return ImageFont.load_default(size)
    for path in [findfont(FontProperties()), *_families().values()]:
        if _characters(path) >= set(caption):
            return ImageFont.truetype(path, size)
    return None


def as_text(name: str) -> str:
    """Return a name in a line, with a replacement for each byte that is no text."""
    return " ".join(SURROGATES.sub(UNKNOWN, name).split())


def _shortened(name: str) -> str:
    half = LONGEST // 2
    return name if len(name) <= LONGEST else f"{name[:half]}...{name[3 - half :]}"


def _style(text: str) -> tuple[dict[Any, Any], set[str]]:
    """Return the style with fonts for a text, and the characters that they have."""
    known = set(_characters(findfont(FontProperties())))
    families = list(rcParams["font.family"])
    for family, characters in _others(set(text) - known):
        families.append(family)
        known |= characters
    return {"font.family": families}, known


def _others(missing: set[str]) -> Iterator[tuple[str, frozenset[str]]]:
    for family, path in _families().items():
        if not missing:
            return
        characters = _characters(path)
        if characters & missing:
            missing = missing - characters
            yield family, characters


@cache
def _families() -> Mapping[str, str]:
    """Return the file of an upright font of each family on this machine."""
    return {
        font.name: font.fname
        for font in sorted(fontManager.ttflist, key=lambda font: font.fname, reverse=True)
        if font.style == "normal"
        and str(font.weight) in ("400", "normal", "regular", "book")
        and not font.name.startswith(LAST_RESORT)
    }


@cache
def _characters(path: str) -> frozenset[str]:
    return frozenset(map(chr, get_font(path).get_charmap()))
