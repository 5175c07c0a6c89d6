"""What the training jobs share: the way from options to a result, and a model in training."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from rexnet import runs
from rexnet.data.image_sets import C
from rexnet.data.loader import Samples, TrainingBatches, evaluation_batches
from rexnet.data.survey import OnSurvey
from rexnet.errors import UserError
from rexnet.runs.progress import OnProgress
from rexnet.spec import NetSpec
from rexnet.train.config import MARK, num_readers
from rexnet.train.distributed import World, joined, resolved_precision
from rexnet.train.images import Data, sound
from rexnet.train.loop import Batch, Loop, Task
from rexnet.train.recipe import LoopRecipe
from rexnet.train.run_folder import failures, opened
from rexnet.train.schedule import make_optimizer

R = TypeVar("R", bound=LoopRecipe)


def train(
    config: Any,
    recipe: R,
    open_parts: Callable[[], tuple[C, C]],
    make_trainer: "Callable[[R, Data[C], World], Trainer]",
    on_progress: OnProgress,
    on_survey: OnSurvey,
) -> dict[str, Any]:
    """Train, or go on training, in ``config.out`` and return what ``result.json`` then holds.

    Args:
        config: The options: ``out``, ``device``, ``skip_corrupt``, ``max_megapixels`` and those
            of ``Trainer``.
        recipe: How to train; its batch is cut to the images there are.
        open_parts: Gives the images to train on and those to evaluate on.
        make_trainer: From the recipe, sound images and the processes to a model in training.
        on_progress: Called while images are checked.
        on_survey: Called with what the images are, before anything is trained.

    Raises:
        UserError: The data, the model or the run folder cannot be used, or the loss became
            infinite or not a number.
    """
    folder = Path(config.out)
    if not (folder / MARK).exists():
        runs.check_new(folder, MARK)
    with joined(config.device) as world:
        # An optimiser that timm does not know, too, is told before images are decoded.
        resolved_precision(recipe.precision, world.device)
        make_optimizer(nn.Linear(1, 1), dataclasses.replace(recipe, layer_decay=1.0))
        train, val = (part.limited(config.max_megapixels) for part in open_parts())
        data = sound((train, val), folder, world, config.skip_corrupt, on_progress, on_survey)
        size = min(recipe.batch_size, len(data.train))
        recipe = dataclasses.replace(recipe, batch_size=size)
        trainer = make_trainer(recipe, data, world)
        held = opened(folder, config, trainer.identity, data, trainer.spec)
        with held if world.leads else nullcontext(), failures(recipe):
            return trainer.run()


class Trainer(ABC):
    """A model in training: what the loop is made of, and what is left when it ends.

    A job says what is learnt, evaluated and written.

    Args:
        config: The options: ``out``, ``seed``, ``workers``, ``checkpoint_seconds`` and
            ``tensorboard``.
        recipe: How to train.
        model: What is trained.
        train: The samples to train on.
        val: The samples to evaluate on.
        from_files: Whether samples are read from files.
        world: The processes that train together.
        on_progress: Called after every step.

    Raises:
        UserError: The recipe does not fit the samples or the device.
    """

    metric: ClassVar[str]
    """The result that the best checkpoint has the highest of."""

    evaluation_batch: ClassVar[int]
    """Samples that a process evaluates at a time, at most; no more than it trains on at a time."""

    def __init__(
        self,
        config: Any,
        recipe: LoopRecipe,
        model: nn.Module,
        train: Samples,
        val: Samples,
        *,
        from_files: bool,
        world: World,
        on_progress: OnProgress,
    ) -> None:
        self._config, self._loop_recipe, self.world = config, recipe, world
        self.folder, self._val, self._on_progress = Path(config.out), val, on_progress
        self.model = model.to(memory_format=torch.channels_last).to(world.device)
        self.dtype = resolved_precision(recipe.precision, world.device)
        device = world.device.type
        self._readers = num_readers(config.workers, device, world.size, from_files=from_files)
        self._batches = TrainingBatches(
            train,
            batch_size=recipe.batch_size,
            seed=config.seed,
            rank=world.rank,
            world=world.size,
            accumulate=recipe.accumulate,
            num_workers=self._readers,
            pin_memory=device == "cuda",
        )
        if self._batches.batch_size == world.size * recipe.accumulate:
            raise UserError(
                f"batch_size {recipe.batch_size} leaves batch norm a single image at a time, which "
                "has no variance; set a larger one"
            )
        # What it makes of this model is told before anything is written.
        make_optimizer(model, recipe)
        self._writer: Any = None

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What makes two trainings the same, for ``train.json``."""

    @property
    @abstractmethod
    def spec(self) -> NetSpec | None:
        """The network, if it is one of this package."""

    @property
    @abstractmethod
    def forward(self) -> nn.Module:
        """What is called in training; it has the parameters of the model."""

    @abstractmethod
    def loss(self, forward: nn.Module, batch: Batch) -> Tensor:
        """Return the mean loss of a batch."""

    @abstractmethod
    def evaluate(self, model: nn.Module, batches: Iterator[Batch]) -> Mapping[str, float]:
        """Return the results of ``metrics.jsonl``; ``result`` and ``write`` tell of the last."""

    @abstractmethod
    def result(self, history: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what ``result.json`` holds, from the lines of ``metrics.jsonl``."""

    @abstractmethod
    def write(self, kept: nn.Module) -> None:
        """Write the trained model and its evaluation."""

    def note(self) -> str:
        """Return what is told of the steps besides their losses."""
        return ""

    def run(self) -> dict[str, Any]:
        """Train to the end, write the model and the result, and return the result."""
        path = self.folder / "result.json"
        result = self.world.from_leader(self._known(path))
        # One of fewer epochs is left until these have ended, too.
        if result and result["epochs"] >= self._loop_recipe.epochs:
            return dict(result)
        if self._config.tensorboard and self.world.leads:
            self._writer = _board(self.folder)
        evaluations = 0

        def evaluate(model: nn.Module) -> Mapping[str, float]:
            nonlocal evaluations
            evaluations += 1
            return self.evaluate(model, self._evaluation_batches())

        loop = Loop(
            self.model,
            self.forward,
            self._batches,
            Task(loss=self.loss, evaluate=evaluate, metric=self.metric, note=self.note),
            recipe=self._loop_recipe,
            world=self.world,
            folder=self.folder,
            seed=self._config.seed,
            checkpoint_seconds=self._config.checkpoint_seconds,
            on_progress=self._on_progress,
            on_epoch=self._note,
        )
        history = loop.run()
        if not evaluations:
            # Killed after its last checkpoint, a run has only this left to do.
            evaluate(loop.kept)
        result = self.result(history)
        if self.world.leads:
            self.write(loop.kept)
            runs.write_json(path, result)
        if self._writer:
            self._writer.close()
        return result

    def _known(self, path: Path) -> Any:
        """Return the result; None if there is none yet, or the checkpoint is to give it again."""
        if not path.exists():
            return None
        has_more = (self.folder / "last.pt").exists()
        try:
            # Figures are drawn from both.
            rows, result = runs.read_jsonl(self.folder / "metrics.jsonl"), runs.read_json(path)
        except UserError:
            if has_more:
                return None
            raise
        return result if rows or not has_more else None

    def _evaluation_batches(self) -> Iterator[Batch]:
        trained_at_a_time = self._batches.batch_size // (
            self.world.size * self._loop_recipe.accumulate
        )
        return evaluation_batches(
            self._val,
            batch_size=min(self.evaluation_batch, trained_at_a_time),
            rank=self.world.rank,
            world=self.world.size,
            num_workers=self._readers,
            pin_memory=self.world.device.type == "cuda",
        )

    def _note(self, row: Mapping[str, float]) -> None:
        if self._writer:
            for name, value in row.items():
                self._writer.add_scalar(name, value, row["epoch"])


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("--tensorboard needs `pip install tensorboard`") from None
    return SummaryWriter(str(folder / "tensorboard"))
