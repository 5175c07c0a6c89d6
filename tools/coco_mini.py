"""Turn the two archives of COCO mini into a folder for `rexnet detect train --data`.

An archive holds instances.json and images/. Boxes and areas there are in pixels of images that were
made smaller; here they are in those of the originals, so that small, medium and large are COCO's.
Usage:

    python tools/coco_mini.py FOLDER coco-mini-train.zip coco-mini-val.zip
"""

import json
import sys
import zipfile
from pathlib import Path
from typing import Any


def original(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document with sizes, boxes and areas of the original images."""
    scales, images = {}, []
    for image in document["images"]:
        size = image["orig_width"], image["orig_height"]
        scales[image["id"]] = size[0] / image["width"], size[1] / image["height"]
        images.append(image | {"width": size[0], "height": size[1]})
    annotations = []
    for entry in document["annotations"]:
        x, y = scales[entry["image_id"]]
        left, top, width, height = entry["bbox"]
        box = [round(value, 2) for value in (left * x, top * y, width * x, height * y)]
        annotations.append(entry | {"bbox": box, "area": round(entry["area"] * x * y, 2)})
    return document | {"images": images, "annotations": annotations}


def unpack(archive: Path, folder: Path) -> None:
    """Write the images and the annotations of an archive into a folder."""
    with zipfile.ZipFile(archive) as files:
        for name in files.namelist():
            if name.startswith("images/") and name.endswith(".jpg"):
                target = folder / "images" / Path(name).name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(files.read(name))
        document = original(json.loads(files.read("instances.json")))
    (folder / "instances.json").write_text(json.dumps(document))


def main() -> None:
    """Unpack both archives."""
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    for part, archive in zip(("train", "val"), sys.argv[2:], strict=True):
        unpack(Path(archive), Path(sys.argv[1]) / part)


if __name__ == "__main__":
    main()
