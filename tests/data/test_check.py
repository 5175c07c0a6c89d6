from scenes import write_scenes

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
