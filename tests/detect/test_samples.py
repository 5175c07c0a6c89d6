import numpy as np
import torch

from rexnet.data.coco.images import read_coco
from rexnet.data.coco.layouts import find_part
from rexnet.data.loader import TrainingBatches, evaluation_batches
from rexnet.detect.samples import DetectionSamples
from rexnet.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(resolution=64, crop=1.0, interpolation="bilinear")


def scenes(augment, part="train"):
    images = read_coco(*find_part("scenes", part))
    return images, DetectionSamples(images, PREPROCESSING, augment=augment)


def test_without_augmentation_boxes_are_shares_of_the_image(here):
    images, samples = scenes(augment=False)
    for index in range(len(images)):
        x, y = samples.sample(index)
        assert x.shape == (3, 64, 64)
        truth = images.of(index)
        np.testing.assert_allclose(y[:, 1:], truth.boxes / 96, rtol=1e-5)
        assert y[:, 0].tolist() == (truth.labels + 1).tolist()


def test_boxes_follow_what_is_in_them(here):
    # The mean colour inside a box is the same before and after, but for the rim and the colours.
    images, samples = scenes(augment=True)
    seen = 0
    for seed in range(40):
        torch.manual_seed(seed)
        x, y = samples.sample(seed % 16)
        assert torch.isfinite(x).all()
        assert ((y[:, 1:] >= 0) & (y[:, 1:] <= 1)).all()
        assert (y[:, 3:] > y[:, 1:3]).all()
        assert set(y[:, 0].tolist()) <= set((images.of(seed % 16).labels + 1).tolist())
        seen += len(y)
    assert seen > 20


def test_a_mirrored_image_has_mirrored_boxes(here):
    from torchvision.transforms import v2

    _, samples = scenes(augment=False)
    plain, boxes = samples.sample(0)
    samples._transform = v2.RandomHorizontalFlip(1.0)
    mirrored, others = samples.sample(0)
    torch.testing.assert_close(mirrored, plain.flip(2))
    torch.testing.assert_close(others[:, 1], 1 - boxes[:, 3])
    torch.testing.assert_close(others[:, 3], 1 - boxes[:, 1])


def test_a_crowd_is_not_trained_on(here):
    import json

    path = here / "scenes/train/instances.json"
    document = json.loads(path.read_text())
    crowd = [entry | {"iscrowd": 1} for entry in document["annotations"]]
    path.write_text(json.dumps(document | {"annotations": crowd}))
    _, samples = scenes(augment=True)
    for index in range(16):
        assert samples.sample(index)[1].shape == (0, 5)


def test_a_resized_copy_of_an_image_has_the_same_boxes(here):
    from PIL import Image

    _, samples = scenes(augment=False)
    before = samples.sample(0)[1]
    path = here / "scenes/train/images/00.png"
    with Image.open(path) as picture:
        picture.resize((48, 48)).save(path)
    torch.testing.assert_close(samples.sample(0)[1], before)


def test_a_batch_is_padded_with_no_boxes(here):
    _, samples = scenes(augment=False)
    rows = [samples.sample(index) for index in range(8)]
    x, y = samples.batch(rows)
    assert x.is_contiguous(memory_format=torch.channels_last)
    for (_, boxes), packed in zip(rows, y, strict=True):
        torch.testing.assert_close(packed[: len(boxes)], boxes)
        assert (packed[len(boxes) :] == 0).all()


def test_batches_are_the_same_with_and_without_reading_processes(here):
    _, samples = scenes(augment=True)
    found = [
        list(TrainingBatches(samples, batch_size=8, seed=1, num_workers=workers).epoch(2))
        for workers in (0, 1)
    ]
    for (x, y), (x2, y2) in zip(*found, strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)
    assert [len(y) for _, y in evaluation_batches(samples, batch_size=12)] == [12, 4]
