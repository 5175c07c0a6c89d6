from pathlib import Path

import numpy as np
import pytest

from rexnet import UserError
from rexnet.data.coco.plausible import Written, check

SIDES = (320.0, 240.0)


def boxes_of(count=60, seed=0, sides=SIDES):
    """Return boxes that are spread over their images as those of photographs are."""
    random = np.random.default_rng(seed)
    size = np.exp(random.uniform(np.log(0.03), np.log(0.9), (count, 2)))
    low = random.uniform(0, 1 - size)
    return np.concatenate([low, size], 1) * np.tile(sides, 2)


def told(boxes, areas=None, sides=SIDES, per_image=5, labels=None):
    count = len(boxes)
    written = Written(
        boxes=np.asarray(boxes, np.float64),
        sides=np.tile(np.array(sides, np.float64), (count, 1)),
        areas=np.full(count, np.nan) if areas is None else areas,
        places=(np.arange(count) // per_image).astype(np.float64),
        labels=np.zeros(count) if labels is None else labels,
    )
    return check(written, Path("boxes.json"))


def corners(boxes):
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def centred(boxes):
    return np.concatenate([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]], 1)


@pytest.mark.parametrize("seed", range(20))
def test_boxes_in_pixels_raise_no_doubt(seed):
    for count in (1, 3, 12, 60, 1000):
        assert told(boxes_of(count, seed)) == ()
    assert told(np.zeros((0, 4))) == ()
    # Edges that are rounded, or drawn a little over the image, are none either.
    loose = boxes_of(200, seed) + np.array([-4, -4, 8, 8])
    assert told(loose) == ()


READINGS = {
    "shares": (boxes_of() / np.tile(SIDES, 2), "boxes seem to be shares of their images"),
    "shares of corners": (corners(boxes_of() / np.tile(SIDES, 2)), "shares of their images"),
    "corners": (corners(boxes_of()), r"seem to be corners \(x1, y1, x2, y2\).*write x2 - x1"),
    "centres": (centred(boxes_of()), r"with their centres \(YOLO\).*take half of width"),
    "larger": (boxes_of() * 2.4, "in pixels of larger images than width and height"),
}


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("odd", [0, 2])
def test_boxes_that_are_something_else_are_refused(reading, odd):
    boxes, wanted = READINGS[reading]
    boxes = np.concatenate([boxes, boxes_of(odd, 1)])
    with pytest.raises(UserError, match=rf"^boxes\.json: .*{wanted}"):
        told(boxes)


def test_areas_tell_corners_in_the_midst_of_images():
    boxes = boxes_of(40) * 0.4 + np.array([40, 30, 0, 0])
    areas = boxes[:, 2] * boxes[:, 3]
    assert told(boxes, areas, per_image=40) == ()
    with pytest.raises(UserError, match=r"seem to be corners .* their areas say so"):
        told(corners(boxes), areas, per_image=40)


def test_swapped_sides_are_refused():
    boxes = boxes_of(sides=SIDES)
    with pytest.raises(UserError, match="width and height of the images seem to be swapped"):
        told(boxes, sides=SIDES[::-1])


def test_of_few_boxes_doubts_are_told_alone():
    (remark,) = told(corners(boxes_of(8)))
    assert remark.startswith("boxes seem to be corners")
    assert remark.endswith("(too few boxes to be sure)")
    assert told([[0, 0, 1, 1]]) == ("1 of 1 boxes are at most a pixel wide or high",)


def test_boxes_of_smaller_or_partly_of_larger_images_are_told():
    (remark,) = told(boxes_of() / 2.4)
    assert "boxes may be in pixels of smaller images" in remark
    mixed = np.concatenate([boxes_of(200), boxes_of(40, 1) * 1.8])
    (remark,) = told(mixed)
    assert "reach beyond their images by more than a tenth of a side, and are cut" in remark


def test_boxes_that_stand_twice_and_thin_ones_are_counted():
    boxes = boxes_of(50)
    boxes[:4, 2] = 1
    twice = np.concatenate([boxes, boxes[:3]])
    assert told(twice, per_image=1000) == (
        "3 of 53 boxes stand there twice, and count twice",
        "7 of 53 boxes are at most a pixel wide or high",
    )
    assert told(twice, per_image=1000, labels=np.arange(53) >= 50)[0].startswith("7 of 53")
    boxes[2:4, 2] = 5
    assert told(boxes) == ()


def test_shares_among_pixels_and_areas_of_nothing_are_told():
    mixed = np.concatenate([boxes_of(50), boxes_of(5, 1) / np.tile(SIDES, 2)])
    (remark,) = told(mixed)
    assert remark.endswith("; 5 of them seem to be shares of their images")
    areas = np.array([0, -1, *[5.0] * 48])
    assert told(boxes_of(50), areas) == ("the area of 2 of 50 boxes is written as 0 or less",)
    assert told(np.zeros((30, 4)), labels=np.arange(30.0)) == ()


def test_percent_is_told_from_smaller_images():
    boxes = boxes_of(200) / np.tile(SIDES, 2) * 100
    boxes[0] = [50, 50, 50, 50]
    (remark,) = told(boxes)
    assert remark.endswith(", or in percent of them")
