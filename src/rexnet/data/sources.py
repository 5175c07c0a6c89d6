"""Where images come from: the table of sources, and their parts to train and to validate on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rexnet.data.folders import chosen_parts, class_folders, is_class_folder, parts_in
from rexnet.data.held_out import HELD_OUT, part_of
from rexnet.data.image_sets import ArrayImages, FileImages, Images, per_class
from rexnet.data.npz import Arrays, check_start, read_npz
from rexnet.data.sample import NUM_TRAIN, read_sample
from rexnet.data.walk import ARCHIVES, EMPTY, HIDDEN, Tally, folders_in, has_images
from rexnet.errors import UserError

FOLDER = "/"
"""What stands for a folder in ``SOURCES``."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is at a source.

    Attributes:
        title: What it is, for people.
        train: The images to train on, with those that are held out of them, if any.
        held_out: Shape (num_images,), bool: those of ``train`` that the source itself holds out;
            None: a tenth of every class.
        val: Opens images of its own to validate on, instead of any held out; None: it has none.
    """

    title: str
    train: Images
    held_out: NDArray[np.bool_] | None = None
    val: Callable[[], Images] | None = None


def open_source(source: str) -> Source:
    """Open a source by name or path; its own images to validate on are not yet read.

    Args:
        source: ``sample``; ``cifar10`` or ``cifar100``, with the test images to validate on
            (``data/NAME-train.npz`` and ``data/NAME-test.npz``, or the official files in ``data``,
            downloaded if need be); a ``.npz`` file with the arrays ``images`` (N, side, side, 3)
            uint8 and ``labels`` (N,), maybe ``classes``, and maybe ``val_images`` and
            ``val_labels``; a folder with the folders ``train`` and ``val`` (or validation, valid,
            test; see ``folders.PARTS``), each of class folders; a folder of class folders.

    Raises:
        UserError: There is no such source, it cannot be read, or labels are out of range.
    """
    return SOURCES[_kind(source)](source)


def open_images(source: str) -> tuple[Images, Images]:
    """Open the images to train on and those to validate on.

    Args:
        source: As that of ``open_source``. Where there is no validation part, a tenth of every
            class is held out.

    Raises:
        UserError: There is no such source, it cannot be read, a class has no images, there are
            fewer than 2 classes, or the two parts differ in their classes.
    """
    opened = open_source(source)
    if opened.val is None:
        train, val = _divided(opened.train, held_out(opened, opened.train.name))
    else:
        train, val = opened.train, opened.val()
    if len(train.classes) < 2:
        raise UserError(f"{train.name} has {len(train.classes)} classes; it needs at least 2")
    for title, count in zip(train.classes, per_class(train), strict=True):
        if not count:
            words = f"class {title!r} has no images; add some or remove it"
            raise UserError(f"{train.name}: {words}{_beside(train)}")
    if not len(val):
        raise UserError(f"{val.name} has no images; add some or remove it{_beside(val)}")
    return train, val


def held_out(opened: Source, name: str, share: float = HELD_OUT) -> NDArray[np.bool_]:
    """Return which images of ``opened.train`` are held out.

    Args:
        opened: The source, which may say so itself; else a part of every class is.
        name: What its images are called in an error.
        share: The share of every class, where the source does not say.

    Returns:
        Shape (num_images,): True for an image that is held out.

    Raises:
        UserError: A class has fewer than 2 images.
    """
    if opened.held_out is not None:
        return opened.held_out
    try:
        return part_of(opened.train.labels, opened.train.classes, name, share)
    except UserError as error:
        raise UserError(f"{error}{_beside(opened.train)}") from None


def _beside(images: Images) -> str:
    """Return in words what lies beside images and is not read; empty if nothing does."""
    found = images.left_out if isinstance(images, FileImages) else ()
    told = [
        f"{left.reason}: {left.count:,}, such as {left.example}"
        for left in found
        if left.reason not in (HIDDEN, EMPTY)
    ]
    return f" (left out: {'; '.join(told[:2])})" if told else ""


def check_source(source: str) -> None:
    """Check that there is something at a source; nothing is read.

    Raises:
        UserError: There is nothing, or a file of another kind.
    """
    _kind(source)


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
    images = class_folders(folder)
    if not len(images):
        raise UserError(f"{folder} has no images; add some")
    return images


def _kind(source: str) -> str:
    """Return the key of ``SOURCES`` for a source, or raise an error if there is none."""
    path = Path(source)
    if source in SOURCES:
        return source
    if path.is_dir():
        return FOLDER
    if path.suffix in SOURCES:
        if not path.exists():
            raise UserError(f"cannot read {path}: no such file")
        return path.suffix
    named = [key for key in SOURCES if key != FOLDER and not key.startswith(".")]
    others = [
        "a folder of class folders",
        *(f"a {key} file" for key in SOURCES if key.startswith(".")),
    ]
    if path.exists():
        unpack = "unpack it, and " if path.name.lower().endswith(ARCHIVES) else ""
        raise UserError(f"{path} is a file; {unpack}give {_any_of(others)}")
    raise UserError(f"no images at {source!r}: give {_any_of([*named, *others])}")


def _any_of(names: list[str]) -> str:
    return f"{', '.join(names[:-1])}, or {names[-1]}"


def _divided(whole: Images, held_out: NDArray[np.bool_]) -> tuple[Images, Images]:
    """Return what is not held out, and what is."""
    train, val = (whole.without(np.flatnonzero(part)) for part in (held_out, ~held_out))
    if isinstance(val, FileImages):
        # What lies beside is told of once.
        val = replace(val, left_out=())
    return replace(train, name=f"{whole.name} (train)"), replace(val, name=f"{whole.name} (val)")


def _open_sample(source: str) -> Source:
    train = _array_images(source, read_sample())
    return Source(
        title="5,000 training images of CIFAR-10",
        train=train,
        held_out=np.arange(len(train)) >= NUM_TRAIN,
    )


def _open_cifar(source: str) -> Source:
    train = _cifar(source, "train")

    def test() -> Images:
        found = _cifar(source, "test")
        if train.classes != found.classes:
            raise UserError(
                f"{train.name} and {found.name} have different class names; take both from "
                "data/*.npz or both from the official files"
            )
        return found

    return Source(title=source, train=train, val=test)


def _cifar(source: str, part: str) -> ArrayImages:
    packed = Path("data") / f"{source}-{part}.npz"
    arrays = read_npz(packed) if packed.exists() else _official_cifar(source, part)
    return _array_images(f"{source} ({part})", arrays)


def _official_cifar(source: str, part: str) -> Arrays:
    """Read the official files of CIFAR in ``data``; those that are missing are downloaded."""
    from torchvision import datasets

    kind = datasets.CIFAR10 if source == "cifar10" else datasets.CIFAR100
    try:
        read = kind("data", train=part == "train", download=True)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"cannot get {source}: {error}; put the official files or {source}-{part}.npz "
            "into data/"
        ) from None
    return read.data, np.array(read.targets), tuple(read.classes)


def _open_npz(source: str) -> Source:
    path = Path(source)
    arrays = read_npz(path)
    with np.load(path) as file:
        has_own = "val_images" in file or "val_labels" in file
    if not has_own:
        return Source(title=path.name, train=_array_images(path.name, arrays))
    train = _array_images(f"{path.name} (train)", arrays)

    def val() -> Images:
        images, labels, _ = read_npz(path, "val_")
        check_start(path.name, labels, len(train.classes), "val_labels")
        return _array_images(f"{path.name} (val)", (images, labels, train.classes))

    return Source(title=path.name, train=train, val=val)


def _array_images(name: str, arrays: Arrays) -> ArrayImages:
    images, labels, classes = arrays
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        raise UserError(
            f"{name}: label {labels[wrong[0]]} of image {wrong[0]} is out of range; the "
            f"{len(classes)} classes have labels 0 to {len(classes) - 1}"
        )
    return ArrayImages(name=name, images=images, labels=labels.astype(np.int64), classes=classes)


def _open_folder(source: str) -> Source:
    path = Path(source)
    parts = parts_in(path)
    if not parts:
        return Source(title=path.name, train=class_folders(path))
    training, validation = chosen_parts(path, parts)
    train = class_folders(path / training)
    unused = Tally()
    for name in folders_in(path):
        if name not in (training, validation) and has_images(path / name):
            unused.add("folders of images that are not used", str(path / name))
    train = replace(train, left_out=train.left_out + unused.left_out())
    val = partial(class_folders, path / validation, train.classes)
    return Source(title=path.name, train=train, val=val)


SOURCES: Mapping[str, Callable[[str], Source]] = {
    "sample": _open_sample,
    "cifar10": _open_cifar,
    "cifar100": _open_cifar,
    FOLDER: _open_folder,
    ".npz": _open_npz,
}
"""What opens a source: by its name, by the ending of its file, or as a folder."""
