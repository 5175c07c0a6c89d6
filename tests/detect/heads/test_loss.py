import pytest
import torch
from raw_outputs import PLACES, encoded, random_raw, targets
from torchvision.models.detection import _utils
from torchvision.models.detection.ssd import SSD

from rexnet.detect.heads.boxes import Raw
from rexnet.detect.heads.loss import loss, matched

pytestmark = pytest.mark.numeric


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
