"""The candidate trainer: a network from scratch to its held-out accuracy on one thread."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from rexnet.data.batches import Batches, normalised, statistics
from rexnet.data.in_memory import ImageSet
from rexnet.nn.fast.training import Fused, can_fuse
from rexnet.nn.network import Network
from rexnet.search.candidates.optimizer import make_optimizer
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
) -> tuple[Network, float]:
    """Train ``spec`` from scratch and score it on the held-out images.

    Args:
        spec: The network; its classes are those of ``images``.
        images: What to train on and what to score on.
        protocol: How to train.
        seed: Seed of weights, order and augmentation.
        on_epoch: Called after every epoch.

    Returns:
        The trained network in evaluation mode, and the share of held-out images it gets right.

    Raises:
        Diverged: The loss became infinite or not a number.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    model = Network(spec).to(memory_format=torch.channels_last)
    forward = Fused(model) if can_fuse(spec) else model
    optimizer = make_optimizer(model, protocol)
    train = images.images[~images.held_out]
    mean, std = statistics(train)
    batches = Batches(train, images.labels[~images.held_out], mean, std)
    steps = protocol.epochs * batches.num_batches(protocol.batch_size)
    held_out = normalised(images.images[images.held_out], mean, std)

    def score() -> float:
        return accuracy(model, held_out, images.labels[images.held_out])

    step = 0
    for epoch in range(protocol.epochs):
        model.train()
        for x, y in batches.epoch(protocol.batch_size, generator):
            for group in optimizer.param_groups:
                group["lr"] = protocol.lr_at(step, steps)
            loss = F.cross_entropy(
                forward(_channels_last(x)),
                torch.from_numpy(y),
                label_smoothing=protocol.label_smoothing,
            )
            if not torch.isfinite(loss):
                raise Diverged(f"loss {loss.item()} at step {step + 1} of {steps}")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        on_epoch(epoch + 1, score)
    if not all(torch.isfinite(parameter).all() for parameter in model.parameters()):
        raise Diverged("weights that are infinite or not numbers after the last step")
    return model, score()


def accuracy(model: nn.Module, images: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the share of normalised images (N, side, side, 3) that ``model`` classifies right."""
    model.eval()
    right = 0
    with torch.inference_mode():
        for start in range(0, len(labels), SCORING_BATCH):
            part = slice(start, start + SCORING_BATCH)
            predicted = model(_channels_last(images[part])).argmax(1).numpy()
            right += int((predicted == labels[part]).sum())
    return right / len(labels)


def _channels_last(images: NDArray[np.float32]) -> torch.Tensor:
    """View (N, side, side, 3) as (N, 3, side, side) in channels-last memory, without a copy."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)
