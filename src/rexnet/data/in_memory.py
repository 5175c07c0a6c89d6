"""The images of a search: all of one size, a part of them held out."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rexnet.data.batches import statistics
from rexnet.data.corrupt import Listed, listed_in, refuse, unusable
from rexnet.data.decode import MAX_MEGAPIXELS
from rexnet.data.examine import Examined, examine
from rexnet.data.findings import Seen, surveyed
from rexnet.data.folders import parts_in
from rexnet.data.held_out import HELD_OUT, check_left, exchanged
from rexnet.data.image_sets import ArrayImages, Images
from rexnet.data.sources import SOURCES, held_out, open_source
from rexnet.data.stored import IN_MEMORY_BYTES, Part, Pixels, Store, opened
from rexnet.data.survey import OnSurvey, Survey, ignore
from rexnet.errors import UserError

SIDE = 32
"""Pixels to which image files are resized if no resolution is given."""


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Square images of one size, split into a part to train on and a part held out.

    Attributes:
        name: What the images are, for people.
        images: Shape (num_images, side, side, 3), uint8, RGB; in memory or mapped from a file.
        labels: Shape (num_images,), int64, from 0 to the number of classes less one.
        held_out: Shape (num_images,), bool: True for images that are not trained on.
        classes: Names of the classes.
        corrupt: Where each image is that was left out as corrupt, and why it cannot be read.
        statistics: Channel means and standard deviations in 0..255 that images are normalised by;
            by default those of the part to train on.
    """

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    held_out: NDArray[np.bool_]
    classes: tuple[str, ...]
    corrupt: tuple[tuple[str, str], ...] = ()
    statistics: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    def normalisation(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the channel means and standard deviations in 0..255 to normalise by."""
        return self.statistics or statistics(self.part(held_out=False))

    def part(self, *, held_out: bool) -> Pixels:
        """Return the images to train on, or those held out."""
        mine = self.held_out == held_out
        if isinstance(self.images, np.memmap):
            return Part(images=self.images, index=np.flatnonzero(mine))
        return self.images[mine]

    def __getstate__(self) -> dict[str, Any]:
        """Hand on the path of a file in place of its pixels, to another process of this machine."""
        state = dict(vars(self))
        if isinstance(self.images, np.memmap):
            state["images"] = Path(str(self.images.filename))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the file again."""
        if isinstance(state["images"], Path):
            state["images"] = opened(state["images"])
        vars(self).update(state)

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


def load(
    source: str,
    resolution: int | None = None,
    *,
    max_megapixels: int = MAX_MEGAPIXELS,
    skip_corrupt: bool = False,
    share: float = HELD_OUT,
    on_read: Callable[[int, int], None] = lambda done, total: None,
    on_survey: OnSurvey = ignore,
    store: Store | None = None,
) -> ImageSet:
    """Load the images of a source to train on, a part of them held out.

    Args:
        source: As that of ``open_source``; images of its own to validate on are not read, and a
            folder must hold class folders.
        resolution: Side in pixels to which images in files are cropped and resized, 32 by
            default. Those in memory keep their size.
        max_megapixels: Most millions of pixels of a file.
        skip_corrupt: Leave corrupt files out, instead of raising an error; others are held out in
            place of those that were held out.
        share: The share of every class that is held out, where the source does not say which are.
        on_read: Called now and then with the number of images that were looked at and of all.
        on_survey: Called with what the images are, before they are taken into memory.
        store: Where those go that are too many for it; by default none are.

    Raises:
        UserError: There is no such source, it has too few images or classes, an image is corrupt,
            labels are out of range, or ``resolution`` is given for images in memory.
    """
    path = Path(source)
    parts = parts_in(path) if source not in SOURCES and path.is_dir() else {}
    if parts:
        training = next((name for name, part in parts.items() if part == "train"), "")
        hint = f"the training part, {path / training}" if training else "class folders"
        raise UserError(
            f"{path} holds splits ({', '.join(parts)}), not classes; give the folder of {hint}"
        )
    opened = open_source(source)
    images = opened.train.limited(max_megapixels)
    if resolution is not None and isinstance(images, ArrayImages):
        raise UserError(f"resolution {resolution} is for a folder of images, not for {source}")
    if len(images.classes) < 2:
        raise UserError(
            f"{opened.title} has {len(images.classes)} classes; a search needs at least 2"
        )
    part, seen = held_out(opened, opened.title, share), examine(images, on_read)
    on_survey(_survey(images, part, seen, skipped=skip_corrupt))
    if not skip_corrupt:
        refuse([(images, seen)])
    left, part, corrupt = _usable(images, part, seen)
    return ImageSet(
        name=opened.title,
        held_out=part,
        images=_pixels(left, SIDE if resolution is None else resolution, store),
        labels=left.labels,
        classes=images.classes,
        corrupt=tuple(corrupt),
    )


def _usable(
    images: Images, part: NDArray[np.bool_], seen: Examined
) -> tuple[Images, NDArray[np.bool_], Listed]:
    """Return the images that can be used, which are held out, and which cannot be, and why."""
    found = unusable(images, seen)
    check_left(images, found, least=2)
    bad = np.isin(np.arange(len(images)), list(found))
    part = exchanged(images.labels, part, bad)[~bad]
    return images.without(found), part, listed_in(images, found)


def _survey(images: Images, part: NDArray[np.bool_], seen: Examined, *, skipped: bool) -> Survey:
    """Return what images are, those to train on and those held out of them."""
    name = images.name.removesuffix(" (train)")
    return surveyed(
        [
            Seen(
                title=title,
                images=replace(images.without(np.flatnonzero(~mine)), name=f"{name} ({title})"),
                examined=seen.of(np.flatnonzero(mine)),
                skipped=skipped,
            )
            for title, mine in (("train", ~part), ("held out", part))
        ]
    )


def _pixels(images: Images, side: int, store: Store | None) -> NDArray[np.uint8]:
    """Return all images (num_images, side, side, 3); those in memory keep their side."""
    if isinstance(images, ArrayImages):
        return np.ascontiguousarray(images.images)
    # Pillow decodes outside the interpreter lock.
    with ThreadPoolExecutor() as pool:

        def read(numbers: range) -> NDArray[np.uint8]:
            return np.stack(list(pool.map(partial(_read_square, images, side), numbers)))

        shape = (len(images), side, side, 3)
        if store is None or np.prod(shape) <= IN_MEMORY_BYTES:
            return read(range(len(images)))
        return store.array(f"{images.fingerprint()} at {side} px", shape, read)


def _read_square(images: Images, side: int, index: int) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    size = side, side
    return np.asarray(ImageOps.fit(images.read(index), size, Image.Resampling.BICUBIC))
