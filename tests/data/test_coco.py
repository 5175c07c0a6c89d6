import json

import numpy as np
import pytest
from PIL import Image

from rexnet import UserError
from rexnet.data.coco import aligned, find_part, read_coco

SIZE = (40, 20)
"""Width and height of every image."""


def box(number=1, **changes):
    entry = {"id": number, "image_id": 5, "category_id": 9, "bbox": [2, 3, 10, 8]}
    return entry | {"area": 60, "iscrowd": 0} | changes


def document(*annotations, **changes):
    images = [
        {"id": 5, "file_name": "a.png", "width": 40, "height": 20},
        {"id": 2, "file_name": "b.png", "width": 40, "height": 20},
    ]
    categories = [{"id": 9, "name": "cat"}, {"id": 4, "name": "dog"}]
    whole = {"images": images, "annotations": list(annotations), "categories": categories}
    return whole | changes


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", SIZE, "red").save(f"images/{name}.png")


def read(content, **options):
    with open("boxes.json", "w", encoding="utf-8") as file:
        file.write(content if isinstance(content, str) else json.dumps(content))
    return read_coco("boxes.json", "images", **options)


def test_boxes_are_sorted_by_image_and_labels_by_category_id():
    images = read(document(box(1, image_id=2), box(2, category_id=4), box(3)))
    assert images.classes == ("dog", "cat")
    assert images.category_ids == (4, 9)
    assert images.image_ids.tolist() == [5, 2]
    assert images.of(0).labels.tolist() == [0, 1]
    assert images.of(1).boxes.tolist() == [[2, 3, 12, 11]]
    assert images.of(0).areas.tolist() == [60, 60]
    assert len(images) == 2


def test_an_image_without_boxes_and_a_crowd():
    images = read(document(box(1, iscrowd=1)))
    assert images.of(0).crowd.tolist() == [True]
    assert images.of(1).boxes.shape == (0, 4)
    assert (images.num_clipped, images.num_degenerate) == (0, 0)


def test_boxes_over_the_edges_are_cut_and_counted():
    images = read(document(box(1, bbox=[-5, 3, 10, 30]), box(2, bbox=[0, 0, 40.3, 20])))
    assert images.truth.boxes.tolist() == [[0, 3, 5, 20], [0, 0, 40, 20]]
    assert images.num_clipped == 1


def test_boxes_without_area_are_named_or_left_out():
    flawed = document(box(7, bbox=[2, 3, 0, 8]), box(8, bbox=[50, 3, 10, 8]), box(9))
    with pytest.raises(UserError, match=r"annotation 7 of a\.png .*annotation 8 of a\.png") as told:
        read(flawed)
    assert "--skip-corrupt" in str(told.value)
    images = read(flawed, skip_degenerate=True)
    assert images.num_degenerate == 2
    assert len(images.truth.labels) == 1


