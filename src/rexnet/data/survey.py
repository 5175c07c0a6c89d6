"""What a set of images is, in a few lines for people."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FIRST = 10
"""Classes that are named."""


CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What a terminal does not show, but acts on."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is in a part of a set.

    Attributes:
        title: ``train`` or ``val``.
        place: Their folder or annotations; empty if it is that of all.
        num_images: Those that can be used.
        num_boxes: Boxes on them, but for crowds; None for labelled images.
        num_of_class: Images of every class; of images with boxes, boxes of every category.
        sizes: The smallest, the median and the largest width, and height, in pixels.
    """

    title: str
    place: str
    num_images: int
    num_boxes: int | None = None
    num_of_class: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a set of images is.

    Attributes:
        name: What it is called.
        classes: Names of the classes or categories.
        parts: What is in each part, ``train`` first.
        left_out: What is not used, and why, a line each.
        notes: What is done with some of the images, or is worth knowing, a line each.
        wrong: What looks wrong, a line each.
    """

    name: str
    classes: tuple[str, ...]
    parts: tuple[Part, ...]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Survey":
        """Return what ``to_json`` was made of."""
        texts = {name: tuple(found[name]) for name in ("classes", "left_out", "notes", "wrong")}
        parts = (
            Part(
                title=part["title"],
                place=part["place"],
                num_images=part["num_images"],
                num_boxes=part["num_boxes"],
                num_of_class=tuple(part["num_of_class"]),
                sizes=tuple((width, height) for width, height in part["sizes"]),
            )
            for part in found["parts"]
        )
        return cls(name=found["name"], parts=tuple(parts), **texts)

    def lines(self) -> list[str]:
        """Return the block that is printed before the images are used."""
        first = ", ".join(self.classes[:FIRST]) + (", ..." if len(self.classes) > FIRST else "")
        rows = [("classes", f"{len(self.classes):,}: {first}")]
        rows += [(part.title, _contents(part, self.classes)) for part in self.parts]
        rows += [("left out", line) for line in self.left_out]
        rows += [("note", line) for line in self.notes]
        rows += [("looks wrong", line) for line in self.wrong]
        titles = ["", *(title for title, _ in rows)]
        told = zip(titles, rows, strict=False)
        return [
            f"Images: {in_one_line(self.name)}",
            *(
                f"  {'' if title == before else title:<13}{in_one_line(words)}"
                for before, (title, words) in told
            ),
        ]


OnSurvey = Callable[[Survey], None]
"""What a job tells what its images are."""


def ignore(found: Survey) -> None:
    """Do nothing with what images are."""


def in_one_line(text: str) -> str:
    """Return a text as a terminal can show it: names may hold ends of lines and escapes."""
    return CONTROLS.sub("?", text)


def images_of(count: int) -> str:
    """Return a number of images in words: ``1 image``."""
    return f"{count:,} image{'' if count == 1 else 's'}"


def _contents(part: Part, classes: Sequence[str]) -> str:
    """Return what is in a part, in words."""
    counts = np.array(part.num_of_class)
    ends = int(counts.argmin()), int(counts.argmax())
    fewest, most = (f"{counts[label]:,} ({classes[label]})" for label in ends)
    each = f"{fewest} to {most} of a class"
    if counts.min() == counts.max():
        each = f"{counts[0]:,} of every class"
    boxes = "" if part.num_boxes is None else f"{part.num_boxes:,} boxes, "
    place = f" of {part.place}" if part.place else ""
    told = f"{images_of(part.num_images)}{place}, {boxes}{each}"
    if not part.sizes:
        return told
    smallest, median, largest = (f"{width} x {height}" for width, height in part.sizes)
    if smallest == largest:
        return f"{told}, {smallest} pixels"
    return f"{told}, {smallest} to {largest} pixels, median {median}"
