import os
import resource
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from photographs import PIXELS, picture, refusal, write_classes, write_npz, write_splits
from PIL import Image

from rexnet.data.in_memory import load
from rexnet.data.sources import (
    SOURCES,
    check_source,
    open_images,
    open_source,
)

LIMITED = """
import resource, sys
from rexnet import UserError
from rexnet.data.sources import open_images
# After the imports: a library may reserve as much for every core.
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
try:
    open_images(sys.argv[1])
except UserError as error:
    print(error)
"""


def contents(images):
    """Return every image and label, in order."""
    pixels = [np.asarray(images.read(index)).tobytes() for index in range(len(images))]
    return list(zip(pixels, images.labels.tolist(), strict=True))


def test_the_sample_has_4000_images_to_train_on_and_1000_to_validate_on():
    train, val = open_images("sample")
    assert (len(train), len(val)) == (4000, 1000)
    assert np.bincount(train.labels).tolist() == [400] * 10
    assert train.classes == val.classes == load("sample").classes
    assert train.read(17).mode == "RGB"
    np.testing.assert_array_equal(val.read(3), PIXELS[4003])
    assert train.where(17) == "image 17 of sample (train)"


def test_cifar_is_read_from_its_two_packed_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    write_npz(tmp_path / "data" / "cifar10-train.npz")
    test = {"images": PIXELS[50:60], "labels": np.arange(10) % 2}
    write_npz(tmp_path / "data" / "cifar10-test.npz", **test)
    train, test = open_images("cifar10")
    assert (len(train), len(test)) == (40, 10)
    assert (train.name, test.name) == ("cifar10 (train)", "cifar10 (test)")
    np.testing.assert_array_equal(test.read(0), PIXELS[50])


@pytest.fixture
def official(monkeypatch):
    """Put a reader of official files in the place of torchvision, which takes seconds to import."""

    def read(folder, train, download):
        if not download:
            raise RuntimeError("Dataset not found")
        count = 30 if train else 10
        labels = [number % 2 for number in range(count)]
        return SimpleNamespace(data=PIXELS[:count], targets=labels, classes=["cat", "dog"])

    datasets = SimpleNamespace(CIFAR10=read, CIFAR100=read)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(datasets=datasets))
    return datasets


def test_cifar_is_else_read_from_the_official_files(tmp_path, monkeypatch, official):
    monkeypatch.chdir(tmp_path)
    train, test = open_images("cifar100")
    assert (len(train), len(test)) == (30, 10)
    assert train.labels.dtype == np.int64
    assert train.classes == ("cat", "dog")


def test_parts_of_cifar_with_other_class_names_do_not_go_together(tmp_path, monkeypatch, official):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    write_npz(tmp_path / "data" / "cifar10-train.npz")
    message = refusal(open_images, "cifar10")
    assert "cifar10 (train) and cifar10 (test) have different class names" in message


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_download_that_fails_says_where_to_put_the_files(tmp_path, monkeypatch, official, part):
    def fail(*_, **__):
        raise OSError("no network")

    monkeypatch.chdir(tmp_path)
    official.CIFAR10 = fail
    (tmp_path / "data").mkdir()
    if part == "test":
        write_npz(tmp_path / "data" / "cifar10-train.npz")
    message = refusal(open_images, "cifar10")
    assert message.startswith("cannot get cifar10: no network")
    assert f"cifar10-{part}.npz into data/" in message


def test_an_npz_holds_out_what_the_search_holds_out(tmp_path):
    path = write_npz(tmp_path / "photos.npz")
    train, val = open_images(str(path))
    whole = load(str(path))
    np.testing.assert_array_equal(train.images, whole.images[~whole.held_out])
    np.testing.assert_array_equal(val.images, whole.images[whole.held_out])
    np.testing.assert_array_equal(val.labels, whole.labels[whole.held_out])
    assert (len(train), len(val)) == (36, 4)


