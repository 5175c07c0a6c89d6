"""The code of accelerators, run on the CPU; graphs need CUDA and run where there is one."""

import dataclasses

import numpy as np
import pytest
import torch
from candidates import PROTOCOL, SPEC, assert_same_weights, toy_images
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from rexnet.data.batches import normalised, statistics
from rexnet.nn.network import Network
from rexnet.search.candidates.cpu import accuracy
from rexnet.search.candidates.gpu import _Run, train_on_accelerator
from rexnet.search.candidates.protocol import Diverged

pytestmark = pytest.mark.numeric

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def train(images, protocol=PROTOCOL, seed=0, on_epoch=lambda epoch, score: None, device="cpu"):
    model, outcomes = train_on_accelerator(
        SPEC, images, protocol, seed=seed, on_epoch=on_epoch, device=torch.device(device)
    )
    return model, outcomes.top1


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_easy_is_learnt(device):
    scores = {}
    protocol = dataclasses.replace(PROTOCOL, epochs=15)
    images = toy_images()
    model, score = train(
        images,
        protocol,
        on_epoch=lambda epoch, score: scores.update({epoch: score()}),
        device=device,
    )
    assert score > 0.9
    assert list(scores) == list(range(1, 16))
    # Scoring on the way changes nothing: after the last epoch it gives the result.
    assert scores[15] == score
    mean, std = statistics(images.images[~images.held_out])
    held_out = normalised(images.images[images.held_out], mean, std)
    # Scored in bfloat16 there, in float32 here.
    again = accuracy(model, held_out, images.labels[images.held_out])
    assert again == pytest.approx(score, abs=0.05)


@pytest.mark.parametrize("device", DEVICES)
def test_a_seed_gives_the_same_start_and_another_does_not(device):
    images = toy_images()
    first, again, other = (train(images, seed=seed, device=device)[0] for seed in (0, 0, 1))
    assert_same_weights(first, again)
    assert not torch.equal(first.stem.conv.weight, other.stem.conv.weight)


@pytest.mark.parametrize("device", DEVICES)
def test_a_loss_that_is_not_finite_ends_the_training(device):
    with pytest.raises(Diverged, match=r"the loss was not finite in epoch \d+ of 10"):
        train(toy_images(), dataclasses.replace(PROTOCOL, lr=9e5, epochs=10), device=device)


def test_an_epoch_has_every_image_once_cropped_or_mirrored():
    images = toy_images(num_train=48)
    # Every training image has one colour of its own: crops and mirrors do not change it.
    colours = np.arange(88, dtype=np.uint8)[:, None, None, None]
    images = dataclasses.replace(images, images=np.broadcast_to(colours, (88, 8, 8, 3)).copy())
    run = _Run(torch.nn.Linear(1, 1), images, PROTOCOL, torch.device("cpu"))
    run._mean, run._std = torch.zeros(3), torch.ones(3)
    run.shuffle()
    seen = []
    for _ in range(run.steps_per_epoch):
        x, y = run._batch()
        assert x.shape == (16, 3, 8, 8)
        assert x.is_contiguous(memory_format=torch.channels_last)
        assert (x == x[:, :1, :1, :1]).all()
        seen += x[:, 0, 0, 0].int().tolist()
        assert y.tolist() == [int(colour) % 2 for colour in x[:, 0, 0, 0]]
        run._done += 1
    assert sorted(seen) == list(range(48))


def test_crops_and_mirrors_are_cut_from_the_padded_image():
    images = toy_images(num_train=16)
    run = _Run(torch.nn.Linear(1, 1), images, PROTOCOL, torch.device("cpu"))
    run._mean, run._std = torch.zeros(3), torch.ones(3)
    x, _ = run._batch()
    pads = ((4, 4), (4, 4), (0, 0))
    for crop, image in zip(x.permute(0, 2, 3, 1).numpy(), images.images, strict=False):
        padded = np.pad(image, pads, mode="reflect")
        cuts = [padded[t : t + 8, left : left + 8] for t in range(9) for left in range(9)]
        assert any(np.array_equal(crop, c) or np.array_equal(crop, c[:, ::-1]) for c in cuts)


@pytest.mark.parametrize("device", DEVICES)
def test_a_step_never_waits_for_the_device(device):
    # Tensors without values: to read one back is an error, on the CPU as well.
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device(device):
            model = Network(SPEC)
        run = _Run(model, toy_images(), PROTOCOL, torch.device(device))
        run.shuffle()
        run.step()
        run.step()
        assert run._done.device.type == device
        with pytest.raises(DataDependentOutputException):
            assert run.is_finite


@pytest.mark.parametrize("device", DEVICES)
def test_later_settings_learn_what_is_easy(device):
    protocol = dataclasses.replace(
        PROTOCOL,
        epochs=15,
        schedule="linear",
        flips="alternating",
        norm_bias_lr=4.0,
        average=0.5,
        views=2,
    )
    _, score = train(toy_images(), protocol, device=device)
    assert score > 0.9


def test_alternating_flips_turn_every_image_every_other_epoch():
    images = toy_images()
    protocol = dataclasses.replace(PROTOCOL, flips="alternating")
    run = _Run(Network(SPEC), images, protocol, torch.device("cpu"))
    # Every row rises from left to right, in every crop.
    run._padded = torch.arange(run._padded.shape[2])[None, None, :, None].expand(run._padded.shape)
    ways = []
    for epoch in range(3):
        run._done.fill_(epoch * run.steps_per_epoch)
        x, _ = run._batch()
        ways.append((x[:, 0, 0, 1] > x[:, 0, 0, 0]).tolist())
    assert ways[0] == ways[2] == [not way for way in ways[1]]
    assert 0 < sum(ways[0]) < len(ways[0])
