import pytest
import torch
from raw_outputs import PLACES, encoded, random_raw, targets
from torchvision.models.detection import _utils
from torchvision.ops import nms

from rexnet.detect.heads.boxes import detections
from rexnet.detect.heads.loss import matched

pytestmark = pytest.mark.numeric

OPTIONS = {"score": 0.05, "iou": 0.5, "num_boxes": 100}


def test_what_is_matched_comes_back_as_the_same_boxes():
    truth = targets([(1, (0.1, 0.2, 0.5, 0.7)), (3, (0.55, 0.1, 0.9, 0.4))], [])
    (first, second) = detections(encoded(matched(PLACES, truth)), PLACES, "multibox", **OPTIONS)
    order = first.labels.argsort()
    assert first.labels[order].tolist() == [0, 2]
    torch.testing.assert_close(first.boxes[order], truth[0, :, 1:], atol=1e-5, rtol=0)
    assert len(second.boxes) == 0


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
