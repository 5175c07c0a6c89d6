"""What the training jobs share around the loop: the run folder, sound images, failures told."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import torch

from rexnet import runs
from rexnet.data.corrupt import checked
from rexnet.data.examine import Examined, examine, woven
from rexnet.data.image_sets import C, Checkable
from rexnet.errors import UserError
from rexnet.preprocessing import Preprocessing
from rexnet.runs.progress import OnProgress, counting
from rexnet.spec import NetSpec
from rexnet.train.distributed import World
from rexnet.train.recipe import LoopRecipe

MARK = "train.json"
"""The file that says what makes two trainings the same."""

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow")


@dataclass(frozen=True, kw_only=True)
class Data(Generic[C]):
    """Images to train on and to evaluate on.

    Attributes:
        train: Without corrupt images.
        val: Without corrupt images.
        fingerprints: Of both parts, the corrupt images included.
        corrupt: Of both parts, where each corrupt image is, and why it cannot be read.
        examined: Of both parts, what every image is, the corrupt ones included; None of a part that
            was examined for this run folder before.
    """

    train: C
    val: C
    fingerprints: tuple[str, str]
    corrupt: tuple[list[tuple[str, str]], list[tuple[str, str]]]
    examined: tuple[Examined | None, Examined | None] = (None, None)


def sound(
    given: tuple[C, C], folder: Path, world: World, skip_corrupt: bool, on_progress: OnProgress
) -> Data[C]:
    """Leave out corrupt images; they are looked for once for a run folder, by all processes.

    Args:
        given: The images to train on and those to evaluate on.
        folder: The run folder.
        world: The processes that train together.
        skip_corrupt: Leave corrupt images out, instead of raising an error.
        on_progress: Called while images are checked, before any of the training is done.

    Raises:
        UserError: Images are corrupt and not to be skipped.
    """
    path = folder / "images.json"
    on_read = counting(on_progress, "images looked at", last=0.0, line=False)
    known = {}
    # Where the list is damaged, the images are looked at again.
    with suppress(UserError):
        known = runs.read_json(path) if world.leads and path.exists() else {}
    parts, fingerprints, corrupt, facts = [], [], [], []
    for part in given:
        fingerprint = part.fingerprint() if world.leads else ""
        pairs, found = world.from_leader(known.get(fingerprint)), None
        if pairs is None:
            found = examined(part, world, on_read)
            rest, listed = checked(part, found, skip_corrupt)
        else:
            listed = [(place, reason) for place, reason in pairs]
            places = {place for place, _ in listed}
            rest = part.without(i for i in range(len(part)) if places and part.where(i) in places)
        parts.append(rest)
        fingerprints.append(fingerprint)
        corrupt.append(listed)
        facts.append(found)
    return Data(
        train=parts[0],
        val=parts[1],
        fingerprints=(fingerprints[0], fingerprints[1]),
        corrupt=(corrupt[0], corrupt[1]),
        examined=(facts[0], facts[1]),
    )


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
    with runs.opened(folder, MARK, identity, config=settings, packages=PACKAGES):
        listed = zip(data.fingerprints, data.corrupt, strict=True)
        runs.write_json(folder / "images.json", dict(listed))
        if spec is not None:
            runs.write_text(folder / "spec.json", spec.to_json() + "\n")
        yield


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
