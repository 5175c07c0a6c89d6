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
        confusion: Shape (pairs, 3): a class, what images of it were taken for, and how many of them
            were; in rising order, without pairs of which there are none.
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
        for label, counts in enumerate(self.taken_for(len(classes))):
            total, right = sum(counts.values()), counts.pop(label, 0)
            # The first of those that are alike.
            worst = max(counts, key=lambda other: counts[other]) if counts else None
            rows.append(
                {
                    "class": classes[label],
                    "num_images": total,
                    "top1": right / total if total else None,
                    "mistaken_for": None if worst is None else classes[worst],
                    "times": 0 if worst is None else counts[worst],
                }
            )
        return rows

    def taken_for(self, num_classes: int) -> list[dict[int, int]]:
        """Return of every class what its images were taken for, in rising order, and how many."""
        found: list[dict[int, int]] = [{} for _ in range(num_classes)]
        for label, taken, count in self.confusion.tolist():
            found[label][taken] = count
        return found


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    world: World,
    dtype: torch.dtype = torch.float32,
) -> Evaluation:
    """Evaluate ``model`` on batches of images (N, C, H, W) and labels (N,), over all processes.

    Args:
        model: Gives logits (N, classes of the model); left in evaluation mode.
        batches: The share of this process.
        world: The processes that evaluate together.
        dtype: What convolutions are computed in.
    """
    model.eval()
    device = world.device
    pairs = [torch.zeros((0, 2), dtype=torch.int64, device=device)]
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    started = time.monotonic()
    with torch.inference_mode():
        for images, labels in batches:
            x, y = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                logits = model(x)
            logits = logits.float()
            best = logits.topk(min(5, logits.shape[1])).indices
            sums[0] += (best == y[:, None]).any(1).sum()
            sums[1] += F.cross_entropy(logits, y, reduction="sum")
            sums[2] += len(y)
            pairs.append(torch.stack([y, best[:, 0]], 1))
    top5, loss, count = world.sum(sums).tolist()
    every = np.concatenate(world.gathered([torch.cat(pairs).cpu().numpy()]))
    # A table of all classes would grow with their square.
    kinds, numbers = np.unique(every, axis=0, return_counts=True)
    return Evaluation(
        top1=float((every[:, 0] == every[:, 1]).sum() / count),
        top5=top5 / count,
        loss=loss / count,
        num_images=int(count),
        images_per_second=count / (time.monotonic() - started),
        confusion=np.column_stack([kinds, numbers]),
    )


def write_evaluation(folder: Path, evaluation: Evaluation, classes: tuple[str, ...]) -> None:
    """Write ``result.json``, and ``classes.jsonl`` with a line a class, into ``folder``.

    A line says in ``taken_for`` which classes, by their numbers from 0, images were taken for.

    Raises:
        UserError: The folder cannot be written to, or the disk is full.
    """
    rows = evaluation.per_class(classes)
    for row, counts in zip(rows, evaluation.taken_for(len(classes)), strict=True):
        row["taken_for"] = counts
    runs.write_jsonl(folder / "classes.jsonl", rows)
    result = evaluation.summary() | {"top1_stderr": evaluation.standard_error}
    runs.write_json(folder / "result.json", result)
