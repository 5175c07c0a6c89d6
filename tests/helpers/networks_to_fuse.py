"""Networks and batches on which passes by hand are compared with those of torch."""

import copy
import dataclasses

import torch

from rexnet import families
from rexnet.nn.network import Network


def small(name, resolution=48):
    """Return a named network for small images, without dropout."""
    spec = families.get(name)
    return dataclasses.replace(spec, resolution=resolution, num_classes=10, dropout=0.0)


def pair(spec, seed=0, **kwargs):
    """Return two equal networks in channels-last memory, batch norms off their start."""
    torch.manual_seed(seed)
    model = Network(spec, **kwargs).to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias)
    return model, copy.deepcopy(model)


def batch(spec, num_images):
    generator = torch.Generator().manual_seed(1)
    size = spec.in_channels, spec.resolution, spec.resolution
    images = torch.randn(num_images, *size, generator=generator)
    labels = torch.randint(spec.num_classes, (num_images,), generator=generator)
    return images.to(memory_format=torch.channels_last), labels


def assert_close(ours, theirs):
    """Compare gradients with those in float64; float32 makes a quarter of what may differ.

    A gradient that cancels to nothing is compared with the largest.
    """
    largest = max(gradient.norm() for gradient in theirs)
    for number, (one, another) in enumerate(zip(theirs, ours, strict=True)):
        assert (one - another).norm() <= 1e-3 * one.norm() + 1e-4 * largest, number
