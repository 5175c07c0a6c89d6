"""From what an exported detector gives to boxes; needs numpy alone.

A copy of this file stands beside every exported detector: ``decode`` is all that is left to do.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

CODE_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Factors of offsets and log sizes in SSD's coding of boxes."""

MAX_GROWTH = float(np.log(1000 / 16))
"""The largest log of a box's size by its anchor's."""

CANDIDATES = 1000
"""Boxes of an image, the highest scores first, that non-maximum suppression is given."""


def decode(
    logits: Floats,
    offsets: Floats,
    anchors: Floats,
    loss: str,
    score: float = 0.05,
    iou: float = 0.5,
    num_boxes: int = 100,
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return what was found on one image, the highest score first.

    Args:
        logits: Shape (anchors, 1 + classes); the first is the background's.
        offsets: Shape (anchors, 4): boxes in SSD's coding, relative to the anchors.
        anchors: Shape (anchors, 4): x1, y1, x2, y2, in 0 to 1; those of ``anchors.npy``.
        loss: What the detector was trained with, ``multibox`` or ``focal``, as its file says.
        score: The lowest score to be kept.
        iou: Overlap from which the lower of two boxes of a class is dropped.
        num_boxes: Most boxes.

    Returns:
        Boxes (boxes, 4): x1, y1, x2, y2, in 0 to 1 of the image; scores (boxes,); and labels
        (boxes,), from 0.

    Raises:
        ValueError: The shapes do not fit together, or the loss is unknown.
    """
    if not logits.shape[:1] == offsets.shape[:1] == anchors.shape[:1]:
        shapes = f"{logits.shape}, {offsets.shape} and {anchors.shape}"
        raise ValueError(f"logits, offsets and anchors are {shapes}: give those of one image")
    scores = _scores(logits, loss)[:, 1:]
    places, labels = np.nonzero(scores > score)
    values = scores[places, labels]
    order = np.argsort(-values, kind="stable")[:CANDIDATES]
    places, labels, values = places[order], labels[order], values[order]
    boxes = _boxes(offsets[places], anchors[places])
    kept = _not_overlapped(boxes, labels, iou)[:num_boxes]
    return boxes[kept], values[kept], labels[kept]


def _scores(logits: Floats, loss: str) -> Floats:
    if loss == "focal":
        # Of the exponent of a negative number alone, which does not overflow.
        small = np.exp(-np.abs(logits))
        return np.where(logits >= 0, 1, small) / (1 + small)
    if loss != "multibox":
        raise ValueError(f"loss {loss!r} is neither multibox nor focal")
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def _boxes(offsets: Floats, anchors: Floats) -> Floats:
    """Return the boxes (boxes, 4) that offsets to their anchors mean, cut at the edges."""
    low, high = anchors[:, :2], anchors[:, 2:]
    moves, growths = np.split(offsets / np.asarray(CODE_WEIGHTS, offsets.dtype), 2, axis=1)
    sizes = high - low
    centres = low + sizes / 2 + moves * sizes
    halves = np.exp(np.minimum(growths, MAX_GROWTH)) * sizes / 2
    return np.concatenate([centres - halves, centres + halves], 1).clip(0, 1)


def _not_overlapped(boxes: Floats, labels: NDArray[np.int64], iou: float) -> list[int]:
    """Return the places of the boxes that no kept one before them of their class overlaps."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    waits = np.ones(len(boxes), bool)
    kept = []
    for place in range(len(boxes)):
        if not waits[place]:
            continue
        kept.append(place)
        low = np.maximum(boxes[place, :2], boxes[:, :2])
        high = np.minimum(boxes[place, 2:], boxes[:, 2:])
        common = (high - low).clip(0).prod(1)
        # Multiplied out, as boxes without area have no quotient.
        overlaps = common > iou * (areas[place] + areas - common)
        waits &= ~(overlaps & (labels == labels[place]))
    return kept
