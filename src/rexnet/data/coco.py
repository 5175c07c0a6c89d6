"""Images with boxes in the COCO format: an annotation file in JSON and a folder of images."""

import dataclasses
import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rexnet.data.decode import read_upright
from rexnet.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

NAMED = 5
"""Flaws that an error names."""

MAX_STRETCH = 0.02
"""By how much the shape of a file may differ from what its entry says, for resized copies."""

ROUNDING = 0.5
"""Pixels that a box may reach over an edge and not be counted as clipped."""

LAYOUTS = (
    ("annotations/instances_{part}2017.json", "{part}2017"),
    ("annotations/instances_{part}.json", "{part}"),
    ("{part}/instances.json", "{part}/images"),
    ("{part}/_annotations.coco.json", "{part}"),
)
"""Where annotations and images of a part may lie: COCO's own folders and three common ones."""


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
        picture = read_upright(self.where(index))
        width, height = self.sizes[index].tolist()
        if abs(math.log(picture.width * height / (picture.height * width))) > MAX_STRETCH:
            raise UserError(
                f"{self.where(index)} has {picture.width} x {picture.height} pixels, its entry in "
                f"{self.name} says {width} x {height}; the boxes cannot be placed"
            )
        return picture

    def fingerprint(self) -> str:
        """Return sixteen hex digits that depend on names, sizes, boxes and categories."""
        digest = hashlib.sha256(repr((self.classes, self.category_ids)).encode())
        digest.update(b"\0".join(self.files.tolist()))
        truth = self.truth
        arrays = (self.image_ids, self.sizes, self.starts, *vars(truth).values())
        for array in arrays:
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]

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


