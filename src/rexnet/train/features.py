"""What the classifier of a trained network is given: features of images at several resolutions."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rexnet import cost
from rexnet.data.image_sets import Images
from rexnet.data.loader import Batch, evaluation_batches
from rexnet.data.transforms import evaluation_transform
from rexnet.errors import UserError
from rexnet.nn.create import create_model
from rexnet.nn.fast.inference import fuse
from rexnet.nn.hub import load_model
from rexnet.nn.network import Network
from rexnet.nn.sources import check_trained
from rexnet.nn.timm_models import timm_model
from rexnet.preprocessing import Preprocessing
from rexnet.structure import check_resolution

NUM_PIXELS = 200_000
"""Pixels that a CPU computes at a time: maps of more images leave its cache."""


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """A network whose features are asked for.

    Attributes:
        name: What it was asked for by.
        module: A ``Network`` or a model of timm: ``forward_features`` and ``forward_head``.
        preprocessing: What an image goes through before the network sees it.
    """

    name: str
    module: nn.Module
    preprocessing: Preprocessing

    def macs(self, resolution: int, num_classes: int) -> int:
        """Return the multiply-accumulates of an image with a classifier of so many classes.

        Raises:
            UserError: The network cannot take images of this size.
        """
        module = self.module
        if isinstance(module, Network):
            check_resolution(module.spec, resolution)
            return cost.count(replace(module.spec, num_classes=num_classes), resolution).macs
        from torch.utils.flop_counter import FlopCounterMode

        # Nothing is computed on this device.
        shapes: Any = copy.deepcopy(module).to("meta").eval()
        shapes.reset_classifier(num_classes)
        images = torch.empty(1, self.preprocessing.num_channels, resolution, resolution)
        try:
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                shapes(images.to("meta"))
        except (AssertionError, RuntimeError, ValueError) as error:
            reason = f"{error}".partition("\n")[0]
            raise UserError(f"{self.name} cannot take {resolution} pixels: {reason}") from None
        return counter.get_total_flops() // 2


def extractor_of(model: str, weights: str | None = None) -> Extractor:
    """Return a trained network without its classifier.

    Args:
        model: What ``find_trained`` takes, or ``timm:NAME``.
        weights: What ``create_model`` takes; of a model of timm ``timm``, or a file of timm's.

    Raises:
        UserError: It cannot be had, or comes without weights.
    """
    check_trained(model, weights)
    module: Any
    if model.startswith("timm:"):
        from timm.data import resolve_model_data_config

        module = timm_model(model.partition(":")[2], weights)
        preprocessing = Preprocessing.from_config(resolve_model_data_config(module))
    else:
        # The classifier is left out, so weights with any number of classes will do.
        module = (
            load_model(model) if weights is None else create_model(model, weights, num_classes=1)
        )
        preprocessing = module.preprocessing
    module.reset_classifier(0)
    return Extractor(name=model, module=module.eval(), preprocessing=preprocessing)


@dataclass(frozen=True, kw_only=True)
class Features:
    """Features of labelled images at one resolution.

    Attributes:
        values: Shape (num_images, num_features), float32.
        labels: Shape (num_images,), int64.
        seconds: What the network took, reading left out.
    """

    values: NDArray[np.float32]
    labels: NDArray[np.int64]
    seconds: float


class SizedImages:
    """Labelled images as inputs of several resolutions, for which each is decoded once.

    Args:
        images: The images.
        preprocessing: What they go through, but for the resolution.
        resolutions: The sides of the inputs in pixels.
    """

    def __init__(
        self, images: Images, preprocessing: Preprocessing, resolutions: Sequence[int]
    ) -> None:
        self._images, self._num_channels = images, preprocessing.num_channels
        self._resolutions = tuple(resolutions)
        self._transforms = [
            evaluation_transform(replace(preprocessing, resolution=side)) for side in resolutions
        ]

    def __len__(self) -> int:
        return len(self._images)

    def sample(self, index: int) -> tuple[Tensor, int]:
        """Return the inputs of all resolutions one after another, (values,), and the label."""
        picture = self._images.read(index)
        inputs = [transform(picture).permute(1, 2, 0) for transform in self._transforms]
        return torch.cat([x.flatten() for x in inputs]), int(self._images.labels[index])

    def batch(self, samples: Sequence[tuple[Tensor, int]]) -> Batch:
        """Return inputs (N, values) and labels (N,)."""
        inputs, labels = zip(*samples, strict=True)
        return torch.stack(list(inputs)), torch.tensor(labels)

    def inputs(self, batch: Tensor) -> list[Tensor]:
        """Return the inputs (N, channels, side, side) of each resolution, channels last."""
        channels = self._num_channels
        parts = batch.split([channels * side * side for side in self._resolutions], 1)
        return [
            part.reshape(len(batch), side, side, channels)
            .permute(0, 3, 1, 2)
            .contiguous(memory_format=torch.channels_last)
            for part, side in zip(parts, self._resolutions, strict=True)
        ]


def features_of(
    extractor: Extractor,
    images: Images,
    resolutions: Sequence[int],
    *,
    batch_size: int,
    device: torch.device,
    num_workers: int,
    on_progress: Callable[[int, int], None],
) -> list[Features]:
    """Return the features of images at each resolution.

    Args:
        extractor: The network.
        images: The images.
        resolutions: Sides of the inputs in pixels.
        batch_size: Images that are read, and on a GPU computed, at a time.
        device: What computes.
        num_workers: Processes that read images.
        on_progress: Told how many images of how many are done.

    Raises:
        UserError: An image is corrupt; it is named.
    """
    sized = SizedImages(images, extractor.preprocessing, resolutions)
    model = _inferring(extractor.module, device)
    found: list[list[Tensor]] = [[] for _ in resolutions]
    seconds, labels = [0.0] * len(resolutions), []
    batches = evaluation_batches(sized, batch_size=batch_size, num_workers=num_workers)
    with torch.inference_mode():
        for batch, wanted in batches:
            labels.append(wanted)
            for number, x in enumerate(sized.inputs(batch)):
                started = time.monotonic()
                found[number] += [_features(model, part.to(device)) for part in _parts(x, device)]
                seconds[number] += time.monotonic() - started
            on_progress(sum(map(len, labels)), len(images))
    return [
        Features(values=torch.cat(rows).numpy(), labels=torch.cat(labels).numpy(), seconds=spent)
        for rows, spent in zip(found, seconds, strict=True)
    ]


def _inferring(module: nn.Module, device: torch.device) -> Any:
    """Return a copy for inference; batch norms of timm's models stay: their order is unknown."""
    if isinstance(module, Network):
        return fuse(copy.deepcopy(module).to(device))
    return copy.deepcopy(module).eval().to(device).to(memory_format=torch.channels_last)


def _parts(x: Tensor, device: torch.device) -> Sequence[Tensor]:
    """Return inputs in parts that a CPU has room for in its cache."""
    if device.type != "cpu":
        return [x]
    return x.split(max(1, NUM_PIXELS // (x.shape[2] * x.shape[3])))


def _features(model: Any, x: Tensor) -> Tensor:
    pooled: Tensor = model.forward_head(model.forward_features(x), pre_logits=True)
    return pooled.flatten(1).float().cpu()
