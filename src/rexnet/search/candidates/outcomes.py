"""What a trained candidate makes of every held-out image: hits, losses and probabilities."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_SPLITS = 20
"""Ways to halve the held-out images, whose covariances are averaged."""

NUM_PARTS = 10
"""Parts of the held-out images of which each has its own loss: what halves are made of."""


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """How good a trained candidate is on the held-out images, and on images before it saw them.

    Attributes:
        top1: Share of held-out images that are classified right.
        loss: Their mean cross-entropy.
        true_probability: The mean probability that is given to the true class.
        first_loss: Mean cross-entropy of training images in the first epoch, each before the step
            that is made from it: of images that were not seen so far.
        right: Which held-out images are classified right, as ``packed`` packs them.
        part_losses: Mean cross-entropy of every tenth held-out image, from each of the first ten.
    """

    top1: float
    loss: float
    true_probability: float
    first_loss: float
    right: str
    part_losses: tuple[float, ...]


def outcomes_of(
    logits: NDArray[np.float32], labels: NDArray[np.int64], first_loss: float
) -> Outcomes:
    """Return the outcomes of held-out images.

    Args:
        logits: Shape (num_images, num_classes).
        labels: Shape (num_images,).
        first_loss: See ``Outcomes``.
    """
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    true = shifted[np.arange(len(labels)), labels]
    losses = np.log(np.exp(shifted).sum(1)) - true
    right = logits.argmax(1) == labels
    parts = [losses[first::NUM_PARTS] for first in range(min(NUM_PARTS, len(losses)))]
    return Outcomes(
        top1=float(right.mean()),
        loss=round(float(losses.mean()), 6),
        true_probability=round(float(np.exp(-losses).mean()), 6),
        first_loss=round(first_loss, 6),
        right=packed(right),
        part_losses=tuple(round(float(part.mean()), 6) for part in parts),
    )


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Why trainings of one network differ, as standard deviations of their accuracies.

    Attributes:
        training: What would be left with endless held-out images.
        images: What the number of held-out images adds.
    """

    training: float
    images: float


def noise_of(right: Sequence[NDArray[np.bool_]]) -> Noise:
    """Tell the noise of training from that of a finite held-out part.

    What two halves of the images say alike of a training is the training's; the rest of the
    variance is chance of the images (K. Jordan, arXiv 2304.01910, section 3).

    Args:
        right: Of every network that was trained at least twice which images each training gets
            right, shape (num_trainings, num_images).
    """
    of_training, in_all = [], []
    generator = np.random.default_rng(0)
    for trainings in right:
        centred = trainings - trainings.mean(0)
        freedom, half = len(trainings) - 1, trainings.shape[1] // 2
        in_all.append((centred.mean(1) ** 2).sum() / freedom)
        for _ in range(NUM_SPLITS):
            order = generator.permutation(trainings.shape[1])
            one, other = centred[:, order[:half]].mean(1), centred[:, order[half:]].mean(1)
            of_training.append((one * other).sum() / freedom)
    training = max(float(np.mean(of_training)), 0.0)
    images = max(float(np.mean(in_all)) - training, 0.0)
    return Noise(training=math.sqrt(training), images=math.sqrt(images))


def packed(right: NDArray[np.bool_]) -> str:
    """Return outcomes as base64 of packed bits, the first the highest bit."""
    return base64.b64encode(np.packbits(right).tobytes()).decode()


def unpacked(text: str, count: int) -> NDArray[np.bool_]:
    """Return the ``count`` outcomes that ``packed`` packed."""
    bits = np.frombuffer(base64.b64decode(text), np.uint8)
    return np.unpackbits(bits, count=count).astype(bool)
