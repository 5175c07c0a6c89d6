import io

import numpy as np
import pytest
from PIL import Image

from rexnet.data.sample import NUM_TRAIN, read_sample, read_sheet, write_sheet


def test_the_sample_has_500_images_a_class_of_which_100_are_held_out():
    images, labels, classes = read_sample()
    assert images.shape == (5000, 32, 32, 3)
    assert images.dtype == np.uint8
    assert len(classes) == len(set(classes)) == 10
    assert np.bincount(labels).tolist() == [500] * 10
    assert np.bincount(labels[:NUM_TRAIN]).tolist() == [400] * 10


def test_no_image_of_the_sample_is_there_twice():
    assert len({image.tobytes() for image in read_sample()[0]}) == 5000


def a_thousand_images():
    """Return images that all differ: noise in one of fifty, since noise takes long to pack."""
    images = np.zeros((1000, 32, 32, 3), np.uint8)
    images[..., 0] = (np.arange(1000) % 256)[:, None, None]
    images[..., 1] = (np.arange(1000) // 256)[:, None, None]
    generator = np.random.default_rng(0)
    images[::50] = generator.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    return images


def test_images_come_back_from_a_sheet_bit_for_bit_and_in_order(tmp_path):
    images = a_thousand_images()
    write_sheet(tmp_path / "00.webp", images)
    np.testing.assert_array_equal(read_sheet(tmp_path / "00.webp"), images)
    content = io.BytesIO((tmp_path / "00.webp").read_bytes())
    np.testing.assert_array_equal(read_sheet(content), images)


def test_a_sheet_lies_in_rows_of_forty_images(tmp_path):
    images = np.zeros((1000, 32, 32, 3), np.uint8)
    images[41] = 255
    write_sheet(tmp_path / "00.webp", images)
    with Image.open(tmp_path / "00.webp") as picture:
        assert picture.size == (40 * 32, 25 * 32)
        pixels = np.asarray(picture.convert("RGB"))
    assert (pixels[32:64, 32:64] == 255).all()
    assert pixels.sum() == 255 * 32 * 32 * 3


def test_a_picture_of_another_size_is_no_sheet(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "00.webp")
    with pytest.raises(ValueError, match="cannot reshape"):
        read_sheet(tmp_path / "00.webp")


def test_a_file_that_is_no_picture_is_no_sheet(tmp_path):
    (tmp_path / "00.webp").write_bytes(b"no picture")
    with pytest.raises(OSError, match="cannot identify image file"):
        read_sheet(tmp_path / "00.webp")
