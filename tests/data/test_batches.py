import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexnet.data.batches import PAD, Batches, normalised, statistics
from rexnet.data.stored import Part

pytestmark = pytest.mark.numeric

ZERO, ONE = np.zeros(3, np.float32), np.ones(3, np.float32)


def noise(count, side, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def numbered(count):
    """Return images of one colour each, which crops and mirrors leave alone, and their numbers."""
    colours = np.arange(count, dtype=np.uint8)
    return np.broadcast_to(colours[:, None, None, None], (count, 8, 8, 3)), np.arange(count)


def by_hand(images, labels, mean, std, batch_size, generator):
    """Cut one epoch image by image from the same draws."""
    order = generator.permutation(len(labels))
    size = min(batch_size, len(order))
    side = images.shape[1]
    for start in range(0, len(order) - size + 1, size):
        index = order[start : start + size]
        top, left = generator.integers(0, 2 * PAD + 1, (2, size))
        flips = generator.random(size) < 0.5
        batch = np.empty((size, side, side, 3), np.float32)
        for place, (number, row, column, flip) in enumerate(
            zip(index, top, left, flips, strict=True)
        ):
            for y in range(side):
                for x in range(side):
                    # Reflected at the border without repeating it.
                    source_y, source_x = abs(y + row - PAD), abs(x + column - PAD)
                    source_y = min(source_y, 2 * (side - 1) - source_y)
                    source_x = min(source_x, 2 * (side - 1) - source_x)
                    pixel = (images[number, source_y, source_x] - mean) / std
                    batch[place, y, side - 1 - x if flip else x] = pixel
        yield batch, labels[index]


def test_batches_are_what_a_loop_over_pixels_gives_for_the_same_draws():
    images, labels = noise(14, 9), np.arange(14)
    mean, std = statistics(images)
    batches = Batches(images, labels, mean, std)
    found = list(batches.epoch(5, np.random.default_rng(3)))
    wanted = list(by_hand(images, labels, mean, std, 5, np.random.default_rng(3)))
    assert len(found) == len(wanted) == 2
    for (x, y), (wanted_x, wanted_y) in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(y, wanted_y)
        np.testing.assert_allclose(x, wanted_x, rtol=1e-6)
        assert x.dtype == np.float32
        assert x.shape == (5, 9, 9, 3)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 99))
def test_an_epoch_has_every_image_at_most_once_and_leaves_out_less_than_a_batch(
    count, batch_size, seed
):
    images, labels = numbered(count)
    batches = Batches(images, labels, ZERO, ONE)
    seen = []
    for x, y in batches.epoch(batch_size, np.random.default_rng(seed)):
        assert len(x) == len(y) == min(batch_size, count)
        np.testing.assert_array_equal(x[:, 0, 0, 0], y)
        seen += y.tolist()
    assert len(seen) == len(set(seen)) == batches.num_batches(batch_size) * min(batch_size, count)
    assert count - len(seen) < batch_size


def test_a_full_epoch_has_every_image_once():
    images, labels = numbered(24)
    batches = Batches(images, labels, ZERO, ONE)
    seen = [y for _, y in batches.epoch(8, np.random.default_rng(0))]
    assert sorted(np.concatenate(seen)) == list(range(24))


def test_the_same_generator_gives_the_same_epochs_and_the_next_epoch_another_order():
    images, labels = noise(16, 8), np.arange(16)
    batches = Batches(images, labels, ZERO, ONE)

    def two_epochs():
        generator = np.random.default_rng(5)
        return [next(batches.epoch(16, generator)) for _ in range(2)]

    (first_x, first_y), (second_x, second_y) = two_epochs()
    (again_x, again_y), _ = two_epochs()
    np.testing.assert_array_equal(first_x, again_x)
    np.testing.assert_array_equal(first_y, again_y)
    assert first_y.tolist() != second_y.tolist()
    assert not np.array_equal(first_x, second_x)


def test_augmentation_leaves_the_images_as_they_are():
    images, labels = noise(16, 8), np.arange(16)
    before = images.copy()
    for _ in Batches(images, labels, ZERO, ONE).epoch(4, np.random.default_rng(0)):
        pass
    np.testing.assert_array_equal(images, before)


def test_all_crops_and_both_sides_turn_up():
    side = 16
    images = np.arange(side * side, dtype=np.uint8).reshape(1, side, side, 1).repeat(3, axis=3)
    batches = Batches(images, np.zeros(1, np.int64), ZERO, ONE)
    generator = np.random.default_rng(0)
    seen = {next(batches.epoch(1, generator))[0].tobytes() for _ in range(1500)}
    assert len(seen) == 2 * (2 * PAD + 1) ** 2


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 99))
def test_statistics_are_those_of_all_pixels_of_a_channel(count, side, seed):
    images = noise(count, side, seed)
    mean, std = statistics(images)
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, images.mean((0, 1, 2)), rtol=1e-5)
    wanted = images.astype(np.float64).std((0, 1, 2))
    np.testing.assert_allclose(std, np.where(wanted > 0, wanted, 1), rtol=1e-5)


def test_normalised_images_have_mean_zero_and_deviation_one():
    images = noise(10, 8)
    found = normalised(images, *statistics(images))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(found.std((0, 1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_channel_without_contrast_is_only_shifted(value):
    images = np.full((2, 8, 8, 3), value, np.uint8)
    mean, std = statistics(images)
    np.testing.assert_array_equal(std, 1)
    np.testing.assert_array_equal(normalised(images, mean, std), 0)


@pytest.mark.parametrize("side", [8, 33])
def test_images_in_a_file_give_the_batches_of_those_in_memory(side):
    images, labels = noise(30, side), np.arange(20)
    index = np.random.default_rng(0).permutation(30)[:20]
    part = Part(images=images, index=index)
    mean, std = statistics(images[index])
    for ours, theirs in zip(statistics(part), (mean, std), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    epochs = [
        list(Batches(source, labels, mean, std).epoch(6, np.random.default_rng(1)))
        for source in (part, images[index])
    ]
    assert len(epochs[0]) == 3
    for (x, y), (wanted_x, wanted_y) in zip(*epochs, strict=True):
        np.testing.assert_array_equal(x, wanted_x)
        np.testing.assert_array_equal(y, wanted_y)


def test_what_is_to_be_mirrored_is():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    batches = Batches(images, np.arange(6), np.zeros(3, np.float32), np.ones(3, np.float32))
    mirrored = np.array([True, False, True, False, False, True])
    ways = []
    for turned in (mirrored, ~mirrored):
        ((x, labels),) = batches.epoch(6, np.random.default_rng(1), turned)
        ways.append(x[np.argsort(labels)])
    np.testing.assert_array_equal(ways[0], ways[1][:, :, ::-1])
