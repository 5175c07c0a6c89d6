import io
import resource
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from rexnet import UserError
from rexnet.data import in_memory as image_sets
from rexnet.data.in_memory import ImageSet, load

LIMITED = """
import resource, sys
from rexnet import UserError
from rexnet.data.in_memory import load
# After the imports: a library may reserve as much for every core.
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
try:
    load(sys.argv[1])
except UserError as error:
    print(error)
"""


def noise(count=40, side=8, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def write_npz(folder, **arrays):
    """Write a good .npz file of two classes but for ``arrays``; None leaves an array out."""
    good = {"images": noise(), "labels": np.arange(40) % 2}
    path = folder / "photos.npz"
    np.savez(path, **{key: value for key, value in (good | arrays).items() if value is not None})
    return path


def write_folder(folder, classes=("cat", "dog"), count=10, suffix=".png", size=(12, 10)):
    """Write a folder of class folders and return it."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = noise(1, 20, 100 * label + number)[0, : size[1], : size[0]]
            Image.fromarray(pixels).save(folder / name / f"{number:03}{suffix}")
    return folder


def refusal(source, resolution=None):
    """Return the one line with which ``source`` is refused."""
    with pytest.raises(UserError) as error:
        load(str(source), resolution)
    message = str(error.value)
    assert "\n" not in message
    return message


def assert_valid(image_set):
    count = len(image_set.images)
    assert image_set.images.shape == (count, image_set.side, image_set.side, 3)
    assert image_set.images.dtype == np.uint8
    assert image_set.labels.dtype == np.int64
    assert image_set.labels.shape == image_set.held_out.shape == (count,)
    for label in range(len(image_set.classes)):
        held_out = image_set.held_out[image_set.labels == label]
        assert held_out.any()
        assert not held_out.all()


def test_the_sample_has_500_images_a_class_of_which_100_are_held_out():
    sample = load("sample")
    assert_valid(sample)
    assert sample.images.shape == (5000, 32, 32, 3)
    assert len(sample.classes) == len(set(sample.classes)) == 10
    assert np.bincount(sample.labels).tolist() == [500] * 10
    assert np.bincount(sample.labels[sample.held_out]).tolist() == [100] * 10
    assert np.bincount(sample.labels[~sample.held_out]).tolist() == [400] * 10


def test_no_image_of_the_sample_is_there_twice():
    sample = load("sample")
    assert len({image.tobytes() for image in sample.images}) == 5000


def test_a_folder_is_read_with_its_class_names_and_a_tenth_held_out(tmp_path):
    image_set = load(str(write_folder(tmp_path / "pets", count=20)), 16)
    assert_valid(image_set)
    assert image_set.name == "pets"
    assert image_set.classes == ("cat", "dog")
    assert image_set.side == 16
    assert np.bincount(image_set.labels).tolist() == [20, 20]
    assert np.bincount(image_set.labels[image_set.held_out]).tolist() == [2, 2]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tif", ".ppm", ".gif", ".JPG"])
def test_every_common_kind_of_image_is_read(tmp_path, suffix):
    assert_valid(load(str(write_folder(tmp_path, count=3, suffix=suffix)), 16))


def test_images_of_a_folder_that_fit_are_not_changed(tmp_path):
    write_folder(tmp_path, count=3, size=(16, 16))
    image_set = load(str(tmp_path), 16)
    for number in range(3):
        pixels = noise(1, 20, number)[0, :16, :16]
        np.testing.assert_array_equal(image_set.images[number], pixels)


def test_an_image_is_cropped_to_a_square_at_its_centre(tmp_path):
    write_folder(tmp_path, count=3)
    pixels = np.zeros((16, 48, 3), np.uint8)
    pixels[:, 16:32] = 200
    Image.fromarray(pixels).save(tmp_path / "cat" / "000.png")
    image = load(str(tmp_path), 16).images[0]
    assert (image[:, 4:12] == 200).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA"])
def test_grey_palette_and_transparent_images_are_read_as_rgb(tmp_path, mode):
    write_folder(tmp_path, count=3)
    Image.new(mode, (12, 12), 1).save(tmp_path / "cat" / "000.png")
    assert_valid(load(str(tmp_path), 16))


def test_grey_images_of_16_bits_keep_their_contrast(tmp_path):
    write_folder(tmp_path, count=3)
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(ramp * 257).save(tmp_path / "cat" / "000.png")
    image = load(str(tmp_path), 16).images[0]
    np.testing.assert_allclose(image[..., 0], ramp, atol=1)


def test_a_photograph_that_lies_on_its_side_is_turned_upright(tmp_path):
    write_folder(tmp_path, count=3)
    pixels = noise(1, 16)[0]
    picture, tags = Image.fromarray(pixels), Image.Exif()
    tags[0x0112] = 6
    picture.save(tmp_path / "cat" / "000.png", exif=tags)
    np.testing.assert_array_equal(load(str(tmp_path), 16).images[0], np.rot90(pixels, -1))


def test_hidden_folders_are_no_classes(tmp_path):
    write_folder(tmp_path, count=3)
    (tmp_path / ".ipynb_checkpoints").mkdir()
    assert load(str(tmp_path), 16).classes == ("cat", "dog")


@pytest.mark.parametrize("source", ["sample", "photos.npz"])
def test_a_resolution_is_refused_for_images_that_keep_their_size(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    write_npz(tmp_path)
    assert f"resolution 16 is for a folder of images, not for {source}" in refusal(source, 16)


def test_files_that_are_no_images_and_folders_in_class_folders_do_no_harm(tmp_path):
    write_folder(tmp_path, count=3)
    (tmp_path / "README.txt").write_text("two classes", encoding="utf-8")
    (tmp_path / "cat" / "notes.txt").write_text("cats", encoding="utf-8")
    (tmp_path / "cat" / "more").mkdir()
    Image.new("RGB", (12, 12)).save(tmp_path / "cat" / "more" / "x.png")
    assert np.bincount(load(str(tmp_path), 16).labels).tolist() == [4, 3]


def test_an_npz_is_read_as_it_is(tmp_path):
    image_set = load(str(write_npz(tmp_path, classes=np.array(["cat", "dog"]))))
    assert_valid(image_set)
    assert image_set.name == "photos.npz"
    assert image_set.classes == ("cat", "dog")
    np.testing.assert_array_equal(image_set.images, noise())
    np.testing.assert_array_equal(image_set.labels, np.arange(40) % 2)
    assert np.bincount(image_set.labels[image_set.held_out]).tolist() == [2, 2]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_labels_of_an_npz_may_be_any_integers_and_name_the_classes(tmp_path, dtype):
    image_set = load(str(write_npz(tmp_path, labels=(np.arange(40) % 2).astype(dtype))))
    assert_valid(image_set)
    assert image_set.classes == ("0", "1")


def test_cifar_is_read_from_its_packed_file_without_a_download(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    write_npz(tmp_path).rename(tmp_path / "data" / "cifar10-train.npz")
    image_set = load("cifar10")
    assert_valid(image_set)
    assert image_set.name == "cifar10"


@pytest.mark.parametrize("source", ["sample", "photos.npz", "pets"])
def test_the_same_source_gives_the_same_split_and_fingerprint(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    write_npz(tmp_path)
    write_folder(tmp_path / "pets")
    first, second = load(source), load(source)
    np.testing.assert_array_equal(first.held_out, second.held_out)
    assert first.fingerprint() == second.fingerprint()


@pytest.mark.parametrize("field", ["images", "labels", "held_out"])
def test_the_fingerprint_changes_with_a_pixel_a_label_and_the_split(field):
    arrays = {
        "images": noise(),
        "labels": np.arange(40) % 2,
        "held_out": np.arange(40) >= 36,
    }
    before = ImageSet(name="a", classes=("0", "1"), **arrays).fingerprint()
    arrays[field] = arrays[field].copy()
    arrays[field].flat[7] ^= 1
    assert ImageSet(name="a", classes=("0", "1"), **arrays).fingerprint() != before


def test_a_source_that_is_not_there_is_named_with_what_there_can_be(tmp_path):
    for source in ("smaple", str(tmp_path / "nowhere")):
        message = refusal(source)
        assert repr(source) in message
        assert "sample, cifar10, cifar100" in message
    missing = tmp_path / "nowhere.npz"
    assert f"cannot read {missing}" in refusal(missing)


@pytest.mark.parametrize("classes", [(), ("cat",)])
def test_a_folder_with_fewer_than_two_class_folders_is_refused(tmp_path, classes):
    write_folder(tmp_path, classes)
    message = refusal(tmp_path)
    assert f"{tmp_path} has {len(classes)} class folders" in message
    assert "at least 2" in message


def test_empty_class_folders_are_named(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "bird").mkdir()
    assert "class 'bird' has 0 images; every class needs at least 2" in refusal(tmp_path)


def test_a_folder_of_empty_class_folders_is_refused(tmp_path):
    write_folder(tmp_path, count=0)
    assert "class 'cat' has 0 images" in refusal(tmp_path)


def test_a_class_with_one_image_is_refused(tmp_path):
    write_folder(tmp_path / "pets")
    write_folder(tmp_path / "pets" / "birds", ("bird",), count=1)
    assert "class 'birds' has 1 images; every class needs at least 2" in refusal(tmp_path / "pets")


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".bmp", ".webp", ".gif", ".tif", ".ppm"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6])
@pytest.mark.filterwarnings("default")  # Pillow warns of damage before it fails
def test_a_corrupt_image_is_named(tmp_path, suffix, kept):
    write_folder(tmp_path, suffix=suffix)
    path = tmp_path / "dog" / f"007{suffix}"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    message = refusal(tmp_path)
    assert message.startswith(f"corrupt image {path}: ")
    assert message.endswith("; repair or remove it")


def test_a_text_named_as_an_image_is_a_corrupt_image(tmp_path):
    write_folder(tmp_path)
    path = tmp_path / "cat" / "003.png"
    path.write_text("no picture", encoding="utf-8")
    assert f"corrupt image {path}: cannot identify image file; repair" in refusal(tmp_path)


@pytest.mark.filterwarnings("default")
def test_an_image_whose_header_claims_too_many_pixels_is_named(tmp_path):
    write_folder(tmp_path)
    path = tmp_path / "cat" / "003.bmp"
    buffer = io.BytesIO()
    Image.new("RGB", (12, 12)).save(buffer, "BMP")
    content = bytearray(buffer.getvalue())
    content[18:26] = (60_000).to_bytes(4, "little") * 2
    path.write_bytes(content)
    assert f"corrupt image {path}" in refusal(tmp_path)


@pytest.mark.parametrize("key", ["images", "labels"])
def test_an_npz_without_an_array_is_refused_with_what_it_has(tmp_path, key):
    path = write_npz(tmp_path, extra=np.zeros(3), **{key: None})
    message = refusal(path)
    assert f"{path} has no array {key!r} (it has: " in message
    assert "extra" in message
    assert "images (N, side, side, 3) uint8 and labels (N,)" in message


def test_an_npz_without_any_array_is_refused(tmp_path):
    path = tmp_path / "empty.npz"
    np.savez(path)
    assert f"{path} has no array 'images' (it has: none)" in refusal(path)


@pytest.mark.parametrize(
    "images",
    [noise().astype(np.float32), noise()[0], noise()[..., :1], np.array(5)],
    ids=("float32", "one image", "one channel", "no axes"),
)
def test_images_that_are_not_uint8_rgb_are_refused(tmp_path, images):
    path = write_npz(tmp_path, images=images)
    message = refusal(path)
    assert f"{path}: images are {images.dtype} of shape {images.shape}" in message
    assert "uint8 of shape (N, side, side, 3)" in message


@pytest.mark.parametrize("shape", [(40, 8, 9, 3), (40, 7, 7, 3), (40, 0, 0, 3)])
def test_images_that_are_not_square_or_too_small_are_refused(tmp_path, shape):
    path = write_npz(tmp_path, images=np.zeros(shape, np.uint8))
    message = refusal(path)
    assert f"{path}: images of {shape[1]} x {shape[2]} pixels" in message
    assert "square and at least 8 pixels" in message


@pytest.mark.parametrize(
    "labels",
    [np.zeros(40), np.zeros(39, int), np.zeros((40, 1), int), np.zeros(40, bool)],
    ids=("floats", "one too few", "two axes", "bool"),
)
def test_labels_that_are_not_an_integer_an_image_are_refused(tmp_path, labels):
    path = write_npz(tmp_path, labels=labels)
    message = refusal(path)
    assert f"{path}: labels are {labels.dtype} of shape {labels.shape}" in message
    assert "integers of shape (40,)" in message


@pytest.mark.parametrize("label", [-1, 2, 77])
def test_a_label_out_of_range_is_named_with_its_image(tmp_path, label):
    labels = np.arange(40) % 2
    labels[5] = label
    path = write_npz(tmp_path, labels=labels, classes=np.array(["cat", "dog"]))
    message = refusal(path)
    assert f"label {label} of image 5 is out of range" in message
    assert "the 2 classes have labels 0 to 1" in message


def test_a_gap_in_the_labels_is_a_class_without_images(tmp_path):
    path = write_npz(tmp_path, labels=np.arange(40) % 2 * 2)
    assert "class '1' has 0 images; every class needs at least 2" in refusal(path)


def test_one_huge_label_is_refused_without_a_name_for_every_class_below_it(tmp_path):
    labels = np.arange(40) % 2
    labels[5] = 10**15
    path = write_npz(tmp_path, labels=labels)
    limit = resource.getrlimit(resource.RLIMIT_AS)[1]
    memory = 4 << 30 if limit == resource.RLIM_INFINITY else min(4 << 30, limit)
    arguments = [sys.executable, "-c", LIMITED, str(path), str(memory)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-300:]
    assert "photos.npz" in done.stdout


@pytest.mark.parametrize("count", [0, 40])
def test_an_npz_with_fewer_than_two_classes_is_refused(tmp_path, count):
    path = write_npz(tmp_path, images=noise(count), labels=np.zeros(count, int))
    wanted = f"photos.npz has {min(count, 1)} classes; a search needs at least 2"
    assert wanted in refusal(path)


def test_a_class_of_an_npz_with_one_image_is_refused(tmp_path):
    path = write_npz(tmp_path, labels=np.arange(40) // 39)
    assert "class '1' has 1 images; every class needs at least 2" in refusal(path)


@pytest.mark.parametrize("kept", [0, 0.5, 0.99])
def test_an_npz_that_is_cut_short_is_refused(tmp_path, kept):
    path = write_npz(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert refusal(path).startswith(f"cannot read {path}: ")


@pytest.mark.parametrize("place", [60, 500])
def test_a_compressed_npz_with_flipped_bits_is_refused(tmp_path, place):
    path = tmp_path / "photos.npz"
    np.savez_compressed(path, images=noise(), labels=np.arange(40) % 2)
    content = bytearray(path.read_bytes())
    content[place : place + 6] = b"\xff\x00\xff\x13\x37\x99"
    path.write_bytes(content)
    assert refusal(path).startswith(f"cannot read {path}: ")


def test_an_npz_of_python_objects_is_refused_unread(tmp_path):
    path = write_npz(tmp_path, images=np.array([1, "a", None], dtype=object))
    assert f"cannot read {path}: Object arrays cannot be loaded" in refusal(path)


def test_a_single_array_named_npz_is_refused(tmp_path):
    path = tmp_path / "photos.npz"
    with path.open("wb") as file:
        np.save(file, noise())
    assert str(path) in refusal(path)


def test_class_names_that_are_no_list_are_refused(tmp_path):
    path = write_npz(tmp_path, classes=np.array("cat"))
    assert str(path) in refusal(path)


def test_a_download_that_fails_says_where_to_put_the_files(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no network")

    monkeypatch.chdir(tmp_path)
    # torchvision takes seconds to import.
    datasets = SimpleNamespace(CIFAR10=fail, CIFAR100=fail)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(datasets=datasets))
    message = refusal("cifar100")
    assert message.startswith("cannot get cifar100: no network")
    assert "cifar100-train.npz into data/" in message


@pytest.mark.parametrize("count", [2, 5, 14, 15, 100])
def test_a_tenth_of_a_class_is_held_out_and_at_least_one(count):
    labels = np.arange(2 * count) % 2
    split = image_sets._split("x", noise(2 * count), labels, ("a", "b"))
    assert_valid(split)
    wanted = max(1, round(count / 10))
    assert np.bincount(labels[split.held_out]).tolist() == [wanted] * 2


def test_a_folder_of_splits_is_not_taken_for_classes(tmp_path):
    for split in ("train", "test"):
        write_folder(tmp_path / split)
    message = refusal(tmp_path)
    assert "holds splits (test, train), not classes" in message
    assert str(tmp_path / "train") in message
