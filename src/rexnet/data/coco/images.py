"""Images with boxes in the COCO format: an annotation file in JSON and a folder of images."""

import dataclasses
import hashlib
import math
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rexnet.data.coco import plausible
from rexnet.data.coco.annotations import (
    MEND,
    Boxes,
    Values,
    read_categories,
    read_document,
    read_entries,
    refuse,
)
from rexnet.data.coco.image_names import find_files
from rexnet.data.decode import MAX_MEGAPIXELS, read_upright
from rexnet.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_STRETCH = 0.02
"""By how much the shape of a file may differ from what its entry says, for resized copies."""

SIDEWAYS = (5, 6, 7, 8)
"""Orientations of EXIF that swap width and height."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The boxes of one image.

    Attributes:
        boxes: Shape (boxes, 4), float64: x1, y1, x2, y2 in the pixels of the annotations.
        labels: Shape (boxes,), int64: from 0, in the order of the categories.
        crowd: Shape (boxes,), bool: whether a box holds a crowd, which is not trained on.
        areas: Shape (boxes,), float64: of the object, in square pixels.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    areas: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CocoImages:
    """Image files below a folder, each with its boxes.

    Attributes:
        name: What the images are, for people.
        classes: Names of the categories.
        category_ids: Their ids in the annotations, in the same order.
        folder: The folder.
        files: Paths from there, shape (num_images,), bytes.
        image_ids: Ids of the images, shape (num_images,), int64.
        sizes: Widths and heights in the annotations, shape (num_images, 2), int64.
        truth: The boxes of all images, one image after another.
        starts: Where those of each image start in ``truth``, shape (num_images + 1,).
        num_clipped: Boxes that reached over the edges and were cut.
        num_degenerate: Boxes that were left out as they have no area in the image.
        max_megapixels: Most millions of pixels of a file.
        remarks: What was read otherwise than it is written, or is worth knowing, a line each.
        doubts: What looks wrong, a line each.
    """

    name: str
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    folder: Path
    files: NDArray[Any]
    image_ids: NDArray[np.int64]
    sizes: NDArray[np.int64]
    truth: Truth
    starts: NDArray[np.int64]
    num_clipped: int = 0
    num_degenerate: int = 0
    max_megapixels: int = MAX_MEGAPIXELS
    remarks: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.image_ids)

    def of(self, index: int) -> Truth:
        """Return the boxes of one image."""
        mine = slice(self.starts[index], self.starts[index + 1])
        return Truth(
            **{f.name: getattr(self.truth, f.name)[mine] for f in dataclasses.fields(Truth)}
        )

    def where(self, index: int) -> str:
        """Return the path of one image."""
        return os.path.join(self.folder, os.fsdecode(self.files[index]))

    def read(self, index: int) -> "Image":
        """Return one image as RGB, turned upright (EXIF); it may be a resized copy.

        Raises:
            UserError: The file cannot be decoded, or has another shape than its entry says.
        """
        picture = read_upright(self.where(index), self.max_megapixels)
        width, height = self.sizes[index].tolist()
        if abs(math.log(picture.width * height / (picture.height * width))) > MAX_STRETCH:
            raise UserError(
                f"{self.where(index)} has {picture.width} x {picture.height} pixels, its entry in "
                f"{self.name} says {width} x {height}; the boxes cannot be placed"
            )
        return picture

    def misfits(self, sizes: NDArray[np.int32]) -> dict[int, str]:
        """Return why images have another shape than their entries say, by index.

        Args:
            sizes: Width and height of every file as it is shown, shape (num_images, 2), int32;
                those of a file that cannot be read are 0.
        """
        known = sizes.min(axis=1) > 0
        # A file that cannot be read is a matter of its own.
        shapes, wanted = (
            np.log(np.where(known[:, None], array, 1).astype(np.float64))
            for array in (sizes, self.sizes)
        )
        stretch = np.diff(shapes - wanted, axis=1)[:, 0]
        found = np.flatnonzero(known & (abs(stretch) > MAX_STRETCH)).tolist()
        return {index: self._misfit(index, sizes[index]) for index in found}

    def _misfit(self, index: int, size: NDArray[np.int32]) -> str:
        """Return why the shape of an image is not that of its entry."""
        (width, height), (other, high) = size.tolist(), self.sizes[index].tolist()
        told = f"it shows {width} x {height} pixels, its entry says {other} x {high}"
        if abs(math.log(width * other / (height * high))) > MAX_STRETCH:
            return told
        if _is_sideways(self.where(index)):
            return (
                f"{told}: the size before its EXIF orientation turns it; take the orientation out "
                "of the file, or turn the entry and its boxes"
            )
        return f"{told}: width and height are swapped"

    def fingerprint(self) -> str:
        """Return sixteen hex digits that depend on names, sizes, boxes and categories."""
        digest = hashlib.sha256(repr((self.classes, self.category_ids)).encode())
        digest.update(b"\0".join(self.files.tolist()))
        truth = self.truth
        arrays = (self.image_ids, self.sizes, self.starts, *vars(truth).values())
        for array in arrays:
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]

    def limited(self, max_megapixels: int) -> "CocoImages":
        """Return the same with another limit of the pixels of a file."""
        return dataclasses.replace(self, max_megapixels=max_megapixels)

    def without(self, indices: Iterable[int]) -> "CocoImages":
        """Return the same without some images."""
        kept = np.delete(np.arange(len(self)), np.fromiter(indices, np.int64))
        counts = np.diff(self.starts)
        chosen = np.isin(np.repeat(np.arange(len(self)), counts), kept)
        arrays = {f.name: getattr(self.truth, f.name)[chosen] for f in dataclasses.fields(Truth)}
        return dataclasses.replace(
            self,
            files=self.files[kept],
            image_ids=self.image_ids[kept],
            sizes=self.sizes[kept],
            truth=Truth(**arrays),
            starts=np.concatenate([[0], np.cumsum(counts[kept])]),
        )


def read_coco(
    annotations: str | Path, images: str | Path, *, skip_degenerate: bool = False
) -> CocoImages:
    """Read an annotation file; no image is opened.

    Boxes that reach over the edges of their image are cut and counted. Categories are sorted by
    their ids, which may have gaps.

    Args:
        annotations: The JSON file.
        images: The folder that ``file_name`` starts from.
        skip_degenerate: Leave out boxes without area in their image, instead of raising an error.

    Raises:
        UserError: The file is no such JSON, an entry is flawed, an image file is missing, or the
            boxes are not x, y, width and height in pixels.
    """
    path, folder, values = Path(annotations), Path(images), Values()
    document = read_document(path)
    found = document["annotations"]
    used = {str(entry.get("category_id")) for entry in found if isinstance(entry, dict)}
    names, remarks = read_categories(document["categories"], used, path, values)
    categories = sorted(names.items())
    entries = read_entries(document["images"], path, values)
    files = find_files([entry.file_name for entry in entries], folder, path)
    labels = {id_: label for label, (id_, _) in enumerate(categories)}
    boxes = Boxes(entries, labels, values)
    for entry in found:
        boxes.add(entry)
    refuse(boxes.flaws, path, boxes.remedy(used))
    sizes = np.array([(entry.width, entry.height) for entry in entries], np.int64)
    doubts = plausible.check(_written(boxes.as_written(), sizes), path)
    rows = boxes.cut()
    if not skip_degenerate:
        refuse(boxes.degenerate, path, f"{MEND}, or pass --skip-corrupt")
    truth = Truth(
        boxes=rows[:, 4:].copy(),
        labels=rows[:, 1].astype(np.int64),
        crowd=rows[:, 2].astype(bool),
        areas=rows[:, 3].copy(),
    )
    result = CocoImages(
        name=str(path),
        classes=tuple(name for _, name in categories),
        category_ids=tuple(id_ for id_, _ in categories),
        folder=folder,
        files=np.array([os.fsencode(name) for name in files.names], dtype=np.bytes_),
        image_ids=np.array([entry.id for entry in entries], np.int64),
        sizes=sizes,
        truth=truth,
        starts=np.searchsorted(rows[:, 0], np.arange(len(entries) + 1)),
        num_clipped=boxes.num_clipped,
        num_degenerate=len(boxes.degenerate),
    )
    return dataclasses.replace(
        result,
        remarks=(*remarks, *files.remarks, *_counts(result, values.num_texts)),
        doubts=(*doubts, *_twice(result, files.same), *_from_one(result)),
    )


def check_boxes(images: CocoImages) -> None:
    """Check that something can be learnt of images, or counted on them.

    Raises:
        UserError: They have no boxes, or those of crowds alone.
    """
    if images.truth.crowd.all():
        kind = "boxes but of crowds" if len(images.truth.crowd) else "boxes"
        raise UserError(
            f"{images.name} has no {kind}; nothing can be learnt of it or counted on it"
        )


def aligned(images: CocoImages, classes: Sequence[str], category_ids: Sequence[int]) -> CocoImages:
    """Return the images with the labels of other annotations, whose categories must include theirs.

    Args:
        images: The images.
        classes: The names that the others have.
        category_ids: The ids that the others have, in the same order.

    Raises:
        UserError: A category is unknown, or has another name.
    """
    known = dict(zip(category_ids, classes, strict=True))
    for id_, name in zip(images.category_ids, images.classes, strict=True):
        if known.get(id_) != name:
            other = f"it is {known[id_]!r}" if id_ in known else "there is none"
            raise UserError(
                f"{images.name}: category {id_} is {name!r}, but in what is trained on {other}"
            )
    places = {id_: label for label, id_ in enumerate(category_ids)}
    labels = np.array([places[id_] for id_ in images.category_ids], np.int64)
    truth = dataclasses.replace(images.truth, labels=labels[images.truth.labels])
    return dataclasses.replace(
        images, classes=tuple(classes), category_ids=tuple(category_ids), truth=truth
    )


def _written(rows: NDArray[np.float64], sizes: NDArray[np.int64]) -> plausible.Written:
    return plausible.Written(
        boxes=rows[:, 4:],
        sides=sizes[rows[:, 0].astype(np.int64)].astype(np.float64),
        areas=rows[:, 3],
        places=rows[:, 0],
        labels=rows[:, 1],
    )


def _twice(images: CocoImages, same: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """Return in words that files stand in two entries.

    Raises:
        UserError: Their boxes differ: to each, those of the other are no objects.
    """
    for first, second in same:
        one, other = (
            sorted(np.column_stack([*vars(images.of(i)).values()]).tolist())
            for i in (first, second)
        )
        if one != other:
            raise UserError(
                f"{images.name}: images {images.image_ids[first]} and {images.image_ids[second]} "
                f"are one file, {images.where(first)}, with other boxes; give all its boxes to one "
                "of them and remove the other"
            )
    if not same:
        return ()
    return (f"{len(same)} images are files that another entry has, too, with the same boxes",)


def _counts(images: CocoImages, num_texts: int) -> tuple[str, ...]:
    """Return in words what has no boxes, and how many numbers are text."""
    bare = int((np.diff(images.starts) == 0).sum())
    told = [f"{bare:,} of {len(images):,} images have no boxes"] if bare else []
    return (*told, *([f"{num_texts:,} numbers stand there as text"] if num_texts else []))


def _from_one(images: CocoImages) -> tuple[str, ...]:
    """Return in words whether boxes seem to count categories from 1 that are counted from 0."""
    boxes_of = np.bincount(images.truth.labels, minlength=len(images.classes))
    if images.category_ids[0] or boxes_of[0] or not boxes_of[1:].all() or not boxes_of.any():
        return ()
    name = images.classes[0]
    return (f"category 0 {name!r} has no boxes, all others have: do they count from 1?",)


def _is_sideways(path: str) -> bool:
    """Tell whether the EXIF orientation of a file swaps width and height."""
    from PIL import ExifTags, Image

    try:
        with warnings.catch_warnings():
            # Pillow warns of oddities, such as EXIF it cannot read, that do no harm.
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                return picture.getexif().get(ExifTags.Base.Orientation) in SIDEWAYS
    # Whatever is wrong with a file is told when it is decoded.
    except Exception:  # noqa: BLE001 (for a damaged file Pillow raises almost anything)
        return False
