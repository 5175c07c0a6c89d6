"""What the training jobs share around the loop: the run folder, sound images, failures told."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import torch
import yaml

from rexnet import runs
from rexnet.data.splits import C, checked
from rexnet.errors import UserError
from rexnet.spec import NetSpec
from rexnet.train.recipe import LoopRecipe
from rexnet.train.world import World

OnRead = Callable[[int, int], None]

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow")


@dataclass(frozen=True, kw_only=True)
class Data(Generic[C]):
    """Images to train on and to evaluate on.

    Attributes:
        train: Without corrupt images.
        val: Without corrupt images.
        fingerprints: Of both parts, the corrupt images included.
        corrupt: Of both parts, where each corrupt image is, and why it cannot be read.
    """

    train: C
    val: C
    fingerprints: tuple[str, str]
    corrupt: tuple[list[tuple[str, str]], list[tuple[str, str]]]


def sound(
    given: tuple[C, C], folder: Path, world: World, skip_corrupt: bool, on_read: OnRead
) -> Data[C]:
    """Leave out corrupt images; the leader looks for them, once for a run folder.

    Args:
        given: The images to train on and those to evaluate on.
        folder: The run folder.
        world: The processes that train together.
        skip_corrupt: Leave corrupt images out, instead of raising an error.
        on_read: Called with the number of images that were checked and of all images.

    Raises:
        UserError: Images are corrupt and not to be skipped.
    """
    path = folder / "images.json"
    known = runs.read_json(path) if world.leads and path.exists() else {}
    parts, fingerprints, corrupt = [], [], []
    for part in given:
        fingerprint, listed = "", None
        if world.leads:
            fingerprint = part.fingerprint()
            listed = known.get(fingerprint)
            if listed is None:
                listed = checked(part, skip_corrupt, on_read)[1]
        listed = [tuple(pair) for pair in world.from_leader(listed)]
        places = {place for place, _ in listed}
        left_out = [i for i in range(len(part)) if part.where(i) in places] if places else []
        parts.append(part.without(left_out))
        fingerprints.append(fingerprint)
        corrupt.append(listed)
    return Data(
        train=parts[0],
        val=parts[1],
        fingerprints=(fingerprints[0], fingerprints[1]),
        corrupt=(corrupt[0], corrupt[1]),
    )


def prepare(
    folder: Path, config: Any, identity: Mapping[str, Any], data: Data[Any], spec: NetSpec | None
) -> None:
    """Check that ``folder`` is new or holds the same training, and write what the training is.

    Args:
        folder: The run folder.
        config: The options, a dataclass.
        identity: What makes two trainings the same.
        data: The images.
        spec: The network, if it is one of this package.

    Raises:
        UserError: The folder holds another training.
    """
    path = folder / "train.json"
    runs.check_same(path, identity, "training")
    # Before all other files: a training killed right here is known for what it is.
    runs.write_json(path, identity)
    settings = dataclasses.asdict(config) | {"set": list(config.set)}
    runs.write_text(folder / "config.yaml", yaml.safe_dump(settings, sort_keys=False))
    runs.write_json(folder / "environment.json", runs.environment(*PACKAGES))
    listed = zip(data.fingerprints, data.corrupt, strict=True)
    runs.write_json(folder / "images.json", dict(listed))
    if spec is not None:
        runs.write_text(folder / "spec.json", spec.to_json() + "\n")


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
