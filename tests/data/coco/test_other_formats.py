import pytest

from rexnet.data.coco.other_formats import format_of, format_of_folder

DOCUMENTS = {
    "LabelMe": {"version": "5", "shapes": [], "imagePath": "a.jpg"},
    "VIA": {"_via_img_metadata": {}, "_via_settings": {}},
    "Annotator": {"a.jpg12": {"filename": "a.jpg", "regions": [], "size": 12}},
    "GeoJSON": {"type": "FeatureCollection", "features": []},
    "FiftyOne": {"samples": []},
    "OpenLABEL": {"openlabel": {}},
    "CreateML": [{"image": "a.jpg", "annotations": []}],
    "Label Studio": [{"id": 1, "data": {"image": "a.jpg"}, "annotations": []}],
    "Labelbox": [{"data_row": {}}],
    "Scalabel": [{"name": "a.jpg", "labels": []}],
    "detections": [{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 1}],
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_other_formats_are_known(name):
    assert name in format_of(DOCUMENTS[name])


def test_what_is_unknown_has_no_name():
    for document in ({}, [], [1], 3, None, {"images": [], "annotations": [], "categories": []}):
        assert format_of(document) == ""


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("data.yaml", "is in the format of YOLO (data.yaml)"),
        ("labels/a.txt", "1 files of .txt, maybe YOLO"),
        ("Annotations/a.xml", "1 files of .xml, maybe Pascal VOC"),
        ("train.tfrecord", "maybe TFRecord"),
    ],
)
def test_folders_of_other_formats_are_known(name, wanted, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("", encoding="utf-8")
    assert wanted in format_of_folder(tmp_path)


def test_folders_without_annotations_have_no_format(tmp_path):
    for name in ("README.txt", "a.png", "train.json"):
        (tmp_path / name).write_text("", encoding="utf-8")
    assert format_of_folder(tmp_path) == ""
