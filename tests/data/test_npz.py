import numpy as np
import pytest
from photographs import PIXELS, refusal, write_npz

from rexnet.data.npz import read_npz
from rexnet.data.sources import open_images


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
    [PIXELS[:40].astype(np.float32), PIXELS[:40][0], PIXELS[:40][..., :2], np.array(5)],
    ids=("float32", "one image", "two channels", "no axes"),
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
    [np.zeros(40), np.zeros(39, int), np.zeros((40, 2), int), np.zeros(40, bool)],
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
    assert f"cannot read {path}: it holds Python objects" in refusal(read_npz, path)


def test_what_is_no_npz_is_not_called_a_pickle(tmp_path):
    path = tmp_path / "photos.npz"
    path.write_text("photos")
    assert refusal(read_npz, path) == f"cannot read {path}: it is no .npz file"


def test_a_single_array_named_npz_is_refused(tmp_path):
    path = tmp_path / "photos.npz"
    with path.open("wb") as file:
        np.save(file, PIXELS[:40])
    assert str(path) in refusal(read_npz, path)


def test_names_of_classes_may_be_bytes_and_must_differ(tmp_path):
    names = np.array(["café".encode(), b"tea"])
    assert read_npz(write_npz(tmp_path / "a.npz", classes=names))[2] == ("café", "tea")
    path = write_npz(tmp_path / "b.npz", classes=["cat", "cat"])
    assert "two classes are called 'cat'" in refusal(read_npz, path)


def test_class_names_that_are_no_list_are_refused(tmp_path):
    path = write_npz(tmp_path / "photos.npz", classes=np.array("cat"))
    assert str(path) in refusal(read_npz, path)


GREY = PIXELS[:40].mean(3).astype(np.uint8)


@pytest.mark.parametrize("images", [GREY, GREY[..., None]], ids=("no axis", "one channel"))
def test_grey_images_get_three_channels(tmp_path, images):
    found = read_npz(write_npz(tmp_path / "photos.npz", images=images))[0]
    np.testing.assert_array_equal(found, np.stack([GREY] * 3, 3))


def test_labels_may_stand_in_a_column(tmp_path):
    labels = np.arange(40)[:, None] % 2
    found = read_npz(write_npz(tmp_path / "photos.npz", labels=labels))
    assert found[1].tolist() == labels[:, 0].tolist()
    assert found[2] == ("0", "1")


@pytest.mark.parametrize(
    ("images", "advice"),
    [
        (PIXELS[:40] / 255, "save (images * 255).round().astype('uint8')"),
        (PIXELS[:40].astype(np.float32), "save images.round().astype('uint8')"),
        (PIXELS[:40].astype(np.int64), "save images.round().astype('uint8')"),
        (PIXELS[:40].transpose(0, 3, 1, 2), "save images.transpose(0, 2, 3, 1)"),
        (np.ones((40, 32, 32, 4), np.uint8), "save images[..., :3]"),
        (PIXELS[:40].reshape(40, -1), "save images.reshape(N, side, side, 3)"),
        (PIXELS[:40] / 127.5 - 1, "their values are from -1 to 1, not from 0 to 255"),
    ],
)
def test_images_in_other_forms_are_refused_with_what_to_save(tmp_path, images, advice):
    path = write_npz(tmp_path / "photos.npz", images=images)
    assert advice in refusal(read_npz, path)


@pytest.mark.parametrize(
    ("labels", "advice"),
    [
        (np.eye(2, dtype=int)[np.arange(40) % 2], "save labels.argmax(1)"),
        (np.eye(2)[np.arange(40) % 2], "save labels.argmax(1)"),
        (np.arange(40) % 2 * 1.0, "save labels.astype('int64')"),
        (np.arange(40) % 2 == 0, "save labels.astype('int64')"),
        (np.array(["cat", "dog"] * 20), "numpy.unique(labels, return_inverse=True)"),
        (np.arange(40) % 2 + 1, "run from 1 to 2; they must start at 0: save labels - 1"),
    ],
)
def test_labels_in_other_forms_are_refused_with_what_to_save(tmp_path, labels, advice):
    path = write_npz(tmp_path / "photos.npz", labels=labels)
    assert advice in refusal(read_npz, path)


def test_labels_that_start_at_1_are_told_from_their_classes(tmp_path):
    arrays = {"labels": np.arange(40) % 2 + 1, "classes": np.array(["cat", "dog"])}
    path = write_npz(tmp_path / "photos.npz", **arrays)
    assert "labels run from 1 to 2; they must start at 0" in refusal(read_npz, path)
    val = {"val_images": PIXELS[:3], "val_labels": np.array([1, 2, 1])}
    path = write_npz(tmp_path / "photos.npz", **val)
    assert "val_labels run from 1 to 2" in refusal(open_images, str(path))
