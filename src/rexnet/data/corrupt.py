"""Images that cannot be used: named, left out."""

from collections.abc import Mapping, Sequence

from rexnet.data.coco.images import CocoImages
from rexnet.data.examine import Examined
from rexnet.data.held_out import check_left
from rexnet.data.image_sets import C, Checkable, FileImages
from rexnet.errors import UserError

NAMED = 5
"""Images of a kind that an error names."""

Listed = list[tuple[str, str]]
"""Where images are, and why they cannot be used."""


def checked(images: C, examined: Examined, skip_corrupt: bool) -> tuple[C, Listed]:
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
    if not skip_corrupt:
        refuse([(images, examined)])
    found = unusable(images, examined)
    if isinstance(images, FileImages):
        check_left(images, found)
    rest, listed = images.without(found), listed_in(images, found)
    check_boxes_left(images, rest, listed)
    return rest, listed


def unusable(images: Checkable, examined: Examined) -> dict[int, str]:
    """Return why images cannot be used, by their indices in order."""
    return dict(sorted({**examined.damage, **_misfits(images, examined)}.items()))


def listed_in(images: Checkable, found: Mapping[int, str]) -> Listed:
    """Return where images are, with what is told of them by their indices."""
    return [(images.where(index), reason) for index, reason in found.items()]


def refuse(parts: Sequence[tuple[Checkable, Examined]]) -> None:
    """Refuse images that cannot be used.

    Args:
        parts: Images and what each of them is.

    Raises:
        UserError: There are such; some are named.
    """
    total = sum(len(images) for images, _ in parts)
    corrupt = [row for images, seen in parts for row in listed_in(images, seen.damage)]
    misfits = [row for images, seen in parts for row in listed_in(images, _misfits(images, seen))]
    told = []
    if corrupt:
        told.append(
            f"{len(corrupt)} of {total} images are corrupt: {_named(corrupt)}; repair or remove "
            "them"
        )
    if misfits:
        told.append(
            f"{len(misfits)} of {total} images have another shape than their boxes were drawn in: "
            f"{_named(misfits)}; mend the files or their entries"
        )
    if told:
        raise UserError(f"{'; '.join(told)}, or pass --skip-corrupt")


def check_boxes_left(images: object, rest: object, listed: Listed) -> None:
    """Check that of images with boxes some are left without those that cannot be used.

    Args:
        images: All images.
        rest: Those that are left.
        listed: The others.

    Raises:
        UserError: None is left.
    """
    if not isinstance(images, CocoImages) or not isinstance(rest, CocoImages):
        return
    if listed and rest.truth.crowd.all():
        raise UserError(
            f"no image of {rest.name} with boxes is left: {len(listed)} of {len(images)} images "
            f"cannot be used: {_named(listed)}"
        )


def _misfits(images: Checkable, examined: Examined) -> dict[int, str]:
    return images.misfits(examined.sizes) if isinstance(images, CocoImages) else {}


def _named(listed: Listed) -> str:
    names = ", ".join(f"{where} ({reason})" for where, reason in listed[:NAMED])
    return names + (f" and {len(listed) - NAMED} more" if len(listed) > NAMED else "")
