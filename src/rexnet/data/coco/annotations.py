"""Annotations in the COCO format: a file of JSON read, and every entry of it checked."""

import itertools
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rexnet.data.coco.other_formats import CONVERT, OF_ENDINGS, format_of, format_of_folder
from rexnet.errors import UserError

NAMED = 5
"""Flaws that an error names at most."""

LONGEST = 300
"""Letters of the flaws that an error names, but for the first."""

ROUNDING = 0.5
"""Pixels that a box may reach over an edge and not be counted as clipped."""

MEND = "mend or remove them"

KINDS = {str: "text", bool: "true or false", list: "a list", dict: "an object"}
"""Types of JSON, for people."""


class Flaw(ValueError):
    """What is wrong with an entry, in words."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An image in the annotations.

    Attributes:
        id: Its id.
        file_name: Where its file is, as it is written.
        width: Pixels.
        height: Pixels.
    """

    id: int
    file_name: str
    width: int
    height: int


def read_document(path: Path) -> dict[str, list[Any]]:
    """Return an annotation file with its lists ``images``, ``annotations`` and ``categories``.

    Raises:
        UserError: It cannot be read, is no JSON or is in another format.
    """
    if path.is_dir():
        other = format_of_folder(path)
        raise UserError(f"{path} is a folder, no file of annotations{other and f'; it {other}'}")
    try:
        content = path.read_bytes()
        # In UTF-8, 16 or 32, with or without a mark.
        document = json.loads(content)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(_no_json(path, content, error)) from None
    found = format_of(document)
    lists = ("images", "annotations", "categories")
    flaw = ""
    if not isinstance(document, dict):
        flaw = f"it holds {_kind(document)}, no object"
    else:
        lacking = [name for name in lists if not isinstance(document.get(name), list)]
        if lacking:
            there = ", ".join(sorted(document)[:8]) or "nothing"
            flaw = f"it has no list {lacking[0]!r} (it has: {there})"
    if flaw:
        other = f"; it seems to be {found}: {CONVERT}" if found else ""
        raise UserError(f"{path} is not in the COCO format: {flaw}{other}")
    for name in ("images", "categories"):
        if not document[name]:
            raise UserError(f"{path} has no {name}: its list is empty")
    return dict(document)


def _no_json(path: Path, content: bytes, error: Exception) -> str:
    """Return in words why a file is no JSON."""
    if not content.strip():
        return f"{path} is no JSON: it is empty"
    if content.startswith(b"version https://git-lfs"):
        return f"{path} is no JSON but a pointer of Git LFS; fetch the file: git lfs pull"
    if content.lstrip()[:5].lower() in (b"<html", b"<!doc"):
        return f"{path} is no JSON but a page of the web; download the file itself"
    if content.lstrip().startswith(b"<"):
        return f"{path} is no JSON but XML, maybe Pascal VOC's; {CONVERT}"
    if isinstance(error, UnicodeDecodeError):
        return f"{path} is no JSON: its text is not in UTF-8 (byte {error.start}); save it so"
    if path.suffix.lower() in OF_ENDINGS and path.suffix.lower() != ".json":
        return f"{path} is no JSON but maybe {OF_ENDINGS[path.suffix.lower()]}; {CONVERT}"
    reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
    return f"{path} is no JSON: {reason}"


def refuse(flaws: Sequence[str], path: Path, remedy: str) -> None:
    """Tell what is wrong in annotations.

    Raises:
        UserError: Something is; the first few flaws are named.
    """
    if flaws:
        lengths = itertools.accumulate(map(len, flaws[:NAMED]))
        named = max(1, sum(length <= LONGEST for length in lengths))
        more = f" and {len(flaws) - named} more" if len(flaws) > named else ""
        raise UserError(f"{path}: {'; '.join(flaws[:named])}{more}; {remedy}")