def find_part(folder: str | Path, part: str) -> tuple[Path, Path]:
    """Return where the annotations and the images of a part, such as ``train``, lie.

    Raises:
        UserError: The folder is laid out in no known way.
    """
    folder = Path(folder)
    for annotations, images in LAYOUTS:
        path = folder / annotations.format(part=part)
        if path.is_file():
            return path, folder / images.format(part=part)
    known = ", ".join(annotations.format(part=part) for annotations, _ in LAYOUTS)
    reason = "holds none of" if folder.is_dir() else "is no folder; in one are looked for"
    raise UserError(f"{folder} {reason} {known}; or name the files with their own options")


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
        UserError: The file is no such JSON, an entry is flawed, or an image file is missing.
    """
    path, folder = Path(annotations), Path(images)
    document = _document(path)
    categories = sorted(_categories(document["categories"], path).items())
    entries = _entries(document["images"], path)
    _check_files(entries, folder, path)
    labels = {id_: label for label, (id_, _) in enumerate(categories)}
    boxes = _Boxes(entries, labels)
    for entry in document["annotations"]:
        boxes.add(entry)
    _refuse(boxes.flaws, path, "mend or remove them")
    if not skip_degenerate:
        _refuse(boxes.degenerate, path, "mend or remove them, or pass --skip-corrupt")
    truth, starts = boxes.arrays()
    return CocoImages(
        name=str(path),
        classes=tuple(name for _, name in categories),
        category_ids=tuple(id_ for id_, _ in categories),
        folder=folder,
        files=np.array([os.fsencode(entry["file_name"]) for entry in entries], dtype=np.bytes_),
        image_ids=np.array([entry["id"] for entry in entries], np.int64),
        sizes=np.array([(entry["width"], entry["height"]) for entry in entries], np.int64),
        truth=truth,
        starts=starts,
        num_clipped=boxes.num_clipped,
        num_degenerate=len(boxes.degenerate),
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


def _document(path: Path) -> dict[str, list[Any]]:
    """Return an annotation file with its three lists."""
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise UserError(f"{path} is not in the COCO format: it holds no object")
    for name in ("images", "annotations", "categories"):
        if not isinstance(document.get(name), list):
            raise UserError(f"{path} is not in the COCO format: it has no list {name!r}")
    for name in ("images", "categories"):
        if not document[name]:
            raise UserError(f"{path} has no {name}")
    return document


def _categories(entries: Sequence[Any], path: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for entry in entries:
        if not _is_entry(entry, {"id": int, "name": str}):
            raise UserError(f"{path}: category {_short(entry)} needs an id and a name")
        if entry["id"] in names:
            raise UserError(f"{path}: two categories have the id {entry['id']}")
        names[entry["id"]] = entry["name"]
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        raise UserError(f"{path}: two categories have the name {twice[0]!r}")
    return names


def _entries(entries: Sequence[Any], path: Path) -> list[dict[str, Any]]:
    """Return the images, checked."""
    kinds = {"id": int, "file_name": str, "width": int, "height": int}
    flaws, ids = [], set()
    for entry in entries:
        if not _is_entry(entry, kinds) or min(entry["width"], entry["height"]) < 1:
            flaws.append(f"image {_short(entry)} needs an id, file_name, width and height")
        elif entry["id"] in ids:
            flaws.append(f"two images have the id {entry['id']}")
        else:
            ids.add(entry["id"])
    _refuse(flaws, path, "mend or remove them")
    return list(entries)


def _check_files(entries: Sequence[Mapping[str, Any]], folder: Path, path: Path) -> None:
    missing = [e["file_name"] for e in entries if not os.path.isfile(folder / e["file_name"])]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(entries)} images of {path} are not in {folder}: "
            f"{', '.join(missing[:NAMED])}{' ...' if len(missing) > NAMED else ''}"
        )


class _Boxes:
    """The annotations, sorted by image, with what is wrong with them.

    Attributes:
        flaws: Entries that cannot be understood, in words.
        degenerate: Boxes without area in their image, in words.
        num_clipped: Boxes that reached over the edges.
    """

    def __init__(self, entries: Sequence[Mapping[str, Any]], labels: Mapping[int, int]) -> None:
        self._entries, self._labels = entries, labels
        self._places = {entry["id"]: place for place, entry in enumerate(entries)}
        self._rows: list[tuple[Any, ...]] = []
        self.flaws: list[str] = []
        self.degenerate: list[str] = []
        self.num_clipped = 0

    def add(self, entry: Any) -> None:
        """Take one annotation."""
        flaw = self._flaw(entry)
        if flaw:
            self.flaws.append(f"annotation {_short(entry)} {flaw}")
            return
        place, (x, y, width, height) = self._places[entry["image_id"]], entry["bbox"]
        image = self._entries[place]
        box = (
            *(min(max(edge, 0), image["width"]) for edge in (x, x + width)),
            *(min(max(edge, 0), image["height"]) for edge in (y, y + height)),
        )
        if width <= 0 or height <= 0 or box[0] == box[1] or box[2] == box[3]:
            self.degenerate.append(
                f"annotation {entry.get('id', '')} of {image['file_name']} has no area there: "
                f"[{x:g}, {y:g}, {width:g}, {height:g}] in {image['width']} x {image['height']}"
            )
            return
        # A rounded edge is no box outside.
        over = max(-x, -y, x + width - image["width"], y + height - image["height"])
        self.num_clipped += over > ROUNDING
        area = entry.get("area", width * height)
        label, crowd = self._labels[entry["category_id"]], bool(entry.get("iscrowd", 0))
        self._rows.append((place, box[0], box[2], box[1], box[3], label, crowd, area))

    def arrays(self) -> tuple[Truth, NDArray[np.int64]]:
        """Return the boxes in the order of the images, and where those of each start."""
        rows = np.array(self._rows, np.float64).reshape(-1, 8)
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        truth = Truth(
            boxes=rows[:, 1:5].copy(),
            labels=rows[:, 5].astype(np.int64),
            crowd=rows[:, 6].astype(bool),
            areas=rows[:, 7].copy(),
        )
        return truth, np.searchsorted(rows[:, 0], np.arange(len(self._entries) + 1))

    def _flaw(self, entry: Any) -> str:
        if not isinstance(entry, dict):
            return "is no object"
        if not _is_entry(entry, {"image_id": int, "category_id": int}):
            return "needs an image_id and a category_id, whole numbers"
        if entry["image_id"] not in self._places:
            return f"is of an image that is not listed: {entry['image_id']}"
        if entry["category_id"] not in self._labels:
            return f"is of a category that is not listed: {entry['category_id']}"
        box, area = entry.get("bbox"), entry.get("area", 0)
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, [*box, area])):
            return "needs a bbox of four numbers: x, y, width, height"
        return "" if entry.get("iscrowd", 0) in (0, 1) else "needs iscrowd to be 0 or 1"


def _is_entry(entry: Any, kinds: Mapping[str, type]) -> bool:
    if not isinstance(entry, dict):
        return False
    found = [entry.get(name) for name in kinds]
    # Ids beyond 64 bits fit no array.
    return all(map(isinstance, found, kinds.values())) and all(
        abs(value) < 2**63 for value in found if isinstance(value, int)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _short(entry: Any) -> str:
    """Return what names an entry in a message."""
    name = entry.get("id") if isinstance(entry, dict) else entry
    return repr(name if name is not None else entry)[:60]


def _refuse(flaws: Sequence[str], path: Path, remedy: str) -> None:
    if flaws:
        more = f" and {len(flaws) - NAMED} more" if len(flaws) > NAMED else ""
        raise UserError(f"{path}: {'; '.join(flaws[:NAMED])}{more}; {remedy}")
