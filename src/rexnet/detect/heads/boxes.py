"""From what the heads give to boxes: SSD's coding, non-maximum suppression."""

from typing import NamedTuple

import torch
from torch import Tensor

from rexnet.detect.detector import Detections
from rexnet.detect.recipe import Loss

CODE_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Factors of offsets and log sizes in SSD's coding of boxes."""

CANDIDATES = 1000
"""Boxes of an image, the highest scores first, that non-maximum suppression is given."""

IOU, NUM_BOXES = 0.5, 100
"""The overlap of non-maximum suppression, and the most boxes of an image (C4)."""


class Raw(NamedTuple):
    """What the heads give.

    Attributes:
        logits: Shape (N, anchors, 1 + classes); the first is the background's.
        offsets: Shape (N, anchors, 4): boxes in SSD's coding, relative to the anchors.
    """

    logits: Tensor
    offsets: Tensor


def detections(
    raw: Raw,
    anchors: Tensor,
    kind: Loss,
    *,
    score: float,
    iou: float = IOU,
    num_boxes: int = NUM_BOXES,
) -> list[Detections]:
    """Return what was found on each image: scores, then non-maximum suppression for each class.

    Args:
        raw: What the heads give.
        anchors: Shape (anchors, 4): x1, y1, x2, y2.
        kind: What the heads were trained with.
        score: The lowest score to be kept.
        iou: Overlap from which the lower of two boxes of a class is dropped.
        num_boxes: Most boxes of an image.
    """
    logits = raw.logits.float()
    scores = logits.softmax(2) if kind == "multibox" else logits.sigmoid()
    return [
        _of_image(own[:, 1:], offsets.float(), anchors, score, iou, num_boxes)
        for own, offsets in zip(scores, raw.offsets, strict=True)
    ]


def _of_image(
    scores: Tensor, offsets: Tensor, anchors: Tensor, score: float, iou: float, num_boxes: int
) -> Detections:
    from torchvision.models.detection._utils import BoxCoder
    from torchvision.ops import batched_nms

    places = torch.nonzero(scores > score)
    values = scores[places[:, 0], places[:, 1]]
    if len(values) > CANDIDATES:
        values, order = values.topk(CANDIDATES)
        places = places[order]
    anchor, labels = places.unbind(1)
    boxes = BoxCoder(CODE_WEIGHTS).decode_single(offsets[anchor], anchors[anchor]).clamp(0, 1)
    kept = batched_nms(boxes, values, labels, iou)[:num_boxes]
    return Detections(boxes=boxes[kept], scores=values[kept], labels=labels[kept])
