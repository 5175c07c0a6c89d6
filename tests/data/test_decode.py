import numpy as np
import pytest
from photographs import PIXELS, picture, refusal, write_npz
from PIL import Image

from rexnet.data.decode import SUFFIXES, read_npz, read_upright


def in_a_file(picture, path, **options):
    """Write a picture to a file and return what is read from there."""
    picture.save(path, **options)
    return read_upright(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_common_kind_of_picture_is_read(tmp_path, suffix):
    found = in_a_file(picture(3), tmp_path / f"photo{suffix}")
    assert (found.mode, found.size) == ("RGB", (64, 74))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA"])
def test_grey_palette_and_transparent_pictures_are_read_as_rgb(tmp_path, mode):
    assert in_a_file(Image.new(mode, (12, 12), 1), tmp_path / "photo.png").mode == "RGB"


def test_grey_pictures_of_16_bits_keep_their_contrast(tmp_path):
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16)
    found = in_a_file(Image.fromarray(ramp * 257), tmp_path / "photo.png")
    assert found.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(found)[..., 0], ramp)


def test_a_photograph_that_lies_on_its_side_is_turned_upright(tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    found = in_a_file(Image.fromarray(PIXELS[0]), tmp_path / "photo.png", exif=tags)
    np.testing.assert_array_equal(found, np.rot90(PIXELS[0], -1))


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".bmp", ".webp", ".gif", ".tif", ".ppm"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6])
@pytest.mark.filterwarnings("default")  # Pillow warns of damage before it fails
def test_a_picture_that_is_cut_short_is_named(tmp_path, suffix, kept):
    path = tmp_path / f"photo{suffix}"
    picture(7).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    message = refusal(read_upright, path)
    assert message.startswith(f"corrupt image {path}: ")
    assert message.endswith("; repair or remove it")


def test_a_text_named_as_a_picture_is_a_corrupt_image(tmp_path):
    path = tmp_path / "photo.png"
    path.write_text("no picture", encoding="utf-8")
    wanted = f"corrupt image {path}: cannot identify image file; repair or remove it"
    assert refusal(read_upright, path) == wanted


@pytest.mark.filterwarnings("default")
def test_a_picture_whose_header_claims_too_many_pixels_is_named(tmp_path):
    path = tmp_path / "photo.bmp"
    picture(0).save(path)
    content = bytearray(path.read_bytes())
    content[18:26] = (60_000).to_bytes(4, "little") * 2
    path.write_bytes(content)
    assert f"corrupt image {path}" in refusal(read_upright, path)


def test_an_npz_is_read_as_it_is(tmp_path):
    path = write_npz(tmp_path / "photos.npz", classes=np.array(["cat", "dog"]))
    images, labels, classes = read_npz(path)
    assert classes == ("cat", "dog")
    np.testing.assert_array_equal(images, PIXELS[:40])
    np.testing.assert_array_equal(labels, np.arange(40) % 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_labels_of_an_npz_may_be_any_integers_and_name_the_classes(tmp_path, dtype):
    path = write_npz(tmp_path / "photos.npz", labels=(np.arange(40) % 2).astype(dtype))
    assert read_npz(path)[2] == ("0", "1")


def test_arrays_of_an_npz_are_read_by_a_prefix_of_their_names(tmp_path):
    arrays = {"val_images": PIXELS[90:93], "val_labels": np.array([1, 1, 0])}
    path = write_npz(tmp_path / "photos.npz", **arrays)
    images, labels, _ = read_npz(path, "val_")
    np.testing.assert_array_equal(images, PIXELS[90:93])
    assert labels.tolist() == [1, 1, 0]


@pytest.mark.parametrize("key", ["images", "labels"])
def test_an_npz_without_an_array_is_refused_with_what_it_has(tmp_path, key):
    path = write_npz(tmp_path / "photos.npz", extra=np.zeros(3), **{key: None})
    message = refusal(read_npz, path)
    assert f"{path} has no array {key!r} (it has: " in message
    assert "extra" in message
    assert "images (N, side, side, 3) uint8 and labels (N,)" in message


def test_an_npz_without_any_array_is_refused(tmp_path):
    path = tmp_path / "empty.npz"
    np.savez(path)
    assert f"{path} has no array 'images' (it has: none)" in refusal(read_npz, path)


@pytest.mark.parametrize(
    "images",
    [PIXELS[:40].astype(np.float32), PIXELS[:40][0], PIXELS[:40][..., :1], np.array(5)],
    ids=("float32", "one image", "one channel", "no axes"),
)
def test_images_that_are_not_uint8_rgb_are_refused(tmp_path, images):
    path = write_npz(tmp_path / "photos.npz", images=images)
    message = refusal(read_npz, path)
    assert f"{path}: images are {images.dtype} of shape {images.shape}" in message
    assert "uint8 of shape (N, side, side, 3)" in message


@pytest.mark.parametrize("shape", [(40, 8, 9, 3), (40, 7, 7, 3), (40, 0, 0, 3)])
def test_images_that_are_not_square_or_too_small_are_refused(tmp_path, shape):
    path = write_npz(tmp_path / "photos.npz", images=np.zeros(shape, np.uint8))
    message = refusal(read_npz, path)
    assert f"{path}: images of {shape[1]} x {shape[2]} pixels" in message
    assert "square and at least 8 pixels" in message


@pytest.mark.parametrize(
    "labels",
    [np.zeros(40), np.zeros(39, int), np.zeros((40, 1), int), np.zeros(40, bool)],
    ids=("floats", "one too few", "two axes", "bool"),
)
def test_labels_that_are_not_an_integer_an_image_are_refused(tmp_path, labels):
    path = write_npz(tmp_path / "photos.npz", labels=labels)
    message = refusal(read_npz, path)
    assert f"{path}: labels are {labels.dtype} of shape {labels.shape}" in message
    assert "integers of shape (40,)" in message


@pytest.mark.parametrize("kept", [0, 0.5, 0.99])
def test_an_npz_that_is_cut_short_is_refused(tmp_path, kept):
    path = write_npz(tmp_path / "photos.npz")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert refusal(read_npz, path).startswith(f"cannot read {path}: ")


@pytest.mark.parametrize("place", [60, 500])
def test_a_compressed_npz_with_flipped_bits_is_refused(tmp_path, place):
    path = tmp_path / "photos.npz"
    np.savez_compressed(path, images=PIXELS[:40], labels=np.arange(40) % 2)
    content = bytearray(path.read_bytes())
    content[place : place + 6] = b"\xff\x00\xff\x13\x37\x99"
    path.write_bytes(content)
    assert refusal(read_npz, path).startswith(f"cannot read {path}: ")


def test_an_npz_of_python_objects_is_refused_unread(tmp_path):
    path = write_npz(tmp_path / "photos.npz", images=np.array([1, "a", None], dtype=object))
    assert f"cannot read {path}: Object arrays cannot be loaded" in refusal(read_npz, path)


def test_a_single_array_named_npz_is_refused(tmp_path):
    path = tmp_path / "photos.npz"
    with path.open("wb") as file:
        np.save(file, PIXELS[:40])
    assert str(path) in refusal(read_npz, path)


def test_class_names_that_are_no_list_are_refused(tmp_path):
    path = write_npz(tmp_path / "photos.npz", classes=np.array("cat"))
    assert str(path) in refusal(read_npz, path)
