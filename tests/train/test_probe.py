import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from probes import probed
from small_models import write_network

from rexnet.data.image_sets import ArrayImages
from rexnet.train import probe
from rexnet.train.features import extractor_of


def dark_and_bright(count, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = generator.integers(0, 100, (count, 32, 32, 3)) + 150 * labels[:, None, None, None]
    return ArrayImages(
        name="toys", classes=("dark", "bright"), labels=labels, images=pixels.astype(np.uint8)
    )


def test_a_probe_is_a_linear_layer_of_its_scores():
    generator = np.random.default_rng(0)
    values = generator.normal(3, 2, (60, 5)).astype(np.float32)
    for classes in (2, 3):
        labels = np.arange(60) % classes
        values[:, 0] += 5 * labels
        classifier, _ = probe.fitted(values, labels)
        # The class after the last has no images.
        weight, bias = probe.as_layer(classifier, classes + 1)
        scores = values @ weight.T + bias
        wanted = classifier.predict_log_proba(values)
        found = scores[:, :classes] - np.log(np.exp(scores[:, :classes]).sum(1, keepdims=True))
        np.testing.assert_allclose(found, wanted, atol=1e-3)
        assert (weight[classes] == 0).all()


def test_what_can_be_told_apart_is_and_what_cannot_is_not():
    write_network(Path("model"))
    extractor = extractor_of("model")
    parts = dark_and_bright(40), dark_and_bright(20, seed=1)
    rows = probe.probe(extractor, parts, (32, 16))
    assert [row.resolution for row in rows] == [32, 16]
    assert [row.top1 for row in rows] == [1.0, 1.0]
    assert rows[1].macs < rows[0].macs / 3
    assert (rows[0].num_train, rows[0].num_images, rows[0].standard_error) == (40, 20, 0.0)
    # Labels that say nothing of the images.
    half = [dataclasses.replace(part, labels=np.arange(len(part)) // 2 % 2) for part in parts]
    (row,) = probe.probe(extractor, (half[0], half[1]), (32,))
    assert 0.2 < row.top1 < 0.8
    assert row.standard_error == pytest.approx((row.top1 * (1 - row.top1) / 20) ** 0.5)


@settings(max_examples=5, deadline=None)
@given(
    scale=st.floats(0.01, 100),
    shift=st.floats(-10, 10),
    seed=st.integers(0, 100),
)
def test_the_scale_of_features_changes_nothing(scale, shift, seed):
    generator = np.random.default_rng(seed)
    labels = np.arange(18) % 3
    values = (generator.normal(size=(18, 4)) + labels[:, None]).astype(np.float32)
    changed = (values * scale + shift).astype(np.float32)
    (one, c), (other, d) = probe.fitted(values, labels), probe.fitted(changed, labels)
    assert c == d
    np.testing.assert_allclose(one.predict_proba(values), other.predict_proba(changed), atol=0.01)


def test_strength_is_chosen_by_cross_validation_where_that_can_be():
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 2
    noise = generator.normal(size=(60, 50)).astype(np.float32)
    assert probe.fitted(noise, labels)[1] == min(probe.STRENGTHS)
    clear = noise + 4 * labels[:, None].astype(np.float32)
    assert probe.fitted(clear, labels)[1] == max(probe.STRENGTHS)
    single = np.array([0] * 59 + [1])
    assert probe.fitted(noise, single)[1] == probe.PLAIN


@given(counts=st.lists(st.integers(1, 30), min_size=2, max_size=6), most=st.integers(1, 60))
def test_a_part_of_the_images_is_even_over_the_classes(counts, most):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    pixels = np.zeros((len(labels), 1, 1, 3), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(len(labels))
    classes = tuple(map(str, range(len(counts))))
    images = ArrayImages(name="toys", classes=classes, labels=labels, images=pixels)
    part = probe.at_most(images, most)
    assert len(part) == min(len(images), max(most, len(counts)))
    kept = np.bincount(part.labels, minlength=len(counts))
    assert kept.min() >= 1
    # No class has more than another by over one, but where the other has no more.
    assert all(kept.max() - k <= 1 or k == c for k, c in zip(kept, counts, strict=True))
    assert np.array_equal(part.images, probe.at_most(images, most).images)


def test_resolutions_are_ranked_on_a_part_of_the_images(monkeypatch):
    monkeypatch.setattr(probe, "MOST_TRAIN", 20)
    monkeypatch.setattr(probe, "MOST_VAL", 10)
    write_network(Path("model"))
    parts = dark_and_bright(40), dark_and_bright(20, seed=1)
    rows = probe.rank_resolutions(extractor_of("model"), parts, (16, 32, 24))
    assert {(row.num_train, row.num_images) for row in rows} == {(20, 10)}
    assert sorted(row.resolution for row in rows) == [16, 24, 32]
    assert [row.top1 for row in rows] == sorted((row.top1 for row in rows), reverse=True)


def test_the_cheapest_within_a_standard_error_of_the_best_is_recommended():
    rows = [probed(224, 0.70, 400), probed(160, 0.68, 200), probed(96, 0.6, 70)]
    assert probe.recommended(rows).resolution == 160
    assert probe.recommended([rows[0], rows[2]]).resolution == 224
