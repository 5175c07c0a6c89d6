"""What the training jobs share around the loop: the run folder, sound images, failures told."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic

import torch

from rexnet import runs
from rexnet.data.corrupt import Listed, check_boxes_left, listed_in, refuse, unusable
from rexnet.data.division import without_corrupt
from rexnet.data.examine import Examined, examine, woven
from rexnet.data.findings import Seen, surveyed
from rexnet.data.image_sets import C, Checkable
from rexnet.data.survey import OnSurvey, Survey, ignore
from rexnet.errors import UserError
from rexnet.preprocessing import Preprocessing
from rexnet.runs.progress import OnProgress, counting
from rexnet.spec import NetSpec
from rexnet.train.distributed import World
from rexnet.train.recipe import LoopRecipe

MARK = "train.json"
"""The file that says what makes two trainings the same."""

TITLES = ("train", "val")
"""What the parts of a set are called."""

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow")


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
    path, known = folder / "images.json", {}
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
                Seen(title=title, images=part, examined=found, skipped=skipped)
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


@contextmanager
def opened(
    folder: Path, config: Any, identity: Mapping[str, Any], data: Data[Any], spec: NetSpec | None
) -> Iterator[None]:
    """Open the folder of a training, new or the same, and write what the training is.

    The folder of one that differs in having fewer epochs is that of this one from then on.

    Args:
        folder: The run folder.
        config: The options, a dataclass.
        identity: What makes two trainings the same.
        data: The images.
        spec: The network, if it is one of this package.

    Raises:
        UserError: The folder holds something else, or another process holds it.
    """
    settings = dataclasses.asdict(config) | {"set": list(config.set)}
    # Before a lock is left in it.
    runs.check(folder, MARK, _with_held_epochs(folder, identity))
    with runs.locked(folder):
        runs.check(folder, MARK, _with_held_epochs(folder, identity))
        runs.describe(folder, MARK, identity, config=settings, packages=PACKAGES)
        listed = zip(data.fingerprints, data.corrupt, strict=True)
        runs.write_json(folder / "images.json", dict(listed))
        if data.survey is not None:
            runs.write_json(folder / "survey.json", data.survey.to_json())
        if spec is not None:
            runs.write_text(folder / "spec.json", spec.to_json() + "\n")
        yield


def held_epochs(folder: Path) -> int | None:
    """Return how many epochs the training in a folder is to have; None if there is none.

    Raises:
        UserError: Its record is damaged.
    """
    path = folder / MARK
    if not path.is_file():
        return None
    try:
        return int(runs.read_json(path)["recipe"]["epochs"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path} is damaged: it names no epochs") from None


def _with_held_epochs(folder: Path, identity: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the folder should hold: epochs may be added to those that it has."""
    recipe, held = identity["recipe"], held_epochs(folder)
    if held is None:
        return identity
    return {**identity, "recipe": {**recipe, "epochs": min(held, recipe["epochs"])}}


@contextmanager
def opened_study(
    folder: Path,
    mark: str,
    identity: Mapping[str, Any],
    trainings: Mapping[Path, Mapping[str, Any]],
) -> Iterator[None]:
    """Open the folder of a study, new or the same, whose trainings are what it asks for.

    A folder without a mark is that of this study if it has a training that is asked for.

    Args:
        folder: The folder of the study.
        mark: The name of its mark, one of ``runs.JOBS``.
        identity: What all its trainings have in common.
        trainings: By run folder, what each ``train.json`` should hold, in part.

    Raises:
        UserError: The folder or a training in it is something else; nothing was changed then.
    """
    known = [place for place in trainings if (place / MARK).exists()]
    # First what tells most.
    runs.check(folder, mark, identity, is_known=bool(known))
    for place in known:
        _check_training(place / MARK, trainings[place])
    for place in trainings.keys() - set(known):
        if (place / "result.json").exists():
            runs.check_new(place, MARK)
    with runs.opened(folder, mark, identity, is_known=bool(known)):
        yield


@contextmanager
def opened_validation(
    run: str, out: str | None, source: str, identity: Mapping[str, Any], *, is_own: bool
) -> Iterator[Path]:
    """Open the folder of a validation, new or the same, and yield its path.

    A run's own validation, of its weights on the images that it was validated on, may be made anew
    in its ``validation``; another stands beside it by default, named after its images.

    Args:
        run: A run folder, a model folder or the name of a model.
        out: The folder that was asked for.
        source: Where the images are.
        identity: What makes two validations the same: model, weights and data.
        is_own: Whether the weights are the run's.

    Raises:
        UserError: The folder holds something else.
    """
    folder, known = Path(run), validated_on(Path(run))
    is_own = is_own and identity["data"]["fingerprint"] == known
    place = own_place = folder / "validation"
    if not folder.is_dir():
        place = Path("runs") / f"{_plain(folder.stem)}-validation"
    elif known and not is_own:
        place = folder / f"validation-{_plain(Path(source).resolve().stem)}"
    place = Path(out) if out else place
    anew = is_own and place.resolve() == own_place.resolve()
    with runs.locked(place) if anew else runs.opened(place, "validation.json", identity):
        yield place


def held_preprocessing(folder: Path) -> Preprocessing | None:
    """Return the preprocessing of a training that has a checkpoint; None if there is none yet."""
    if not (folder / "last.pt").exists():
        return None
    return Preprocessing.from_config(runs.read_json(folder / MARK)["preprocessing"])


def validated_on(run: Path) -> str | None:
    """Return the fingerprint of the images that a run was validated on; None if it is no run.

    Raises:
        UserError: Its record is damaged.
    """
    path = run / MARK
    if not path.is_file():
        return None
    try:
        return str(runs.read_json(path)["data"]["fingerprints"][1])
    except (KeyError, TypeError, IndexError):
        raise UserError(f"{path} is damaged: it names no images to validate on") from None


def settings_of(run: Path) -> dict[str, Any]:
    """Return the options of a training as ``config.yaml`` has them; none if there is no such file.

    Raises:
        UserError: The file is damaged.
    """
    import yaml

    path = run / "config.yaml"
    if not path.is_file():
        return {}
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict) or "data" not in found:
        raise UserError(
            f"{path} is damaged; remove it and say where the images are, or give the training's "
            "command again, which writes it anew"
        )
    return found


def _plain(name: str) -> str:
    return re.sub(r"[^0-9A-Za-z._-]+", "-", name)


def _check_training(path: Path, wanted: Mapping[str, Any]) -> None:
    recipe, held = dict(wanted["recipe"]), runs.read_json(path)
    if isinstance(held, dict) and isinstance(held.get("data"), dict):
        # Where images were left out as corrupt, fewer than a batch may be left.
        recipe["batch_size"] = min(recipe["batch_size"], held["data"].get("num_train", 10**9))
    runs.check_same(path, {**wanted, "recipe": recipe}, partly=True)


@contextmanager
def failures(recipe: LoopRecipe) -> Iterator[None]:
    """Tell in one line what is no fault of the program.

    Raises:
        UserError: The GPU is out of memory, or a process that reads images was killed.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise UserError(
            f"the GPU is out of memory with batch_size {recipe.batch_size} in "
            f"{recipe.accumulate} parts a process; try --set accumulate={2 * recipe.accumulate}"
        ) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        raise UserError(f"a process that reads images ended: {reason}; try --workers 0") from None
