"""Image sets in memory: the bundled sample, CIFAR, folders of class folders, .npz files."""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rexnet.data.decode import SUFFIXES, Arrays, read_npz, read_upright
from rexnet.data.sample import NUM_TRAIN, read_sample
from rexnet.errors import UserError

HELD_OUT = 0.1
"""The share of every class that is held out, except for the sample, which has its own fifth."""

SPLITS = {"test", "train", "val", "valid", "validation"}


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Square images of one size, split into a part to train on and a part held out.

    Attributes:
        name: What the images are, for people.
        images: Shape (num_images, side, side, 3), uint8, RGB.
        labels: Shape (num_images,), int64, from 0 to the number of classes less one.
        held_out: Shape (num_images,), bool: True for images that are not trained on.
        classes: Names of the classes.
    """

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    held_out: NDArray[np.bool_]
    classes: tuple[str, ...]

    @property
    def side(self) -> int:
        """Height and width of every image in pixels."""
        return int(self.images.shape[1])

    def fingerprint(self) -> str:
        """Return sixteen hex digits that depend on every pixel, label and the split."""
        digest = hashlib.sha256()
        for array in (self.images, self.labels, self.held_out):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]


def load(source: str, resolution: int | None = None) -> ImageSet:
    """Load images by name or path.

    Args:
        source: ``sample``; ``cifar10`` or ``cifar100`` (``data/NAME-train.npz``, or the official
            files in ``data``, downloaded if need be); a folder of class folders; a ``.npz`` file
            with the arrays ``images`` (N, side, side, 3) uint8 and ``labels`` (N,), and maybe
            ``classes``.
        resolution: Side in pixels to which the images of a folder are cropped and resized, 32 by
            default. All other sources keep their size.

    Raises:
        UserError: There is no such source, it has too few images or classes, an image is corrupt,
            labels are out of range, or ``resolution`` is given for no folder.
    """
    path = Path(source)
    named = source in ("sample", "cifar10", "cifar100")
    if resolution is not None and (named or path.suffix == ".npz"):
        raise UserError(f"resolution {resolution} is for a folder of images, not for {source}")
    if source == "sample":
        return _sample()
    if source in ("cifar10", "cifar100"):
        packed = Path("data") / f"{source}-train.npz"
        arrays = read_npz(packed) if packed.exists() else official_cifar(source, "train")
        return _split(source, *arrays)
    if path.suffix == ".npz":
        return _split(path.name, *read_npz(path))
    if path.is_dir():
        return _folder(path, 32 if resolution is None else resolution)
    raise nothing_at(source)


def nothing_at(source: str) -> UserError:
    """Return the error for a source that is not there."""
    return UserError(
        f"no images at {source!r}: give sample, cifar10, cifar100, a folder of class folders, or "
        "a .npz file"
    )


def _sample() -> ImageSet:
    images, labels, classes = read_sample()
    return ImageSet(
        name="5,000 training images of CIFAR-10",
        images=images,
        labels=labels.astype(np.int64),
        held_out=np.arange(len(labels)) >= NUM_TRAIN,
        classes=classes,
    )


def official_cifar(source: str, part: str) -> Arrays:
    """Read the ``train`` or ``test`` part of CIFAR from the official files in ``data``.

    Files that are missing are downloaded.

    Raises:
        UserError: The files cannot be had.
    """
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


def _folder(path: Path, resolution: int) -> ImageSet:
    children = sorted(path.iterdir())
    folders = [child for child in children if child.is_dir() and not child.name.startswith(".")]
    if len(folders) < 2:
        raise UserError(
            f"{path} has {len(folders)} class folders; it needs at least 2, each full of images"
        )
    if {folder.name for folder in folders} <= SPLITS:
        raise UserError(
            f"{path} holds splits ({', '.join(folder.name for folder in folders)}), not classes; "
            f"give the folder of the training part, such as {path / 'train'}"
        )
    paths, labels = [], []
    for label, folder in enumerate(folders):
        found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        paths += found
        labels += [label] * len(found)
    from concurrent.futures import ThreadPoolExecutor

    # Pillow decodes outside the interpreter lock.
    with ThreadPoolExecutor() as pool:
        pixels = list(pool.map(partial(_read_image, side=resolution), paths))
    images = np.stack(pixels) if pixels else np.empty((0, resolution, resolution, 3), np.uint8)
    return _split(path.name, images, np.array(labels, int), tuple(f.name for f in folders))


def _read_image(path: Path, side: int) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.fit(read_upright(path), (side, side), Image.Resampling.BICUBIC))


def _split(
    name: str, images: NDArray[np.uint8], labels: NDArray[Any], classes: tuple[str, ...]
) -> ImageSet:
    if len(classes) < 2:
        raise UserError(f"{name} has {len(classes)} classes; a search needs at least 2")
    check_labels(name, labels, classes)
    return ImageSet(
        name=name,
        images=np.ascontiguousarray(images),
        labels=labels.astype(np.int64),
        held_out=hold_out(name, labels, classes),
        classes=classes,
    )


def check_labels(name: str, labels: NDArray[Any], classes: tuple[str, ...]) -> None:
    """Raise a UserError that names the first label which is that of no class."""
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        raise UserError(
            f"{name}: label {labels[wrong[0]]} of image {wrong[0]} is out of range; the "
            f"{len(classes)} classes have labels 0 to {len(classes) - 1}"
        )


def hold_out(name: str, labels: NDArray[Any], classes: tuple[str, ...]) -> NDArray[np.bool_]:
    """Choose a tenth of every class, at least one image, by a fixed seed.

    Returns:
        Shape of ``labels``, (num_images,): True for an image that is held out.

    Raises:
        UserError: A class has fewer than 2 images.
    """
    generator = np.random.default_rng(0)
    held_out = np.zeros(len(labels), dtype=bool)
    for label, title in enumerate(classes):
        where = np.flatnonzero(labels == label)
        if len(where) < 2:
            raise UserError(
                f"{name}: class {title!r} has {len(where)} images; every class needs at least 2"
            )
        number = max(1, round(HELD_OUT * len(where)))
        held_out[generator.permutation(where)[:number]] = True
    return held_out
