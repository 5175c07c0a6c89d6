"""Distillation: a network learns what a trained one makes of the images, besides their labels."""

import statistics
import time
from collections import deque
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rexnet.data.folders import composed
from rexnet.errors import UserError
from rexnet.nn.classifiers import Classifier, quick
from rexnet.nn.weights import digest
from rexnet.preprocessing import Preprocessing
from rexnet.train.config import of_teacher
from rexnet.train.recipe import Recipe
from rexnet.train.validate import labels_of, trained

CALLS, FEWEST = 32, 3
"""The latest batches by which the teacher's cost is known, and from how many on it is told."""


class Teacher:
    """A trained classifier whose outputs another one learns.

    It sees the pixels that the student sees, mixed ones too, resized to its own resolution and
    normalised as its weights need them.

    Args:
        recipe: Names the teacher.
        classes: Of the images, in the order of the student's logits.
        student: What the images of a batch went through.
        device: What computes.

    Attributes:
        digest: Of its weights.

    Raises:
        UserError: It cannot be had, or has other classes or channels.
    """

    def __init__(
        self, recipe: Recipe, classes: tuple[str, ...], student: Preprocessing, device: torch.device
    ) -> None:
        with of_teacher(recipe):
            model = trained(recipe.teacher, recipe.teacher_weights or None)
            order = order_of(classes, model)
            own = model.preprocessing
            if own.num_channels != student.num_channels:
                raise UserError(
                    f"it sees {own.num_channels} channels, the network {student.num_channels}"
                )
        self.digest = digest(model)
        self._weight, self._temperature = recipe.distill_weight, recipe.temperature
        self._order = torch.tensor(order, device=device)
        self._side, self._interpolation = own.resolution, own.interpolation
        self._scale, self._shift = (t.to(device) for t in _renormalisation(student, own))
        self._device, self._model = device, quick(model.to(device))
        self._clock = Clock(device)

    def __call__(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) of the student's inputs (N, channels, H, W)."""
        # On a CPU its convolutions are called in float32, whatever the student's are in.
        exact = self._device.type == "cpu"
        precision: Any = torch.autocast("cpu", enabled=False) if exact else nullcontext()
        with self._clock, torch.no_grad(), precision:
            x = torch.addcmul(self._shift, x, self._scale)
            if x.shape[2:] != (self._side, self._side):
                size, mode = (self._side, self._side), self._interpolation
                x = F.interpolate(x, size, mode=mode, antialias=True)
            x = x.contiguous(memory_format=torch.channels_last)
            logits: Tensor = self._model(x).float()
            return logits[:, self._order]

    def blended(self, loss: Tensor, logits: Tensor, taught: Tensor) -> Tensor:
        """Return (1 - w) loss + w T^2 KL(teacher || student), logits divided by T (Hinton, 2015).

        Args:
            loss: Of the labels.
            logits: The student's (N, classes).
            taught: The teacher's (N, classes).
        """
        learnt, wanted = (F.log_softmax(z / self._temperature, 1) for z in (logits, taught))
        distance = F.kl_div(learnt, wanted, reduction="batchmean", log_target=True)
        weight = self._weight
        return (1 - weight) * loss + weight * self._temperature**2 * distance

    def note(self) -> str:
        """Return in words how much longer the teacher makes a step; empty before it is known."""
        more = self._clock.more
        return "" if more is None else f"teacher +{100 * more:.0f} %"


class Clock:
    """Measures what something costs that is done again and again amid other work.

    Args:
        device: What computes: a GPU notes the times itself, and is not waited for.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._calls: deque[tuple[Any, Any]] = deque(maxlen=CALLS)

    def __enter__(self) -> None:
        self._begun = self._mark()

    def __exit__(self, *_: object) -> None:
        self._calls.append((self._begun, self._mark()))

    @property
    def more(self) -> float | None:
        """Its time divided by that of the other work; None before that is known."""
        calls = [call for call in self._calls if not self._on_gpu or call[1].query()]
        if len(calls) < FEWEST:
            return None
        # The median leaves out what stands between two epochs.
        own = statistics.median(self._between(*call) for call in calls)
        whole = statistics.median(self._between(a[0], b[0]) for a, b in pairwise(calls))
        return own / (whole - own) if whole > own else None

    def _mark(self) -> Any:
        if not self._on_gpu:
            return time.monotonic()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _between(self, first: Any, second: Any) -> float:
        """Return a time in seconds, or of a GPU in milliseconds."""
        return float(first.elapsed_time(second) if self._on_gpu else second - first)


def check_teacher(recipe: Recipe, classes: tuple[str, ...]) -> None:
    """Check that the teacher of a recipe, if it has one, can be had and knows the classes.

    Raises:
        UserError: It cannot, or knows others.
    """
    if recipe.teacher:
        with of_teacher(recipe):
            order_of(classes, trained(recipe.teacher, recipe.teacher_weights or None))


def order_of(classes: tuple[str, ...], model: Classifier) -> list[int]:
    """Return the label of each class in a model that knows these and no others.

    Args:
        classes: Names of classes; of a model without names they are in its order.
        model: A trained classifier.

    Raises:
        UserError: It knows others.
    """
    known = labels_of(model.classes)
    if not known and len(classes) == model.num_classes:
        return list(range(len(classes)))
    order = [known[name] for name in map(composed, classes) if name in known]
    if sorted(order) == list(range(len(classes))) and len(classes) == model.num_classes:
        return order
    first = (", ".join(names[:3]) or "without names" for names in (model.classes, classes))
    own, others = (
        f"{count:,} classes ({names}{', ...' if count > 3 else ''})"
        for count, names in zip((model.num_classes, len(classes)), first, strict=True)
    )
    raise UserError(
        f"it knows {own}, the images have {others}, and a teacher must know the same; fine-tune it "
        "on these images first (rexnet train --recipe finetune)"
    )


def _renormalisation(given: Preprocessing, wanted: Preprocessing) -> tuple[Tensor, Tensor]:
    """Return scale and shift (channels, 1, 1) from values normalised one way to another."""
    mean, std, own_mean, own_std = (
        torch.tensor(values, dtype=torch.float64)[:, None, None]
        for values in (given.mean, given.std, wanted.mean, wanted.std)
    )
    return (std / own_std).float(), ((mean - own_mean) / own_std).float()