def test_an_npz_may_have_a_validation_part_of_its_own(tmp_path):
    arrays = {"val_images": PIXELS[90:93], "val_labels": np.array([1, 1, 0])}
    train, val = open_images(str(write_npz(tmp_path / "photos.npz", **arrays)))
    assert (len(train), len(val)) == (40, 3)
    assert val.labels.tolist() == [1, 1, 0]
    assert val.classes == train.classes == ("0", "1")
    np.testing.assert_array_equal(val.images, PIXELS[90:93])


@pytest.mark.parametrize(
    ("arrays", "wanted"),
    [
        ({"val_labels": np.zeros(3, int)}, "has no array 'val_images'"),
        ({"val_images": PIXELS[:3]}, "has no array 'val_labels'"),
        (
            {"val_images": PIXELS[:3, :, :9], "val_labels": np.zeros(3, int)},
            "val_images of 32 x 9 pixels",
        ),
        (
            {"val_images": PIXELS[:3], "val_labels": np.zeros(4, int)},
            "val_labels are int64 of shape (4,)",
        ),
        (
            {"val_images": PIXELS[:3], "val_labels": np.array([0, 1, 2])},
            "photos.npz (val): label 2 of image 2 is out of range",
        ),
        (
            {"val_images": PIXELS[:0], "val_labels": np.zeros(0, int)},
            "photos.npz (val) has no images",
        ),
        (
            {"labels": np.zeros(40, int), "val_images": PIXELS[:2], "val_labels": [0, 0]},
            "photos.npz (train) has 1 classes; it needs at least 2",
        ),
        ({"labels": np.zeros(40, int)}, "photos.npz (train) has 1 classes; it needs at least 2"),
        ({"labels": np.arange(40) % 2 * 2}, "class '1' has 0 images"),
        (
            {"labels": np.arange(40) % 2 * 2, "val_images": PIXELS[:2], "val_labels": [0, 0]},
            "photos.npz (train): class '1' has no images",
        ),
        ({"labels": np.zeros(40)}, "labels are float64"),
    ],
)
def test_an_npz_that_does_not_fit_is_refused(tmp_path, arrays, wanted):
    assert wanted in refusal(open_images, str(write_npz(tmp_path / "photos.npz", **arrays)))


@pytest.mark.parametrize("validation", ["val", "validation", "valid", "test"])
def test_a_folder_of_train_and_validation_folders_is_read(tmp_path, validation):
    write_splits(tmp_path, validation=validation)
    train, val = open_images(str(tmp_path))
    assert train.classes == val.classes == ("cat", "dog")
    assert train.labels.tolist() == [0, 0, 0, 1, 1]
    assert val.labels.tolist() == [0, 1, 1]
    assert train.where(3) == str(tmp_path / "train" / "dog" / "000.jpg")
    assert val.where(0) == str(tmp_path / validation / "cat" / "000.jpg")
    np.testing.assert_array_equal(train.read(1), Image.open(tmp_path / "train" / "cat" / "001.jpg"))


def test_of_many_validation_folders_val_is_taken(tmp_path):
    write_splits(tmp_path)
    write_classes(tmp_path / "test", {"cat": 5})
    assert open_images(str(tmp_path))[1].name == str(tmp_path / "val")


def test_a_class_without_validation_images_keeps_the_labels_of_the_others(tmp_path):
    write_splits(tmp_path, val={"dog": 2})
    (tmp_path / "val" / "cat").mkdir()
    train, val = open_images(str(tmp_path))
    assert val.labels.tolist() == [1, 1]
    (tmp_path / "val" / "cat").rmdir()
    np.testing.assert_array_equal(open_images(str(tmp_path))[1].labels, val.labels)
    assert train.classes == val.classes


