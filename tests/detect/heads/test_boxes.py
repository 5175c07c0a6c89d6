import pytest
import torch
from torch.nn import functional as F
from torchvision.models.detection import _utils
from torchvision.models.detection.ssd import SSD
from torchvision.ops import nms

from rexnet.detect.heads.anchors import anchors
from rexnet.detect.heads.boxes import Raw, detections, loss, matched

pytestmark = pytest.mark.numeric

PLACES = anchors((4, 2, 1, 1, 1, 1))
OPTIONS = {"score": 0.05, "iou": 0.5, "num_boxes": 100}


def targets(*images):
    """Pack lists of (label, box)."""
    rows = [torch.tensor([[label, *box] for label, box in image]).view(-1, 5) for image in images]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def random_raw(num_images=2, num_classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = num_images, len(PLACES)
    return Raw(
        torch.randn(*shape, num_classes + 1, generator=generator),
        torch.randn(*shape, 4, generator=generator),
    )


def encoded(found):
    """Return what heads would give that find exactly ``found``: (labels, offsets)."""
    labels, offsets = found
    return Raw(20 * F.one_hot(labels, 4).float(), offsets)


def test_what_is_matched_comes_back_as_the_same_boxes():
    truth = targets([(1, (0.1, 0.2, 0.5, 0.7)), (3, (0.55, 0.1, 0.9, 0.4))], [])
    (first, second) = detections(encoded(matched(PLACES, truth)), PLACES, "multibox", **OPTIONS)
    order = first.labels.argsort()
    assert first.labels[order].tolist() == [0, 2]
    torch.testing.assert_close(first.boxes[order], truth[0, :, 1:], atol=1e-5, rtol=0)
    assert len(second.boxes) == 0


def test_every_box_has_an_anchor_however_small():
    labels, _ = matched(PLACES, targets([(2, (0.5, 0.5, 0.505, 0.505))]))
    assert (labels == 2).sum() == 1


def test_the_loss_is_that_of_torchvisions_ssd():
    truth = targets([(1, (0.1, 0.2, 0.5, 0.7)), (2, (0.5, 0.1, 1.0, 0.4))], [(3, (0, 0, 1, 1))])
    raw = random_raw()
    ours = loss(raw, *matched(PLACES, truth), "multibox")
    head = torch.nn.Identity()
    ssd = SSD(head, head, (64, 64), 4, head=head, positive_fraction=0.25)
    matcher = _utils.SSDMatcher(0.5)
    boxes = [{"boxes": t[t[:, 0] > 0, 1:], "labels": t[t[:, 0] > 0, 0].long()} for t in truth]
    from torchvision.ops import box_iou

    places = [matcher(box_iou(image["boxes"], PLACES)) for image in boxes]
    outputs = {"cls_logits": raw.logits, "bbox_regression": raw.offsets}
    theirs = ssd.compute_loss(boxes, outputs, [PLACES, PLACES], places)
    torch.testing.assert_close(ours, theirs["bbox_regression"] + theirs["classification"])


def test_a_batch_without_boxes_has_a_loss_and_gradients():
    for kind in ("multibox", "focal"):
        raw = random_raw()
        logits = raw.logits.requires_grad_()
        value = loss(Raw(logits, raw.offsets), *matched(PLACES, targets([], [])), kind)
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(logits.grad).all()


def test_the_focal_loss_pays_little_for_what_is_known():
    truth = matched(PLACES, targets([(1, (0.1, 0.2, 0.5, 0.7))]))
    right = encoded(truth)
    known = Raw(right.logits * 2 - 20, right.offsets)
    assert loss(known, *truth, "focal") < 1e-3
    assert loss(Raw(-known.logits, right.offsets), *truth, "focal") > 10


@pytest.mark.parametrize("kind", ["multibox", "focal"])
def test_detections_are_those_of_a_loop_over_classes(kind):
    raw = random_raw(1, seed=3)
    (found,) = detections(raw, PLACES, kind, **OPTIONS)
    scores = raw.logits.softmax(2) if kind == "multibox" else raw.logits.sigmoid()
    coder = _utils.BoxCoder((10.0, 10.0, 5.0, 5.0))
    boxes = coder.decode_single(raw.offsets[0], PLACES).clamp(0, 1)
    kept = []
    for label in range(3):
        own = scores[0, :, label + 1]
        mine = torch.nonzero(own > 0.05)[:, 0]
        mine = mine[nms(boxes[mine], own[mine], 0.5)]
        kept += [(value, label) for value in own[mine].tolist()]
    expected = sorted(kept, reverse=True)[:100]
    assert found.scores.tolist() == pytest.approx([value for value, _ in expected])
    assert found.labels.tolist() == [label for _, label in expected]
    assert (found.boxes >= 0).all()
    assert (found.boxes <= 1).all()


def test_no_more_boxes_than_asked_for():
    (found,) = detections(random_raw(1), PLACES, "multibox", score=0.0, iou=1.0, num_boxes=7)
    assert len(found.boxes) == len(found.scores) == len(found.labels) == 7
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
