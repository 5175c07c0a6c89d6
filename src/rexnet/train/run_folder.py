"""What the training jobs share around the loop: the run folder, failures told in one line."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from rexnet import runs
from rexnet.errors import UserError
from rexnet.preprocessing import Preprocessing
from rexnet.spec import NetSpec
from rexnet.train.config import MARK
from rexnet.train.images import Data
from rexnet.train.recipe import LoopRecipe

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow")


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
