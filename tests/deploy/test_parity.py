import numpy as np
import pytest
import torch
from small_models import network
from torch import nn

from rexnet import create_model
from rexnet.deploy import parity
from rexnet.deploy.runtimes.torch import module_run

pytestmark = pytest.mark.numeric

SIZE = (3, 32, 32)


def compared(ours, theirs):
    return parity.compare(module_run(ours), module_run(theirs), parity.batches(SIZE))


def with_a_wrong_weight(model):
    weight = model.blocks[1].project.conv.weight
    with torch.no_grad():
        weight[0, 0] += weight.abs().max()


def with_another_activation(model):
    model.blocks[0].depthwise_act = nn.ReLU()


def with_swapped_channels(model):
    weight = model.stem.conv.weight
    with torch.no_grad():
        weight.copy_(weight[:, [2, 1, 0]])


def with_a_wrong_bias(model):
    with torch.no_grad():
        model.classifier.bias[3] += 0.1


def without_an_answer(model):
    with torch.no_grad():
        model.classifier.bias[0] = torch.nan


def test_images_are_the_same_every_time_and_differ_from_each_other():
    batches = parity.batches((1, 9, 13))
    assert [images.shape for images in batches] == [(n, 1, 9, 13) for n in (1, 2, 5)]
    for images, again in zip(batches, parity.batches((1, 9, 13)), strict=True):
        np.testing.assert_array_equal(images, again)
        assert images.dtype == np.float32
    together = np.concatenate(batches)
    assert together.mean((1, 2, 3)).std() > 0.1


def test_a_model_is_like_itself():
    assert compared(network(), network()) == parity.Parity(
        share=0.0, difference=0.0, is_faint=False
    )


@pytest.mark.parametrize(
    "change",
    [
        with_a_wrong_weight,
        with_another_activation,
        with_swapped_channels,
        with_a_wrong_bias,
        without_an_answer,
    ],
)
def test_one_thing_that_is_wrong_is_seen(change):
    other = network()
    change(other)
    found = compared(network(), other)
    assert not found.holds
    assert not found.difference < 10 * parity.LIMIT


def test_a_share_is_the_worst_of_an_output_and_known_of_one_image():
    wanted = [np.array([[1.0, -4.0]]), np.array([[10.0]])]
    assert parity.agreement([np.array([[1.0, -3.0]]), np.array([[10.0]])], wanted).share == 0.25
    assert parity.agreement([np.array([[1.0, -4.0]]), np.array([[15.0]])], wanted).share == 0.5
    nothing = parity.agreement([np.array([[np.nan, -4.0]]), np.array([[10.0]])], wanted)
    assert nothing.share == float("inf")


def test_other_shapes_are_no_agreement():
    other = network()
    other.reset_classifier(7)
    assert compared(network(), other).difference == float("inf")


def test_new_weights_are_faint_and_a_stirred_copy_is_not():
    torch.manual_seed(0)
    model = create_model("rexnet_0.6").eval()
    other = create_model("rexnet_0.6").eval()
    other.classifier.load_state_dict(model.classifier.state_dict())
    # Every layer but the last is another one, and nothing tells them apart.
    found = compared(model, other)
    assert found.is_faint
    assert found.holds
    images = parity.batches(SIZE)[-1]
    found = compared(parity.stirred(model, images), parity.stirred(other, images))
    assert not found.is_faint
    assert not found.holds


def test_stirring_leaves_the_model_as_it_is():
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = parity.stirred(model, parity.batches(SIZE)[0][[0, 0]])
    assert not any(part.training for part in other.modules())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize(
    ("free", "sizes"),
    [
        ((), []),
        (("height",), [(3, 65, 32), (3, 17, 32)]),
        (("width",), [(3, 32, 17), (3, 32, 65)]),
        (("height", "width"), [(3, 65, 17), (3, 17, 65)]),
    ],
)
def test_other_sizes_are_odd_and_change_what_is_free(free, sizes):
    assert parity.other_sizes(SIZE, free) == sizes
