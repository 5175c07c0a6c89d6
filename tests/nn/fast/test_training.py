import copy
import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kinks import KINKS, clear_of_kinks, distance, inputs_of_kinked
from networks_to_fuse import assert_close, batch, pair, small
from strategies import ANY_CHANNELS, specs
from torch import distributed
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from rexnet.families import search_network
from rexnet.nn.fast import training as fused_module
from rexnet.nn.fast.training import Fused, can_fuse
from rexnet.nn.network import Network

pytestmark = pytest.mark.numeric

NAMES = (
    "rexnet_1.0",
    "rexnet_plain",
    "rexnet_lite_1.0",
    "mobilenet_v1",
    "mobilenet_v2",
    "efficientnet_lite0",
)


@st.composite
def fusible(draw):
    """Draw a network that can be fused."""
    spec = draw(specs(in_channels=ANY_CHANNELS))
    blocks = [
        block if block.shortcut == "none" else dataclasses.replace(block, project_act="identity")
        for block in spec.blocks
    ]
    return dataclasses.replace(spec, blocks=tuple(blocks), dropout=0.0)


@pytest.fixture(autouse=True)
def threads():
    """Give torch its threads back after a test that sets them."""
    num_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(num_threads)


def gradients(model, forward, images, labels):
    logits = forward(images)
    F.cross_entropy(logits, labels).backward()
    return logits.detach(), [p.grad for p in model.parameters()]


