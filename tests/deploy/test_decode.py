import inspect
import subprocess
import sys

import numpy as np
import pytest
import torch
from small_models import write_detector

from rexnet.deploy import decode as module
from rexnet.deploy.decode import decode
from rexnet.deploy.parity import batches
from rexnet.detect.heads.anchors import anchors
from rexnet.detect.heads.boxes import Raw, detections

pytestmark = pytest.mark.numeric

OPTIONS = {"score": 0.05, "iou": 0.5, "num_boxes": 20}


def assert_same(raw, places, loss, **options):
    """Compare with the function of this package, image by image."""
    wanted = detections(raw, places, loss, **options)
    count = 0
    for number, found in enumerate(wanted):
        boxes, scores, labels = decode(
            raw.logits[number].numpy(),
            raw.offsets[number].numpy(),
            places.numpy(),
            loss,
            **options,
        )
        np.testing.assert_allclose(boxes, found.boxes.numpy(), atol=1e-5)
        np.testing.assert_allclose(scores, found.scores.numpy(), rtol=1e-5)
        np.testing.assert_array_equal(labels, found.labels.numpy())
        count += len(boxes)
    return count


@pytest.mark.parametrize("loss", ["multibox", "focal"])
@pytest.mark.parametrize("seed", range(3))
def test_random_outputs_give_the_boxes_of_the_package(loss, seed):
    torch.manual_seed(seed)
    places = anchors([6, 3, 2, 1, 1, 1])
    raw = Raw(3 * torch.randn(2, len(places), 6), 3 * torch.randn(2, len(places), 4))
    assert assert_same(raw, places, loss, **OPTIONS) > 10
    assert assert_same(raw, places, loss, score=0.9, iou=0.1, num_boxes=100) > 0


def test_more_candidates_than_are_looked_at_give_the_same_boxes():
    torch.manual_seed(0)
    places = anchors([20, 10, 5, 3, 2, 1])
    raw = Raw(torch.randn(1, len(places), 4), torch.randn(1, len(places), 4))
    assert assert_same(raw, places, "focal", score=0.3, iou=0.6, num_boxes=300) == 300


def test_boxes_grow_and_reach_over_edges_to_a_limit():
    places = anchors([1, 1, 1, 1, 1, 1])
    offsets = torch.full((1, len(places), 4), 1e4)
    raw = Raw(torch.randn(1, len(places), 3), offsets)
    assert_same(raw, places, "multibox", **OPTIONS)


@pytest.mark.parametrize("loss", ["multibox", "focal"])
def test_a_detector_gives_the_boxes_of_the_package(loss, tmp_path):
    model = write_detector(tmp_path / "D", loss)
    with torch.no_grad():
        raw = model(torch.from_numpy(batches((3, 64, 64))[1]))
    assert assert_same(raw, model.anchors, loss, **OPTIONS | {"score": 0.01}) > 0


def test_nothing_found_is_no_box():
    found = decode(
        np.full((3, 2), -50, np.float32),
        np.zeros((3, 4), np.float32),
        np.ones((3, 4), np.float32),
        "focal",
    )
    assert [part.shape for part in found] == [(0, 4), (0,), (0,)]


def test_what_does_not_fit_together_is_refused():
    logits, offsets = np.zeros((3, 2), np.float32), np.zeros((3, 4), np.float32)
    with pytest.raises(ValueError, match="give those of one image"):
        decode(logits, offsets, np.zeros((4, 4), np.float32), "focal")
    with pytest.raises(ValueError, match="'sigmoid' is neither multibox nor focal"):
        decode(logits, offsets, offsets, "sigmoid")


def test_the_file_needs_numpy_alone():
    code = "import sys; sys.modules.update(rexnet=None, torch=None); exec(sys.stdin.read())"
    source = inspect.getsource(module) + "\nassert 'torchvision' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], input=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
