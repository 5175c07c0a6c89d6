"""The images of a training: looked at once, without those that cannot be used."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, cast

from rexnet import runs
from rexnet.data.corrupt import Listed, check_boxes_left, listed_in, refuse, unusable
from rexnet.data.examine import Examined, examine, woven
from rexnet.data.findings import AnyImages, Seen, surveyed
from rexnet.data.held_out import without_corrupt
from rexnet.data.image_sets import C, Checkable
from rexnet.data.survey import OnSurvey, Survey, ignore
from rexnet.errors import UserError
from rexnet.runs.progress import OnProgress, counting
from rexnet.train.config import MARK
from rexnet.train.distributed import World

TITLES = ("train", "val")
"""What the parts of a set are called."""


@dataclass(frozen=True, kw_only=True)
class Data(Generic[C]):
    """Images to train on and to evaluate on.

    Attributes:
        train: Without corrupt images.
        val: Without corrupt images.
        fingerprints: Of both parts, the corrupt images included.
        corrupt: Of both parts, where each corrupt image is, and why it cannot be read.
        survey: What the images are; None if that was not written when they were looked at.
    """

    train: C
    val: C
    fingerprints: tuple[str, str]
    corrupt: tuple[Listed, Listed]
    survey: Survey | None = None


def sound(
    given: tuple[C, C],
    folder: Path,
    world: World,
    skip_corrupt: bool,
    on_progress: OnProgress,
    on_survey: OnSurvey = ignore,
) -> Data[C]:
    """Leave out corrupt images; they are looked for once for a run folder, by all processes.

    Others are held out in place of those that were held out of the images to train on.

    Args:
        given: The images to train on and those to evaluate on.
        folder: The run folder.
        world: The processes that train together.
        skip_corrupt: Leave corrupt images out, instead of raising an error.
        on_progress: Called while images are checked, before any of the training is done.
        on_survey: Called with what the images are, in the process that leads.

    Raises:
        UserError: Images are corrupt and not to be skipped, or no image of a class is left.
    """
    fingerprints, known = world.from_leader(_known(given, folder) if world.leads else None)
    seen = _looked_at(given, known, world, on_progress)
    told = _survey(given, seen, folder, skip_corrupt) if world.leads else None
    if told is not None:
        on_survey(told)
    if not skip_corrupt:
        refuse([(part, found) for part, found in zip(given, seen, strict=True) if found])
    listed = [
        known[number] if found is None else listed_in(part, unusable(part, found))
        for number, (part, found) in enumerate(zip(given, seen, strict=True))
    ]
    left_out = _indices(given, listed)
    rest = given[0].without(left_out[0]), given[1].without(left_out[1])
    exchange = world.from_leader(world.leads and not held_out_before(folder, rest))
    train, val = without_corrupt(given, left_out, exchange=exchange)
    for part, left, rows in zip(given, (train, val), listed, strict=True):
        check_boxes_left(part, left, rows)
    return Data(
        train=train,
        val=val,
        fingerprints=fingerprints,
        corrupt=(listed[0], listed[1]),
        survey=told,
    )


def held_out_before(folder: Path, parts: tuple[Checkable, Checkable]) -> bool:
    """Tell whether a training held out these images, and no others in the place of corrupt ones.

    Earlier versions did not exchange them.

    Args:
        folder: The run folder.
        parts: The images to train on and those to validate on without corrupt ones, not exchanged.
    """
    path = folder / MARK
    held = runs.read_json(path) if path.is_file() else {}
    data = held.get("data") if isinstance(held, dict) else None
    counts = {"num_train": len(parts[0]), "num_val": len(parts[1])}
    return isinstance(data, dict) and counts.items() <= data.items()


def _known(
    given: tuple[C, C], folder: Path
) -> tuple[tuple[str, str], tuple[Listed | None, Listed | None]]:
    """Return the fingerprints of parts, and their corrupt images where those were found before."""
    path = folder / "images.json"
    known: dict[str, Any] = {}
    # Where the list is damaged, the images are looked at again.
    with suppress(UserError):
        known = runs.read_json(path) if path.exists() else {}
    first, second = (part.fingerprint() for part in given)
    rows = _there(given[0], known.get(first)), _there(given[1], known.get(second))
    return (first, second), rows


def _there(part: Checkable, listed: list[list[str]] | None) -> Listed | None:
    """Return the corrupt images of a part that were found before; None if they are not there."""
    if not listed:
        return listed if listed is None else []
    places = {part.where(index) for index in range(len(part))}
    # Of data that have moved, others are where those were.
    return [(place, why) for place, why in listed] if places >= {row[0] for row in listed} else None


def _looked_at(
    given: tuple[C, C],
    known: tuple[Listed | None, Listed | None],
    world: World,
    on_progress: OnProgress,
) -> list[Examined | None]:
    """Return what every image of each part is; None of a part whose corrupt images are known."""
    tell = counting(on_progress, "images looked at", last=0.0, line=False)
    total, first = sum(map(len, given)), 0
    found: list[Examined | None] = []
    for part, rows in zip(given, known, strict=True):
        of_all = partial(_tell_of_all, tell, first, total)
        found.append(examined(part, world, of_all) if rows is None else None)
        first += len(part)
    return found


def _tell_of_all(
    tell: Callable[[int, int], None], first: int, total: int, done: int, _: int
) -> None:
    tell(first + done, total)


def _survey(
    given: tuple[C, C], seen: Sequence[Examined | None], folder: Path, skipped: bool
) -> Survey | None:
    """Return what the images are, or what was written of them; None if neither is known."""
    first, second = seen
    if first is not None and second is not None:
        return surveyed(
            [
                Seen(
                    title=title,
                    images=cast("AnyImages", part),
                    examined=found,
                    skipped=skipped,
                )
                for title, part, found in zip(TITLES, given, (first, second), strict=True)
            ]
        )
    path = folder / "survey.json"
    return Survey.from_json(runs.read_json(path)) if path.exists() else None


def _indices(parts: tuple[C, C], listed: Sequence[Listed]) -> tuple[list[int], list[int]]:
    found = []
    for part, rows in zip(parts, listed, strict=True):
        places = {place for place, _ in rows}
        found.append([i for i in range(len(part)) if part.where(i) in places] if places else [])
    return found[0], found[1]


def examined(images: Checkable, world: World, on_progress: Callable[[int, int], None]) -> Examined:
    """Return what every image is, of which each process reads its share.

    Args:
        images: The same in every process.
        world: The processes.
        on_progress: As that of ``examine``.
    """
    return woven(world.gathered([examine(images, on_progress, rank=world.rank, world=world.size)]))
