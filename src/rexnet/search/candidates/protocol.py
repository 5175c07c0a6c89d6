"""The protocol under which candidates are trained, and what training one gives."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from rexnet.errors import UserError, check_range
from rexnet.search.candidates.outcomes import Outcomes

MAX_SEED = 2**32

LATER = ("init", "schedule", "flips", "norm_bias_lr", "average", "views")
"""Settings that ids leave out while they have their defaults."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How every candidate is trained: SGD with Nesterov momentum on cross-entropy.

    The learning rate rises linearly over ``warmup`` of the steps and falls to zero. Images are
    cropped at random (padding of 4) and mirrored. Weight decay spares batch norm and biases. No
    setting depends on the widths of a network.

    Attributes:
        epochs: Passes over the training part.
        batch_size: Images a step.
        lr: Peak learning rate.
        momentum: Nesterov momentum.
        weight_decay: Decay of convolution and linear weights.
        warmup: Share of the steps before the peak.
        label_smoothing: Probability spread over all classes.
        repeats: Trainings with the seeds ``seed``, ``seed + 1``, ...; their mean is the accuracy.
        seed: Seed of weights, order and augmentation; the same for every candidate.
        init: The digest of the network that weights are inherited from; empty for new weights.
        schedule: How the rate falls: as a cosine, or linear (a triangle with the rise).
        flips: Whether every image is mirrored at random, or every other epoch, from a first
            direction that is drawn.
        norm_bias_lr: Times the rate of batch norms' biases.
        average: Decay a step of the moving average of weights and batch-norm statistics that is
            scored; 0 scores the last weights.
        views: Views of a held-out image whose logits are averaged: 2 are the image and its mirror
            image.
    """

    epochs: int = 30
    batch_size: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.2
    label_smoothing: float = 0.0
    repeats: int = 1
    seed: int = 0
    init: str = ""
    schedule: Literal["cosine", "linear"] = "cosine"
    flips: Literal["random", "alternating"] = "random"
    norm_bias_lr: float = 1.0
    average: float = 0.0
    views: int = 1

    def __post_init__(self) -> None:
        for field, low in (("epochs", 1), ("batch_size", 2), ("repeats", 1), ("seed", 0)):
            if getattr(self, field) < low:
                raise UserError(f"{field} {getattr(self, field)} must be at least {low}")
        if self.seed + self.repeats > MAX_SEED:
            raise UserError(f"seed {self.seed} must be from 0 to {MAX_SEED - self.repeats}")
        for field in ("momentum", "warmup", "label_smoothing", "average"):
            if not 0 <= getattr(self, field) < 1:
                raise UserError(f"{field} {getattr(self, field)} must be from 0 to below 1")
        check_range("views", self.views, 1, 2)
        for field in ("lr", "weight_decay", "norm_bias_lr"):
            if not 0 <= getattr(self, field) < 1e6:
                raise UserError(f"{field} {getattr(self, field)} must be from 0 to 1e6")

    @property
    def identity(self) -> dict[str, Any]:
        """All settings; later ones are left out where they are off, for earlier searches."""
        found = dataclasses.asdict(self)
        for field in LATER:
            if found[field] == getattr(Protocol, field):
                del found[field]
        return found

    @property
    def protocol_id(self) -> str:
        """Twelve hex digits that change with every setting."""
        text = json.dumps(self.identity, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def lr_at(self, step: int, steps: int) -> float:
        """Return the learning rate of step ``step`` (from 0) of ``steps``."""
        rise = self.warmup * steps
        if step < rise:
            return self.lr * (step + 1) / math.ceil(rise)
        done = (step - rise) / (steps - rise)
        if self.schedule == "linear":
            return self.lr * (1 - done)
        return self.lr * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What training a candidate gave.

    Attributes:
        accuracies: Share of held-out images classified correctly, one a repeat.
        seconds: Wall time of all repeats.
        outcomes: What each makes of the held-out images; empty of what trains nothing.
    """

    accuracies: tuple[float, ...]
    seconds: float
    outcomes: tuple[Outcomes, ...] = ()


class Diverged(Exception):
    """The loss of a candidate became infinite or not a number."""


class Pruned(Exception):
    """The search saw no need to train a candidate to the end; says the epoch and the accuracy."""

    def __init__(self, epoch: int, accuracy: float) -> None:
        super().__init__(f"pruned after epoch {epoch} at {accuracy:.4f}")


OnEpoch = Callable[[int, Callable[[], float]], None]
"""Called after an epoch with its number, from 1, and what scores the network as it is."""

OnProgress = Callable[..., None]
"""Called with the share of the work that is done, from 0 to 1.

If candidates may be pruned, it is also called with an epoch's number and the accuracy after it,
and raises ``Pruned`` to end the training.
"""