class Values:
    """Reads the values of entries, and counts the numbers that stand as text.

    Attributes:
        num_texts: Their count.
    """

    def __init__(self) -> None:
        self.num_texts = 0

    def number(self, value: Any, field: str) -> float:
        """Return a number, which may stand as text.

        Raises:
            Flaw: It is none, or not finite.
        """
        number = self._number(value)
        if number is None:
            raise Flaw(f"{field} is {_told(value)}; it must be a finite number")
        return number

    def whole(self, entry: Mapping[str, Any], field: str) -> int:
        """Return a whole number, such as 640, 640.0 or "640".

        Raises:
            Flaw: It is missing, no whole number or beyond 64 bits.
        """
        value = entry.get(field)
        if type(value) is not int:
            if field not in entry:
                raise Flaw(f"has no {field} (it has: {_fields(entry)})")
            number = self._number(value)
            if number is None or number != math.floor(number):
                raise Flaw(f"{field} is {_told(value)}; it must be a whole number")
            value = int(number)
        if abs(value) >= 2**63:
            raise Flaw(f"{field} is {_told(entry[field])}; it must be below 2^63")
        return value

    def text(self, entry: Mapping[str, Any], field: str) -> str:
        """Return text.

        Raises:
            Flaw: It is missing or something else.
        """
        if field not in entry:
            raise Flaw(f"has no {field} (it has: {_fields(entry)})")
        if not isinstance(entry[field], str):
            raise Flaw(f"{field} is {_told(entry[field])}; it must be text")
        return str(entry[field])

    def _number(self, value: Any) -> float | None:
        """Return a finite number, which may stand as text; None if it is none."""
        number = value
        if isinstance(value, str):
            try:
                number = int(value) if value.strip().isdecimal() else float(value)
            except ValueError:
                return None
        # Python's True is a 1; a float has no place for an integer of 400 digits.
        if isinstance(number, bool) or not isinstance(number, int | float):
            return None
        if not -1e300 < number < 1e300:
            return None
        self.num_texts += isinstance(value, str)
        return number


def read_categories(
    entries: Sequence[Any], used: set[str], path: Path, values: Values
) -> tuple[dict[int, str], tuple[str, ...]]:
    """Return the names of the categories by id, and what was left out, in words.

    A category without boxes that all others name as their supercategory is none: Roboflow writes
    the name of the project so.

    Args:
        entries: The categories.
        used: Values of ``category_id`` in the annotations, as text.
        path: The annotations, for messages.
        values: Reads them.

    Raises:
        UserError: An entry is flawed, or two have one id or name.
    """
    names: list[tuple[int, str]] = []
    above: list[Any] = []
    for entry in entries:
        try:
            if not isinstance(entry, dict):
                raise Flaw(f"is {_kind(entry)}; it must be an object with id and name")
            names.append((values.whole(entry, "id"), values.text(entry, "name")))
        except Flaw as flaw:
            raise UserError(f"{path}: category {_short(entry)} {flaw}") from None
        above.append(entry.get("supercategory"))
    roots = [
        place
        for place, (id_, name) in enumerate(names)
        if len(names) > 1
        and not used & {str(id_), str(float(id_))}
        and above[place] in (None, "", "none", name)
        and all(other == name for i, other in enumerate(above) if i != place)
    ]
    remarks: tuple[str, ...] = ()
    if roots:
        id_, name = names.pop(roots[0])
        remarks = (
            f"category {id_} {name!r} is left out: it has no boxes and is the supercategory of "
            "all others",
        )
    for number, kind in ((0, "id"), (1, "name")):
        (twice, count), *_ = Counter(pair[number] for pair in names).most_common(1)
        if count > 1:
            raise UserError(f"{path}: two categories have the {kind} {twice!r}")
    return dict(names), remarks


def read_entries(entries: Sequence[Any], path: Path, values: Values) -> list[Entry]:
    """Return the images, checked.

    Raises:
        UserError: An entry is flawed, or two have one id.
    """
    flaws: list[str] = []
    found: dict[int, Entry] = {}
    for entry in entries:
        try:
            if not isinstance(entry, dict):
                raise Flaw(f"is {_kind(entry)}; it must be an object")
            name, id_ = values.text(entry, "file_name"), values.whole(entry, "id")
            width, height = (values.whole(entry, field) for field in ("width", "height"))
            if min(width, height) < 1:
                raise Flaw(f"has {width} x {height} pixels; width and height must be at least 1")
            if id_ in found:
                flaws.append(f"two images have the id {id_}")
            found[id_] = Entry(id=id_, file_name=name, width=width, height=height)
        except Flaw as flaw:
            flaws.append(f"image {_short(entry)} {flaw}")
    refuse(flaws, path, MEND)
    return list(found.values())


