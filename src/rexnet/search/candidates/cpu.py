"""The candidate trainer: a network from scratch to its held-out accuracy on one thread."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from rexnet.data.batches import Batches, normalised
from rexnet.data.in_memory import ImageSet
from rexnet.data.stored import Pixels
from rexnet.nn.fast.training import Fused, can_fuse
from rexnet.nn.network import Network
from rexnet.search.candidates.optimizer import Average, make_optimizer
from rexnet.search.candidates.origin import Origin, some_of
from rexnet.search.candidates.outcomes import Outcomes, outcomes_of
from rexnet.search.candidates.protocol import Diverged, OnEpoch, Protocol
from rexnet.spec import NetSpec

SCORING_BATCH = 250


def train_candidate(
    spec: NetSpec,
    images: ImageSet,
    protocol: Protocol,
    *,
    seed: int,
    on_epoch: OnEpoch,
    origin: Origin | None = None,
) -> tuple[Network, Outcomes]:
    """Train ``spec`` and score it on the held-out images.

    Args:
        spec: The network; its classes are those of ``images``.
        images: What to train on and what to score on.
        protocol: How to train.
        seed: Seed of weights, order and augmentation.
        on_epoch: Called after every epoch.
        origin: What the weights to start from are inherited from; by default they are new.

    Returns:
        The trained network in evaluation mode, and what it makes of the held-out images.

    Raises:
        Diverged: The loss became infinite or not a number.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    model = start(spec, images, origin)
    forward = Fused(model) if can_fuse(spec) else model
    optimizer = make_optimizer(model, protocol)
    found = images.normalisation()
    batches = Batches(images.part(held_out=False), images.labels[~images.held_out], *found)
    steps = protocol.epochs * batches.num_batches(protocol.batch_size)
    held_out, labels = images.part(held_out=True), images.labels[images.held_out]

    def score() -> float:
        logits = logits_of(model, held_out, found, protocol.views)
        return float((logits.argmax(1) == labels).mean())

    alternates, num_train = protocol.flips == "alternating", int((~images.held_out).sum())
    first_turned = generator.random(num_train) < 0.5 if alternates else None
    average = Average(model, protocol.average)
    step, first_losses = 0, []
    for epoch in range(protocol.epochs):
        model.train()
        mirrored = None if first_turned is None else first_turned ^ bool(epoch % 2)
        for x, y in batches.epoch(protocol.batch_size, generator, mirrored):
            for group in optimizer.param_groups:
                group["lr"] = group["factor"] * protocol.lr_at(step, steps)
            logits, truth = forward(_channels_last(x)), torch.from_numpy(y)
            loss = F.cross_entropy(logits, truth, label_smoothing=protocol.label_smoothing)
            if epoch == 0:
                first_losses.append(F.cross_entropy(logits.detach(), truth).item())
            if not torch.isfinite(loss):
                raise Diverged(f"loss {loss.item()} at step {step + 1} of {steps}")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update()
            step += 1
        on_epoch(epoch + 1, score)
    if not all(torch.isfinite(parameter).all() for parameter in model.parameters()):
        raise Diverged("weights that are infinite or not numbers after the last step")
    average.take()
    logits = logits_of(model, held_out, found, protocol.views)
    return model, outcomes_of(logits, labels, float(np.mean(first_losses)))


def start(spec: NetSpec, images: ImageSet, origin: Origin | None) -> Network:
    """Return the network to train, with new weights or those that it inherits."""
    if origin is None:
        model = Network(spec)
    else:
        some = some_of(images.part(held_out=False))
        model = origin.inherited(spec, normalised(some, *images.normalisation()))
    return model.to(memory_format=torch.channels_last)


def accuracy(
    model: nn.Module,
    images: Pixels | NDArray[np.float32],
    labels: NDArray[np.int64],
    statistics: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
) -> float:
    """Return the share of images (N, side, side, 3) that ``model`` classifies right.

    Args:
        model: The network.
        images: Normalised, or to be normalised.
        labels: Their classes.
        statistics: Means and standard deviations to normalise by.
    """
    return float((logits_of(model, images, statistics).argmax(1) == labels).mean())


def logits_of(
    model: nn.Module,
    images: Pixels | NDArray[np.float32],
    statistics: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    views: int = 1,
) -> NDArray[np.float32]:
    """Return the logits (N, num_classes) of images, in evaluation mode.

    Args:
        model: The network.
        images: Shape (N, side, side, 3): normalised, or to be normalised.
        statistics: Means and standard deviations to normalise by.
        views: 2 averages the logits of an image and of its mirror image.
    """
    model.eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(images), SCORING_BATCH):
            x: NDArray[Any] = images[start : start + SCORING_BATCH]
            x = x if statistics is None else normalised(x, *statistics)
            batch = _channels_last(x)
            logits = model(batch)
            if views == 2:
                logits = (logits + model(batch.flip(3))) / 2
            found.append(logits.numpy())
    return np.concatenate(found)


def _channels_last(images: NDArray[np.float32]) -> torch.Tensor:
    """View (N, side, side, 3) as (N, 3, side, side) in channels-last memory, without a copy."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)
