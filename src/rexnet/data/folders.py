"""Folders of class folders: told from other layouts, and read."""

import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rexnet.data.image_sets import FileImages
from rexnet.data.walk import (
    ARCHIVES,
    Tally,
    entries,
    folders_in,
    has_images,
    images_in,
    is_image,
)
from rexnet.errors import UserError

VALIDATION = ("val", "validation", "valid", "test")
"""Folders that may hold the validation part, the first that is there; see ``PARTS``."""

PARTS = {
    **dict.fromkeys(("train", "training", "trainval", "trn"), "train"),
    **dict.fromkeys(("val", "validation", "valid", "validate", "validating"), "val"),
    **dict.fromkeys(("dev", "development", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "tests", "tst", "holdout"), "test"),
}
"""What folders of parts are called, in any case, and which part that is."""

FILLERS = (
    *("datasets", "dataset", "data", "sets", "set", "images", "image", "imgs", "img"),
    *("photos", "pictures", "samples", "splits", "split", "folder", "part"),
)
"""Words that may stand beside: ``train_set``, ``TestImages``, ``valdata``."""

WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_A-Za-z]+")

MAX_DEPTH = 16
"""Folders that one may be wrapped in."""


def is_class_folder(folder: Path) -> bool:
    """Tell whether ``folder`` holds class folders, not parts such as ``train`` and ``val``."""
    return folder.is_dir() and not parts_in(folder)


def parts_in(folder: Path) -> dict[str, str]:
    """Return the folders of parts that a folder holds instead of classes, sorted, and their parts.

    Parts are ``train``, ``val`` and ``test``. What is called like one is taken for one

    * if all folders are called like parts, or there are one to train on and another one,
    * or if it holds class folders, and beside it are folders that do not, or it is to train on.

    Raises:
        UserError: A folder cannot be read.
    """
    names = folders_in(folder)
    parts = _called_like_parts(names)
    kinds = set(parts.values())
    others = [name for name in names if name not in parts]
    if not parts or not others or ("train" in kinds and len(kinds) > 1):
        return parts
    if not any(_holds_classes(folder / name) for name in parts):
        return {}
    beside = [name for name in others if has_images(folder / name)]
    is_class = "train" not in kinds and beside and all(_holds_classes(folder / n) for n in beside)
    return {} if is_class else parts


def chosen_parts(folder: Path, parts: Mapping[str, str]) -> tuple[str, str]:
    """Return the names of the folders to train on and to validate on.

    Args:
        folder: The folder that holds them.
        parts: As ``parts_in`` returns them.

    Raises:
        UserError: One is missing, or several may be meant.
    """
    training = [name for name, part in parts.items() if part == "train"]
    others = [name for name in parts if name not in training]
    training = ["train"] if "train" in training else training
    if not training or not others:
        hint = f", such as {folder / training[0]}" if training else ""
        if len(folders_in(folder)) > len(parts):
            hint += f"; if {next(iter(parts))} is a class, give it another name"
        raise UserError(
            f"{folder} holds {', '.join(parts)}, not classes; it needs train and one of "
            f"{', '.join(VALIDATION)}, or give a folder of class folders{hint}"
        )
    if len(training) > 1:
        raise UserError(
            f"{folder} holds several parts to train on: {', '.join(training)}; call one train"
        )
    return training[0], min(others, key=lambda name: _rank(name, parts[name]))


def class_folders(folder: Path, known: tuple[str, ...] | None = None) -> FileImages:
    """List the images of a folder of class folders.

    Args:
        folder: The folder.
        known: The classes, if they are known; a folder's name may be composed otherwise (Unicode).

    Raises:
        UserError: A class is not known, two have the same name, there are fewer than two, a folder
            cannot be read, or its images lie in another layout.
    """
    tally = Tally()
    names = _names(folder, tally)
    classes = tuple(names.values()) if known is None else known
    by_class = _by_class(folder, names, classes)
    # What is held out depends on the order.
    below = [images_in(os.path.join(folder, name), tally) if name else [] for name in by_class]
    if known is None:
        full = [name for name, found in zip(by_class, below, strict=True) if found]
        _check_wrapping(folder, classes, full)
        _check_depth(folder, dict(zip(classes, below, strict=True)))
    files = [
        os.fsencode(os.path.join(name, path))
        for name, found in zip(by_class, below, strict=True)
        for path in found
    ]
    return FileImages(
        name=str(folder),
        classes=classes,
        labels=np.repeat(np.arange(len(classes)), [len(found) for found in below]),
        folder=folder,
        files=np.array(files, dtype=np.bytes_),
        left_out=tally.left_out(),
    )


def composed(name: str) -> str:
    """Return a name as it is compared: in Unicode's composed form, NFC."""
    return unicodedata.normalize("NFC", name)


def _called_like_parts(names: list[str]) -> dict[str, str]:
    """Return the names that parts have, and which they are: plainly, or of one thing.

    Plainly is ``Train`` or ``test_set``; of one thing are ``fruit_train`` and ``fruit_test``.
    """
    things: dict[tuple[str, ...], dict[str, str]] = {}
    for name in names:
        words = [_without_fillers(word.lower()) for word in WORD.findall(name)]
        found = [PARTS[word] for word in words if word in PARTS]
        if len(found) == 1:
            thing = tuple(word for word in words if word and word not in PARTS)
            things.setdefault(thing, {})[name] = found[0]
    if () in things:
        return things[()]
    kinds = ((parts, set(parts.values())) for parts in things.values())
    return next((parts for parts, found in kinds if "train" in found and len(found) > 1), {})


