"""The check of a set of images: what it is, and what looks wrong with it, before it is used."""

import dataclasses
from pathlib import Path

from rexnet.data.coco.images import CocoImages, aligned, read_coco
from rexnet.data.coco.layouts import parts_in
from rexnet.data.coco.other_formats import format_of_folder
from rexnet.data.decode import MAX_MEGAPIXELS
from rexnet.data.examine import examine
from rexnet.data.findings import AnyImages, Seen, surveyed
from rexnet.data.sources import SOURCES, open_images
from rexnet.data.survey import Survey
from rexnet.errors import UserError
from rexnet.runs.progress import OnProgress, counting


def run(source: str, on_progress: OnProgress, max_megapixels: int = MAX_MEGAPIXELS) -> Survey:
    """Read every image of a source once and return what they are.

    Args:
        source: What ``open_images`` takes, or a folder with annotations in the COCO format.
        on_progress: Called while images are read.
        max_megapixels: Most millions of pixels of a file.

    Raises:
        UserError: There is no such source, or it cannot be used at all.
    """
    on_read = counting(on_progress, "images looked at")
    parts = [(title, part.limited(max_megapixels)) for title, part in _opened(source)]
    found = surveyed(
        [Seen(title=title, images=part, examined=examine(part, on_read)) for title, part in parts]
    )
    if len(parts) > 1:
        return found
    lack = f"there is one part, {parts[0][0]}; a training needs two, train and val"
    return dataclasses.replace(found, wrong=(*found.wrong, lack))


def _opened(source: str) -> list[tuple[str, AnyImages]]:
    """Return the parts of a source with their titles, ``train`` first."""
    path = Path(source)
    places = parts_in(path) if source not in SOURCES and path.is_dir() else {}
    if not places:
        try:
            return list(zip(("train", "val"), open_images(source), strict=True))
        except UserError as error:
            boxes = format_of_folder(path) if path.is_dir() else ""
            if not boxes:
                raise
            raise UserError(f"{error}; if these are images with boxes: {path} {boxes}") from None
    found: list[tuple[str, AnyImages]] = []
    first: CocoImages | None = None
    for title, (annotations, folder) in places.items():
        images = read_coco(annotations, folder, skip_degenerate=True)
        first = first or images
        found.append((title, aligned(images, first.classes, first.category_ids)))
    return found
