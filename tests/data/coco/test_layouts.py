import pytest

from rexnet import UserError
from rexnet.data.coco.layouts import find_part

LAYOUTS = {
    "COCO": ("annotations/instances_val2017.json", "val2017"),
    "COCO without a year": ("annotations/instances_val.json", "val"),
    "instances": ("val/instances.json", "val/images"),
    "Roboflow": ("val/_annotations.coco.json", "val"),
    "Roboflow's own names": ("valid/_annotations.coco.json", "valid"),
    "YOLO's folders": ("annotations/instances_val.json", "images/val"),
    "COCO in images": ("annotations/instances_val2017.json", "images/val2017"),
    "CVAT's names": ("annotations/instances_Validation.json", "images/Validation"),
    "short names": ("annotations/val.json", "images/val"),
    "one folder of images": ("annotations/val.json", "images"),
    "beside the folders": ("val.json", "val"),
    "test": ("Test.json", "test"),
    "a folder of CVAT each": ("val/annotations/instances_default.json", "val/images/default"),
    "Label Studio": ("valid/result.json", "valid/images"),
    "FiftyOne": ("validation/labels.json", "validation/data"),
}


def lay(folder, annotations, *images):
    path = folder / annotations
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}", encoding="utf-8")
    for place in images:
        (folder / place).mkdir(parents=True, exist_ok=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_as_tools_lay_them_out(layout, tmp_path):
    annotations, images = LAYOUTS[layout]
    lay(tmp_path, annotations, images)
    found = tmp_path / annotations, tmp_path / images
    assert find_part(tmp_path, "val") == found
    assert find_part(str(tmp_path), "val", or_whole=True) == found
    with pytest.raises(
        UserError, match=r"^\S+ holds none of annotations/instances_train2017\.json"
    ):
        find_part(tmp_path, "train")


def test_the_images_of_a_part_come_before_those_of_all(tmp_path):
    lay(tmp_path, "annotations/train.json", "images/train", "images/val")
    lay(tmp_path, "annotations/val.json")
    for part in ("train", "val"):
        assert find_part(tmp_path, part)[1] == tmp_path / "images" / part


def test_a_validation_part_comes_before_a_test_part(tmp_path):
    for name in ("test", "valid", "train"):
        lay(tmp_path, f"{name}/_annotations.coco.json", name)
    assert find_part(tmp_path, "val")[1] == tmp_path / "valid"
    assert find_part(tmp_path, "train")[1] == tmp_path / "train"


def test_what_is_not_clear_is_refused_with_the_options(tmp_path):
    lay(tmp_path / "a", "annotations/train.json", "images/train", "train")
    with pytest.raises(UserError, match=r"may be in images/train or train; name the files with --"):
        find_part(tmp_path / "a", "train")
    lay(tmp_path / "b", "annotations/train.json", "train")
    lay(tmp_path / "b", "train.json")
    with pytest.raises(UserError, match=r"has annotations/train\.json and train\.json for train"):
        find_part(tmp_path / "b", "train")
    lay(tmp_path / "c", "Train.json", "train")
    lay(tmp_path / "c", "TRAIN.json")
    with pytest.raises(UserError, match=r"c has TRAIN\.json and Train\.json; name"):
        find_part(tmp_path / "c", "train")


WHOLE = {
    "CVAT": ("annotations/instances_default.json", "images/default"),
    "Label Studio": ("result.json", "images"),
    "FiftyOne": ("labels.json", "data"),
    "Roboflow": ("_annotations.coco.json", "."),
}


@pytest.mark.parametrize("tool", WHOLE)
def test_images_of_no_part_are_validated_on_and_not_trained_on(tool, tmp_path):
    annotations, images = WHOLE[tool]
    lay(tmp_path, annotations, images)
    assert find_part(tmp_path, "val", or_whole=True) == (tmp_path / annotations, tmp_path / images)
    for part in ("train", "val"):
        with pytest.raises(UserError, match=r"not said to be of train or val; split .*--val-anno"):
            find_part(tmp_path, part)


def test_a_folder_of_something_else_is_told(tmp_path):
    with pytest.raises(UserError, match=r"holds none of annotations/instances_val2017\.json"):
        find_part(tmp_path, "val")
    with pytest.raises(UserError, match="nowhere is no folder"):
        find_part("nowhere", "val")
    lay(tmp_path, "annotations/instances_val.json")
    with pytest.raises(UserError, match=r"images of .*instances_val\.json are not in .*val; name"):
        find_part(tmp_path, "val")


def test_a_folder_of_another_format_is_told(tmp_path):
    lay(tmp_path, "Annotations/1.xml", "JPEGImages")
    with pytest.raises(
        UserError, match=r"but 1 files of \.xml, maybe Pascal VOC .*; convert it to"
    ):
        find_part(tmp_path, "val")
