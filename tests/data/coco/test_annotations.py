import json
import re

import pytest
from annotations_to_read import box, document, image, read

from rexnet import UserError
from rexnet.data.coco.images import read_coco

pytestmark = pytest.mark.usefixtures("two_images")


def of_categories(*entries):
    return document(categories=[{"id": i, **entry} for i, entry in enumerate(entries, 1)])


FLAWS = {
    "no JSON": ("{", "is no JSON"),
    "empty": (b" \n", "is no JSON: it is empty"),
    "XML": ("<annotation/>", "is no JSON but XML, maybe Pascal VOC's; convert it"),
    "page": ("<!DOCTYPE html>", "is no JSON but a page of the web"),
    "pointer": ("version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS; fetch"),
    "latin-1": ('{"images": "é"}'.encode("latin-1"), "its text is not in UTF-8 (byte 12)"),
    "too deep": ("[" * 10**6, "it is nested too deep"),
    "no object": ("[]", "it holds a list, no object"),
    "no annotations": ({"images": [], "categories": []}, "no list 'annotations' (it has: cat"),
    "no images": (document(images=[]), "has no images: its list is empty"),
    "no categories": (document(categories=[]), "has no categories"),
    "category of text": (document(categories=["cat"]), "category 'cat' is text; it must be an obj"),
    "category without name": (of_categories({}), "category 1 has no name (it has: id)"),
    "category with a number": (of_categories({"name": 3}), "name is 3 (a number); it must be text"),
    "category twice": (
        document(categories=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]),
        "two categories have the id 1",
    ),
    "name twice": (of_categories({"name": "a"}, {"name": "a"}), "have the name 'a'"),
    "image without size": (
        document(images=[{"id": 1, "file_name": "a.png"}]),
        "image 1 has no width (it has: id, file_name)",
    ),
    "size of null": (document(images=[image(width=None)]), "width is null; it must be a whole"),
    "size of a half": (document(images=[image(width=6.5)]), "width is 6.5 (a number); it must be"),
    "size of 0": (document(images=[image(height=0)]), "image 5 has 40 x 0 pixels"),
    "image of text": (document(images=["a.png"]), "image 'a.png' is text; it must be an object"),
    "id of words": (document(images=[image("a")]), """id is "a" (text); it must be a whole"""),
    "id of truth": (document(images=[image(True)]), "id is true (true or false); it must be"),
    "a huge id": (document(images=[image(10**30)]), "it must be below 2^63"),
    "a huge float": (document(images=[image(1e30)]), "id is 1e+30 (a number); it must be below"),
    "image twice": (document(images=[image(), image()]), "two images have the id 5"),
    "unknown image": (document(box(image_id=1)), "is of an image that is not listed: 1"),
    "image id as list": (document(box(image_id=[5])), "image_id is [5] (a list); it must be"),
    "unknown category": (document(box(category_id=1)), "a category that is not listed: 1"),
    "category of list": (document(box(category_id=[1])), "category_id is [1] (a list)"),
    "no box": (
        document({"id": 3, "image_id": 5, "category_id": 9, "segmentation": []}),
        "annotation 3 has no bbox (it has: id, image_id, category_id, segmentation); it needs",
    ),
    "three numbers": (document(box(bbox=[1, 2, 3])), "bbox is [1, 2, 3] (a list); it must be four"),
    "a box of null": (document(box(bbox=None)), "bbox is null; it must be four numbers"),
    "no number": (document(box(bbox=[1, 2, 3, "x"])), 'bbox[3] is "x" (text); it must be a finite'),
    "not a number": (document(box(bbox=[1, 2, 3, float("nan")])), "bbox[3] is NaN (a number)"),
    "infinite": (document(box(bbox=[1, 2, "-inf", 3])), 'bbox[2] is "-inf" (text)'),
    "huge": (document(box(bbox=[10**400, 2, 3, 3])), "bbox[0] is 1000"),
    "area": (document(box(area=[])), "area is [] (a list); it must be a finite number"),
    "odd crowd": (document(box(iscrowd=2)), "iscrowd is 2 (a number); it must be 0 or 1"),
    "crowd in words": (document(box(iscrowd="no")), 'iscrowd is "no" (text); it must be 0 or 1'),
    "no annotation": (document(3), "annotation 3 is no object"),
    "counted from 1": (
        document(box(category_id=5), box(category_id=10)),
        "do annotations count categories from 1, categories from 0?",
    ),
    "LabelMe": ({"shapes": [], "imagePath": "a.png"}, "it seems to be LabelMe"),
    "VIA": ({"a.png1": {"filename": "a.png", "regions": []}}, "seems to be VGG Image Annotator"),
    "CreateML": ([{"image": "a.png", "annotations": []}], "it seems to be CreateML: convert it"),
    "detections": (
        [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}],
        "a list of detections without images and categories",
    ),
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


