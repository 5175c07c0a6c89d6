import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rexnet.data.coco.images import read_coco
from rexnet.data.coco.layouts import find_part
from rexnet.detect.evaluate import METRICS, average_precision, by_image, ground_truth

pytestmark = pytest.mark.numeric


@pytest.fixture
def images(here):
    return read_coco(*find_part("scenes", "val"))


def shaken(images, seed, share=0.8, noise=4.0):
    """Return the truth as detections: some left out, moved, of another class, or made up."""
    random = np.random.default_rng(seed)
    rows = []
    for entry in ground_truth(images)["annotations"]:
        if random.random() > share:
            continue
        box = np.array(entry["bbox"]) + random.normal(0, noise, 4)
        category = images.category_ids[random.integers(3)]
        rows.append(
            {
                "image_id": entry["image_id"],
                "category_id": entry["category_id"] if random.random() < 0.8 else category,
                "bbox": [float(v) for v in (box[0], box[1], max(box[2], 1), max(box[3], 1))],
                "score": float(random.random()),
            }
        )
    return rows


def pycocotools_says(images, rows):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = ground_truth(images)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:6]


@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_pycocotools_says(images, seed):
    rows = shaken(images, seed)
    found = average_precision(images, rows)
    expected = pycocotools_says(images, rows)
    for name, value in zip(METRICS, expected, strict=True):
        if value < 0:
            assert found[name] is None
        else:
            assert found[name] == pytest.approx(value, abs=5e-5)
    assert np.mean([v for v in found["ap_by_class"] if v is not None]) == pytest.approx(found["ap"])
    for name in ("ap50", "ap75", "ap"):
        mean = np.mean([row[name] for row in found["curve"]])
        assert mean == pytest.approx(found[name])


def test_the_truth_itself_is_perfect(images):
    rows = shaken(images, 0, share=1.1, noise=0.0)
    names = {(e["image_id"], tuple(e["bbox"])): e for e in ground_truth(images)["annotations"]}
    for row in rows:
        row["category_id"] = names[row["image_id"], tuple(row["bbox"])]["category_id"]
    assert average_precision(images, rows)["ap"] == pytest.approx(1)
    high = [row | {"score": 0.9} for row in rows]
    lines = by_image(images, high)
    assert sum(line["missed"] + line["wrong"] for line in lines) == 0
    assert all(row["right"] for line in lines for row in line["found"])


def test_nothing_found_is_no_precision_and_misses_everything(images):
    found = average_precision(images, [])
    assert found["ap"] == 0
    lines = by_image(images, [])
    assert sum(line["missed"] for line in lines) == len(images.truth.labels)
    assert [line["image_id"] for line in lines] == images.image_ids.tolist()


def test_of_two_detections_of_a_box_one_is_wrong(images):
    entry = ground_truth(images)["annotations"][0]
    row = {name: entry[name] for name in ("image_id", "category_id", "bbox")}
    lines = by_image(images, [row | {"score": 0.8}, row | {"score": 0.9}, row | {"score": 0.1}])
    (line,) = [line for line in lines if line["found"]]
    assert [(f["score"], f["right"]) for f in line["found"]] == [(0.9, True), (0.8, False)]
    assert line["wrong"] == 1