def test_a_folder_of_classes_holds_out_what_the_search_holds_out(tmp_path):
    write_classes(tmp_path, {"dog": 25, "cat": 14}, ".png")
    # Files that sort otherwise as strings than as paths.
    for name in ("a b.png", "a/x.png", "a.png"):
        path = tmp_path / "dog" / name
        path.parent.mkdir(exist_ok=True)
        picture(len(name)).save(path)
    train, val = open_images(str(tmp_path))
    assert (len(train), len(val)) == (38, 4)
    assert np.bincount(val.labels).tolist() == [1, 3]
    assert train.classes == ("cat", "dog")
    assert not {train.where(index) for index in range(len(train))} & {
        val.where(index) for index in range(len(val))
    }
    whole = load(str(tmp_path), 64)
    for images, part in ((train, ~whole.held_out), (val, whole.held_out)):
        read = [np.asarray(images.read(index))[5:-5] for index in range(len(images))]
        np.testing.assert_array_equal(read, whole.images[part])


def test_what_is_hidden_and_what_is_no_image_is_left_out(tmp_path):
    write_splits(tmp_path)
    before = [contents(part) for part in open_images(str(tmp_path))]
    cat = tmp_path / "train" / "cat"
    for name in (".001.jpg", "._000.jpg", "notes.txt", "jpg"):
        (cat / name).write_bytes(b"no image")
    for folder in (tmp_path / ".cache", tmp_path / "train" / ".bird", cat / ".more"):
        folder.mkdir()
        picture(0).save(folder / "000.jpg")
    (tmp_path / "train" / "readme.md").write_text("cats and dogs", encoding="utf-8")
    assert [contents(part) for part in open_images(str(tmp_path))] == before


def test_images_in_folders_below_and_behind_links_are_read_in_the_order_of_their_paths(tmp_path):
    write_classes(tmp_path / "elsewhere", {"wolf": 2})
    write_splits(tmp_path / "set", train={"cat": 1, "dog": 1})
    train = tmp_path / "set" / "train"
    (train / "wolf").symlink_to(tmp_path / "elsewhere" / "wolf")
    (train / "cat" / "wild").symlink_to(tmp_path / "elsewhere")
    (train / "cat" / "zoo.jpg").symlink_to(tmp_path / "elsewhere" / "wolf" / "001.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "set")
    images, _ = open_images(str(tmp_path / "link"))
    assert images.classes == ("cat", "dog", "wolf")
    assert [os.fsdecode(path) for path in images.files] == [
        "cat/000.jpg",
        "cat/wild/wolf/000.jpg",
        "cat/wild/wolf/001.jpg",
        "cat/zoo.jpg",
        "dog/000.jpg",
        "wolf/000.jpg",
        "wolf/001.jpg",
    ]
    assert len(contents(images)) == 7


def test_a_link_that_leads_in_a_circle_is_named(tmp_path):
    write_splits(tmp_path)
    link = tmp_path / "train" / "cat" / "again"
    link.symlink_to(tmp_path / "train" / "cat")
    assert f"link {link} leads back" in refusal(open_images, str(tmp_path))


def test_a_file_name_may_be_any_bytes(tmp_path):
    write_splits(tmp_path)
    name = os.fsdecode("été ".encode() + b"\xff.jpg")
    try:
        picture(5).save(tmp_path / "train" / "cat" / name)
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    train, _ = open_images(str(tmp_path))
    assert train.where(3) == str(tmp_path / "train" / "cat" / name)
    assert train.read(3).size == (64, 74)


def test_a_source_that_is_not_there_is_named_with_what_there_can_be(tmp_path):
    known = "sample, cifar10, cifar100, a folder of class folders, or a .npz file"
    for source in ("smaple", str(tmp_path / "nowhere")):
        message = refusal(open_images, source)
        assert message == refusal(check_source, source) == f"no images at {source!r}: give {known}"
    assert "cannot read" in refusal(open_images, str(tmp_path / "nowhere.npz"))


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path):
    path = tmp_path / "photos.zip"
    path.write_bytes(b"")
    assert f"{path} is a file; unpack it, and give a folder" in refusal(open_images, str(path))


@pytest.mark.parametrize("counts", [{}, {"cat": 3}])
def test_a_folder_with_fewer_than_two_class_folders_is_refused(tmp_path, counts):
    write_classes(tmp_path, counts)
    message = refusal(open_images, str(tmp_path))
    assert f"{tmp_path} has {len(counts)} class folders; it needs at least 2" in message