def test_a_missing_file_and_a_folder_are_told(two_images):
    with pytest.raises(UserError, match=r"cannot read nowhere\.json: No such file"):
        read_coco("nowhere.json", "images")
    (two_images / "boxes").mkdir()
    (two_images / "boxes/a.xml").write_text("<annotation/>")
    with pytest.raises(UserError, match=r"boxes is a folder.*1 files of \.xml, maybe Pascal VOC"):
        read_coco("boxes", "images")
    (two_images / "a.txt").write_text("0 0.5 0.5 0.1 0.1")
    with pytest.raises(UserError, match=r"a\.txt is no JSON but maybe YOLO"):
        read_coco("a.txt", "images")


SPELLINGS = {
    "floats": document(box(image_id=5.0, category_id=9.0), images=[image(5.0, width=40.0)]),
    "text": document(
        box(image_id="5", category_id="9", bbox=["2", "3.0", "10", " 8"], area="60"),
        images=[image("5", width="40", height="20")],
        categories=[{"id": "4", "name": "dog"}, {"id": "9", "name": "cat"}],
    ),
    "null": document(box(area=None, iscrowd=None, bbox=[2, 3, 10, 8])),
    "no area": document({"image_id": 5, "category_id": 9, "bbox": [2, 3, 10, 8]}),
    "truth": document(box(iscrowd=False)),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_values_that_are_clear_are_read_however_they_are_spelt(spelling):
    images = read(SPELLINGS[spelling])
    assert images.sizes[0].tolist() == [40, 20]
    assert images.image_ids[0] == 5
    truth = images.of(0)
    assert (truth.boxes.tolist(), truth.labels.tolist()) == ([[2, 3, 12, 11]], [1])
    assert truth.areas.tolist() == [80 if spelling in ("null", "no area") else 60]
    assert truth.crowd.tolist() == [False]
    texts = [remark for remark in images.remarks if "as text" in remark]
    assert texts == (["12 numbers stand there as text"] if spelling == "text" else [])


def test_a_crowd_may_be_true():
    for value in (1, True, 1.0, "1"):
        assert read(document(box(iscrowd=value))).of(0).crowd.tolist() == [True]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_the_encoding_is_told_by_the_file(encoding):
    content = json.dumps(document(box(), categories=[{"id": 9, "name": "Kätzchen"}]))
    assert read(content.encode(encoding)).classes == ("Kätzchen",)


def test_an_empty_root_of_all_categories_is_left_out_and_told():
    root = {"id": 0, "name": "pets", "supercategory": "none"}
    others = [{"id": 4, "name": "pets"}, {"id": 9, "name": "cat"}]
    others = [entry | {"supercategory": "pets"} for entry in others]
    images = read(document(box(), box(2, category_id=4), categories=[root, *others]))
    assert images.classes == ("pets", "cat")
    assert any("category 0 'pets' is left out" in remark for remark in images.remarks)
    for own, categories in (
        # It has boxes; or not all name it.
        (box(category_id=0), [root, others[1]]),
        (box(), [root, others[1], {"id": 7, "name": "car", "supercategory": "thing"}]),
        (box(), [{"id": 9, "name": "cat", "supercategory": "cat"}]),
    ):
        images = read(document(own, categories=categories))
        assert len(images.classes) == len(categories)
        assert not any(re.search("left out", remark) for remark in images.remarks)


def test_a_first_category_that_alone_has_no_boxes_is_told():
    categories = [{"id": number, "name": f"{number}"} for number in range(3)]
    images = read(document(box(category_id=1), box(2, category_id=2), categories=categories))
    assert any("do they count from 1?" in doubt for doubt in images.doubts)
    images = read(document(box(category_id=0), box(2, category_id=2), categories=categories))
    assert not any("count from 1" in doubt for doubt in images.doubts)
