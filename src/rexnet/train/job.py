"""The training job: a network, images and a recipe in, a trained model in a run folder out."""

import dataclasses
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rexnet import cost, runs
from rexnet.data.loader import LabelledImages, TrainingBatches, evaluation_batches
from rexnet.data.splits import FileImages, Images, open_images
from rexnet.data.transforms import Augmentation, evaluation_transform, training_transform
from rexnet.errors import UserError
from rexnet.nn.fused import Fused, can_fuse
from rexnet.nn.hub import save_pretrained
from rexnet.nn.network import Network, create_model, resolve
from rexnet.preprocessing import Preprocessing
from rexnet.train import folder as folders
from rexnet.train import recipe as recipes
from rexnet.train.config import TrainConfig, num_readers
from rexnet.train.evaluate import Evaluation, evaluate, write_evaluation
from rexnet.train.folder import Data, OnRead
from rexnet.train.loop import Batch, Loop, OnProgress, Progress, Task, optimizer_of
from rexnet.train.recipe import Recipe
from rexnet.train.world import World, joined, resolved_precision

EVALUATION_BATCH = 128


def run(config: TrainConfig, on_progress: OnProgress, on_read: OnRead) -> dict[str, Any]:
    """Train, or go on training, in ``config.out`` and return what ``result.json`` then holds.

    Args:
        config: What to train.
        on_progress: Called after every step.
        on_read: Called with the number of images that were checked and of all images.

    Raises:
        UserError: The config, the data, the weights or the run folder cannot be used, or the loss
            became infinite or not a number.
    """
    recipe, folder = recipes.load(config.recipe, config.set), Path(config.out)
    is_new = not (folder / "train.json").exists()
    if is_new:
        runs.check_new(folder, "train.json")
    with joined(config.device) as world:
        parts = open_images(config.data)
        data = folders.sound(parts, folder, world, config.skip_corrupt, on_read)
        size = min(recipe.batch_size, len(data.train))
        recipe = dataclasses.replace(recipe, batch_size=size)
        model = _model(config, recipe, data)
        trainer = _Trainer(config, recipe, model, data, world, on_progress)
        with runs.locked(folder) if world.leads else nullcontext(), folders.failures(recipe):
            if world.leads:
                identity = _identity(config, recipe, model, data, world)
                folders.prepare(folder, config, identity, data, model.spec)
            return trainer.run()


class _Trainer:
    """A classifier in training: what the loop is made of, and what is left when it ends."""

    def __init__(
        self,
        config: TrainConfig,
        recipe: Recipe,
        model: Network,
        data: Data[Images],
        world: World,
        on_progress: OnProgress,
    ) -> None:
        self._config, self._recipe, self._world, self._data = config, recipe, world, data
        self._folder, self._on_progress = Path(config.out), on_progress
        self._model = model.to(memory_format=torch.channels_last).to(world.device)
        self._dtype = resolved_precision(recipe.precision, world.device)
        from_files = isinstance(data.train, FileImages)
        self._num_workers = num_readers(
            config.workers, world.device.type, world.size, from_files=from_files
        )
        self._batches = TrainingBatches(
            LabelledImages(
                data.train, training_transform(model.preprocessing, augmentation_of(recipe))
            ),
            batch_size=recipe.batch_size,
            seed=config.seed,
            rank=world.rank,
            world=world.size,
            accumulate=recipe.accumulate,
            num_workers=self._num_workers,
            pin_memory=world.device.type == "cuda",
        )
        folders.check_batch(recipe, world)
        self._mix = _mixing(recipe, len(data.train.classes))
        # An optimiser that timm does not know is told before anything is written.
        optimizer_of(model, recipe)
        self._writer = folders.board(self._folder) if config.tensorboard and world.leads else None
        self._evaluation: Evaluation | None = None

    def run(self) -> dict[str, Any]:
        """Train to the end, write the model and the result, and return the result."""
        path = self._folder / "result.json"
        result = self._world.from_leader(runs.read_json(path) if path.exists() else None)
        if result:
            return dict(result)
        loop = Loop(
            self._model,
            training_module(self._model, self._world.device, self._dtype),
            self._batches,
            Task(loss=self._loss, evaluate=self._evaluate, metric="top1"),
            recipe=self._recipe,
            world=self._world,
            folder=self._folder,
            seed=self._config.seed,
            checkpoint_seconds=self._config.checkpoint_seconds,
            on_progress=self._show,
        )
        history = loop.run()
        if self._evaluation is None:
            # Killed after its last checkpoint, a run has only this left to do.
            self._evaluate(loop.kept)
        assert self._evaluation is not None
        result = self._result(history, self._evaluation)
        if self._world.leads:
            assert isinstance(loop.kept, Network)
            save_pretrained(loop.kept, self._folder / "model")
            write_evaluation(
                self._folder / "validation", self._evaluation, self._data.train.classes
            )
            runs.write_json(path, result)
        if self._writer:
            self._writer.close()
        return result

    def _loss(self, forward: nn.Module, batch: Batch) -> Tensor:
        x, y = batch
        x = x.contiguous(memory_format=torch.channels_last)
        if self._mix is None:
            smoothing = self._recipe.label_smoothing
            return F.cross_entropy(forward(x).float(), y, label_smoothing=smoothing)
        # The mixed targets are smoothed.
        x, targets = self._mix(x, y)
        return F.cross_entropy(forward(x).float(), targets)

    def _evaluate(self, model: nn.Module) -> Mapping[str, float]:
        assert isinstance(model, Network)
        world, val = self._world, self._data.val
        batches = evaluation_batches(
            LabelledImages(val, evaluation_transform(model.preprocessing)),
            batch_size=EVALUATION_BATCH,
            rank=world.rank,
            world=world.size,
            num_workers=self._num_workers,
            pin_memory=world.device.type == "cuda",
        )
        self._evaluation = found = evaluate(model, batches, len(val.classes), world, self._dtype)
        return {"top1": found.top1, "top5": found.top5, "val_loss": found.loss}

    def _show(self, progress: Progress) -> None:
        folders.write_scalars(self._writer, progress)
        self._on_progress(progress)

    def _result(self, history: list[dict[str, Any]], evaluation: Evaluation) -> dict[str, Any]:
        best = max(history, key=lambda row: row["top1"])
        total = cost.count(self._model.spec)
        return {
            **{key: evaluation.summary()[key] for key in ("top1", "top5", "loss", "num_images")},
            "top1_stderr": evaluation.standard_error,
            "best_top1": best["top1"],
            "best_epoch": best["epoch"],
            "epochs": len(history),
            "params": total.params,
            "macs": total.macs,
            "num_train": len(self._data.train),
            "num_corrupt": sum(map(len, self._data.corrupt)),
            "seconds": round(sum(row["seconds"] for row in history), 1),
        }


