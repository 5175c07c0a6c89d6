"""The validation and the prediction job of detectors."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rexnet.data.coco.images import CocoImages, aligned, check_boxes, read_coco
from rexnet.data.coco.layouts import find_part
from rexnet.data.corrupt import checked
from rexnet.data.decode import MAX_MEGAPIXELS
from rexnet.data.findings import Seen, surveyed
from rexnet.data.loader import counted, evaluation_batches, stacked
from rexnet.data.named import Unread, in_batches
from rexnet.data.survey import OnSurvey, ignore
from rexnet.detect.config import DetectValidateConfig
from rexnet.detect.detector import Detections, Detector
from rexnet.detect.evaluate import average_precision, detect
from rexnet.detect.hub import load_detector
from rexnet.detect.job import write_detections
from rexnet.detect.samples import DetectionSamples, Input
from rexnet.errors import UserError, not_lost
from rexnet.nn.fast.inference import fuse
from rexnet.nn.weights import digest
from rexnet.runs.progress import OnProgress, counting
from rexnet.train.config import num_readers
from rexnet.train.distributed import joined
from rexnet.train.images import examined
from rexnet.train.run_folder import opened_validation, settings_of

if TYPE_CHECKING:
    from PIL.Image import Image

PREDICTED = 16
"""Images on which is looked for objects at a time."""


@dataclass(frozen=True, kw_only=True)
class Validated:
    """A validation: on what, with which result, and where it is written."""

    images: CocoImages
    result: dict[str, Any]
    folder: Path


def validate(
    config: DetectValidateConfig,
    on_progress: OnProgress,
    on_survey: OnSurvey = ignore,
) -> Validated:
    """Evaluate a detector and write ``result.json``, ``classes.jsonl`` and ``detections.json``.

    Args:
        config: What to evaluate.
        on_progress: Called while images are checked, and again while they are evaluated.
        on_survey: Called with what the images are, before they are evaluated.

    Raises:
        UserError: The detector or the data cannot be had or do not belong together, or the folder
            holds something else.
    """
    model = load_detector(config.detector)
    annotations, folder_of_images = _places(config)
    images = read_coco(annotations, folder_of_images, skip_degenerate=config.skip_corrupt)
    images = aligned(images, model.classes, model.category_ids).limited(config.max_megapixels)
    check_boxes(images)
    identity = {
        "model": {"backbone": model.backbone.name},
        "weights": digest(model),
        "data": {"name": images.name, "fingerprint": images.fingerprint()},
    }
    source = config.data or str(annotations)
    opened = opened_validation(config.detector, config.out, source, identity, is_own=True)
    with joined(config.device) as world, opened if world.leads else nullcontext(Path()) as place:
        folder = world.from_leader(place)
        on_read = counting(on_progress, "images", line=False)
        seen = examined(images, world, on_read)
        if world.leads:
            told = Seen(title="val", images=images, examined=seen, skipped=config.skip_corrupt)
            on_survey(surveyed([told]))
        images, _ = checked(images, seen, config.skip_corrupt)
        batches = evaluation_batches(
            DetectionSamples(images, model.preprocessing, augment=False),
            batch_size=config.batch_size,
            rank=world.rank,
            world=world.size,
            num_workers=num_readers(config.workers, world.device.type, world.size, from_files=True),
            pin_memory=world.device.type == "cuda",
        )
        model.to(memory_format=torch.channels_last).to(world.device)
        rows = detect(model, images, counted(batches, len(images), on_read), world)
        found = average_precision(images, rows) if world.leads else None
        result = world.from_leader(found)
        validated = Validated(images=images, result=result, folder=folder)
        if world.leads:
            with not_lost(validated):
                write_detections(folder, images, rows, result)
    return validated


def predict(
    model: Detector, files: Sequence[str], score: float, max_megapixels: int = MAX_MEGAPIXELS
) -> Iterator[tuple[str, list[dict[str, Any]] | Unread]]:
    """Yield each image's path and what is on it, the highest score first.

    Args:
        model: A trained detector.
        files: Files of images; one that cannot be read stops nothing.
        score: The lowest score to be told.
        max_megapixels: Most millions of pixels of an image.
    """
    from torchvision.transforms.v2.functional import pil_to_tensor

    transform, fused = Input(model.preprocessing), fuse(model)

    def prepare(picture: "Image") -> tuple[Tensor, tuple[int, int]]:
        return transform(pil_to_tensor(picture)), picture.size

    def find(prepared: list[tuple[Tensor, tuple[int, int]]]) -> list[list[dict[str, Any]]]:
        inputs, sizes = zip(*prepared, strict=True)
        with torch.inference_mode():
            found = fused.detections(fused(stacked(inputs)), score=score)
        return [_rows(model, each, size) for each, size in zip(found, sizes, strict=True)]

    return in_batches(files, prepare, find, PREDICTED, max_megapixels)


def _rows(model: Detector, found: Detections, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Return what was found on an image of a size (width, height), in its pixels."""
    sides = torch.tensor(size).repeat(2)
    columns = (found.boxes * sides).tolist(), found.scores.tolist(), found.labels.tolist()
    return [
        {
            "class": model.classes[label],
            "category_id": model.category_ids[label],
            "score": round(value, 4),
            "box": [round(edge, 1) for edge in box],
        }
        for box, value, label in zip(*columns, strict=True)
    ]


def _places(config: DetectValidateConfig) -> tuple[str | Path, str | Path]:
    """Return where annotations and images are."""
    if config.annotations and config.images:
        return config.annotations, config.images
    if config.data:
        return find_part(config.data, "val", or_whole=True)
    own = settings_of(Path(config.detector))
    if not own:
        raise UserError("give --data, or --annotations with --images: what to evaluate on")
    if own["data"]:
        return find_part(own["data"], "val")
    return own["val_annotations"], own["val_images"]
