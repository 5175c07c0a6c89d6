"""Make class folders of photographs out of images with boxes: a crop of every box.

A box counts if its shorter side has 48 pixels of the image file and it is no crowd; its crop has a
margin of 8 % of its width and height on each side, as far as the image goes. A class is kept if
there are 20 crops to train on and one to validate on; of 90 crops and more 90 are drawn, the same
with every call. Images to train on and to validate on stay apart. Usage:

    python tools/crops.py coco-mini-train.zip coco-mini-val.zip --out FOLDER
    python tools/crops.py COCO_FOLDER --out FOLDER --classes "cat,dog,dining table"
"""

import argparse
import random
import tempfile
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from coco_mini import unpack

from rexnet.data.coco.images import CocoImages, read_coco
from rexnet.data.coco.layouts import find_part
from rexnet.errors import UserError

PARTS = ("train", "val")

SHORTEST = 48
"""Least pixels of the shorter side of a box, in its file."""

MARGIN = 0.08
"""Share of a box's width and height that its crop has more on each side."""

LEAST, MOST = 20, 90
"""Fewest training crops of a class, and most crops of a class in a part."""

Box = tuple[float, float, float, float]
Crop = tuple[int, Box]
"""An image's index, and the left, upper, right and lower edge of a crop, from 0 to 1."""


def crops_of(images: CocoImages) -> dict[str, list[Crop]]:
    """Return the crops of every class, in the order of the annotations."""
    found = defaultdict(list)
    for index in range(len(images)):
        truth, file_size = images.of(index), images.read(index).size
        sides = images.sizes[index][[0, 1, 0, 1]]
        for box, label, crowd in zip(truth.boxes / sides, truth.labels, truth.crowd, strict=True):
            left, upper, right, lower = map(float, box)
            width, height = right - left, lower - upper
            if crowd or min(width * file_size[0], height * file_size[1]) < SHORTEST:
                continue
            x, y = MARGIN * width, MARGIN * height
            edges = (
                max(0.0, left - x),
                max(0.0, upper - y),
                min(1.0, right + x),
                min(1.0, lower + y),
            )
            found[images.classes[label]].append((index, edges))
    return dict(found)


def chosen(
    crops: Mapping[str, Mapping[str, Sequence[Crop]]], classes: Collection[str] | None = None
) -> dict[str, dict[str, list[Crop]]]:
    """Return for each part the crops of the classes that have enough, drawn where they are many.

    Args:
        crops: By part and by class.
        classes: The classes to keep (default: all that have enough).

    Raises:
        UserError: A class of ``classes`` has too few crops, or fewer than two classes are left.
    """
    train, val = (crops[part] for part in PARTS)
    enough = {name for name, rows in train.items() if len(rows) >= LEAST and val.get(name)}
    lacking = sorted(set(classes or ()) - enough)
    if lacking:
        counts = (
            f"{name!r} has {len(train.get(name, ()))} to train on and {len(val.get(name, ()))} to "
            "validate on"
            for name in lacking
        )
        raise UserError(f"too few crops: {'; '.join(counts)}; {LEAST} and 1 are needed")
    kept = sorted(enough if classes is None else classes)
    if len(kept) < 2:
        raise UserError(f"{len(kept)} classes have {LEAST} training crops; 2 are needed")
    return {part: {name: _drawn(part, name, crops[part][name]) for name in kept} for part in PARTS}


def _drawn(part: str, name: str, rows: Sequence[Crop]) -> list[Crop]:
    """Return at most ``MOST`` of the crops, in their order, the same of the same crops."""
    # A draw of its own for each class: what other classes are kept changes nothing.
    places = random.Random(f"{part} {name}").sample(range(len(rows)), min(MOST, len(rows)))
    return [rows[place] for place in sorted(places)]


def write(images: CocoImages, crops: Mapping[str, Sequence[Crop]], folder: Path) -> None:
    """Write the crops of a part as JPEG files into a folder a class."""
    rows = sorted(
        (index, name, number, edges)
        for name, mine in crops.items()
        for number, (index, edges) in enumerate(mine)
    )
    for index, name, number, edges in rows:
        picture = images.read(index)
        sides = picture.width, picture.height, picture.width, picture.height
        pixels = [round(edge * side) for edge, side in zip(edges, sides, strict=True)]
        path = folder / name / f"{images.image_ids[index]}-{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.crop((pixels[0], pixels[1], pixels[2], pixels[3])).save(path, quality=95)


def make(source: Path, out: Path, classes: Collection[str] | None = None) -> dict[str, list[int]]:
    """Write the crops of a folder in the COCO format, and return the counts of each class.

    Raises:
        UserError: The folder cannot be read, classes have too few crops, or ``out`` is not empty.
    """
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty; give another --out")
    images = {part: read_coco(*find_part(source, part)) for part in PARTS}
    crops = chosen({part: crops_of(images[part]) for part in PARTS}, classes)
    for part in PARTS:
        write(images[part], crops[part], out / part)
    return {name: [len(crops[part][name]) for part in PARTS] for name in crops["train"]}


def main() -> None:
    """Make the folder and print how many crops each class has."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    words = "a folder in the COCO format, or coco-mini-train.zip and coco-mini-val.zip"
    parser.add_argument("source", type=Path, nargs="+", help=words)
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    words = "names with commas between them (default: all with enough crops)"
    parser.add_argument("--classes", type=lambda text: text.split(","), help=words)
    given = parser.parse_args()
    if len(given.source) > 2:
        parser.error("give one folder or two archives")
    with tempfile.TemporaryDirectory() as folder:
        source = given.source[0] if len(given.source) == 1 else Path(folder)
        if len(given.source) == 2:
            for part, archive in zip(PARTS, given.source, strict=True):
                unpack(archive, source / part)
        try:
            counts = make(source, given.out, given.classes)
        except UserError as error:
            raise SystemExit(str(error)) from None
    for name, (train, val) in sorted(counts.items(), key=lambda row: (-row[1][0], row[0])):
        print(f"{name:<16}{train:>5}{val:>5}")
    totals = [sum(column) for column in zip(*counts.values(), strict=True)]
    print(f"{f'{len(counts)} classes':<16}{totals[0]:>5}{totals[1]:>5}")


if __name__ == "__main__":
    main()
