"""What a head learns: the box that each anchor is to find, and the loss of what it gives."""

import torch
from torch import Tensor
from torch.nn import functional as F

from rexnet.detect.heads.boxes import CODE_WEIGHTS, Raw
from rexnet.detect.recipe import Loss

MATCHING_IOU = 0.5
NEGATIVES = 3
"""Background anchors that count in the MultiBox loss, for each that is matched."""

FOCAL_WEIGHT, FOCAL_ALPHA, FOCAL_GAMMA = 5.0, 0.25, 2.0
"""Of the focal loss beside that of the offsets (facts C4)."""


def matched(anchors: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Give every anchor the box it is to find.

    Args:
        anchors: Shape (anchors, 4): x1, y1, x2, y2.
        targets: Shape (N, boxes, 5): a label from 1, or 0 where there is no box, and the box.

    Returns:
        Labels (N, anchors), int64, 0 for the background; and offsets (N, anchors, 4) to the boxes,
        in SSD's coding, where there is one.
    """
    from torchvision.models.detection._utils import BoxCoder, SSDMatcher
    from torchvision.ops import box_iou

    matcher, coder = SSDMatcher(MATCHING_IOU), BoxCoder(CODE_WEIGHTS)
    labels = torch.zeros(len(targets), len(anchors), dtype=torch.int64, device=targets.device)
    offsets = torch.zeros(*labels.shape, 4, device=targets.device)
    for number, target in enumerate(targets):
        boxes = target[target[:, 0] > 0]
        if not len(boxes):
            continue
        matches = matcher(box_iou(boxes[:, 1:], anchors))
        is_matched = matches >= 0
        chosen = boxes[matches[is_matched]]
        labels[number, is_matched] = chosen[:, 0].long()
        offsets[number, is_matched] = coder.encode_single(chosen[:, 1:], anchors[is_matched])
    return labels, offsets


def loss(raw: Raw, labels: Tensor, offsets: Tensor, kind: Loss) -> Tensor:
    """Return the loss of a batch for each matched anchor: of the classes and of the offsets.

    Args:
        raw: What the heads give.
        labels: Shape (N, anchors), from ``matched``.
        offsets: Shape (N, anchors, 4), from ``matched``.
        kind: multibox is SSD's: cross-entropy of the matched and the worst three times as many
            others; focal is the sigmoid focal loss of all.
    """
    is_matched = labels > 0
    count = is_matched.sum().clamp(min=1)
    of_offsets = F.smooth_l1_loss(
        raw.offsets[is_matched].float(), offsets[is_matched], reduction="sum"
    )
    classify = _multibox if kind == "multibox" else _focal
    return (of_offsets + classify(raw.logits.float(), labels)) / count


def _multibox(logits: Tensor, labels: Tensor) -> Tensor:
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    losses = losses.view(labels.shape)
    is_matched = labels > 0
    others = losses.detach().masked_fill(is_matched, -torch.inf)
    ranks = others.argsort(1, descending=True).argsort(1)
    is_hard = ranks < NEGATIVES * is_matched.sum(1, keepdim=True)
    return losses[is_matched | is_hard].sum()


def _focal(logits: Tensor, labels: Tensor) -> Tensor:
    from torchvision.ops import sigmoid_focal_loss

    # As in RetinaNet the background is no class of its own: its output is not used.
    wanted = F.one_hot(labels, logits.shape[2])[..., 1:].to(logits)
    options = {"alpha": FOCAL_ALPHA, "gamma": FOCAL_GAMMA, "reduction": "sum"}
    return FOCAL_WEIGHT * sigmoid_focal_loss(logits[..., 1:], wanted, **options)
