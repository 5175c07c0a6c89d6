import pickle
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data.transforms_factory import create_transform

from rexnet import UserError
from rexnet.data.in_memory import load
from rexnet.data.transforms import (
    RAND_AUGMENT,
    Augmentation,
    evaluation_transform,
    training_transform,
)
from rexnet.preprocessing import Preprocessing

SAMPLE = load("sample")

GREY = {"mean": (0.4,), "std": (0.2,)}

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def picture(number=0, size=None):
    image = Image.fromarray(SAMPLE.images[number])
    return image.resize(size, Image.Resampling.BICUBIC) if size else image


def pixels(tensor):
    """Return the pixels (height, width, channels), uint8, of a tensor of mean 0 and deviation 1."""
    return (tensor * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def seeded(transform, image, seed):
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
    return transform(image)


@pytest.mark.parametrize("size", [(320, 240), (200, 333), (32, 32), (224, 224), (1, 40)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("resolution", "crop"), [(224, 0.875), (64, 0.9), (97, 1.0)])
def test_evaluation_is_what_timm_does(size, interpolation, resolution, crop):
    preprocessing = Preprocessing(resolution=resolution, crop=crop, interpolation=interpolation)
    timm = create_transform(
        (3, resolution, resolution),
        is_training=False,
        crop_pct=crop,
        interpolation=interpolation,
        mean=preprocessing.mean,
        std=preprocessing.std,
    )
    found, image = evaluation_transform(preprocessing)(picture(size=size)), picture(size=size)
    assert found.dtype == torch.float32
    assert found.shape == (3, resolution, resolution)
    assert torch.equal(found, timm(image))


def test_the_whole_of_an_image_of_the_right_size_is_left_as_it_is():
    preprocessing = Preprocessing(resolution=32, crop=1.0, **PLAIN)
    for transform in (
        evaluation_transform(preprocessing),
        training_transform(preprocessing, Augmentation(crop="none", flip=0)),
    ):
        np.testing.assert_array_equal(pixels(transform(picture(5))), SAMPLE.images[5])


def test_a_network_of_one_channel_gets_grey_images():
    preprocessing = Preprocessing(resolution=32, crop=1.0, **GREY)
    augmentation = Augmentation(rand_augment="rand-m9", random_erasing=1)
    for transform in (
        evaluation_transform(preprocessing),
        training_transform(preprocessing, augmentation),
    ):
        assert transform(picture(5)).shape == (1, 32, 32)
    grey = np.asarray(picture(5).convert("L"), dtype=np.float32)
    found = evaluation_transform(preprocessing)(picture(5))
    np.testing.assert_allclose(found[0], (grey / 255 - 0.4) / 0.2, rtol=1e-5, atol=1e-6)


def test_an_input_of_two_channels_is_refused():
    preprocessing = Preprocessing(mean=(0.5, 0.5), std=(0.5, 0.5))
    for make in (
        evaluation_transform,
        lambda preprocessing: training_transform(preprocessing, Augmentation()),
    ):
        with pytest.raises(UserError, match="an input of 2 channels cannot be made of a picture"):
            make(preprocessing)


@settings(deadline=None, max_examples=30)
@given(st.integers(8, 40), st.integers(0, 20), st.booleans(), st.integers(0, 99))
def test_a_padded_crop_is_a_part_of_the_reflected_image(side, more, wide, seed):
    generator = np.random.default_rng(seed)
    height, width = (side, side + more) if wide else (side + more, side)
    image = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    preprocessing = Preprocessing(resolution=side, **PLAIN)
    transform = training_transform(preprocessing, Augmentation(crop="padded", flip=0))
    found = pixels(seeded(transform, Image.fromarray(image), seed))
    assert found.shape == (side, side, 3)
    pad = (side // 8,) * 2
    padded = np.pad(image, (pad, pad, (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(0, 1))
    matches = (windows == found.transpose(2, 0, 1)).all((2, 3, 4))
    assert matches.any()


def test_all_padded_crops_and_both_sides_turn_up():
    image = np.arange(16 * 16, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    preprocessing = Preprocessing(resolution=16)
    transform = training_transform(preprocessing, Augmentation(crop="padded"))
    random.seed(0)
    torch.manual_seed(0)
    seen = {transform(Image.fromarray(image)).numpy().tobytes() for _ in range(1500)}
    assert len(seen) == 2 * (2 * 2 + 1) ** 2


@pytest.mark.parametrize(("flip", "wanted"), [(0.0, {False}), (1.0, {True}), (0.5, {True, False})])
def test_images_are_mirrored_as_often_as_asked_for(flip, wanted):
    preprocessing = Preprocessing(resolution=32, crop=1.0, **PLAIN)
    transform = training_transform(preprocessing, Augmentation(crop="none", flip=flip))
    seen = set()
    for seed in range(20):
        found = pixels(seeded(transform, picture(3), seed))
        mirrored = np.array_equal(found, SAMPLE.images[3][:, ::-1])
        assert mirrored or np.array_equal(found, SAMPLE.images[3])
        seen.add(mirrored)
    assert seen == wanted


def test_a_resized_crop_takes_the_share_of_the_area_that_is_asked_for():
    # Where a pixel comes from is its value.
    rows, columns = np.mgrid[0:200, 0:200].astype(np.uint8)
    image = Image.fromarray(np.stack([rows, columns, columns], axis=2))
    preprocessing = Preprocessing(resolution=64, **PLAIN)
    transform = training_transform(preprocessing, Augmentation(scale=(0.3, 0.5), flip=0))
    for seed in range(50):
        found = pixels(seeded(transform, image, seed)).astype(float)
        height, width = (np.ptp(found[..., channel]) + 1 for channel in (0, 1))
        # Pixels at the border are means of a few.
        assert 0.27 < height * width / 200**2 < 0.53
        assert 0.7 < width / height < 1.4


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (7, 3)])
@pytest.mark.parametrize("crop", ["resized", "padded", "none"])
def test_tiny_images_are_enlarged(size, crop):
    transform = training_transform(Preprocessing(resolution=32), Augmentation(crop=crop))
    for seed in range(20):
        assert seeded(transform, picture(size=size), seed).shape == (3, 32, 32)


def test_random_erasing_puts_noise_into_a_rectangle():
    preprocessing = Preprocessing(resolution=32, crop=1.0)
    augmentation = Augmentation(crop="none", flip=0, random_erasing=1)
    before = evaluation_transform(preprocessing)(picture(7))
    noise, areas = [], []
    for seed in range(100):
        after = seeded(training_transform(preprocessing, augmentation), picture(7), seed)
        changed = (after != before).all(0)
        rows, columns = changed.any(1), changed.any(0)
        assert torch.equal(changed, rows[:, None] & columns)
        areas.append(changed.float().mean().item())
        noise.append(after[:, changed].flatten())
    values = torch.cat(noise)
    assert abs(values.mean()) < 0.05
    assert abs(values.std() - 1) < 0.05
    assert min(areas) < 0.05
    assert 0.28 < max(areas) < 0.36


@pytest.mark.parametrize(
    "settings_of",
    [
        {"rand_augment": "rand-m9-mstd0.5"},
        {"rand_augment": "rand-m15-n3-mstd101-inc1-tweights"},
        {"random_erasing": 0.5},
        {"crop": "padded", "rand_augment": "rand-n14-t3aw-p1"},
    ],
    ids=str,
)
def test_the_same_generators_give_the_same_input_and_others_another(settings_of):
    augmentation = Augmentation(**settings_of)
    transform = training_transform(Preprocessing(resolution=48), augmentation)
    # As it reaches a process that is started afresh.
    copy = pickle.loads(pickle.dumps(transform))
    image = picture(9, (60, 50))
    inputs = [seeded(transform, image, seed) for seed in range(4)]
    for seed, found in enumerate(inputs):
        assert found.dtype == torch.float32
        assert found.shape == (3, 48, 48)
        assert torch.equal(seeded(copy, image, seed), found)
    assert not torch.equal(inputs[0], inputs[1])


def test_colours_change_only_if_asked_for():
    preprocessing = Preprocessing(resolution=32, crop=1.0)
    before = evaluation_transform(preprocessing)(picture(2))
    plain = training_transform(preprocessing, Augmentation(crop="none", flip=0))
    augmentation = Augmentation(crop="none", flip=0, rand_augment="rand-m9-n4-p1")
    changed = training_transform(preprocessing, augmentation)
    assert torch.equal(seeded(plain, picture(2), 0), before)
    assert not torch.equal(seeded(changed, picture(2), 0), before)


@settings(deadline=None, max_examples=60)
@given(st.from_regex(RAND_AUGMENT, fullmatch=True))
def test_every_rand_augment_that_is_taken_works(words):
    preprocessing = Preprocessing(resolution=8)
    augmentation = Augmentation(crop="padded", rand_augment=words)
    assert training_transform(preprocessing, augmentation)(picture(1)).shape == (3, 8, 8)


@pytest.mark.parametrize("magnitude", ["0", "1", "2", "9", "10", "99-mmax99"])
@pytest.mark.parametrize("kind", ["inc0", "inc1", "tweights", "t3aw"])
def test_rand_augment_works_at_its_weakest_and_at_its_strongest(magnitude, kind):
    words = f"rand-m{magnitude}-n14-p1-{kind}"
    augmentation = Augmentation(crop="padded", rand_augment=words)
    transform = training_transform(Preprocessing(resolution=16), augmentation)
    for seed in range(20):
        assert seeded(transform, picture(seed), seed).isfinite().all()


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("crop", "random", "crop 'random' is not one of resized, padded, none"),
        ("scale", (0.0, 1.0), "scale (0.0, 1.0) must be two numbers"),
        ("scale", (0.5, 0.4), "scale (0.5, 0.4) must be"),
        ("scale", (0.5, 1.1), "scale (0.5, 1.1) must be"),
        ("scale", (float("nan"), 1.0), "scale (nan, 1.0) must be"),
        ("flip", 1.5, "flip 1.5 must be from 0 to 1"),
        ("flip", float("nan"), "flip nan must be from 0 to 1"),
        ("random_erasing", -0.1, "random_erasing -0.1 must be from 0 to 1"),
        ("rand_augment", "m9", "rand_augment 'm9' is not in timm's form"),
        ("rand_augment", "rand-x9", "rand_augment 'rand-x9' is not"),
        ("rand_augment", "rand-m9-", "rand_augment 'rand-m9-' is not"),
        ("rand_augment", "rand-m9\n", r"rand_augment 'rand-m9\n' is not"),
        ("rand_augment", "rand-n0", "rand_augment 'rand-n0' is not"),
        ("rand_augment", "rand-n15", "rand_augment 'rand-n15' is not"),
        ("rand_augment", "rand-p1.5", "rand_augment 'rand-p1.5' is not"),
        ("rand_augment", "rand-tall", "rand_augment 'rand-tall' is not"),
        ("rand_augment", "augmix-m5", "rand_augment 'augmix-m5' is not"),
    ],
)
def test_a_value_out_of_range_is_refused_in_one_line(field, value, wanted):
    with pytest.raises(UserError) as error:
        Augmentation(**{field: value})
    assert str(error.value).startswith(wanted)
    assert "\n" not in str(error.value)
