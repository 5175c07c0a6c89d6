"""Whether boxes can be what they are read as, in pixels: x, y, width, height."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rexnet.errors import UserError

NEARLY_ALL = 0.95
"""The share of the boxes that another reading must make sense of."""

FEW = 10
"""Boxes below which a doubt is told and no reason to refuse."""

BEYOND = 0.05
"""By what part of the image's side a box reaches beyond it that is no matter of rounding."""

BEYOND_OFTEN = 0.1
"""The share of such boxes from which another reading is looked for: in COCO it is 0."""

FAR_BEYOND = 0.1
"""By what part of the image's side a box reaches beyond it that is of another size of image."""

SMALLEST = 8
"""Pixels of the shorter side from which a box of at most one pixel is a part of the image."""

PIXEL = 1.0
"""Pixels by which rounding may move an edge."""

WITHIN = 0.6
"""The part of the images beyond which some box of many reaches: in COCO it is 1."""

MANY = 20
"""Boxes, in a quarter as many images, of which one should reach so far."""

THIN_FEW = 2
"""Such boxes that are no reason to tell of them, however few there are in all."""

THIN_OFTEN = 0.01
"""The share of boxes of a pixel's width or height that is told: in COCO it is 0.001."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """Boxes as they are written.

    Attributes:
        boxes: Shape (boxes, 4): what is read as x, y, width, height.
        sides: Shape (boxes, 2): width and height of the image of each.
        areas: Shape (boxes,): of the object, NaN where none is written.
        places: Shape (boxes,): the place of its image.
        labels: Shape (boxes,): of its category.
    """

    boxes: NDArray[np.float64]
    sides: NDArray[np.float64]
    areas: NDArray[np.float64]
    places: NDArray[np.float64]
    labels: NDArray[np.float64]


def check(written: Written, path: Path) -> tuple[str, ...]:
    """Check what nearly all boxes do, and return doubts in words.

    Args:
        written: The boxes.
        path: The annotations, for messages.

    Raises:
        UserError: The boxes are beyond doubt something else, which is told.
    """
    count = len(written.boxes)
    if not count:
        return ()
    _refuse_shares(written, path)
    other = _other_reading(written)
    if other and count >= FEW:
        raise UserError(f"{path}: {other}")
    remarks = [f"{other} (too few boxes to be sure)"] if other else []
    remarks += _of_another_size(written, path) if not other else []
    alike = np.column_stack([written.places, written.labels, written.boxes])
    twice = count - len(np.unique(alike, axis=0))
    if twice:
        remarks.append(f"{twice} of {count} boxes stand there twice, and count twice")
    low = written.boxes[:, 2:].min(axis=1)
    thin = int(((low > 0) & (low <= PIXEL)).sum())
    if thin > THIN_OFTEN * count and (thin > THIN_FEW or thin == count):
        shares = int((_as_shares(written.boxes) & (low > 0)).sum())
        more = f"; {shares} of them seem to be shares of their images" if shares > THIN_FEW else ""
        remarks.append(f"{thin} of {count} boxes are at most a pixel wide or high{more}")
    flat = int((written.areas <= 0).sum())
    if flat:
        remarks.append(f"the area of {flat} of {count} boxes is written as 0 or less")
    return tuple(remarks)


def _as_shares(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return of which boxes all numbers are from 0 to 1, but for rounding."""
    low: NDArray[np.float64] = boxes.min(axis=1)
    return (low >= -0.001) & (boxes.max(axis=1) <= 1.001)


def _refuse_shares(written: Written, path: Path) -> None:
    """Refuse boxes in shares of the image.

    Raises:
        UserError: Nearly all numbers are from 0 to 1, in images of many pixels.
    """
    boxes = written.boxes
    small = _as_shares(boxes)
    large = written.sides.min(axis=1) >= SMALLEST
    fractions = bool((boxes[small] % 1 != 0).any())
    enough = fractions or (len(boxes) >= FEW and boxes.any())
    if min(small.mean(), large.mean()) >= NEARLY_ALL and enough:
        raise UserError(
            f"{path}: boxes seem to be shares of their images, not pixels: all four numbers of "
            f"{small.sum()} of {len(boxes)} are from 0 to 1; multiply x and width by the image's "
            "width, y and height by its height"
        )


