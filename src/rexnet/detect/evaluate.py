"""Detections on many images, and their average precision as COCO counts it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rexnet.data.coco.images import CocoImages
from rexnet.detect.detector import Detections, Detector
from rexnet.nn.fast.inference import fuse
from rexnet.train.distributed import World

SCORE = 0.05
"""The lowest score that is evaluated (C4)."""

SHOWN = 0.3
"""The lowest score that is drawn, and counted as right or wrong."""

METRICS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
"""The first six of COCO's twelve numbers."""


def average_precision(images: CocoImages, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return ``METRICS``, in 0 to 1, ``ap_by_class`` and the curve of precision over recall.

    ``ap_by_class`` is in the order of the classes; a number is None where there is no box of that
    size or class. ``curve`` has a line for each of COCO's recalls: ``recall``, and the mean over
    classes of the precision at an overlap of 0.5, 0.75 and all ten.

    Args:
        images: The truth.
        rows: Detections as COCO's results: ``image_id``, ``category_id``, ``bbox``, ``score``.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    truth = COCO(ground_truth(images))
    evaluation = COCOeval_faster(truth, truth.loadRes([dict(row) for row in rows]), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    # Thresholds, recalls, classes, sizes, most detections of an image.
    precision = evaluation.eval["precision"][..., 0, -1]
    # Classes without boxes hold -1 everywhere.
    known = precision[:, :, (precision > -1).all((0, 1))].mean(2)
    curve = [
        {"recall": recall, "ap50": ap50, "ap75": ap75, "ap": ap}
        for recall, ap50, ap75, ap in zip(
            (np.arange(101) / 100).tolist(),
            *(known[number].tolist() for number in (0, 5)),
            known.mean(0).tolist(),
            strict=True,
        )
    ]
    by_class = [_mean(precision[:, :, number]) for number in range(len(images.classes))]
    found = dict(zip(METRICS, map(_known, evaluation.stats), strict=False))
    return {**found, "ap_by_class": by_class, "curve": curve}


def detect(
    model: Detector,
    images: CocoImages,
    batches: Iterable[tuple[Tensor, Tensor]],
    world: World,
    dtype: torch.dtype = torch.float32,
) -> list[dict[str, Any]]:
    """Return the detections on all images as COCO's results, in every process.

    Args:
        model: The detector; a copy with folded batch norms is what finds.
        images: The images.
        batches: The share of this process, images ``rank``, ``rank`` + world and so on.
        world: The processes that evaluate together.
        dtype: What convolutions are computed in.
    """
    fused = fuse(model)
    device, index, rows = world.device, world.rank, list[dict[str, Any]]()
    with torch.inference_mode():
        for x, _ in batches:
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                raw = fused(x.to(device, non_blocking=True))
            for found in fused.detections(raw, score=SCORE):
                rows += results(found, images, index, model.category_ids)
                index += world.size
    return world.gathered(rows)


def results(
    found: Detections, images: CocoImages, index: int, category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Return the detections on one image as COCO's results, in pixels of the annotations."""
    sides = torch.from_numpy(np.tile(images.sizes[index], 2))
    boxes = (found.boxes.cpu() * sides).double()
    boxes[:, 2:] -= boxes[:, :2].clone()
    return [
        {
            "image_id": int(images.image_ids[index]),
            "category_id": category_ids[label],
            "bbox": [round(value, 3) for value in box],
            "score": round(score, 6),
        }
        for box, score, label in zip(
            boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
        )
    ]


def ground_truth(images: CocoImages) -> dict[str, Any]:
    """Return the images as a document in the COCO format."""
    places = np.repeat(np.arange(len(images)), np.diff(images.starts))
    truth = images.truth
    corners = zip(truth.boxes.tolist(), truth.labels, truth.crowd, truth.areas, places, strict=True)
    return {
        "images": [{"id": int(id_)} for id_ in images.image_ids],
        "categories": [
            {"id": id_, "name": name}
            for id_, name in zip(images.category_ids, images.classes, strict=True)
        ],
        "annotations": [
            {
                "id": number,
                "image_id": int(images.image_ids[place]),
                "category_id": images.category_ids[label],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "iscrowd": int(crowd),
                "area": float(area),
            }
            for number, ((x1, y1, x2, y2), label, crowd, area, place) in enumerate(corners, 1)
        ],
    }


def _mean(precision: Any) -> float | None:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None


def _known(value: float) -> float | None:
    return None if value < 0 else float(value)


def by_image(images: CocoImages, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a line an image: its truth, what was found, and how many of both have no partner.

    Detections with a score of at least ``SHOWN`` are matched, the highest first, to boxes of their
    class that they overlap by half; those within a crowd of their class are forgiven.

    Args:
        images: The truth.
        rows: Detections as COCO's results.
    """
    found: dict[int, list[Mapping[str, Any]]] = {id_: [] for id_ in images.image_ids.tolist()}
    for row in rows:
        if row["score"] >= SHOWN:
            found[row["image_id"]].append(row)
    return [_line(images, index, found[id_]) for index, id_ in enumerate(images.image_ids.tolist())]


def _line(images: CocoImages, index: int, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    from torchvision.ops import box_iou

    truth = images.of(index)
    names = dict(zip(images.category_ids, images.classes, strict=True))
    ranked = sorted(found, key=lambda row: -row["score"])
    corners = [[x, y, x + width, y + height] for x, y, width, height in (r["bbox"] for r in ranked)]
    overlaps = box_iou(torch.tensor(corners).view(-1, 4).double(), torch.from_numpy(truth.boxes))
    left = ~truth.crowd
    told = []
    for row, box, overlap in zip(ranked, corners, overlaps.numpy(), strict=True):
        of_class = np.array(images.classes)[truth.labels] == names[row["category_id"]]
        fits = (overlap >= 0.5) & of_class
        partners = np.flatnonzero(fits & left)
        right = bool(len(partners) or (fits & truth.crowd).any())
        if len(partners):
            left[partners[overlap[partners].argmax()]] = False
        told.append(
            {"class": names[row["category_id"]], "box": box, "score": row["score"], "right": right}
        )
    objects = zip(truth.labels.tolist(), truth.boxes.tolist(), truth.crowd.tolist(), strict=True)
    return {
        "image_id": int(images.image_ids[index]),
        "path": images.where(index),
        "size": images.sizes[index].tolist(),
        "missed": int(left.sum()),
        "wrong": sum(not row["right"] for row in told),
        "truth": [
            {"class": images.classes[label], "box": box, "crowd": crowd, "missed": missed}
            for (label, box, crowd), missed in zip(objects, left.tolist(), strict=True)
        ],
        "found": told,
    }
