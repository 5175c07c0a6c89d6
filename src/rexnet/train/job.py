"""The training job: a network, images and a recipe in, a trained model in a run folder out."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from rexnet.data.image_sets import FileImages, Images
from rexnet.data.loader import LabelledImages
from rexnet.data.sources import check_apart, open_images
from rexnet.data.survey import OnSurvey, ignore
from rexnet.data.transforms import Augmentation, evaluation_transform, training_transform
from rexnet.nn.classifiers import (
    body_of,
    identity_of,
    params_and_macs,
    save_classifier,
    with_body,
)
from rexnet.nn.fast.frozen import Frozen
from rexnet.nn.fast.training import Fused, can_fuse
from rexnet.nn.network import Network
from rexnet.runs.progress import OnProgress
from rexnet.spec import NetSpec
from rexnet.train import recipe as recipes
from rexnet.train.config import TrainConfig
from rexnet.train.distillation import Teacher, check_teacher
from rexnet.train.distributed import World, resolved_precision
from rexnet.train.evaluate import Evaluation, evaluate, write_evaluation
from rexnet.train.images import Data
from rexnet.train.loop import Batch
from rexnet.train.probe_job import probed_before
from rexnet.train.recipe import Recipe
from rexnet.train.start import MakeStart, starting_network
from rexnet.train.trainer import Trainer, train


def run(
    config: TrainConfig,
    on_progress: OnProgress,
    on_survey: OnSurvey = ignore,
    *,
    make_start: MakeStart | None = None,
) -> dict[str, Any]:
    """Train, or go on training, in ``config.out`` and return what ``result.json`` then holds.

    Args:
        config: What to train.
        on_progress: Called while images are checked, and after every step.
        on_survey: Called with what the images are, before anything is trained.
        make_start: Gives the network to train; by default what the config names.

    Raises:
        UserError: The config, the data, the weights, the teacher or the run folder cannot be used,
            or the loss became infinite or not a number.
    """

    def open_parts() -> tuple[Images, Images]:
        parts = open_images(config.data)
        for part in parts:
            if isinstance(part, FileImages):
                check_apart(Path(config.out), part.folder)
        check_teacher(recipe, parts[0].classes)
        return parts

    recipe = recipes.load(config.recipe, config.set)
    # What is out of range is told before images are decoded.
    augmentation_of(recipe)
    make_start = make_start or partial(starting_network, on_progress=on_progress)
    make_trainer = partial(_Classifier, config, on_progress, make_start)
    return train(config, recipe, open_parts, make_trainer, on_progress, on_survey)


class _Classifier(Trainer):
    """A classifier in training."""

    metric = "top1"
    evaluation_batch = 128

    def __init__(
        self,
        config: TrainConfig,
        on_progress: OnProgress,
        make_start: MakeStart,
        recipe: Recipe,
        data: Data[Images],
        world: World,
    ) -> None:
        self._start = make_start(config, recipe, data)
        model = self._start.model
        self._recipe, self._network, self._data = recipe, model, data
        preprocessing = model.preprocessing
        augmentation = augmentation_of(recipe)
        super().__init__(
            config,
            recipe,
            body_of(model),
            LabelledImages(data.train, training_transform(preprocessing, augmentation)),
            LabelledImages(data.val, evaluation_transform(preprocessing)),
            from_files=isinstance(data.train, FileImages),
            world=world,
            on_progress=on_progress,
        )
        self._mix = _mixing(recipe, len(data.train.classes))
        self._teacher = None
        if recipe.teacher:
            self._teacher = Teacher(recipe, data.train.classes, preprocessing, world.device)
        self._found: Evaluation | None = None
        self._before: dict[str, float] = {}

    @property
    def identity(self) -> dict[str, Any]:
        model = self._network
        return {
            **common(self._recipe, self._data, self._config.weights, self.world.device),
            "model": identity_of(model),
            "preprocessing": model.preprocessing.to_config(),
            "seed": self._config.seed,
            **({"inherited": self._start.inherited} if self._start.inherited else {}),
            **({"teacher": self._teacher.digest} if self._teacher else {}),
        }

    @property
    def _keeps_statistics(self) -> bool:
        # New weights have none to keep.
        return self._recipe.freeze_norm and self._config.start(self._recipe) is not None

    @property
    def spec(self) -> NetSpec | None:
        return self._network.spec

    @property
    def forward(self) -> nn.Module:
        if not isinstance(self._network, Network):
            return self.model
        if self._keeps_statistics:
            return Frozen(self._network)
        return training_module(self._network, self.world.device, self.dtype)

    def run(self) -> dict[str, Any]:
        """Probe trained weights that are the start, then train."""
        if self._recipe.pretrained and self._config.start(self._recipe) is not None:
            self._before = self.world.from_leader(self._probed() if self.world.leads else {})
            for parameter in self._classifier.parameters():
                self.world.share(parameter.data)
        return super().run()

    @property
    def _classifier(self) -> nn.Module:
        classifier: nn.Module = body_of(self._network).get_classifier()  # type: ignore[operator]
        return classifier

    def _probed(self) -> dict[str, float]:
        found, row = probed_before(
            self.folder,
            self._network,
            (self._data.train, self._data.val),
            device=self.world.device,
            num_workers=self._readers,
            on_progress=self._on_progress,
        )
        wanted = self._recipe.classifier == "probe" and self._start.has_new_classifier
        classifier = self._classifier
        if row is not None and wanted and isinstance(classifier, nn.Linear):
            with torch.no_grad():
                classifier.weight.copy_(torch.from_numpy(row.weight))
                classifier.bias.copy_(torch.from_numpy(row.bias))
        return found

    def loss(self, forward: nn.Module, batch: Batch) -> Tensor:
        x, y = batch
        x = x.contiguous(memory_format=torch.channels_last)
        smoothing = self._recipe.label_smoothing
        if self._mix is not None:
            # The mixed targets are smoothed.
            (x, y), smoothing = self._mix(x, y), 0.0
        # Before the network's own maps are in memory.
        taught = self._teacher(x) if self._teacher else None
        logits = forward(x).float()
        loss = F.cross_entropy(logits, y, label_smoothing=smoothing)
        if self._teacher is None or taught is None:
            return loss
        return self._teacher.blended(loss, logits, taught)

    def set_training(self, model: nn.Module) -> None:
        model.train()
        if self._keeps_statistics:
            for module in model.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()

    def note(self) -> str:
        return self._teacher.note() if self._teacher else ""

    def evaluate(self, model: nn.Module, batches: Iterator[Batch]) -> Mapping[str, float]:
        self._found = found = evaluate(model, batches, self.world, self.dtype)
        return {"top1": found.top1, "top5": found.top5, "val_loss": found.loss}

    def result(self, history: list[dict[str, Any]]) -> dict[str, Any]:
        assert self._found is not None
        best = max(history, key=lambda row: row["top1"])
        (params, macs), summary = params_and_macs(self._network), self._found.summary()
        return {
            **{key: summary[key] for key in ("top1", "top5", "loss", "num_images")},
            "top1_stderr": self._found.standard_error,
            **self._before,
            "best_top1": best["top1"],
            "best_epoch": best["epoch"],
            "epochs": len(history),
            "params": params,
            "macs": macs,
            **({"inherited": self._start.inherited} if self._start.inherited else {}),
            "num_train": len(self._data.train),
            "num_corrupt": sum(map(len, self._data.corrupt)),
            "seconds": round(sum(row["seconds"] for row in history), 1),
        }

    def write(self, kept: nn.Module) -> None:
        assert self._found is not None
        save_classifier(with_body(self._network, kept), self.folder / "model")
        write_evaluation(self.folder / "validation", self._found, self._data.train.classes)


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


def common(
    recipe: Recipe, data: Data[Images], weights: str | None, device: torch.device
) -> dict[str, Any]:
    """Return what is the same in trainings of several networks and seeds.

    Args:
        recipe: How they are trained.
        data: The images.
        weights: What they start from.
        device: What computes.
    """
    return {
        "data": {
            "name": data.train.name,
            "num_train": len(data.train),
            "num_val": len(data.val),
            "num_classes": len(data.train.classes),
            "fingerprints": list(data.fingerprints),
        },
        "weights": weights,
        "recipe": recipe.identity,
        "precision": str(resolved_precision(recipe.precision, device)).split(".")[1],
        "device": device.type,
    }
