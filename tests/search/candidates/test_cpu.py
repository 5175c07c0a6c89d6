import dataclasses
import math

import numpy as np
import pytest
import torch
from candidates import PROTOCOL, SPEC, assert_same_weights, toy_images
from torch import nn

from rexnet.search.candidates.cpu import accuracy, logits_of, train_candidate
from rexnet.search.candidates.protocol import Diverged, Protocol

pytestmark = pytest.mark.numeric


def train(images, protocol=PROTOCOL, spec=SPEC, seed=0, on_epoch=lambda epoch, score: None):
    model, outcomes = train_candidate(spec, images, protocol, seed=seed, on_epoch=on_epoch)
    return model, outcomes.top1


def first_weights(model):
    return next(model.parameters()).detach().flatten()


def test_a_seed_gives_the_same_weights_and_accuracy_again_and_another_seed_does_not():
    images = toy_images()
    model, score = train(images)
    again, score_again = train(images)
    assert_same_weights(model, again)
    assert score == score_again
    other, _ = train(images, seed=1)
    assert not torch.equal(first_weights(model), first_weights(other))


def test_a_seed_gives_the_same_weights_whatever_was_drawn_before():
    model, _ = train(toy_images())
    torch.rand(7)
    assert_same_weights(model, train(toy_images())[0])


def test_what_is_easy_is_learnt_and_the_accuracy_is_the_share_of_held_out_images():
    images = toy_images()
    model, score = train(images, dataclasses.replace(PROTOCOL, epochs=15))
    assert score > 0.9
    assert not model.training
    assert round(score * 40) == pytest.approx(score * 40)


def test_scoring_on_the_way_changes_nothing():
    images, scores = toy_images(), []
    model, score = train(images, on_epoch=lambda _, score: scores.append(score()))
    assert len(scores) == PROTOCOL.epochs
    assert scores[-1] == score
    assert_same_weights(model, train(images)[0])


def test_shuffled_labels_are_not_learnt():
    images = toy_images()
    labels = images.labels.copy()
    labels[images.held_out] = np.random.default_rng(0).permutation(labels[images.held_out])
    _, score = train(dataclasses.replace(images, labels=labels))
    assert score < 0.8


def test_held_out_images_are_never_trained_on():
    images = toy_images()
    model, _ = train(images)
    pixels, labels = images.images.copy(), images.labels.copy()
    pixels[images.held_out] = 255 - pixels[images.held_out]
    labels[images.held_out] = 1 - labels[images.held_out]
    other, _ = train(dataclasses.replace(images, images=pixels, labels=labels))
    assert_same_weights(model, other)


def test_the_images_trained_on_matter():
    images = toy_images()
    pixels = images.images.copy()
    pixels[0] = 255 - pixels[0]
    model, _ = train(images)
    other, _ = train(dataclasses.replace(images, images=pixels))
    assert not torch.equal(first_weights(model), first_weights(other))


def test_a_huge_learning_rate_diverges():
    protocol = dataclasses.replace(PROTOCOL, lr=9e5, epochs=10)
    with pytest.raises(Diverged, match=r"^loss (nan|inf) at step \d+ of 40$"):
        train(toy_images(), protocol)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Infinite(Protocol):
    """Takes one step of infinite length."""

    def lr_at(self, step, steps):
        return math.inf


def test_weights_that_are_lost_in_the_last_step_are_a_divergence_too():
    # The loss of the only step is that of the weights before it.
    with pytest.raises(Diverged, match="after the last step"):
        train(toy_images(), Infinite(epochs=1, batch_size=64))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noting(Protocol):
    """Notes the steps that it is asked the learning rate of."""

    asked: list = dataclasses.field(default_factory=list)

    def lr_at(self, step, steps):
        self.asked.append((step, steps))
        return 0.01


def test_every_epoch_is_reported_and_every_step_has_its_learning_rate():
    epochs, protocol = [], Noting(epochs=4, batch_size=16)
    train(toy_images(), protocol, on_epoch=lambda epoch, _: epochs.append(epoch))
    # Once a group of parameters.
    assert list(dict.fromkeys(protocol.asked)) == [(step, 16) for step in range(16)]
    assert epochs == [1, 2, 3, 4]


def test_fewer_images_than_a_batch_are_one_batch():
    images = toy_images(num_train=10)
    _, score = train(images, dataclasses.replace(PROTOCOL, batch_size=64))
    assert 0 <= score <= 1


class Brightness(nn.Module):
    """Takes an image for the class 1 if it is bright."""

    def forward(self, images):
        bright = images.mean((1, 2, 3))
        return torch.stack([-bright, bright], 1)


@pytest.mark.parametrize("count", [1, 249, 250, 251, 600])
def test_accuracy_counts_every_image_once_in_parts_of_any_size(count):
    generator = np.random.default_rng(0)
    images = generator.normal(0, 1, (count, 4, 4, 3)).astype(np.float32)
    labels = generator.integers(0, 2, count)
    wanted = float(((images.mean((1, 2, 3)) > 0) == labels).mean())
    assert accuracy(Brightness(), images, labels) == pytest.approx(wanted)


def test_the_first_loss_is_of_images_that_were_not_trained_on():
    images = toy_images()
    _, untrained = train_candidate(
        SPEC,
        images,
        dataclasses.replace(PROTOCOL, epochs=1, lr=0.0),
        seed=0,
        on_epoch=lambda epoch, score: None,
    )
    smoothed = dataclasses.replace(PROTOCOL, label_smoothing=0.3)
    _, trained = train_candidate(SPEC, images, smoothed, seed=0, on_epoch=lambda epoch, score: None)
    chance = math.log(len(images.classes))
    assert untrained.first_loss == pytest.approx(chance, abs=0.5)
    assert trained.loss < trained.first_loss < untrained.first_loss + 0.1


@pytest.mark.parametrize(
    "change",
    [{"schedule": "linear"}, {"flips": "alternating"}, {"norm_bias_lr": 4.0}, {"average": 0.5}],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_changes_the_weights_and_learns_what_is_easy(change):
    images = toy_images()
    long = dataclasses.replace(PROTOCOL, epochs=15)
    plain, _ = train(images, long)
    model, score = train(images, dataclasses.replace(long, **change))
    assert not torch.equal(first_weights(model), first_weights(plain))
    assert score > 0.9


def test_two_views_change_the_score_and_not_the_weights():
    images = toy_images()
    protocol = dataclasses.replace(PROTOCOL, views=2)
    (model, outcomes), (plain, others) = (
        train_candidate(SPEC, images, one, seed=0, on_epoch=lambda epoch, score: None)
        for one in (protocol, PROTOCOL)
    )
    assert_same_weights(model, plain)
    assert outcomes.loss != others.loss
    held_out, found = images.part(held_out=True), images.normalisation()
    both = [logits_of(model, x, found) for x in (held_out, held_out[:, :, ::-1].copy())]
    averaged = logits_of(model, held_out, found, views=2)
    np.testing.assert_allclose(averaged, np.mean(both, axis=0), atol=1e-5)
