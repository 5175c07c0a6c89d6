import copy

import pytest
import torch
from hypothesis import given, settings
from kinks import clear_of_kinks
from networks_to_fuse import assert_close, batch, pair, small
from strategies import ANY_CHANNELS, randomise, specs
from torch import nn
from torch.nn import functional as F

from rexnet.nn.fast.frozen import Frozen

pytestmark = pytest.mark.numeric


def frozen(model):
    """Put a network into training, but for its batch norms."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eval()
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def gradients(model, forward, images, labels):
    logits = forward(images)
    F.cross_entropy(logits, labels).backward()
    return logits.detach(), [p.grad for p in model.parameters()]


def assert_same(model, spec):
    images, labels = batch(spec, 4)
    randomise(model)
    frozen(model)
    clear_of_kinks(model, images, seed=2)
    exact, other = copy.deepcopy(model).double(), copy.deepcopy(model)
    statistics = {name: b.clone() for name, b in other.named_buffers()}
    wanted, theirs = gradients(exact, exact, images.double(), labels)
    found, ours = gradients(other, Frozen(other), images, labels)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-3, atol=1e-3)
    assert_close([g.double() for g in ours], theirs)
    assert all(torch.equal(b, statistics[name]) for name, b in other.named_buffers())


@settings(deadline=None, max_examples=20, derandomize=True)
@given(specs(in_channels=ANY_CHANNELS))
def test_values_and_gradients_are_those_of_the_module(spec):
    assert_same(pair(spec)[0], spec)


@pytest.mark.parametrize("name", ["rexnet_1.0", "rexnet_lite_1.0", "efficientnet_lite0"])
def test_the_families_are_known(name):
    spec = small(name)
    assert_same(pair(spec)[0], spec)


def test_blocks_are_dropped_as_in_the_module():
    spec = small("rexnet_1.0")
    model, other = (frozen(m) for m in pair(spec, drop_path=0.9))
    images, labels = batch(spec, 12)
    torch.manual_seed(3)
    wanted, theirs = gradients(model, model, images, labels)
    torch.manual_seed(3)
    found, ours = gradients(other, Frozen(other), images, labels)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
    assert_close(ours, theirs)
