"""What was seen of a set of images, and what looks wrong with it."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rexnet.data.coco.images import CocoImages
from rexnet.data.examine import Examined
from rexnet.data.held_out import are_of_one
from rexnet.data.image_sets import FileImages, Images
from rexnet.data.survey import Part, Survey, images_of

SMALL = 8
"""Pixels of the shorter side below which nothing can be seen."""

LONG = 3.0
"""An image is long if one side is so many times the other: a square crop sees its middle alone."""

NAMED = 5
"""Classes that a note names."""

MANY = 0.1
"""The share of long images from which they are told of."""

AnyImages = Images | CocoImages


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A part of a set with what was seen of it.

    Attributes:
        title: ``train`` or ``val``.
        images: All images of the part, those that cannot be read included.
        examined: What each of them is.
        skipped: Whether those that cannot be read are left out.
    """

    title: str
    images: AnyImages
    examined: Examined
    skipped: bool = False

    @property
    def unreadable(self) -> NDArray[np.bool_]:
        """Whether each image cannot be read."""
        return _at(self.examined.damage, len(self.images))

    @property
    def misfits(self) -> NDArray[np.bool_]:
        """Whether each image has another shape than its boxes were drawn in."""
        return _at(self.why_misfits(), len(self.images))

    def why_misfits(self) -> dict[int, str]:
        """Return why images have another shape than their boxes were drawn in, by their indices."""
        images = self.images
        return images.misfits(self.examined.sizes) if isinstance(images, CocoImages) else {}

    @property
    def sound(self) -> NDArray[np.bool_]:
        """Whether each image can be used."""
        return ~(self.unreadable | self.misfits)

    def told(self, which: NDArray[np.bool_], words: str) -> str:
        """Return how many images of the part are so, and which is the first of them."""
        count, first = int(which.sum()), self.images.where(int(which.argmax()))
        whole = f"{count:,} of {images_of(len(self.images))} of {self.title}"
        return f"{words}: {whole}, such as {first}"


def surveyed(parts: Sequence[Seen]) -> Survey:
    """Return what a set of images is.

    Args:
        parts: Its parts, ``train`` first.
    """
    wrong: list[str] = []
    notes: list[str] = []
    left_out: list[str] = []
    for part in parts:
        (left_out if part.skipped else wrong).extend(_unusable(part))
        wrong += _wrong_pictures(part)
        notes += _notes(part)
        if isinstance(part.images, FileImages):
            left_out += [
                f"{found.reason}: {found.count:,}, such as {found.example}"
                for found in part.images.left_out
            ]
        elif isinstance(part.images, CocoImages):
            wrong += [f"{part.title}: {doubt}" for doubt in part.images.doubts]
            wrong += _copies_with_other_boxes(part, part.images)
            notes += [f"{part.title}: {remark}" for remark in part.images.remarks]
    train, name = parts[0].images, _common(parts)
    wrong += [*_copies(parts), *_wrong_classes(train.classes)]
    if isinstance(train, FileImages):
        notes += _deeper(train)
    held_out = parts[-1]
    if held_out.skipped and held_out.unreadable.any() and are_of_one(train, held_out.images):
        notes.append(
            f"others are held out in place of those of {held_out.title} that cannot be read"
        )
    return Survey(
        name=name,
        classes=train.classes,
        parts=tuple(_part(part, name) for part in parts),
        left_out=tuple(dict.fromkeys(left_out)),
        notes=tuple(dict.fromkeys(notes)),
        wrong=tuple(dict.fromkeys(wrong)),
    )


def _at(indices: Iterable[int], count: int) -> NDArray[np.bool_]:
    found = np.zeros(count, np.bool_)
    found[list(indices)] = True
    return found


def _unusable(part: Seen) -> list[str]:
    """Return which images of a part, or boxes on them, cannot be used, and why the first cannot."""
    found = [
        (part.examined.damage, "cannot be read"),
        (part.why_misfits(), "of another shape than their boxes were drawn in"),
    ]
    count = len(part.images)
    told = [f"{part.told(_at(why, count), words)} ({why[min(why)]})" for why, words in found if why]
    degenerate = part.images.num_degenerate if isinstance(part.images, CocoImages) else 0
    if degenerate:
        told.append(f"boxes of {part.title} that have no area: {degenerate:,}")
    return told


