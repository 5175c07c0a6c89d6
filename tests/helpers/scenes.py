"""Small scenes with boxes, made of real images, for the tests of detection."""

import json
import os
import signal
from importlib.resources import files

import numpy as np
from PIL import Image

from rexnet import families
from rexnet.data.sample import read_sheet
from rexnet.detect.config import DetectTrainConfig

SIDE = 96
CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 3, "name": "car"}, {"id": 90, "name": "ship"}]
"""Their ids have gaps and no order."""

SETTINGS = (
    "pretrained=false",
    "epochs=3",
    "batch_size=8",
    "lr_batch_size=8",
    "lr=0.05",
    "warmup_epochs=1",
    "loss=multibox",
    "resolution=64",
)


def write_scenes(folder, num_images=16):
    """Write ``toy.json``, a network, and ``scenes``, a folder of train and val, into ``folder``."""
    spec = families.search_network([8, 12, 16], 4, 32)
    (folder / "toy.json").write_text(spec.to_json(), encoding="utf-8")
    sample = files("rexnet.data") / "sample"
    with (sample / "00.webp").open("rb") as file:
        objects = read_sheet(file)
    random = np.random.default_rng(0)
    for part in ("train", "val"):
        images = folder / "scenes" / part / "images"
        images.mkdir(parents=True)
        document = {"images": [], "annotations": [], "categories": CATEGORIES}
        for number in range(num_images):
            picture = Image.fromarray(np.full((SIDE, SIDE, 3), random.integers(256, size=3), "u1"))
            boxes = [] if number == 3 else _place(picture, objects, random)
            name = f"{number:02}.png"
            picture.save(images / name)
            place = 100 + number
            document["images"].append(
                {"id": place, "file_name": name, "width": SIDE, "height": SIDE}
            )
            document["annotations"] += [
                {
                    "id": 10 * number + i,
                    "image_id": place,
                    "category_id": category,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
                for i, (category, box) in enumerate(boxes)
            ]
        path = images.parent / "instances.json"
        path.write_text(json.dumps(document), encoding="utf-8")


def _place(picture, objects, random):
    """Paste one or two objects and return their categories and boxes."""
    boxes = []
    for half in range(random.integers(1, 3)):
        side = int(random.integers(24, 44))
        x, y = (
            int(random.integers(0, SIDE // 2 - side + 5)) + 48 * half,
            int(random.integers(0, 50)),
        )
        x = min(x, SIDE - side)
        label = int(random.integers(len(CATEGORIES)))
        # Every object of a category is the same image: three can be told apart after few steps.
        picture.paste(Image.fromarray(objects[label]).resize((side, side)), (x, y))
        boxes.append((CATEGORIES[label]["id"], [x, y, side, side]))
    return boxes


def config(**changes):
    """Return the config of a quick training in the working directory."""
    settings = {"backbone": "toy.json", "data": "scenes", "set": SETTINGS, "out": "D"}
    return DetectTrainConfig(**settings | {"device": "cpu", "workers": 0} | changes)


def train(out):
    """Train to the end, for a process that is started."""
    from rexnet.detect import job

    job.run(config(out=out), lambda progress: None)


def train_and_die(share, out):
    """Train until ``share`` of all steps are done, with a checkpoint after each, and be killed."""
    from rexnet.detect import job

    def stop(progress):
        if progress.share >= share:
            os.kill(os.getpid(), signal.SIGKILL)

    job.run(config(out=out, checkpoint_seconds=0), stop)
