import io
import json
import zipfile

import coco_mini
from PIL import Image

from rexnet.data.coco.images import read_coco
from rexnet.data.coco.layouts import find_part


def archive(path):
    image = {"id": 9, "file_name": "9.jpg", "width": 32, "height": 24}
    document = {
        "images": [image | {"orig_width": 640, "orig_height": 480}],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 5, "bbox": [1, 2, 10, 8], "area": 60}
        ],
        "categories": [{"id": 5, "name": "cat"}],
    }
    picture = io.BytesIO()
    Image.new("RGB", (32, 24), "red").save(picture, "JPEG")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images/9.jpg", picture.getvalue())
        file.writestr("instances.json", json.dumps(document))


def test_boxes_are_those_of_the_original_images(tmp_path):
    archive(tmp_path / "mini.zip")
    coco_mini.unpack(tmp_path / "mini.zip", tmp_path / "mini" / "val")
    images = read_coco(*find_part(tmp_path / "mini", "val"))
    assert images.sizes.tolist() == [[640, 480]]
    assert images.of(0).boxes.tolist() == [[20, 40, 220, 200]]
    assert images.of(0).areas.tolist() == [60 * 400]
    assert images.read(0).size == (32, 24)