class Boxes:
    """The annotations, with what is wrong with them.

    Args:
        entries: The images.
        labels: The label of each category by id.
        values: Reads the entries.

    Attributes:
        flaws: Entries that cannot be understood, in words.
        degenerate: Boxes without area in their image, in words; known after ``cut``.
        num_clipped: Boxes that reached over the edges; known after ``cut``.
    """

    def __init__(self, entries: Sequence[Entry], labels: Mapping[int, int], values: Values) -> None:
        self._entries, self._labels, self._values = entries, labels, values
        self._places = {entry.id: place for place, entry in enumerate(entries)}
        self._rows: list[tuple[Any, ...]] = []
        self._ids: list[Any] = []
        self.flaws: list[str] = []
        self.degenerate: list[str] = []
        self.num_clipped = 0

    def add(self, entry: Any) -> None:
        """Take one annotation."""
        try:
            self._rows.append(self._row(entry))
            self._ids.append(entry.get("id", ""))
        except Flaw as flaw:
            self.flaws.append(f"annotation {_short(entry)} {flaw}")

    def remedy(self, used: set[str]) -> str:
        """Return what to do about flaws, from the values of ``category_id``."""
        numbers = {int(text) for text in used if text.isdecimal()}
        for step, told in ((1, "1, categories from 0"), (-1, "0, categories from 1")):
            if numbers - self._labels.keys() and {n - step for n in numbers} <= self._labels.keys():
                return f"do annotations count categories from {told}?"
        return MEND

    def as_written(self) -> NDArray[np.float64]:
        """Return place of the image, label, crowd, area (NaN: none) and box; shape (boxes, 8)."""
        return np.array(self._rows, np.float64).reshape(-1, 8)

    def cut(self) -> NDArray[np.float64]:
        """Return the boxes that have an area in their images, cut at the edges.

        They are in the order of the images: place, label, crowd, area, x1, y1, x2, y2.
        """
        rows = self.as_written()
        sides = np.array([(e.width, e.height) for e in self._entries], np.float64)
        sides = sides[rows[:, 0].astype(np.int64)].reshape(-1, 2)
        low, size = rows[:, 4:6].copy(), rows[:, 6:].copy()
        high = low + size
        rows[:, 4:6], rows[:, 6:] = _between(low, sides), _between(high, sides)
        empty = ((size <= 0) | (rows[:, 4:6] == rows[:, 6:])).any(axis=1)
        # A rounded edge is no box outside.
        over = (np.maximum(-low, high - sides) > ROUNDING).any(axis=1)
        self.num_clipped = int((over & ~empty).sum())
        self.degenerate = [self._without_area(i) for i in np.flatnonzero(empty).tolist()]
        rows[:, 3] = np.where(np.isnan(rows[:, 3]), size.prod(axis=1), rows[:, 3])
        rows = rows[~empty]
        return rows[np.argsort(rows[:, 0], kind="stable")]

    def _without_area(self, number: int) -> str:
        image, box = self._entries[self._rows[number][0]], self._rows[number][4:]
        x, y, width, height = box
        turned = x + width <= image.height and y + height <= image.width
        swapped = min(x, y, width, height) > 0 and turned
        return (
            f"annotation {self._ids[number]} of {image.file_name} has no area there: "
            f"[{', '.join(f'{value:g}' for value in box)}] in {image.width} x {image.height}"
            f"{' (are width and height swapped?)' if swapped else ''}"
        )

    def _row(self, entry: Any) -> tuple[Any, ...]:
        if not isinstance(entry, dict):
            raise Flaw("is no object")
        image, category = (
            self._values.whole(entry, f"{name}_id") for name in ("image", "category")
        )
        if image not in self._places:
            raise Flaw(f"is of an image that is not listed: {image}")
        if category not in self._labels:
            raise Flaw(f"is of a category that is not listed: {category}")
        box = entry.get("bbox")
        if "bbox" not in entry:
            raise Flaw(f"has no bbox (it has: {_fields(entry)}); it needs one: x, y, width, height")
        if not isinstance(box, list) or len(box) != 4:
            raise Flaw(f"bbox is {_told(box)}; it must be four numbers: x, y, width, height")
        numbers = [self._values.number(value, f"bbox[{i}]") for i, value in enumerate(box)]
        area = entry.get("area")
        area = math.nan if area is None else self._values.number(area, "area")
        return self._places[image], self._labels[category], _crowd(entry), area, *numbers


def _between(edges: NDArray[np.float64], sides: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return edges cut at those of the image; -0.0, which numpy's clip makes 0.0, stays."""
    edges = np.where(edges < 0, 0, edges)
    return np.where(edges > sides, sides, edges)


def _crowd(entry: Mapping[str, Any]) -> bool:
    value = entry.get("iscrowd")
    if value is None or value in (0, 1):
        return bool(value)
    if value in ("0", "1"):
        return bool(value == "1")
    raise Flaw(f"iscrowd is {_told(value)}; it must be 0 or 1")


def _fields(entry: Mapping[str, Any]) -> str:
    return ", ".join(entry)[:90]


def _kind(value: Any) -> str:
    return "null" if value is None else KINDS.get(type(value), "a number")


def _told(value: Any) -> str:
    """Return a value as JSON has it, with its type."""
    try:
        told = json.dumps(value)
    # Python writes no integer of more than 4,300 digits.
    except ValueError:
        told = "too long"
    told = told if len(told) <= 40 else f"{told[:36]} ..."
    return "null" if value is None else f"{told} ({_kind(value)})"


def _short(entry: Any) -> str:
    """Return what names an entry in a message."""
    name = entry.get("id") if isinstance(entry, dict) else entry
    return repr(name if name is not None else entry)[:60]
