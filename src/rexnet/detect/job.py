"""The training job of detectors: a backbone, images with boxes and a recipe in, a detector out."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rexnet import runs
from rexnet.data.coco.images import CocoImages, aligned, check_boxes, read_coco
from rexnet.data.coco.layouts import find_part
from rexnet.data.survey import OnSurvey, ignore
from rexnet.detect import recipe as recipes
from rexnet.detect.backbone import create_backbone
from rexnet.detect.config import DetectTrainConfig
from rexnet.detect.cost import count
from rexnet.detect.detector import Detector, of_detector
from rexnet.detect.evaluate import METRICS, average_precision, by_image, detect
from rexnet.detect.fused import training_module
from rexnet.detect.heads import HEADS, check
from rexnet.detect.hub import save_detector
from rexnet.detect.recipe import DetectionRecipe
from rexnet.detect.samples import DetectionSamples
from rexnet.nn.sources import resolve
from rexnet.runs.progress import OnProgress
from rexnet.spec import NetSpec
from rexnet.train.distributed import World, resolved_precision
from rexnet.train.images import Data
from rexnet.train.loop import Batch
from rexnet.train.run_folder import held_preprocessing
from rexnet.train.trainer import Trainer, train


def run(
    config: DetectTrainConfig,
    on_progress: OnProgress,
    on_survey: OnSurvey = ignore,
    *,
    heads: Mapping[str, type[Detector]] = HEADS,
) -> dict[str, Any]:
    """Train, or go on training, in ``config.out`` and return what ``result.json`` then holds.

    Args:
        config: What to train.
        on_progress: Called while images are checked, and after every step.
        on_survey: Called with what the images are, before anything is trained.
        heads: The heads that a recipe may name.

    Raises:
        UserError: The config, the data, the weights or the run folder cannot be used, or the loss
            became infinite or not a number.
    """
    recipe = recipes.load(config.recipe, config.set)
    recipe = recipe.from_scratch() if config.from_scratch else recipe
    check(recipe.head, heads)
    make_trainer = partial(_DetectorTrainer, config, heads[recipe.head], on_progress)
    return train(config, recipe, partial(open_parts, config), make_trainer, on_progress, on_survey)


def open_parts(config: DetectTrainConfig) -> tuple[CocoImages, CocoImages]:
    """Read the annotations to train on and those to validate on.

    Raises:
        UserError: They cannot be read, or their categories differ.
    """
    if config.data is not None:
        places = [find_part(config.data, part) for part in ("train", "val")]
    else:
        names = (config.annotations, config.images), (config.val_annotations, config.val_images)
        places = [(Path(str(a)), Path(str(b))) for a, b in names]
    train, val = (read_coco(*p, skip_degenerate=config.skip_corrupt) for p in places)
    val = aligned(val, train.classes, train.category_ids)
    for part in (train, val):
        check_boxes(part)
    return train, val


class _DetectorTrainer(Trainer):
    """A detector in training."""

    metric = "ap"
    evaluation_batch = 16

    def __init__(
        self,
        config: DetectTrainConfig,
        head: type[Detector],
        on_progress: OnProgress,
        recipe: DetectionRecipe,
        data: Data[CocoImages],
        world: World,
    ) -> None:
        model = _model(config, head, recipe, data.train)
        if recipe.sync_bn and world.size > 1 and world.device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self._recipe, self._detector, self._data = recipe, model, data
        super().__init__(
            config,
            recipe,
            model,
            DetectionSamples(data.train, model.preprocessing, augment=recipe.augment),
            DetectionSamples(data.val, model.preprocessing, augment=False),
            from_files=True,
            world=world,
            on_progress=on_progress,
        )
        self._rows: list[dict[str, Any]] = []
        self._found: dict[str, Any] = {}

    @property
    def identity(self) -> dict[str, Any]:
        data, spec = self._data, self.spec
        found = common(
            self._recipe, data.train, data.fingerprints, self._config.weights, self.world.device
        )
        found["data"] |= {"num_train": len(data.train), "num_val": len(data.val)}
        name = self._detector.backbone.name
        return {
            **found,
            "backbone": {"name": name, "spec_id": spec.spec_id if spec else None},
            "preprocessing": self._detector.preprocessing.to_config(),
            "seed": self._config.seed,
        }

    @property
    def spec(self) -> NetSpec | None:
        return self._detector.backbone.spec

    @property
    def forward(self) -> nn.Module:
        return training_module(self._detector, self.world.device, self.dtype)

    def loss(self, forward: nn.Module, batch: Batch) -> Tensor:
        x, y = batch
        raw = forward(x.contiguous(memory_format=torch.channels_last))
        return self._detector.loss(raw, y)

    def evaluate(self, model: nn.Module, batches: Iterator[Batch]) -> Mapping[str, float]:
        assert isinstance(model, Detector)
        self._rows = detect(model, self._data.val, batches, self.world, self.dtype)
        leads = self.world.leads
        found = average_precision(self._data.val, self._rows) if leads else None
        self._found = self.world.from_leader(found)
        return {name: self._found[name] for name in ("ap", "ap50", "ap75")}

    def result(self, history: list[dict[str, Any]]) -> dict[str, Any]:
        best = max(history, key=lambda row: row["ap"])
        total, parts = count(self._detector), (self._data.train, self._data.val)
        return {
            **{name: self._found[name] for name in METRICS},
            "best_ap": best["ap"],
            "best_epoch": best["epoch"],
            "epochs": len(history),
            "num_images": len(self._data.val),
            "params": total.params,
            "macs": total.macs,
            "num_train": len(self._data.train),
            "num_corrupt": sum(map(len, self._data.corrupt)),
            "num_clipped": [part.num_clipped for part in parts],
            "num_degenerate": [part.num_degenerate for part in parts],
            "seconds": round(sum(row["seconds"] for row in history), 1),
        }

    def write(self, kept: nn.Module) -> None:
        assert isinstance(kept, Detector)
        save_detector(kept, self.folder / "model")
        write_detections(self.folder / "validation", self._data.val, self._rows, self._found)


def write_detections(
    folder: Path, images: CocoImages, rows: list[dict[str, Any]], found: Mapping[str, Any]
) -> None:
    """Write a validation: ``result.json`` and, a line each, classes, images and recalls.

    ``detections.json`` holds the detections in COCO's format.

    Raises:
        UserError: The folder cannot be written to, or the disk is full.
    """
    counts = np.bincount(images.truth.labels[~images.truth.crowd], minlength=len(images.classes))
    by_class = zip(images.classes, counts.tolist(), found["ap_by_class"], strict=True)
    lines = [{"class": name, "num_boxes": number, "ap": ap} for name, number, ap in by_class]
    runs.write_text(folder / "detections.json", json.dumps(rows))
    runs.write_jsonl(folder / "classes.jsonl", lines)
    runs.write_jsonl(folder / "curve.jsonl", found["curve"])
    runs.write_jsonl(folder / "images.jsonl", by_image(images, rows))
    numbers = {name: found[name] for name in METRICS}
    runs.write_json(folder / "result.json", {**numbers, "num_images": len(images)})


def _model(
    config: DetectTrainConfig, head: type[Detector], recipe: DetectionRecipe, images: CocoImages
) -> Detector:
    """Return the detector to train, its backbone with new weights or those to start from.

    Raises:
        UserError: The backbone is unknown, or its weights cannot be had or do not fit.
    """
    weights = config.start(recipe)
    torch.manual_seed(config.seed)
    held = held_preprocessing(Path(config.out))
    # The weights to start from may be gone when a checkpoint has taken their place.
    backbone = create_backbone(config.backbone, weights, load=not held)
    return head(
        backbone,
        images.classes,
        images.category_ids,
        preprocessing=held or of_detector(backbone.preprocessing, recipe.resolution),
        criterion=recipe.loss,
    )


def common(
    recipe: DetectionRecipe,
    train: CocoImages,
    fingerprints: tuple[str, str],
    weights: str | None,
    device: torch.device,
) -> dict[str, Any]:
    """Return what is the same in trainings on several backbones and with several seeds.

    Args:
        recipe: How they are trained.
        train: The images to train on.
        fingerprints: Of them and of those to validate on.
        weights: What the backbones start from.
        device: What computes.
    """
    told = dataclasses.asdict(recipe)
    # A record without a head is one of SSDLite, which was once the only one.
    if recipe.head == DetectionRecipe.head:
        del told["head"]
    return {
        "data": {
            "name": train.name,
            "categories": dict(zip(train.classes, train.category_ids, strict=True)),
            "fingerprints": list(fingerprints),
        },
        "weights": weights,
        "recipe": told,
        "precision": str(resolved_precision(recipe.precision, device)).split(".")[1],
        "device": device.type,
    }


def backbone_id(source: str, weights: str | None) -> dict[str, Any]:
    """Return what ``train.json`` tells of a backbone, which need not be built for it.

    Args:
        source: What ``create_backbone`` takes.
        weights: What it starts from.

    Raises:
        UserError: The network is unknown.
    """
    if source.startswith("timm:"):
        return {"name": source, "spec_id": None}
    # As a backbone has no classifier, its number of classes is 1.
    spec = dataclasses.replace(resolve(source, weights), num_classes=1)
    return {"name": spec.name, "spec_id": spec.spec_id}