def assert_same(model, spec, num_images):
    """Compare values, gradients and running statistics with those of the module in float64."""
    images, labels = batch(spec, num_images)
    clear_of_kinks(model, images, seed=2)
    other, exact = copy.deepcopy(model), model.double()
    torch.manual_seed(2)
    logits, theirs = gradients(exact, exact, images.double(), labels)
    torch.manual_seed(2)
    fused_logits, ours = gradients(other, Fused(other), images, labels)
    torch.testing.assert_close(fused_logits.double(), logits, rtol=1e-3, atol=1e-3)
    assert_close(ours, theirs)
    for (name, one), another in zip(model.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(another.to(one), one, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("name", NAMES)
def test_rounding_takes_no_value_of_what_is_compared_over_a_kink(name):
    spec = small(name)
    model, _ = pair(spec)
    images, _ = batch(spec, 6)
    clear_of_kinks(model, images)
    found = inputs_of_kinked(copy.deepcopy(model).double(), images.double())
    rounded = inputs_of_kinked(model, images)
    assert found
    for (act, x), (_, other) in zip(found, rounded, strict=True):
        assert ((x - other).abs() < distance(act, x) / 4).all()
        # Nor is it by keeping them all on one side.
        assert any((x < kink).any() and (x > kink).any() for kink in KINKS[type(act)])


@settings(deadline=None, max_examples=30, derandomize=True)
@given(fusible(), st.integers(4, 20), st.integers(1, 2), st.sampled_from((2**12, 2**22)))
def test_values_gradients_and_running_statistics_are_those_of_the_module(
    spec, num_images, num_threads, part_bytes
):
    torch.set_num_threads(num_threads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused_module, "PART_BYTES", part_bytes)
        assert_same(pair(spec)[0], spec, num_images)


@pytest.mark.parametrize("name", NAMES)
def test_the_families_are_fused(name):
    spec = small(name)
    assert_same(pair(spec)[0], spec, 6)


def test_blocks_that_are_dropped_are_the_same_as_in_the_module():
    spec = small("rexnet_1.0")
    assert_same(pair(spec, drop_path=0.9)[0], spec, 12)


@pytest.mark.parametrize("act", ["identity", "silu"])
def test_the_gradients_are_as_close_to_those_in_double_precision_as_torchs(act):
    spec = search_network((16, 24, 32), num_classes=10, resolution=16)
    # Without bounds, no value on one side of a bound can be rounded to the other.
    blocks = tuple(
        dataclasses.replace(block, expand_act=act, depthwise_act="identity", se_divisor=4)
        for block in spec.blocks
    )
    spec = dataclasses.replace(spec, blocks=blocks, stem_act=act, penultimate_act=act)
    model, other = pair(spec)
    images, labels = batch(spec, 32)
    exact = copy.deepcopy(model).double()
    _, expected = gradients(exact, exact, images.double(), labels)
    _, theirs = gradients(model, model, images, labels)
    _, ours = gradients(other, Fused(other), images, labels)

    def error(found):
        return sum(float((a - b).norm()) for a, b in zip(found, expected, strict=True))

    assert error(ours) < 3 * error(theirs)


def test_the_gradient_of_the_images_is_that_of_the_module():
    spec = small("rexnet_1.0")
    model, _ = pair(spec)
    images, labels = batch(spec, 4)
    clear_of_kinks(model, images)
    exact, found = copy.deepcopy(model).double(), []
    for network, forward in ((exact, exact), (model, Fused(model))):
        x = images.to(network.classifier.weight.dtype).requires_grad_()
        gradients(network, forward, x, labels)
        found.append(x.grad)
    assert (found[0] - found[1]).norm() < 1e-3 * found[0].norm()


@pytest.mark.parametrize("num_threads", [1, 2])
def test_the_same_images_give_the_same_bits(num_threads):
    torch.set_num_threads(num_threads)
    spec = small("rexnet_1.0", 96)
    model, other = pair(spec)
    images, labels = batch(spec, 8)
    logits, ours = gradients(model, Fused(model), images, labels)
    again, others = gradients(other, Fused(other), images, labels)
    assert torch.equal(logits, again)
    assert all(torch.equal(a, b) for a, b in zip(ours, others, strict=True))
    assert torch.get_num_threads() == num_threads


def test_gradients_of_parts_of_a_batch_add_up():
    spec = small("rexnet_1.0")
    model, _ = pair(spec)
    images, labels = batch(spec, 4)
    forward = Fused(model)
    loss = F.cross_entropy(forward(images), labels)
    loss.backward(retain_graph=True)
    once = [p.grad.clone() for p in model.parameters()]
    loss.backward()
    for one, p in zip(once, model.parameters(), strict=True):
        torch.testing.assert_close(p.grad, 2 * one)


def test_training_with_it_learns_what_training_the_module_learns():
    spec = search_network((8, 8, 12), num_classes=2, resolution=8)
    torch.manual_seed(0)
    model = Network(spec).to(memory_format=torch.channels_last)
    other = copy.deepcopy(model)
    images, labels = batch(spec, 64)
    losses = []
    for network, forward in ((model, model), (other, Fused(other))):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
        for _ in range(20):
            loss = F.cross_entropy(forward(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] < 0.5
    assert losses[1] == pytest.approx(losses[0], abs=0.02)


def test_it_works_in_distributed_data_parallel(tmp_path):
    spec = small("rexnet_1.0")
    model, other = pair(spec)
    images, labels = batch(spec, 4)
    _, alone = gradients(model, Fused(model), images, labels)
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        _, parallel = gradients(other, DistributedDataParallel(Fused(other)), images, labels)
    finally:
        distributed.destroy_process_group()
    assert all(torch.equal(a, b) for a, b in zip(alone, parallel, strict=True))


def test_infinite_weights_give_a_loss_that_is_not_finite():
    spec = search_network((8, 8, 12), num_classes=2, resolution=8)
    model, _ = pair(spec)
    images, labels = batch(spec, 8)
    with torch.no_grad():
        model.blocks[1].depthwise.conv.weight[0] = torch.inf
    assert not torch.isfinite(F.cross_entropy(Fused(model)(images), labels))


@pytest.mark.parametrize("name", ["rexnet_1.0", "rexnet_plain"], ids=["gates", "pixels"])
def test_a_single_value_a_channel_is_refused_as_by_torch(name):
    spec = small(name, resolution=32)
    images, _ = batch(spec, 1)
    for module in pair(spec)[0], Fused(pair(spec)[0]):
        with pytest.raises(ValueError, match=r"more than (1|one) value"):
            module.train()(images)


def test_what_goes_wrong_on_a_thread_is_raised_and_torch_keeps_its_threads():
    torch.set_num_threads(2)
    spec = small("rexnet_1.0")
    model, _ = pair(spec)
    images, _ = batch(spec, 4)
    with pytest.raises(RuntimeError):
        Fused(model)(images.double())
    assert torch.get_num_threads() == 2


def test_an_activation_before_a_shortcut_is_not_fused():
    spec = small("rexnet_1.0")
    clamped = dataclasses.replace(spec.blocks[2], project_act="relu6")
    other = dataclasses.replace(spec, blocks=(*spec.blocks[:2], clamped))
    assert not can_fuse(other)
    with pytest.raises(ValueError, match="cannot be fused"):
        Fused(Network(other))
