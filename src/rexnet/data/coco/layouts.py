"""Where tools put annotations and images: the layouts of folders in the COCO format."""

import os
from collections.abc import Iterator
from pathlib import Path

from rexnet.data.coco.other_formats import format_of_folder
from rexnet.errors import UserError

NAMES = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid", "test"),
}
"""What a part may be called, in any case; the first that is there counts."""

OWN = (
    ("annotations/instances_{part}2017.json", "{part}2017"),
    ("annotations/instances_{part}.json", "{part}"),
    ("{part}/instances.json", "{part}/images"),
    ("{part}/_annotations.coco.json", "{part}"),
)
"""COCO's own folders and three common ones, which come before all others."""

SHARED = ("images/{part}", "images/{part}2017", "{part}/images", "{part}2017", "{part}", "images")
"""Folders of the images whose annotations lie beside those of other parts."""

INSIDE = ("{part}/images/default", "{part}/images", "{part}/data", "{part}")
"""Folders of the images whose annotations lie in a folder of the part."""

OTHERS = (
    ("annotations/instances_{part}2017.json", SHARED),
    ("annotations/instances_{part}.json", SHARED),
    ("annotations/{part}2017.json", SHARED),
    ("annotations/{part}.json", SHARED),
    ("instances_{part}.json", SHARED),
    ("{part}.json", SHARED),
    ("{part}/instances.json", INSIDE),
    ("{part}/_annotations.coco.json", INSIDE),
    ("{part}/annotations/instances_default.json", INSIDE),
    ("{part}/annotations.json", INSIDE),
    ("{part}/labels.json", INSIDE),
    ("{part}/result.json", INSIDE),
)
"""What tools export: annotations, and where their images may lie."""

WHOLE = (
    ("annotations/instances_default.json", ("images/default", "images")),
    ("result.json", ("images",)),
    ("labels.json", ("data",)),
    ("instances.json", ("images",)),
    ("annotations.json", ("images",)),
    ("_annotations.coco.json", (".",)),
)
"""What tools export that know no parts: CVAT, Label Studio, FiftyOne and others."""

OPTIONS = "name the files with --annotations and --images"


def find_part(folder: str | Path, part: str, *, or_whole: bool = False) -> tuple[Path, Path]:
    """Return where the annotations and the images of a part lie.

    Args:
        folder: The folder of all parts.
        part: ``train`` or ``val``; it may be called otherwise there.
        or_whole: Take annotations that are of no part, if there are no others.

    Raises:
        UserError: The folder is laid out in no known way, or in more than one.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder with annotations in the COCO format; {_options()}")
    own = [tuple(folder / place.format(part=part) for place in layout) for layout in OWN]
    for path, images in own:
        if path.is_file() and images.is_dir():
            return path, images
    for name in NAMES.get(part, (part,)):
        found = dict(_pairs(folder, name, OTHERS))
        if len(found) > 1:
            names = " and ".join(path.relative_to(folder).as_posix() for path in found)
            raise UserError(f"{folder} has {names} for {part}; {_options(part)}")
        for path, places in found.items():
            return path, _only(folder, path, places, part)
    whole = dict(_pairs(folder, "", WHOLE))
    if len(whole) == 1 and or_whole:
        ((path, places),) = whole.items()
        return path, _only(folder, path, places, part)
    for path, images in own:
        if path.is_file():
            raise UserError(f"the images of {path} are not in {images}; {_options(part)}")
    raise UserError(_nothing(folder, part, list(whole)))


def parts_in(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Return where the annotations and the images of each part of a folder lie.

    Returns:
        Of ``train`` and ``val``, those that are there; ``all`` for annotations of no part; nothing
        for a folder without annotations.

    Raises:
        UserError: It is not clear where those of a part are.
    """
    found = {}
    for part, names in NAMES.items():
        own = any((folder / path.format(part=part)).is_file() for path, _ in OWN)
        if own or any(True for name in names for _ in _pairs(folder, name, OTHERS)):
            found[part] = find_part(folder, part)
    if not found and any(True for _ in _pairs(folder, "", WHOLE)):
        found["all"] = find_part(folder, "train", or_whole=True)
    return found


def _nothing(folder: Path, part: str, whole: list[Path]) -> str:
    """Return in words that a part was not found, with what there is instead."""
    if whole:
        names = " and ".join(path.relative_to(folder).as_posix() for path in whole)
        return (
            f"{folder} has {names}, which is not said to be of train or val; split the images in "
            f"two and {_options('train')}"
        )
    others = (name for names in NAMES.values() for name in names)
    is_coco = any(list(_pairs(folder, name, OTHERS)) for name in others)
    found = "" if is_coco else format_of_folder(folder)
    if found:
        return f"{folder} {found}"
    known = ", ".join(annotations.format(part=part) for annotations, _ in OWN)
    names = ", ".join(NAMES.get(part, ())[1:])
    more = f" (nor those of {names})" if names else ""
    return f"{folder} holds none of {known}{more} with their images; {_options(part)}"


def _options(part: str = "") -> str:
    more = ", --val-annotations and --val-images in a training" if part else ""
    return OPTIONS + more


def _pairs(
    folder: Path, name: str, layouts: tuple[tuple[str, tuple[str, ...]], ...]
) -> Iterator[tuple[Path, list[Path]]]:
    """Yield annotations that are there, with all folders of images that may be theirs."""
    for annotations, images in layouts:
        path = _there(folder, annotations.format(part=name))
        if path is not None and path.is_file():
            found = (_there(folder, place.format(part=name)) for place in images)
            places = [place for place in found if place is not None and place.is_dir()]
            if places:
                yield path, places


def _only(folder: Path, path: Path, places: list[Path], part: str) -> Path:
    """Return the folder of images, if it is clear which.

    Raises:
        UserError: Two folders may hold them, and none lies in the other.
    """
    first = places[0]
    for other in places[1:]:
        if not first.is_relative_to(other):
            # A folder of all parts comes last, and is taken only if there is no other.
            if other == folder / "images":
                continue
            told = (place.relative_to(folder).as_posix() for place in (path, first, other))
            raise UserError(
                f"{folder}: the images of {next(told)} may be in {' or '.join(told)}; "
                f"{_options(part)}"
            )
    return first


def _there(folder: Path, place: str) -> Path | None:
    """Return a path below a folder as it is spelt there, whatever its case; None if it is not.

    Raises:
        UserError: Several differ by nothing but case, and none is spelt as asked for.
    """
    found = folder
    for part in Path(place).parts:
        if not (found / part).exists():
            try:
                names = os.listdir(found)
            except OSError:
                return None
            alike = sorted(name for name in names if name.lower() == part.lower())
            if len(alike) > 1:
                raise UserError(f"{found} has {' and '.join(alike)}; {_options('train')}")
            if not alike:
                return None
            part = alike[0]
        found /= part
    return found
