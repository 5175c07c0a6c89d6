"""A network, images and a protocol that train in a moment."""

import dataclasses

import numpy as np
import torch

from rexnet.data.in_memory import ImageSet
from rexnet.families import search_network
from rexnet.search.candidates.protocol import Protocol

SPEC = dataclasses.replace(search_network((8, 8, 12), 2, 8), penultimate_width=32)
PROTOCOL = Protocol(epochs=2, batch_size=16, lr=0.05)


def toy_images(num_train=64, num_held_out=40, seed=0):
    """Return dark and bright noise: two classes that anything can tell apart."""
    count = num_train + num_held_out
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    noise = generator.integers(0, 100, (count, 8, 8, 3))
    return ImageSet(
        name="dark and bright",
        images=(noise + 150 * labels[:, None, None, None]).astype(np.uint8),
        labels=labels.astype(np.int64),
        held_out=np.arange(count) >= num_train,
        classes=("dark", "bright"),
    )


def assert_same_weights(model, other):
    for (name, one), another in zip(
        model.state_dict().items(), other.state_dict().values(), strict=True
    ):
        # The step counter of a batch norm is not read from weight files.
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(one, another), name
