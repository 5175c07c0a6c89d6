"""Anchors of SSD: boxes of fixed sizes and shapes around every pixel of every map."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

MIN_SIZES = (45, 90, 135, 180, 225, 270)
MAX_SIZES = (90, 135, 180, 225, 270, 315)
"""Sides of the anchors of each map, in pixels of an input of ``REFERENCE``."""

REFERENCE = 320

RATIOS = ((2.0,), *5 * ((2.0, 3.0),))
"""Widths by heights of the anchors of each map; their inverses too."""


def counts() -> list[int]:
    """Return how many anchors a pixel of each map has: 3 on the first, 6 on the others."""
    return [len(shapes) for shapes in _shapes()]


def anchors(sides: Sequence[int]) -> Tensor:
    """Return the anchors (anchors, 4) of square maps of the given sides.

    Boxes are x1, y1, x2, y2 in 0 to 1 and may reach over the edges. They are in the order of the
    maps, then of rows, columns and shapes.
    """
    boxes = []
    for side, shapes in zip(sides, _shapes(), strict=True):
        places = (torch.arange(side) + 0.5) / side
        centres = torch.stack(torch.meshgrid(places, places, indexing="xy"), -1).view(-1, 1, 2)
        halves = torch.tensor(shapes) / 2
        boxes.append(torch.cat([centres - halves, centres + halves], -1).view(-1, 4))
    return torch.cat(boxes)


def _shapes() -> list[list[tuple[float, float]]]:
    """Return the widths and heights of the anchors of a pixel of each map, in 0 to 1."""
    return [
        _of_map(low / REFERENCE, high / REFERENCE, ratios, is_first=number == 0)
        for number, (low, high, ratios) in enumerate(zip(MIN_SIZES, MAX_SIZES, RATIOS, strict=True))
    ]


def _of_map(
    low: float, high: float, ratios: Sequence[float], *, is_first: bool
) -> list[tuple[float, float]]:
    between = math.sqrt(low * high)
    # The first map, which has the most pixels, does without the larger square.
    squares = [(low, low)] if is_first else [(low, low), (between, between)]
    roots = (math.sqrt(ratio) for ratio in ratios)
    pairs = ([(low * root, low / root), (low / root, low * root)] for root in roots)
    return [*squares, *itertools.chain.from_iterable(pairs)]