def _other_reading(written: Written) -> str:
    """Return what the boxes seem to be instead of x, y, width, height; empty if just that."""
    first, second = written.boxes[:, :2], written.boxes[:, 2:]
    beyond = _reach(written) > 1 + BEYOND
    often = beyond.mean() >= BEYOND_OFTEN
    told = f"{beyond.sum()} of {len(beyond)} would reach beyond their images"
    corners = _within(first, second, written.sides)
    corners &= (second > first).all(axis=1)
    if corners.mean() >= NEARLY_ALL and (often or _areas_of_corners(written)):
        told = told if often else "their areas say so"
        return (
            f"boxes seem to be corners (x1, y1, x2, y2), not x, y, width, height: {told}; write "
            "x2 - x1 and y2 - y1 in place of x2 and y2"
        )
    centred = _within(first - second / 2, first + second / 2, written.sides)
    if centred.mean() >= NEARLY_ALL and often:
        return (
            f"boxes seem to be written with their centres (YOLO), not x, y, width, height: {told}; "
            "take half of width and height from x and y"
        )
    turned = _within(first, first + second, written.sides[:, ::-1])
    if turned.mean() >= NEARLY_ALL and beyond.mean() > 1 - NEARLY_ALL:
        return (
            f"width and height of the images seem to be swapped: {told}, and lie in them otherwise"
        )
    return ""


def _reach(written: Written) -> NDArray[np.float64]:
    """Return how far boxes reach to the right or down, in sides of their images."""
    ends = (written.boxes[:, :2] + written.boxes[:, 2:]) / written.sides
    reach: NDArray[np.float64] = ends.max(axis=1)
    return reach


def _percent(written: Written) -> str:
    """Return in words whether the boxes together fill 100 x 100, as percent do."""
    ends = (written.boxes[:, :2] + written.boxes[:, 2:]).max(axis=0)
    fills = (abs(ends - 100) <= 5).all() and ends.max() <= 100 + PIXEL
    return ", or in percent of them" if fills else ""


def _within(
    low: NDArray[np.float64], high: NDArray[np.float64], sides: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return which boxes lie in their images, but for rounding."""
    out: NDArray[np.float64] = np.maximum(-low, high - sides).max(axis=1)
    return out <= PIXEL


def _areas_of_corners(written: Written) -> bool:
    """Return whether areas are those of boxes that are read as corners, and of no others."""
    known = ~np.isnan(written.areas)
    if known.sum() < FEW:
        return False
    areas, (x, y, right, low) = written.areas[known], written.boxes[known].T
    if not (areas > 0).all():
        return False
    fits = np.isclose(areas, (right - x) * (low - y), rtol=0.02)
    others = np.isclose(areas, right * low, rtol=0.02)
    return bool(fits.mean() >= NEARLY_ALL and others.mean() <= 1 - NEARLY_ALL)


def _of_another_size(written: Written, path: Path) -> list[str]:
    """Return in words whether boxes seem to be in pixels of images of another size.

    Raises:
        UserError: Most of them reach far beyond their images.
    """
    count, reach = len(written.boxes), _reach(written)
    far = int((reach > 1 + FAR_BEYOND).sum())
    told = f"{far} of {count} boxes reach beyond their images by more than a tenth of a side"
    if count >= FEW and far > count / 2:
        raise UserError(
            f"{path}: {told}; they seem to be in pixels of larger images than width and height of "
            "their entries say: write the size that the boxes were drawn in"
        )
    remarks = []
    if far > (1 - NEARLY_ALL) * count:
        remarks.append(f"{told}, and are cut")
    if count >= MANY and 4 * len(np.unique(written.places)) >= MANY and 0 < reach.max() < WITHIN:
        remarks.append(
            f"no box reaches beyond {100 * reach.max():.0f} % of its image; boxes may be in pixels "
            f"of smaller images than width and height of their entries say{_percent(written)}"
        )
    return remarks
