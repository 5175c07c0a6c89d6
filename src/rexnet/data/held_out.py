"""Which images are held out, and which others where some of those are corrupt."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rexnet.data.image_sets import C, FileImages, Images, per_class
from rexnet.data.survey import images_of
from rexnet.errors import UserError

HELD_OUT = 0.1
"""The share of every class that is held out of images without a part to validate on."""


def part_of(
    labels: NDArray[np.int64], classes: Sequence[str], name: str, share: float = HELD_OUT
) -> NDArray[np.bool_]:
    """Return a part of every class and at least one image, chosen by a fixed seed.

    A larger share holds what a smaller one does.

    Args:
        labels: Shape (num_images,).
        classes: Names of the classes.
        name: What the images are called in an error.
        share: The share of every class.

    Returns:
        Shape (num_images,): True for an image that is held out.

    Raises:
        UserError: A class has fewer than 2 images.
    """
    generator = np.random.default_rng(0)
    found = np.zeros(len(labels), dtype=bool)
    # Class by class, each in the order of its images.
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(len(classes) + 1))
    for label, title in enumerate(classes):
        where = order[starts[label] : starts[label + 1]]
        if len(where) < 2:
            raise UserError(
                f"{name}: class {title!r} has {images_of(len(where))}; every class needs at least 2"
            )
        number = max(1, round(share * len(where)))
        found[generator.permutation(where)[:number]] = True
    return found


def exchanged(
    labels: NDArray[np.int64], held_out: NDArray[np.bool_], corrupt: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which images are held out without those that are corrupt.

    In the place of one that is corrupt another of its class is held out, chosen by a fixed seed,
    as long as one is left to train on. What else is held out stays.

    Args:
        labels: Shape (num_images,).
        held_out: Shape (num_images,): those that were held out.
        corrupt: Shape (num_images,).

    Returns:
        Shape (num_images,).
    """
    found = held_out & ~corrupt
    for label in np.unique(labels[held_out & corrupt]):
        of_class = labels == label
        spare = np.flatnonzero(of_class & ~held_out & ~corrupt)
        number = min(int((of_class & held_out & corrupt).sum()), len(spare) - 1)
        found[np.random.default_rng(0).permutation(spare)[: max(0, number)]] = True
    return found


def are_of_one(train: object, val: object) -> bool:
    """Tell whether images are files of one folder, a part of which is held out."""
    if not isinstance(train, FileImages) or not isinstance(val, FileImages):
        return False
    return train.folder == val.folder


def without_corrupt(
    parts: tuple[C, C], corrupt: tuple[Sequence[int], Sequence[int]], *, exchange: bool = True
) -> tuple[C, C]:
    """Return what is to train on and what to validate on without corrupt images.

    Of files of one folder as many are held out as before, if there are enough.

    Args:
        parts: The images to train on and those to validate on.
        corrupt: Of each, the indices of those that are corrupt.
        exchange: Whether others are held out in place of those that are corrupt.

    Raises:
        UserError: No image of a class is left, or of one folder fewer than two.
    """
    train, val = parts
    rest = train.without(corrupt[0]), val.without(corrupt[1])
    if not isinstance(train, FileImages) or not isinstance(val, FileImages):
        return rest
    if not are_of_one(train, val):
        check_left(train, corrupt[0])
        check_left(val, corrupt[1])
        return rest
    whole = replace(
        train,
        name=train.name.removesuffix(" (train)"),
        labels=np.concatenate([train.labels, val.labels]),
        files=np.concatenate([train.files, val.files]),
    )
    bad = np.zeros(len(whole), dtype=bool)
    bad[[*corrupt[0], *(len(train) + index for index in corrupt[1])]] = True
    check_left(whole, np.flatnonzero(bad).tolist(), least=2)
    if not exchange or not corrupt[1]:
        return rest
    held_out = exchanged(whole.labels, np.arange(len(whole)) >= len(train), bad)
    found = whole.without(np.flatnonzero(held_out | bad)), whole.without(np.flatnonzero(~held_out))
    # The same types as were given.
    return (
        replace(train, labels=found[0].labels, files=found[0].files),
        replace(val, labels=found[1].labels, files=found[1].files),
    )


def check_left(images: Images, corrupt: Collection[int], least: int = 1) -> None:
    """Check that every class that has images keeps some without those that are corrupt.

    Args:
        images: The images, corrupt ones included.
        corrupt: The indices of those.
        least: How many a class must keep.

    Raises:
        UserError: A class keeps fewer.
    """
    before, left = per_class(images), per_class(images.without(corrupt))
    lost = np.flatnonzero((left < least) & (before > left))
    if len(lost):
        title, count = images.classes[lost[0]], before[lost[0]]
        what = f"all {count} images of class {title!r} of {images.name} are corrupt"
        if left[lost[0]]:
            what = f"{count - left[lost[0]]} of the {count} images of class {title!r} of "
            what += f"{images.name} are corrupt, and every class needs at least {least}"
        raise UserError(f"{what}; repair them or remove the class")
