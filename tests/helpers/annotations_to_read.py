"""Annotations of two images in the COCO format, and what is wrong with others."""

import json

from PIL import Image

from rexnet.data.coco.images import read_coco

SIZE = (40, 20)
"""Width and height of every image."""


def write_images():
    """Write ``images/a.png`` and ``images/b.png`` into the working directory."""
    for name in ("a", "b"):
        Image.new("RGB", SIZE, "red").save(f"images/{name}.png")


def image(number=5, name="a.png", **changes):
    """Return the entry of an image."""
    return {"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]} | changes


def box(number=1, **changes):
    """Return an annotation of the first image."""
    entry = {"id": number, "image_id": 5, "category_id": 9, "bbox": [2, 3, 10, 8]}
    return entry | {"area": 60, "iscrowd": 0} | changes


def document(*annotations, **changes):
    """Return annotations of two images."""
    images = [image(), image(2, "b.png")]
    categories = [{"id": 9, "name": "cat"}, {"id": 4, "name": "dog"}]
    whole = {"images": images, "annotations": list(annotations), "categories": categories}
    return whole | changes


def read(content, **options):
    """Write ``boxes.json``, of an object, text or bytes, and read it."""
    if not isinstance(content, str | bytes):
        content = json.dumps(content)
    with open("boxes.json", "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return read_coco("boxes.json", "images", **options)