FLAWS = {
    "no JSON": ("{", "is no JSON"),
    "no object": ("[]", "it holds no object"),
    "no annotations": ({"images": [], "categories": []}, "no list 'annotations'"),
    "no images": (document(images=[]), "has no images"),
    "no categories": (document(categories=[]), "has no categories"),
    "category without name": (
        document(categories=[{"id": 1}]),
        "category 1 needs an id and a name",
    ),
    "category twice": (
        document(categories=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]),
        "two categories have the id 1",
    ),
    "name twice": (
        document(categories=[{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]),
        "two categories have the name 'a'",
    ),
    "image without size": (
        document(images=[{"id": 1, "file_name": "a.png"}]),
        "image 1 needs an id, file_name, width and height",
    ),
    "image with a huge id": (
        document(images=[{"id": 10**30, "file_name": "a.png", "width": 40, "height": 20}]),
        "needs an id, file_name, width and height",
    ),
    "image twice": (
        document(images=[{"id": 1, "file_name": "a.png", "width": 40, "height": 20}] * 2),
        "two images have the id 1",
    ),
    "missing file": (
        document(images=[{"id": 1, "file_name": "c.png", "width": 40, "height": 20}]),
        "1 of 1 images of boxes.json are not in images: c.png",
    ),
    "unknown image": (document(box(image_id=1)), "is of an image that is not listed: 1"),
    "image id as text": (document(box(image_id="5")), "needs an image_id and a category_id"),
    "image id as list": (document(box(image_id=[5])), "needs an image_id and a category_id"),
    "unknown category": (document(box(category_id=1)), "a category that is not listed: 1"),
    "no box": (document({"id": 3, "image_id": 5, "category_id": 9}), "annotation 3 needs a bbox"),
    "three numbers": (document(box(bbox=[1, 2, 3])), "needs a bbox of four numbers"),
    "no number": (document(box(bbox=[1, 2, 3, "4"])), "needs a bbox of four numbers"),
    "not a number": (document(box(bbox=[1, 2, 3, float("nan")])), "needs a bbox of four numbers"),
    "infinite": (document(box(bbox=[1, 2, 3, float("inf")])), "needs a bbox of four numbers"),
    "odd crowd": (document(box(iscrowd=2)), "needs iscrowd to be 0 or 1"),
    "no annotation": (document(3), "annotation 3 is no object"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flaw_is_told_in_one_line(flaw):
    content, wanted = FLAWS[flaw]
    with pytest.raises(UserError) as error:
        read(content)
    assert wanted in str(error.value)
    assert "boxes.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_many_flaws_are_counted_and_the_first_named():
    with pytest.raises(UserError, match=r"annotation 4 .* and 3 more; mend or remove them"):
        read(document(*(box(number, category_id=1) for number in range(8))))


def test_a_missing_file_is_told():
    with pytest.raises(UserError, match=r"cannot read nowhere\.json: No such file"):
        read_coco("nowhere.json", "images")


def test_a_resized_copy_is_read_and_another_shape_refused():
    Image.new("RGB", (20, 10)).save("images/a.png")
    Image.new("RGB", (20, 20)).save("images/b.png")
    images = read(document())
    assert images.read(0).size == (20, 10)
    with pytest.raises(UserError, match=r"b\.png has 20 x 20 pixels, its entry .* says 40 x 20"):
        images.read(1)


def test_without_some_images_the_others_keep_their_boxes():
    images = read(document(box(1), box(2, image_id=2, category_id=4), box(3)))
    (kept,) = [images.without([0])]
    assert kept.image_ids.tolist() == [2]
    assert kept.of(0).labels.tolist() == [0]
    assert kept.fingerprint() != images.fingerprint()
    assert images.without([]).fingerprint() == images.fingerprint()


def test_the_fingerprint_depends_on_every_box():
    one, other = (read(document(box(bbox=[2, 3, 10, side]))) for side in (8, 9))
    assert one.fingerprint() != other.fingerprint()


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/instances_val.json", "val"),
        ("val/instances.json", "val/images"),
        ("val/_annotations.coco.json", "val"),
    ],
)
def test_a_folder_may_be_laid_out_in_four_ways(annotations, images, tmp_path):
    path = tmp_path / "set" / annotations
    path.parent.mkdir(parents=True)
    path.write_text("{}", encoding="utf-8")
    assert find_part(tmp_path / "set", "val") == (path, tmp_path / "set" / images)


def test_a_folder_of_something_else_is_told(tmp_path):
    with pytest.raises(UserError, match=r"holds none of annotations/instances_val2017\.json"):
        find_part(tmp_path, "val")
    with pytest.raises(UserError, match="nowhere is no folder"):
        find_part("nowhere", "val")


def test_labels_follow_the_categories_that_were_trained_on():
    images = read(document(box(1), box(2, category_id=4)))
    other = aligned(images, ("bird", "cat", "dog"), (1, 9, 4))
    assert other.truth.labels.tolist() == [1, 2]
    assert other.category_ids == (1, 9, 4)
    np.testing.assert_array_equal(images.truth.labels, [1, 0])
    for classes, wanted in ((("cow", "dog"), "it is 'cow'"), (("cat",), "there is none")):
        with pytest.raises(UserError, match=wanted):
            aligned(images, classes, (9, 4)[: len(classes)])
