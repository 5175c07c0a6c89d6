"""Images that cannot be used: named, left out."""

from collections.abc import Mapping

import numpy as np

from rexnet.data.coco import CocoImages
from rexnet.data.examine import Examined
from rexnet.data.image_sets import C, Checkable, FileImages, per_class
from rexnet.errors import UserError

NAMED = 5
"""Images of a kind that an error names."""


def checked(images: C, examined: Examined, skip_corrupt: bool) -> tuple[C, list[tuple[str, str]]]:
    """Return the images that can be used, and where the others are, with the reasons.

    Images of another shape than their boxes were drawn in are as corrupt ones.

    Args:
        images: The images.
        examined: What each of them is.
        skip_corrupt: Leave corrupt images out, instead of raising an error.

    Raises:
        UserError: Images are corrupt and not to be skipped, or all those of a class are, or all
            with boxes.
    """
    misfits = images.misfits(examined.sizes) if isinstance(images, CocoImages) else {}
    if not skip_corrupt:
        _refuse(images, examined.damage, misfits)
    left_out = dict(sorted((examined.damage | misfits).items()))
    rest = images.without(left_out)
    if isinstance(images, FileImages) and isinstance(rest, FileImages):
        _check_left(images, rest)
    if isinstance(rest, CocoImages) and left_out:
        _check_boxes_left(rest, len(images), _named(images, left_out))
    return rest, [(images.where(index), reason) for index, reason in left_out.items()]


def _check_boxes_left(rest: CocoImages, count: int, named: str) -> None:
    if rest.truth.crowd.all():
        raise UserError(
            f"no image of {rest.name} with boxes is left: {count - len(rest)} of {count} images "
            f"cannot be used: {named}"
        )


def _refuse(images: Checkable, corrupt: Mapping[int, str], misfits: Mapping[int, str]) -> None:
    """Tell which images cannot be used.

    Raises:
        UserError: There are some.
    """
    told = []
    if corrupt:
        told.append(
            f"{len(corrupt)} of {len(images)} images are corrupt: {_named(images, corrupt)}; "
            "repair or remove them"
        )
    if misfits:
        told.append(
            f"{len(misfits)} of {len(images)} images have another shape than their boxes were "
            f"drawn in: {_named(images, misfits)}; mend the files or their entries"
        )
    if told:
        raise UserError(f"{'; '.join(told)}, or pass --skip-corrupt")


def _named(images: Checkable, found: Mapping[int, str]) -> str:
    first = sorted(found)[:NAMED]
    names = ", ".join(f"{images.where(index)} ({found[index]})" for index in first)
    return names + (f" and {len(found) - NAMED} more" if len(found) > NAMED else "")


def _check_left(images: FileImages, rest: FileImages) -> None:
    lost = np.flatnonzero((per_class(rest) == 0) & (per_class(images) > 0))
    if len(lost):
        raise UserError(
            f"all images of class {images.classes[lost[0]]!r} of {images.name} are corrupt; "
            "repair them or remove the class"
        )
