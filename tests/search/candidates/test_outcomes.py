import base64

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rexnet.search.candidates.outcomes import noise_of, outcomes_of, packed, unpacked


def test_outcomes_are_those_of_torch():
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((25, 7)).astype(np.float32) * 3
    labels = generator.integers(0, 7, 25)
    found = outcomes_of(logits, labels, 1.25)
    x, y = torch.from_numpy(logits), torch.from_numpy(labels)
    losses = F.cross_entropy(x, y, reduction="none")
    assert found.loss == pytest.approx(losses.mean().item(), abs=1e-5)
    assert found.true_probability == pytest.approx(losses.neg().exp().mean().item(), abs=1e-5)
    right = (x.argmax(1) == y).numpy()
    assert found.top1 == right.mean()
    assert unpacked(found.right, 25).tolist() == right.tolist()
    assert found.part_losses[3] == pytest.approx(losses[3::10].mean().item(), abs=1e-5)
    assert found.first_loss == 1.25


def test_fewer_images_than_parts_have_fewer_parts():
    found = outcomes_of(np.eye(3, dtype=np.float32), np.arange(3), 0.0)
    assert len(found.part_losses) == 3


def test_large_logits_do_not_overflow():
    found = outcomes_of(np.array([[1e4, -1e4]], dtype=np.float32), np.array([1]), 0.0)
    assert found.loss == pytest.approx(2e4)
    assert found.true_probability == 0


def test_packing_keeps_every_outcome():
    assert base64.b64decode(packed(np.arange(11) % 3 == 0)) == bytes([0b10010010, 0b01000000])
    right = np.random.default_rng(0).random(13) < 0.5
    assert unpacked(packed(right), 13).tolist() == right.tolist()


def trainings(generator, of_training, num_images=4000, num_trainings=3):
    """Return which images trainings get right whose true accuracies differ by so much."""
    hard = generator.beta(2, 1, num_images)
    moved = hard + of_training * generator.standard_normal((num_trainings, 1))
    return generator.random((num_trainings, num_images)) < np.clip(moved, 0, 1)


@pytest.mark.parametrize("wanted", [0.0, 0.03])
def test_noise_of_training_is_told_from_that_of_the_images(wanted):
    generator = np.random.default_rng(0)
    found = noise_of([trainings(generator, wanted) for _ in range(60)])
    # Clipping at 1 takes off some of what accuracies differ by.
    assert found.training == pytest.approx(0.8 * wanted, abs=0.006)
    # Of an image with the probability p the variance is p (1 - p), here 1/6 on average.
    assert found.images == pytest.approx((1 / 6 / 4000) ** 0.5, rel=0.15)