def test_a_training_folder_with_fewer_than_two_class_folders_is_refused(tmp_path):
    write_splits(tmp_path, train={"cat": 3}, val={"cat": 3})
    assert f"{tmp_path / 'train'} has 1 class folders" in refusal(open_images, str(tmp_path))


def test_a_class_folder_without_images_is_named(tmp_path):
    write_splits(tmp_path / "a", train={"cat": 3, "dog": 2, "owl": 0})
    assert "train: class 'owl' has no images" in refusal(open_images, str(tmp_path / "a"))
    write_classes(tmp_path / "b", {"cat": 3, "dog": 2, "owl": 0})
    message = refusal(open_images, str(tmp_path / "b"))
    assert "class 'owl' has 0 images; every class needs at least 2" in message


def test_a_validation_folder_without_images_is_refused(tmp_path):
    write_splits(tmp_path, val={"cat": 0})
    assert f"{tmp_path / 'val'} has no images" in refusal(open_images, str(tmp_path))


def test_a_validation_class_that_is_not_trained_on_is_named(tmp_path):
    write_splits(tmp_path, val={"cat": 1, "owl": 1})
    message = refusal(open_images, str(tmp_path))
    assert f"class 'owl' of {tmp_path / 'val'} is not among the 2 classes" in message


@pytest.mark.parametrize("names", [("train",), ("test", "val")])
def test_a_folder_with_one_part_only_is_refused(tmp_path, names):
    for name in names:
        write_classes(tmp_path / name, {"cat": 2, "dog": 2})
    message = refusal(open_images, str(tmp_path))
    assert f"{tmp_path} holds {', '.join(names)}, not classes" in message
    assert "it needs train and one of val, validation, valid, test" in message


def test_a_class_may_be_called_train(tmp_path):
    write_classes(tmp_path, {"train": 3, "plane": 3})
    assert open_images(str(tmp_path))[0].classes == ("plane", "train")


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    write_splits(tmp_path)
    scan = os.scandir

    def guarded(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", guarded)
    message = refusal(open_images, str(tmp_path))
    assert message == f"cannot read {tmp_path / 'train' / 'dog'}: Permission denied"


@pytest.mark.parametrize("label", [-1, 2, 77])
def test_a_label_out_of_range_is_named_with_its_image(tmp_path, label):
    labels = np.arange(40) % 2
    labels[5] = label
    path = write_npz(tmp_path / "photos.npz", labels=labels, classes=np.array(["cat", "dog"]))
    assert refusal(open_images, str(path)) == (
        f"photos.npz: label {label} of image 5 is out of range; the 2 classes have labels 0 to 1"
    )


def test_one_huge_label_is_refused_without_a_name_for_every_class_below_it(tmp_path):
    labels = np.arange(40) % 2
    labels[5] = 10**15
    path = write_npz(tmp_path / "photos.npz", labels=labels)
    limit = resource.getrlimit(resource.RLIMIT_AS)[1]
    memory = 4 << 30 if limit == resource.RLIM_INFINITY else min(4 << 30, limit)
    arguments = [sys.executable, "-c", LIMITED, str(path), str(memory)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-300:]
    assert "photos.npz" in done.stdout


def test_a_function_and_a_line_of_the_table_make_a_source(tmp_path, monkeypatch):
    def open_list(source):
        folder = write_classes(tmp_path / "photos", {"cat": 3, "dog": 2})
        return replace(open_source(str(folder)), title=source)

    monkeypatch.setitem(SOURCES, ".list", open_list)
    (tmp_path / "pets.list").touch()
    monkeypatch.chdir(tmp_path)
    assert [len(part) for part in open_images("pets.list")] == [3, 2]
    assert "a .npz file, or a .list file" in refusal(check_source, "nowhere")


def test_a_name_comes_before_a_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_splits(tmp_path / "sample")
    assert len(open_images("sample")[0]) == 4000


def test_a_folder_whose_name_ends_as_a_file_is_a_folder(tmp_path):
    write_splits(tmp_path / "photos.npz")
    assert len(open_images(str(tmp_path / "photos.npz"))[0]) == 5
