"""Images to train on and to validate on, read one by one."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rexnet.data.decode import SUFFIXES, Arrays, read_npz
from rexnet.data.image_sets import ArrayImages, FileImages, per_class
from rexnet.data.image_sets import Images as Images
from rexnet.data.in_memory import SPLITS, check_labels, hold_out, load, nothing_at, official_cifar
from rexnet.errors import UserError

NAMED_SETS = ("sample", "cifar10", "cifar100")

VALIDATION = ("val", "validation", "valid", "test")
"""Folders that may hold the validation part, the first that is there."""


def open_images(source: str) -> tuple[Images, Images]:
    """Open the images to train on and those to validate on, by name or path.

    Args:
        source: ``sample``; ``cifar10`` or ``cifar100``, with the test images to validate on
            (``data/NAME-train.npz`` and ``data/NAME-test.npz``, or the official files in ``data``,
            downloaded if need be); a ``.npz`` file as ``images.load`` takes it, maybe with
            ``val_images`` and ``val_labels``; a folder with the folders ``train`` and ``val`` (or
            validation, valid, test), each of class folders; a folder of class folders. Where there
            is no validation part, a tenth of every class is held out.

    Raises:
        UserError: There is no such source, it cannot be read, a class has no images, there are
            fewer than 2 classes, or the two parts differ in their classes.
    """
    train, val = _open(source)
    if len(train.classes) < 2:
        raise UserError(f"{train.name} has {len(train.classes)} classes; it needs at least 2")
    for title, count in zip(train.classes, per_class(train), strict=True):
        if not count:
            raise UserError(f"{train.name}: class {title!r} has no images; add some or remove it")
    if not len(val):
        raise UserError(f"{val.name} has no images; add some or remove it")
    return train, val


def check_source(source: str) -> None:
    """Check that there is something at a source of ``open_images``; nothing is read.

    Raises:
        UserError: There is nothing, or a file of another kind.
    """
    path = Path(source)
    if source in NAMED_SETS or path.is_dir():
        return
    if path.suffix == ".npz":
        if not path.exists():
            raise UserError(f"cannot read {path}: no such file")
    elif path.exists():
        raise UserError(f"{path} is a file; give a folder of class folders, or a .npz file")
    else:
        raise nothing_at(source)


def check_apart(out: str | Path, folder: Path) -> None:
    """Check that a run folder is not among class folders, where it would be one of them.

    Args:
        out: The run folder.
        folder: The folder of class folders.

    Raises:
        UserError: It is.
    """
    if Path(out).resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"--out {out} lies among the class folders of {folder} and would be taken for a class; "
            "give another --out"
        )


def open_folder(folder: Path) -> FileImages:
    """Open all images of a folder of class folders, none of them held out.

    Raises:
        UserError: It is no such folder, or has no images.
    """
    if not is_class_folder(folder):
        raise UserError(f"{folder} is no folder of class folders")
    images = _class_folders(folder, None)
    if not len(images):
        raise UserError(f"{folder} has no images; add some")
    return images


def is_class_folder(folder: Path) -> bool:
    """Tell whether ``folder`` holds class folders, not parts such as ``train`` and ``val``."""
    return folder.is_dir() and not set(_folders_in(folder)) <= SPLITS


def _open(source: str) -> tuple[Images, Images]:
    check_source(source)
    path = Path(source)
    if source == "sample":
        sample = load(source)
        whole = _array_images(source, (sample.images, sample.labels, sample.classes))
        return _parts(whole, sample.held_out)
    if source in ("cifar10", "cifar100"):
        return _cifar(source)
    if path.suffix == ".npz":
        return _npz(path)
    return _folder(path)


def _parts(whole: Images, held_out: NDArray[np.bool_]) -> tuple[Images, Images]:
    """Return what is not held out, and what is."""
    train, val = (whole.without(np.flatnonzero(part)) for part in (held_out, ~held_out))
    names = f"{whole.name} (train)", f"{whole.name} (val)"
    return replace(train, name=names[0]), replace(val, name=names[1])


def _held_out(whole: Images) -> tuple[Images, Images]:
    return _parts(whole, hold_out(whole.name, whole.labels, whole.classes))


def _array_images(name: str, arrays: Arrays) -> ArrayImages:
    images, labels, classes = arrays
    check_labels(name, labels, classes)
    return ArrayImages(name=name, images=images, labels=labels.astype(np.int64), classes=classes)


def _cifar(source: str) -> tuple[Images, Images]:
    found = []
    for part in ("train", "test"):
        packed = Path("data") / f"{source}-{part}.npz"
        arrays = read_npz(packed) if packed.exists() else official_cifar(source, part)
        found.append(_array_images(f"{source} ({part})", arrays))
    train, test = found
    if train.classes != test.classes:
        raise UserError(
            f"{train.name} and {test.name} have different class names; take both from data/*.npz "
            "or both from the official files"
        )
    return train, test


def _npz(path: Path) -> tuple[Images, Images]:
    images, labels, classes = read_npz(path)
    with np.load(path) as file:
        has_own = "val_images" in file or "val_labels" in file
    if not has_own:
        whole = _array_images(path.name, (images, labels, classes))
        return _held_out(whole)
    val_images, val_labels, _ = read_npz(path, "val_")
    train = _array_images(f"{path.name} (train)", (images, labels, classes))
    return train, _array_images(f"{path.name} (val)", (val_images, val_labels, classes))


def _folder(path: Path) -> tuple[Images, Images]:
    names = _folders_in(path)
    validation = next((name for name in VALIDATION if name in names), None)
    if validation is not None and "train" in names:
        train = _class_folders(path / "train", None)
        return train, _class_folders(path / validation, train.classes)
    if set(names) and set(names) <= SPLITS:
        raise UserError(
            f"{path} holds {', '.join(names)}, not classes; it needs train and one of "
            f"{', '.join(VALIDATION)}, or give a folder of class folders"
        )
    return _held_out(_class_folders(path, None))


def _class_folders(folder: Path, known: tuple[str, ...] | None) -> FileImages:
    """List the images of a folder of class folders, whose names must be among those ``known``."""
    classes = tuple(_folders_in(folder)) if known is None else known
    unknown = sorted(set(_folders_in(folder)) - set(classes))
    if unknown:
        raise UserError(
            f"class {unknown[0]!r} of {folder} is not among the {len(classes)} classes to train "
            "on; add images of it there or remove it"
        )
    if len(classes) < 2:
        raise UserError(
            f"{folder} has {len(classes)} class folders; it needs at least 2, each full of images"
        )
    files: list[bytes] = []
    counts = []
    for name in classes:
        top = os.path.join(folder, name)
        below = list(_files_below(top, (os.path.realpath(top),))) if os.path.isdir(top) else []
        # Sorted as paths are, part by part, which is the order that the search holds out by.
        below.sort(key=lambda path: path.split(os.sep))
        files += (os.fsencode(os.path.join(name, path)) for path in below)
        counts.append(len(below))
    return FileImages(
        name=str(folder),
        classes=classes,
        labels=np.repeat(np.arange(len(classes)), counts),
        folder=folder,
        files=np.array(files, dtype=np.bytes_),
    )


def _folders_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry, is_folder in _entries(str(folder)) if is_folder)


def _files_below(folder: str, above: tuple[str, ...], prefix: str = "") -> Iterator[str]:
    """Yield the images in a folder and in those below, as paths from it.

    Args:
        folder: Path of the folder.
        above: Where the folders that it lies in really are, and last where it is.
        prefix: Put before each path.

    Raises:
        UserError: A folder cannot be read, or a link leads back to a folder above it.
    """
    for entry, is_folder in _entries(folder):
        if not is_folder:
            if os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                yield prefix + entry.name
            continue
        link = entry.is_symlink()
        place = os.path.realpath(entry.path) if link else os.path.join(above[-1], entry.name)
        if place in above:
            raise UserError(f"link {entry.path} leads back to a folder it lies in; remove it")
        yield from _files_below(entry.path, (*above, place), f"{prefix}{entry.name}{os.sep}")


def _entries(folder: str) -> list[tuple["os.DirEntry[str]", bool]]:
    """Return what lies in a folder, in no order, and whether it is a folder; not what is hidden."""
    try:
        with os.scandir(folder) as entries:
            return [(e, e.is_dir()) for e in entries if not e.name.startswith(".")]
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror or error}") from None
