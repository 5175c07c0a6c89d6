"""How good a classifier is: top-1, top-5, loss, and every class against every other."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rexnet import runs
from rexnet.train.distributed import World


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a classifier made of labelled images.

    Attributes:
        top1: Share of images whose likeliest class is right, from 0 to 1.
        top5: Share of images whose class is among the five likeliest.
        loss: Mean cross-entropy in nats.
        num_images: How many there were.
        images_per_second: Of all processes together, reading included.
        confusion: Shape (classes of the images, classes of the model): how many images of a class
            were taken for which.
    """

    top1: float
    top5: float
    loss: float
    num_images: int
    images_per_second: float
    confusion: NDArray[np.int64]

    @property
    def standard_error(self) -> float:
        """Standard error of ``top1`` by the number of images alone."""
        return float(np.sqrt(self.top1 * (1 - self.top1) / self.num_images))

    def summary(self) -> dict[str, float]:
        """Return the numbers without the classes."""
        return {
            "top1": self.top1,
            "top5": self.top5,
            "loss": self.loss,
            "num_images": self.num_images,
            "images_per_second": round(self.images_per_second, 1),
        }

    def per_class(self, classes: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return a line a class: its images, how many are right, and what it is mistaken for."""
        rows = []
        for label, counts in enumerate(self.confusion):
            total, wrong = int(counts.sum()), counts.copy()
            wrong[label] = 0
            worst = int(wrong.argmax())
            rows.append(
                {
                    "class": classes[label],
                    "num_images": total,
                    "top1": int(counts[label]) / total if total else None,
                    "mistaken_for": classes[worst] if wrong[worst] else None,
                    "times": int(wrong[worst]),
                }
            )
        return rows


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    num_classes: int,
    world: World,
    dtype: torch.dtype = torch.float32,
) -> Evaluation:
    """Evaluate ``model`` on batches of images (N, C, H, W) and labels (N,), over all processes.

    Args:
        model: Gives logits (N, classes of the model); left in evaluation mode.
        batches: The share of this process.
        num_classes: Classes of the labels.
        world: The processes that evaluate together.
        dtype: What convolutions are computed in.
    """
    model.eval()
    device, confusion = world.device, torch.zeros(0)
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    started = time.monotonic()
    with torch.inference_mode():
        for images, labels in batches:
            x, y = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                logits = model(x)
            logits = logits.float()
            width = logits.shape[1]
            if not len(confusion):
                confusion = torch.zeros(num_classes * width, dtype=torch.int64, device=device)
            best = logits.topk(min(5, width)).indices
            sums[0] += (best == y[:, None]).any(1).sum()
            sums[1] += F.cross_entropy(logits, y, reduction="sum")
            sums[2] += len(y)
            confusion += torch.bincount(y * width + best[:, 0], minlength=len(confusion))
    sums, confusion = world.sum(sums), world.sum(confusion)
    top5, loss, count = sums.tolist()
    table = confusion.view(num_classes, -1).cpu().numpy()
    return Evaluation(
        top1=float(np.trace(table) / count),
        top5=top5 / count,
        loss=loss / count,
        num_images=int(count),
        images_per_second=count / (time.monotonic() - started),
        confusion=table,
    )


def write_evaluation(folder: Path, evaluation: Evaluation, classes: tuple[str, ...]) -> None:
    """Write ``result.json``, and ``classes.jsonl`` with a line a class, into ``folder``.

    Raises:
        UserError: The folder cannot be written to, or the disk is full.
    """
    rows = evaluation.per_class(classes)
    for row, counts in zip(rows, evaluation.confusion, strict=True):
        row["taken_for"] = counts.tolist()
    runs.write_jsonl(folder / "classes.jsonl", rows)
    result = evaluation.summary() | {"top1_stderr": evaluation.standard_error}
    runs.write_json(folder / "result.json", result)
