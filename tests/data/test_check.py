import pytest
from photographs import picture
from scenes import write_scenes

from rexnet import UserError
from rexnet.data.check import run


def test_a_folder_with_annotations_is_told_from_class_folders(tmp_path):
    write_scenes(tmp_path)
    told = []
    found = run(str(tmp_path / "scenes"), told.append)
    assert [part.title for part in found.parts] == ["train", "val"]
    assert all(part.num_boxes for part in found.parts)
    assert told[-1].share == 1


def test_annotations_of_no_part_are_one_part(tmp_path):
    write_scenes(tmp_path)
    (tmp_path / "scenes" / "train" / "instances.json").rename(
        tmp_path / "scenes" / "train" / "annotations.json"
    )
    found = run(str(tmp_path / "scenes" / "train"), lambda progress: None)
    assert [part.title for part in found.parts] == ["all"]
    assert found.parts[0].num_images == 16
    assert found.wrong[-1] == "there is one part, all; a training needs two, train and val"


def test_boxes_in_another_format_are_told_beside_the_lack_of_classes(tmp_path):
    (tmp_path / "train").mkdir()
    picture(0).save(tmp_path / "train" / "a.png")
    with pytest.raises(UserError, match="not classes; it needs train and one of val"):
        run(str(tmp_path), lambda progress: None)
    (tmp_path / "train" / "a.xml").write_text("<annotation/>")
    with pytest.raises(UserError, match=r"not classes.*; if these .* \.xml, maybe Pascal VOC"):
        run(str(tmp_path), lambda progress: None)
