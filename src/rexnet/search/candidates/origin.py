"""The trained network that the candidates of a search inherit their weights from."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rexnet.data.stored import Pixels
from rexnet.nn.sources import Weights
from rexnet.spec import NetSpec

if TYPE_CHECKING:
    from rexnet.nn.network import Network

NUM_IMAGES = 256
"""Images that statistics and a refit are made from."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A trained network as bytes, which go to any process and any machine.

    Attributes:
        spec: The network.
        content: Its tensors, as safetensors.
        mean: Channel means in 0..1 that its images are less.
        std: What they are divided by.
    """

    spec: NetSpec
    content: bytes
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def digest(self) -> str:
        """Sixteen hex digits that depend on every weight."""
        digest = hashlib.sha256(self.spec.spec_id.encode())
        digest.update(self.content)
        return digest.hexdigest()[:16]

    @property
    def statistics(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Means and standard deviations for images in 0..255."""
        mean, std = (255 * np.array(values, dtype=np.float32) for values in (self.mean, self.std))
        return mean, std

    def inherited(self, spec: NetSpec, images: NDArray[np.float32]) -> "Network":
        """Return the network of ``spec`` with weights of this one.

        Args:
            spec: Other widths and classes, of the same structure.
            images: Normalised, of shape (N, side, side, 3).
        """
        import safetensors.torch
        import torch

        from rexnet.nn.inherit import inherit
        from rexnet.nn.network import Network

        model = Network(self.spec)
        model.load_state_dict(safetensors.torch.load(self.content))
        batch = torch.from_numpy(images).permute(0, 3, 1, 2)
        return inherit(model.eval(), spec, images=batch)


def read_origin(weights: Weights, spec: NetSpec) -> Origin:
    """Read a trained network.

    Args:
        weights: Where its weights are.
        spec: The network.

    Raises:
        UserError: The weights cannot be read, or are of another network.
    """
    import safetensors.torch

    from rexnet.nn.hub import load_into
    from rexnet.nn.network import Network

    model = Network(spec)
    load_into(model, weights)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    preprocessing = model.preprocessing
    return Origin(
        spec=spec,
        content=safetensors.torch.save(tensors),
        mean=preprocessing.mean,
        std=preprocessing.std,
    )


def some_of(images: Pixels) -> NDArray[np.uint8]:
    """Return images to inherit with, spread over all."""
    chosen = np.linspace(0, len(images) - 1, min(NUM_IMAGES, len(images))).astype(int)
    return images[chosen]
