import copy
import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import specs
from torch.nn import functional as F

from rexnet import families
from rexnet.families import search_network
from rexnet.nn.fused import BOUNDS, can_fuse, fused
from rexnet.nn.network import Network

CLAMPS = st.sampled_from(sorted(BOUNDS))


@st.composite
def fusible(draw):
    """Draw a network of linear bottlenecks with clamps."""
    spec = draw(specs())
    blocks = [
        dataclasses.replace(
            block,
            expansion=draw(st.integers(2, 7)),
            se_divisor=0,
            expand_act=draw(CLAMPS),
            depthwise_act=draw(CLAMPS),
            project_act="identity",
        )
        for block in spec.blocks
    ]
    return dataclasses.replace(
        spec,
        blocks=tuple(blocks),
        stem_act=draw(CLAMPS),
        penultimate_width=draw(st.integers(1, 70)),
        penultimate_act=draw(CLAMPS),
        hidden_width=0,
        dropout=0.0,
    )


def pair(spec, seed=0):
    """Return two equal networks in channels-last memory, batch norms off their start."""
    torch.manual_seed(seed)
    model = Network(spec).to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias)
    return model, copy.deepcopy(model)


def batch(spec, num_images):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(num_images, 3, spec.resolution, spec.resolution, generator=generator)
    labels = torch.randint(spec.num_classes, (num_images,), generator=generator)
    return images.to(memory_format=torch.channels_last), labels


def gradients(model, forward, images, labels):
    logits = forward(images)
    F.cross_entropy(logits, labels).backward()
    return logits.detach(), [p.grad for p in model.parameters()]


@settings(deadline=None, max_examples=40, derandomize=True)
@given(fusible(), st.integers(2, 20))
def test_values_gradients_and_running_statistics_are_those_of_the_module(spec, num_images):
    model, other = pair(spec)
    images, labels = batch(spec, num_images)
    logits, theirs = gradients(model, model, images, labels)
    fused_logits, ours = gradients(other, fused(other), images, labels)
    torch.testing.assert_close(fused_logits, logits, rtol=1e-3, atol=1e-4)
    # Gradients that cancel to nothing are compared with the largest of them.
    largest = max(gradient.norm() for gradient in theirs)
    for (name, _), one, another in zip(model.named_parameters(), theirs, ours, strict=True):
        assert (one - another).norm() <= 2e-2 * one.norm() + 1e-4 * largest, name
    for (name, one), another in zip(model.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(another, one, rtol=1e-3, atol=1e-4, msg=name)


def test_the_gradients_are_as_close_to_those_in_double_precision_as_torchs():
    spec = search_network((16, 24, 32), num_classes=10, resolution=16)
    # Without bounds, no value on one side of a bound can be rounded to the other.
    linear = dict.fromkeys(("expand_act", "depthwise_act"), "identity")
    blocks = tuple(dataclasses.replace(block, **linear) for block in spec.blocks)
    spec = dataclasses.replace(spec, blocks=blocks, stem_act="identity", penultimate_act="identity")
    model, other = pair(spec)
    images, labels = batch(spec, 32)
    exact = copy.deepcopy(model).double()
    _, expected = gradients(exact, exact, images.double(), labels)
    _, theirs = gradients(model, model, images, labels)
    _, ours = gradients(other, fused(other), images, labels)

    def error(found):
        return sum(float((a - b).norm()) for a, b in zip(found, expected, strict=True))

    assert error(ours) < 3 * error(theirs)


def test_training_with_it_learns_what_training_the_module_learns():
    spec = search_network((8, 8, 12), num_classes=2, resolution=8)
    torch.manual_seed(0)
    model = Network(spec).to(memory_format=torch.channels_last)
    other = copy.deepcopy(model)
    images, labels = batch(spec, 64)
    losses = []
    for network, forward in ((model, model), (other, fused(other))):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
        for _ in range(20):
            loss = F.cross_entropy(forward(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] < 0.5
    assert losses[1] == pytest.approx(losses[0], abs=0.02)


def test_infinite_weights_give_a_loss_that_is_not_finite():
    spec = search_network((8, 8, 12), num_classes=2, resolution=8)
    model, _ = pair(spec)
    images, labels = batch(spec, 8)
    with torch.no_grad():
        model.blocks[1].depthwise.conv.weight[0] = torch.inf
    assert not torch.isfinite(F.cross_entropy(fused(model)(images), labels))


def test_the_search_network_is_fused_and_networks_with_other_layers_are_not():
    assert can_fuse(search_network((8, 8, 12), num_classes=2))
    for name in ("rexnet_1.0", "mobilenet_v1"):
        spec = families.get(name)
        assert not can_fuse(spec)
        with pytest.raises(ValueError, match="cannot be fused"):
            fused(Network(spec))