def training_module(model: Network, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Return what is called in training: on a CPU the passes by hand, where they know the network.

    Args:
        model: The network, on ``device``.
        device: What it is trained on.
        dtype: What convolutions are computed in.
    """
    by_hand = device.type == "cpu" and dtype == torch.float32 and can_fuse(model.spec)
    return Fused(model) if by_hand else model


def augmentation_of(recipe: Recipe) -> Augmentation:
    """Return what a recipe does to the images.

    Raises:
        UserError: A value is out of range.
    """
    return Augmentation(
        crop=recipe.crop,
        scale=recipe.scale,
        flip=recipe.flip,
        rand_augment=recipe.rand_augment,
        random_erasing=recipe.random_erasing,
    )


def _mixing(recipe: Recipe, num_classes: int) -> Any:
    if not recipe.has_mixing:
        return None
    from timm.data.mixup import Mixup

    return Mixup(
        mixup_alpha=recipe.mixup,
        cutmix_alpha=recipe.cutmix,
        label_smoothing=recipe.label_smoothing,
        num_classes=num_classes,
    )


def _model(config: TrainConfig, recipe: Recipe, data: Data[Images]) -> Network:
    """Return the network to train, with new weights or those to start from.

    Raises:
        UserError: The network is unknown, or the weights cannot be had or do not fit.
    """
    weights = config.weights
    if recipe.pretrained and weights is None:
        weights = config.model
        if not (Path(config.model) / "model").is_dir():
            raise UserError(
                f"recipe {config.recipe} starts from trained weights: give --weights timm, "
                "official:PATH, PATH, hf:USER/REPO or a run folder (or --set pretrained=false)"
            )
    spec = resolve(config.model)
    spec = dataclasses.replace(
        spec, dropout=recipe.dropout, resolution=recipe.resolution or spec.resolution
    )
    torch.manual_seed(config.seed)
    num_classes, folder = len(data.train.classes), Path(config.out)
    # The weights to start from may be gone when a checkpoint has taken their place.
    resumes = (folder / "last.pt").exists()
    model = create_model(
        spec, None if resumes else weights, num_classes=num_classes, drop_path=recipe.drop_path
    )
    if resumes:
        known = runs.read_json(folder / "train.json")["preprocessing"]
        model.preprocessing = Preprocessing.from_config(known)
    else:
        model.preprocessing = dataclasses.replace(
            model.preprocessing,
            resolution=recipe.resolution or model.preprocessing.resolution,
            crop=recipe.eval_crop or model.preprocessing.crop,
        )
    model.classes = data.train.classes
    return model


def _identity(
    config: TrainConfig, recipe: Recipe, model: Network, data: Data[Images], world: World
) -> dict[str, Any]:
    """Return what makes two trainings the same."""
    return {
        "data": {
            "name": data.train.name,
            "num_train": len(data.train),
            "num_val": len(data.val),
            "num_classes": len(data.train.classes),
            "fingerprints": list(data.fingerprints),
        },
        "model": {"name": model.spec.name, "spec_id": model.spec.spec_id},
        "preprocessing": model.preprocessing.to_config(),
        "weights": config.weights,
        "recipe": dataclasses.asdict(recipe) | {"scale": list(recipe.scale)},
        "precision": str(resolved_precision(recipe.precision, world.device)).split(".")[1],
        "device": world.device.type,
        "seed": config.seed,
    }
