import pickle
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from photographs import PIXELS, refusal, write_npz
from PIL import Image

from rexnet.data import in_memory
from rexnet.data.in_memory import ImageSet, load
from rexnet.data.stored import Part, Store


def noise(count=40, side=8, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def write_folder(folder, classes=("cat", "dog"), count=10, suffix=".png", size=(12, 10)):
    """Write a folder of class folders and return it."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = noise(1, 20, 100 * label + number)[0, : size[1], : size[0]]
            Image.fromarray(pixels).save(folder / name / f"{number:03}{suffix}")
    return folder


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


def test_of_the_sample_the_last_1000_images_are_held_out():
    sample = load("sample")
    assert_valid(sample)
    assert sample.images.shape == (5000, 32, 32, 3)
    assert sample.name == "5,000 training images of CIFAR-10"
    assert np.flatnonzero(sample.held_out).tolist() == list(range(4000, 5000))
    assert np.bincount(sample.labels[sample.held_out]).tolist() == [100] * 10


def test_a_folder_is_read_with_its_class_names_and_a_tenth_held_out(tmp_path):
    image_set = load(str(write_folder(tmp_path / "pets", count=20)), 16)
    assert_valid(image_set)
    assert image_set.name == "pets"
    assert image_set.classes == ("cat", "dog")
    assert image_set.side == 16
    assert np.bincount(image_set.labels).tolist() == [20, 20]
    assert np.bincount(image_set.labels[image_set.held_out]).tolist() == [2, 2]


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


def test_what_is_hidden_is_left_out_and_links_are_followed(tmp_path):
    write_folder(tmp_path / "pets", count=3)
    write_folder(tmp_path / "elsewhere", ("wolf",), count=2)
    (tmp_path / "pets" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "pets" / "cat" / "._000.png").write_bytes(b"of another system")
    (tmp_path / "pets" / "cat" / "more").symlink_to(tmp_path / "elsewhere" / "wolf")
    image_set = load(str(tmp_path / "pets"), 16)
    assert image_set.classes == ("cat", "dog")
    assert np.bincount(image_set.labels).tolist() == [5, 3]


@pytest.mark.parametrize("source", ["sample", "photos.npz"])
def test_a_resolution_is_refused_for_images_that_keep_their_size(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    write_npz(tmp_path / "photos.npz")
    assert f"resolution 16 is for a folder of images, not for {source}" in refusal(load, source, 16)


def test_files_that_are_no_images_and_folders_in_class_folders_do_no_harm(tmp_path):
    write_folder(tmp_path, count=3)
    (tmp_path / "README.txt").write_text("two classes", encoding="utf-8")
    (tmp_path / "cat" / "notes.txt").write_text("cats", encoding="utf-8")
    (tmp_path / "cat" / "more").mkdir()
    Image.new("RGB", (12, 12)).save(tmp_path / "cat" / "more" / "x.png")
    assert np.bincount(load(str(tmp_path), 16).labels).tolist() == [4, 3]


def test_an_npz_is_read_as_it_is(tmp_path):
    # Its images to validate on, however bad, are not read.
    arrays = {"classes": np.array(["cat", "dog"]), "val_images": np.zeros(3)}
    image_set = load(str(write_npz(tmp_path / "photos.npz", **arrays)))
    assert_valid(image_set)
    assert image_set.name == "photos.npz"
    assert image_set.classes == ("cat", "dog")
    np.testing.assert_array_equal(image_set.images, PIXELS[:40])
    np.testing.assert_array_equal(image_set.labels, np.arange(40) % 2)
    assert np.bincount(image_set.labels[image_set.held_out]).tolist() == [2, 2]


def test_cifar_is_read_from_its_packed_file_without_a_download(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    write_npz(tmp_path / "photos.npz").rename(tmp_path / "data" / "cifar10-train.npz")
    image_set = load("cifar10")
    assert_valid(image_set)
    assert image_set.name == "cifar10"


@pytest.mark.parametrize("source", ["sample", "photos.npz", "pets"])
def test_the_same_source_gives_the_same_split_and_fingerprint(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    write_npz(tmp_path / "photos.npz")
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
        message = refusal(load, source)
        assert repr(source) in message
        assert "sample, cifar10, cifar100" in message
    missing = tmp_path / "nowhere.npz"
    assert f"cannot read {missing}" in refusal(load, str(missing))


@pytest.mark.parametrize("classes", [(), ("cat",)])
def test_a_folder_with_fewer_than_two_class_folders_is_refused(tmp_path, classes):
    write_folder(tmp_path, classes)
    message = refusal(load, str(tmp_path))
    assert f"{tmp_path} has {len(classes)} class folders" in message
    assert "at least 2" in message


def test_empty_class_folders_are_named(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "bird").mkdir()
    assert "class 'bird' has 0 images; every class needs at least 2" in refusal(load, str(tmp_path))


def test_a_folder_of_empty_class_folders_is_refused(tmp_path):
    write_folder(tmp_path, count=0)
    assert "class 'cat' has 0 images" in refusal(load, str(tmp_path))


def test_a_class_with_one_image_is_refused(tmp_path):
    write_folder(tmp_path / "pets")
    write_folder(tmp_path / "pets" / "birds", ("bird",), count=1)
    message = refusal(load, str(tmp_path / "pets"))
    assert message == "pets: class 'birds' has 1 image; every class needs at least 2"


def test_a_search_tells_what_its_images_are_by_one_name(tmp_path):
    path = write_npz(tmp_path / "photos.npz", val_images=PIXELS[:4], val_labels=np.arange(4) % 2)
    told = []
    load(str(path), on_survey=told.append)
    assert told[0].lines()[0] == "Images: photos.npz"
    assert {part.place for part in told[0].parts} == {""}


def test_a_corrupt_image_is_named(tmp_path):
    path = write_folder(tmp_path) / "dog" / "007.png"
    path.write_bytes(path.read_bytes()[:60])
    assert refusal(load, str(tmp_path)).startswith(f"1 of 20 images are corrupt: {path} (")


def test_a_gap_in_the_labels_is_a_class_without_images(tmp_path):
    path = write_npz(tmp_path / "photos.npz", labels=np.arange(40) % 2 * 2)
    assert "class '1' has 0 images; every class needs at least 2" in refusal(load, str(path))


@pytest.mark.parametrize("count", [0, 40])
def test_an_npz_with_fewer_than_two_classes_is_refused(tmp_path, count):
    path = write_npz(tmp_path / "photos.npz", images=PIXELS[:count], labels=np.zeros(count, int))
    wanted = f"photos.npz has {min(count, 1)} classes; a search needs at least 2"
    assert wanted in refusal(load, str(path))


def test_a_class_of_an_npz_with_one_image_is_refused(tmp_path):
    path = write_npz(tmp_path / "photos.npz", labels=np.arange(40) // 39)
    assert "class '1' has 1 image; every class needs at least 2" in refusal(load, str(path))


def test_a_download_that_fails_says_where_to_put_the_files(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no network")

    monkeypatch.chdir(tmp_path)
    # torchvision takes seconds to import.
    datasets = SimpleNamespace(CIFAR10=fail, CIFAR100=fail)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(datasets=datasets))
    message = refusal(load, "cifar100")
    assert message.startswith("cannot get cifar100: no network")
    assert "cifar100-train.npz into data/" in message


def test_a_folder_of_splits_is_not_taken_for_classes(tmp_path):
    for split in ("train", "test"):
        write_folder(tmp_path / split)
    message = refusal(load, str(tmp_path))
    assert "holds splits (test, train), not classes" in message
    assert str(tmp_path / "train") in message


def test_images_that_are_too_many_for_memory_are_read_from_a_file(tmp_path, monkeypatch):
    photos = str(write_folder(tmp_path / "photos"))
    inside = load(photos, 16)
    told = []
    store = Store(folder=tmp_path / "S", tell=told.append)
    assert type(load(photos, 16, store=store).images) is np.ndarray
    monkeypatch.setattr(in_memory, "IN_MEMORY_BYTES", 1000)
    outside = load(photos, 16, store=store)
    assert isinstance(outside.images, np.memmap)
    assert len(told) == 1
    assert outside.fingerprint() == inside.fingerprint()
    for held_out in (False, True):
        part = outside.part(held_out=held_out)
        assert isinstance(part, Part)
        np.testing.assert_array_equal(part[:], inside.part(held_out=held_out))
    for ours, theirs in zip(outside.normalisation(), inside.normalisation(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # To a process of this machine goes the path, not the pixels.
    pickled = pickle.dumps(outside)
    assert len(pickled) < outside.images.nbytes / 4
    again = pickle.loads(pickled)
    assert isinstance(again.images, np.memmap)
    assert again.fingerprint() == inside.fingerprint()
    load(photos, 16, store=store)
    assert len(told) == 1
    load(photos, 12, store=store)
    assert len(told) == 2


def test_images_are_normalised_by_what_is_known_of_the_weights(tmp_path):
    images = load(str(write_folder(tmp_path / "photos")), 8)
    known = np.full(3, 127, np.float32), np.full(3, 128, np.float32)
    changed = replace(images, statistics=known)
    assert changed.normalisation() is known
    assert changed.fingerprint() == images.fingerprint()
