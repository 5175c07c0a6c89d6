import json

import crops
import pytest
from PIL import Image

from rexnet.data.coco.images import read_coco
from rexnet.data.coco.layouts import find_part
from rexnet.data.sources import open_images
from rexnet.errors import UserError


def coco_folder(folder, counts):
    """Write a folder whose files have half the pixels that their annotations say."""
    for part, of_class in counts.items():
        (folder / part / "images").mkdir(parents=True)
        images, boxes = [], []
        for label, count in enumerate(of_class):
            for _ in range(count):
                number = len(images) + 1
                size = {"width": 400, "height": 400}
                images.append({"id": number, "file_name": f"{number}.jpg"} | size)
                Image.new("RGB", (200, 200), (60 * label, number % 256, 0)).save(
                    folder / part / "images" / f"{number}.jpg"
                )
                # One that counts, one that is 2 pixels too small in the file, and a crowd.
                for box, crowd in (
                    ([100, 40, 100, 200], 0),
                    ([0, 0, 92, 300], 0),
                    ([0, 0, 400, 400], 1),
                ):
                    entry = {"id": len(boxes), "image_id": number, "category_id": label + 1}
                    area = box[2] * box[3]
                    boxes.append(entry | {"bbox": box, "iscrowd": crowd, "area": area})
        names = [{"id": i + 1, "name": f"thing {i}"} for i in range(len(of_class))]
        document = {"images": images, "annotations": boxes, "categories": names}
        (folder / part / "instances.json").write_text(json.dumps(document))


def files_in(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.jpg")}


def test_crops_are_class_folders_of_the_classes_with_enough(tmp_path):
    coco_folder(tmp_path / "coco", {"train": [20, 95, 19, 20], "val": [2, 1, 3, 0]})
    counts = crops.make(tmp_path / "coco", tmp_path / "out")
    assert counts == {"thing 0": [20, 2], "thing 1": [90, 1]}
    train, val = open_images(str(tmp_path / "out"))
    assert (len(train), len(val)) == (110, 3)
    assert train.classes == ("thing 0", "thing 1")
    # 50 x 100 pixels of the file with 8 % on each side: 46..104 and 12..128.
    assert {train.read(index).size for index in range(len(train))} == {(58, 116)}
    again = crops.make(tmp_path / "coco", tmp_path / "again")
    assert again == counts
    assert files_in(tmp_path / "out") == files_in(tmp_path / "again")


def test_classes_can_be_chosen_and_keep_their_crops(tmp_path):
    coco_folder(tmp_path / "coco", {"train": [95, 21, 22], "val": [1, 1, 1]})
    crops.make(tmp_path / "coco", tmp_path / "all")
    crops.make(tmp_path / "coco", tmp_path / "two", ["thing 2", "thing 0"])
    names = {
        out: {path.name for path in (tmp_path / out / "train" / "thing 0").iterdir()}
        for out in ("all", "two")
    }
    assert names["all"] == names["two"]
    assert len(names["two"]) == 90
    assert not (tmp_path / "two" / "train" / "thing 1").exists()


def test_too_few_crops_and_a_full_folder_are_told(tmp_path):
    coco_folder(tmp_path / "coco", {"train": [20, 20, 3], "val": [1, 1, 1]})
    for classes, words in (
        (["thing 0", "thing 2"], "'thing 2' has 3 to train on and 1 to validate on; 20 and 1"),
        (["thing 0"], "1 classes"),
        (["dragon"], "'dragon' has 0"),
    ):
        with pytest.raises(UserError, match=words):
            crops.make(tmp_path / "coco", tmp_path / "out", classes)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        crops.make(tmp_path / "coco", tmp_path / "out")


def test_margins_end_at_the_edges_of_the_image(tmp_path):
    coco_folder(tmp_path / "coco", {"train": [1], "val": [1]})
    path = tmp_path / "coco" / "train" / "instances.json"
    document = json.loads(path.read_text())
    document["annotations"][0]["bbox"] = [0, 200, 400, 200]
    path.write_text(json.dumps(document))
    found = crops.crops_of(read_coco(*find_part(tmp_path / "coco", "train")))
    assert found == {"thing 0": [(0, (0.0, 0.46, 1.0, 1.0))]}