def _own_name(part: Seen) -> str:
    return part.images.name.removesuffix(f" ({part.title})")


def _common(parts: Sequence[Seen]) -> str:
    """Return what a set is called: as its one part, or by the folder of all."""
    names = {_own_name(part) for part in parts}
    return os.path.commonpath(names) or _own_name(parts[0])


def _part(part: Seen, name: str) -> Part:
    images, sound = part.images, part.sound
    sizes = part.examined.sizes[sound]
    is_boxes = isinstance(images, CocoImages)
    labels = _labels(images, sound)
    of_sizes = (0, 0.5, 1) if len(sizes) else ()
    quantiles = [np.quantile(sizes, q, axis=0, method="nearest") for q in of_sizes]
    return Part(
        title=part.title,
        place="" if _own_name(part) == name else images.name,
        num_images=int(sound.sum()),
        num_boxes=len(labels) if is_boxes else None,
        num_of_class=tuple(np.bincount(labels, minlength=len(images.classes)).tolist()),
        sizes=tuple((int(width), int(height)) for width, height in quantiles),
    )


def _labels(images: AnyImages, sound: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the labels of the images that can be used, or of all boxes on them but crowds."""
    if isinstance(images, CocoImages):
        used = np.repeat(sound, np.diff(images.starts)) & ~images.truth.crowd
        return images.truth.labels[used]
    return images.labels[sound]


def _wrong_pictures(part: Seen) -> list[str]:
    """Return what is wrong with the pictures of a part, each by itself."""
    seen, sound = part.examined, part.sound
    shorter, longer = seen.sizes.min(axis=1), seen.sizes.max(axis=1)
    found = [
        (seen.flat & ~seen.faint & ~seen.transparent, "of a single colour"),
        (seen.flat & ~seen.faint & seen.transparent, "of a single colour on white"),
        (seen.faint, "so little of the range of their bits is used that they look blank"),
        (sound & (shorter < SMALL), f"less than {SMALL} pixels high or wide"),
    ]
    told = [part.told(which, words) for which, words in found if which.any()]
    is_long = sound & (longer > LONG * shorter)
    if is_long.mean() > MANY and not isinstance(part.images, CocoImages):
        words = f"more than {LONG:g} times as long as wide, and only the middle is looked at"
        told.append(part.told(is_long, words))
    if isinstance(part.images, CocoImages) and not len(_labels(part.images, sound)):
        told.append(f"{part.title} has no boxes that can be used, so nothing can be learnt of it")
    return told


def _wrong_classes(classes: Sequence[str]) -> list[str]:
    """Return what is wrong with the names of the classes."""
    names: dict[str, str] = {}
    told = []
    for name in classes:
        other = names.setdefault(" ".join(name.casefold().split()), name)
        if other != name:
            told.append(f"classes {other!r} and {name!r} differ in case or spaces alone")
    return told


def _deeper(train: FileImages) -> list[str]:
    """Return that folders below the class folders may be the classes, if they may.

    All images lie in such, and some of their names, not all the same, are in several classes.
    """
    places = {tuple(os.fsdecode(file).split(os.sep)[:-1][:2]) for file in train.files.tolist()}
    if any(len(place) < 2 for place in places):
        return []
    owners: dict[str, list[str]] = {}
    for name, inner in sorted(places):
        owners.setdefault(inner, []).append(name)
    shared = [(inner, names) for inner, names in owners.items() if len(names) > 1]
    if not shared or len(owners) < 2:
        return []
    inner, (one, other, *_) = shared[0]
    return [
        f"all images lie in folders below the class folders, such as {one}{os.sep}{inner} and "
        f"{other}{os.sep}{inner}; if {inner} is the class, put them into one folder"
    ]


def _notes(part: Seen) -> list[str]:
    """Return what is done with some images of a part, or is worth knowing."""
    seen, images = part.examined, part.images
    told = []
    if seen.transparent.any():
        told.append(part.told(seen.transparent, "with transparent parts, which are shown on white"))
    copies = part.sound & ~seen.flat & ~_firsts(seen.digests)
    if copies.any():
        told.append(part.told(copies, "copies of others there"))
    if isinstance(images, CocoImages):
        return [*told, *_changed_boxes(part.title, images)]
    counts = np.bincount(images.labels, minlength=len(images.classes))
    return [*told, *_empty(f"{part.title} has no images", images.classes, counts)]


def _empty(words: str, classes: Sequence[str], counts: NDArray[np.int64]) -> list[str]:
    """Return in words which classes have nothing."""
    empty = [classes[label] for label in np.flatnonzero(counts == 0).tolist()]
    few = ", ".join(empty[:NAMED]) + (", ..." if len(empty) > NAMED else "")
    return [f"{words} of {few} ({len(empty):,} of {len(classes):,} classes)"] if empty else []


def _changed_boxes(title: str, images: CocoImages) -> list[str]:
    """Return what is done with boxes of a part."""
    told = []
    if images.num_clipped:
        told.append(f"boxes of {title} that reach over an edge and are cut: {images.num_clipped:,}")
    counts = np.bincount(images.truth.labels, minlength=len(images.classes))
    return [*told, *_empty(f"{title} has no boxes", images.classes, counts)]


def _copies_with_other_boxes(part: Seen, images: CocoImages) -> list[str]:
    """Return in words which copies of a picture have other boxes than the first: not all are drawn.

    Boxes are compared in shares of their images, as copies may be of other sizes.
    """
    seen = part.examined
    others = np.zeros(len(images), np.bool_)
    _, firsts, numbers = np.unique(seen.digests, return_index=True, return_inverse=True)
    copies = np.flatnonzero(part.sound & ~seen.flat & ~_firsts(seen.digests))
    for copy in copies.tolist():
        others[copy] = _shares(images, int(firsts[numbers[copy]])) != _shares(images, copy)
    words = "copies of others there, but with other boxes"
    return [part.told(others, words)] if others.any() else []


def _shares(images: CocoImages, index: int) -> list[list[float]]:
    """Return labels and boxes of an image, in percent of its sides, in an order of their own."""
    found = images.of(index)
    percent = np.rint(100 * found.boxes / np.tile(images.sizes[index], 2))
    return sorted(np.column_stack([found.labels, percent]).tolist())


def _firsts(values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return which values did not stand before."""
    found = np.zeros(len(values), np.bool_)
    found[np.unique(values, return_index=True)[1]] = True
    return found


def _copies(parts: Sequence[Seen]) -> list[str]:
    """Return which pictures are in two parts, or in two classes."""
    train, *others = parts
    # All images of one colour look the same.
    kept = [part.sound & ~part.examined.flat for part in parts]
    known = train.examined.digests[kept[0]]
    told = []
    for part, sound in zip(others, kept[1:], strict=True):
        both = sound & np.isin(part.examined.digests, known)
        if both.any():
            first = part.examined.digests[both.argmax()]
            copy = train.images.where(int((train.examined.digests == first).argmax()))
            words = f"in {train.title} too, so results on them say little"
            told.append(f"{part.told(both, words)}, which is {copy}")
    if isinstance(train.images, CocoImages):
        return told
    return [*told, *_two_labels(parts, kept)]


def _two_labels(parts: Sequence[Seen], kept: Sequence[NDArray[np.bool_]]) -> list[str]:
    """Return how many pictures are in two classes."""
    whole = list(zip(parts, kept, strict=True))
    digests = np.concatenate([part.examined.digests[sound] for part, sound in whole])
    labels = np.concatenate([_labels(part.images, sound) for part, sound in whole])
    order = np.lexsort((labels, digests))
    digests, labels = digests[order], labels[order]
    pairs = np.flatnonzero((digests[1:] == digests[:-1]) & (labels[1:] != labels[:-1]))
    if not len(pairs):
        return []
    # Where an image is, by its number among those that can be read.
    numbers = np.concatenate([np.flatnonzero(sound) for sound in kept])
    owners = np.repeat(np.arange(len(parts)), [sound.sum() for sound in kept])
    pair = order[pairs[0]], order[pairs[0] + 1]
    one, two = (parts[owners[place]].images.where(int(numbers[place])) for place in pair)
    return [
        f"pictures that are in two classes: {len(np.unique(digests[pairs])):,}, such as {one} and "
        f"{two}; one of the labels is wrong"
    ]