def _without_fillers(word: str) -> str:
    """Return a word without what stands beside the name of a part; empty if that is all of it."""
    for filler in FILLERS:
        rest = word.removesuffix(filler)
        if rest != word and (not rest or rest in PARTS):
            return rest
    return word


def _rank(name: str, part: str) -> tuple[bool, int, str]:
    """Return what sorts parts to validate on: those of tests last, first as they are documented."""
    order = VALIDATION.index(name) if name in VALIDATION else len(VALIDATION)
    return part == "test", order, name


def _holds_classes(folder: Path) -> bool:
    """Tell whether images lie in folders of a folder: in two, or in one and not directly."""
    inner = sum(has_images(folder / name) for name in folders_in(folder))
    return inner > 1 or (inner == 1 and not _has_own_images(folder))


def _has_own_images(folder: Path) -> bool:
    files = (entry for entry, is_folder in entries(folder, Tally()) if not is_folder)
    return any(is_image(entry, Tally()) for entry in files)


def _archives(folder: Path) -> list[str]:
    found = (entry for entry, is_folder in entries(folder, Tally()) if not is_folder)
    return sorted(entry.path for entry in found if entry.name.lower().endswith(ARCHIVES))


def _names(folder: Path, tally: Tally) -> dict[str, str]:
    """Return the names of the class folders, composed and as they are; count what lies beside.

    Raises:
        UserError: Two are the same name, composed otherwise.
    """
    found = entries(folder, tally)
    for entry, is_folder in found:
        if not is_folder and is_image(entry, tally):
            tally.add("images beside the class folders", entry.path)
    names: dict[str, str] = {}
    for name in sorted(entry.name for entry, is_folder in found if is_folder):
        if composed(name) in names:
            raise UserError(
                f"{folder} has two folders that are both called {composed(name)}, written in other "
                "forms of Unicode (NFC and NFD); put their images into one"
            )
        names[composed(name)] = name
    return names


def _by_class(folder: Path, names: Mapping[str, str], classes: tuple[str, ...]) -> list[str]:
    """Return the name of the folder of every class; empty if a class has none.

    Raises:
        UserError: A folder is of no class, or there are fewer than two classes.
    """
    known = {composed(name) for name in classes}
    for name in names:
        if name not in known:
            alike = [other for other in classes if _loosely(other) == _loosely(name)]
            hint = f"; rename it to {alike[0]!r}" if alike else ""
            raise UserError(
                f"class {names[name]!r} of {folder} is not among the {len(classes)} classes to "
                f"train on{hint or '; add images of it there or remove it'}"
            )
    return [names.get(composed(name), "") for name in classes]


def _loosely(name: str) -> str:
    return " ".join(composed(name).casefold().replace("_", " ").replace("-", " ").split())


def _check_wrapping(folder: Path, classes: tuple[str, ...], full: list[str]) -> None:
    """Check that there are two classes, not all in one folder.

    Args:
        folder: The folder.
        classes: Its class folders.
        full: Those that have images.

    Raises:
        UserError: There are not; what lies deeper and may be meant is named.
    """
    inner = _unwrapped(folder / full[0]) if len(full) == 1 else None
    if len(classes) >= 2 and inner is None:
        return
    if inner is not None and len(classes) > 1:
        raise UserError(
            f"only {full[0]} of the {len(classes)} folders in {folder} has images, and they lie "
            f"deeper; give {inner}"
        )
    message = f"{folder} has {len(classes)} class folders; it needs at least 2, each full of images"
    if inner is not None:
        message += f"; those of {full[0]} lie deeper: give {inner}"
    elif not classes and _has_own_images(folder):
        message += "; its own images are in no class"
    elif not classes and (packed := _archives(folder)):
        message += f"; unpack {packed[0]}"
    raise UserError(message)


def _unwrapped(folder: Path) -> Path | None:
    """Return the first folder, from one on down, that holds parts or two folders of images."""
    for _ in range(MAX_DEPTH):
        full = [name for name in folders_in(folder) if has_images(folder / name)]
        if len(full) != 1:
            return folder if full and not _has_own_images(folder) else None
        folder /= full[0]
    return None


def _check_depth(folder: Path, below: Mapping[str, list[str]]) -> None:
    """Check that class folders do not hold folders of the same names, which would be the classes.

    Args:
        folder: The folder of class folders.
        below: The images of every class, as paths from its folder.

    Raises:
        UserError: All images lie one level deeper, in two folders or more that all classes have,
            or anywhere in folders that are called like parts.
    """
    places = {
        name: [path.split(os.sep) for path in paths] for name, paths in below.items() if paths
    }
    depths = {len(place) for found in places.values() for place in found}
    if len(places) < 2 or 1 in depths:
        return
    inner = [{place[0] for place in found} for found in places.values()]
    same = sorted(set.intersection(*inner))
    are_parts = all(_called_like_parts([name]) for name in same)
    if len(same) < 2 or not (depths == {2} or are_parts):
        return
    first, few = next(iter(places)), f"{same[0]}, {same[1]}{', ...' if len(same) > 2 else ''}"
    if are_parts:
        better = folder / same[0] / first
        meant = f"each has parts of its own; give one of them, or move them to {better} and so on"
    else:
        meant = (
            f"if these are the classes, give one of the folders, such as {folder / first}, or "
            f"name them train and val; if {first} is a class, put its images directly into it"
        )
    raise UserError(f"all folders in {folder} hold folders of the same names ({few}): {meant}")
