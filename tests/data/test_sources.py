import io
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rexnet import UserError
from rexnet.data.corrupt import checked, find_corrupt
from rexnet.data.decode import decoded
from rexnet.data.image_sets import ArrayImages, FileImages
from rexnet.data.in_memory import load
from rexnet.data.sources import open_images

SAMPLE = load("sample")
SAMPLE_VAL = open_images("sample")[1]


def picture(number, side=64):
    """Return a photograph of the sample, enlarged, as a picture."""
    image = Image.fromarray(SAMPLE.images[number])
    return image.resize((side, side + 10), Image.Resampling.BICUBIC)


def write_classes(folder, counts, suffix=".jpg"):
    """Write a folder of class folders with so many images each."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            picture(number).save(folder / name / f"{number:03}{suffix}")
    return folder


def write_splits(folder, train=None, val=None, validation="val"):
    write_classes(folder / "train", {"cat": 3, "dog": 2} if train is None else train)
    write_classes(folder / validation, {"cat": 1, "dog": 2} if val is None else val)
    return folder


def write_npz(path, **arrays):
    good = {"images": SAMPLE.images[:40], "labels": np.arange(40) % 2}
    np.savez(path, **(good | arrays))
    return path


def refusal(source):
    """Return the one line with which ``source`` is refused."""
    with pytest.raises(UserError) as error:
        open_images(str(source))
    message = str(error.value)
    assert "\n" not in message
    return message


def contents(images):
    """Return every image and label, in order."""
    pixels = [np.asarray(images.read(index)).tobytes() for index in range(len(images))]
    return list(zip(pixels, images.labels.tolist(), strict=True))


def ignore(done, count):
    pass


def test_the_sample_has_4000_images_to_train_on_and_1000_to_validate_on():
    train, val = open_images("sample")
    assert (len(train), len(val)) == (4000, 1000)
    assert np.bincount(train.labels).tolist() == [400] * 10
    assert train.classes == val.classes == SAMPLE.classes
    assert train.read(17).mode == "RGB"
    np.testing.assert_array_equal(val.read(3), SAMPLE.images[4003])
    assert train.where(17) == "image 17 of sample (train)"


def test_cifar_is_read_from_its_two_packed_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    write_npz(tmp_path / "data" / "cifar10-train.npz")
    write_npz(
        tmp_path / "data" / "cifar10-test.npz",
        images=SAMPLE.images[50:60],
        labels=np.arange(10) % 2,
    )
    train, test = open_images("cifar10")
    assert (len(train), len(test)) == (40, 10)
    assert (train.name, test.name) == ("cifar10 (train)", "cifar10 (test)")
    np.testing.assert_array_equal(test.read(0), SAMPLE.images[50])


@pytest.fixture
def official(monkeypatch):
    """Put a reader of official files in the place of torchvision, which takes seconds to import."""

    def read(folder, train, download):
        if not download:
            raise RuntimeError("Dataset not found")
        count = 30 if train else 10
        labels = [number % 2 for number in range(count)]
        return SimpleNamespace(data=SAMPLE.images[:count], targets=labels, classes=["cat", "dog"])

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
    assert "cifar10 (train) and cifar10 (test) have different class names" in refusal("cifar10")


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_download_that_fails_says_where_to_put_the_files(tmp_path, monkeypatch, official, part):
    def fail(*_, **__):
        raise OSError("no network")

    monkeypatch.chdir(tmp_path)
    official.CIFAR10 = fail
    (tmp_path / "data").mkdir()
    if part == "test":
        write_npz(tmp_path / "data" / "cifar10-train.npz")
    message = refusal("cifar10")
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
    arrays = {"val_images": SAMPLE.images[90:93], "val_labels": np.array([1, 1, 0])}
    train, val = open_images(str(write_npz(tmp_path / "photos.npz", **arrays)))
    assert (len(train), len(val)) == (40, 3)
    assert val.labels.tolist() == [1, 1, 0]
    assert val.classes == train.classes == ("0", "1")
    np.testing.assert_array_equal(val.images, SAMPLE.images[90:93])


@pytest.mark.parametrize(
    ("arrays", "wanted"),
    [
        ({"val_labels": np.zeros(3, int)}, "has no array 'val_images'"),
        ({"val_images": SAMPLE.images[:3]}, "has no array 'val_labels'"),
        (
            {"val_images": SAMPLE.images[:3, :, :9], "val_labels": np.zeros(3, int)},
            "val_images of 32 x 9 pixels",
        ),
        (
            {"val_images": SAMPLE.images[:3], "val_labels": np.zeros(4, int)},
            "val_labels are int64 of shape (4,)",
        ),
        (
            {"val_images": SAMPLE.images[:3], "val_labels": np.array([0, 1, 2])},
            "photos.npz (val): label 2 of image 2 is out of range",
        ),
        (
            {"val_images": SAMPLE.images[:0], "val_labels": np.zeros(0, int)},
            "photos.npz (val) has no images",
        ),
        (
            {"labels": np.zeros(40, int), "val_images": SAMPLE.images[:2], "val_labels": [0, 0]},
            "photos.npz (train) has 1 classes; it needs at least 2",
        ),
        ({"labels": np.zeros(40, int)}, "photos.npz (train) has 1 classes; it needs at least 2"),
        ({"labels": np.arange(40) % 2 * 2}, "class '1' has 0 images"),
        (
            {
                "labels": np.arange(40) % 2 * 2,
                "val_images": SAMPLE.images[:2],
                "val_labels": [0, 0],
            },
            "photos.npz (train): class '1' has no images",
        ),
        ({"labels": np.zeros(40)}, "labels are float64"),
    ],
)
def test_an_npz_that_does_not_fit_is_refused(tmp_path, arrays, wanted):
    assert wanted in refusal(write_npz(tmp_path / "photos.npz", **arrays))


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
    assert f"link {link} leads back" in refusal(tmp_path)


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
    for source in ("smaple", str(tmp_path / "nowhere")):
        message = refusal(source)
        assert repr(source) in message
        assert "sample, cifar10, cifar100" in message
    assert "cannot read" in refusal(tmp_path / "nowhere.npz")


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path):
    path = tmp_path / "photos.zip"
    path.write_bytes(b"")
    assert f"{path} is a file; give a folder" in refusal(path)


@pytest.mark.parametrize("counts", [{}, {"cat": 3}])
def test_a_folder_with_fewer_than_two_class_folders_is_refused(tmp_path, counts):
    write_classes(tmp_path, counts)
    assert f"{tmp_path} has {len(counts)} class folders; it needs at least 2" in refusal(tmp_path)


def test_a_training_folder_with_fewer_than_two_class_folders_is_refused(tmp_path):
    write_splits(tmp_path, train={"cat": 3}, val={"cat": 3})
    assert f"{tmp_path / 'train'} has 1 class folders" in refusal(tmp_path)


def test_a_class_folder_without_images_is_named(tmp_path):
    write_splits(tmp_path / "a", train={"cat": 3, "dog": 2, "owl": 0})
    assert "train: class 'owl' has no images" in refusal(tmp_path / "a")
    write_classes(tmp_path / "b", {"cat": 3, "dog": 2, "owl": 0})
    assert "class 'owl' has 0 images; every class needs at least 2" in refusal(tmp_path / "b")


def test_a_validation_folder_without_images_is_refused(tmp_path):
    write_splits(tmp_path, val={"cat": 0})
    assert f"{tmp_path / 'val'} has no images" in refusal(tmp_path)


def test_a_validation_class_that_is_not_trained_on_is_named(tmp_path):
    write_splits(tmp_path, val={"cat": 1, "owl": 1})
    message = refusal(tmp_path)
    assert f"class 'owl' of {tmp_path / 'val'} is not among the 2 classes" in message


@pytest.mark.parametrize("names", [("train",), ("test", "val")])
def test_a_folder_with_one_part_only_is_refused(tmp_path, names):
    for name in names:
        write_classes(tmp_path / name, {"cat": 2, "dog": 2})
    message = refusal(tmp_path)
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
    assert refusal(tmp_path) == f"cannot read {tmp_path / 'train' / 'dog'}: Permission denied"


@pytest.mark.parametrize("kind", ["files", "arrays"])
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_images_without_some_are_the_others_in_order(tmp_path_factory, kind, data):
    images = SAMPLE_VAL
    if kind == "files":
        images = FileImages(
            name="x",
            classes=SAMPLE.classes,
            labels=images.labels,
            folder=tmp_path_factory.getbasetemp(),
            files=np.array([f"{number}.jpg".encode() for number in range(len(images))]),
        )
    out = data.draw(st.sets(st.integers(0, len(images) - 1)))
    rest = images.without(out)
    kept = [index for index in range(len(images)) if index not in out]
    assert len(rest) == len(kept)
    assert rest.labels.tolist() == images.labels[kept].tolist()
    assert rest.classes == images.classes
    if kind == "files":
        assert rest.files.tolist() == images.files[kept].tolist()
    else:
        np.testing.assert_array_equal(rest.images, images.images[kept])


def test_the_fingerprint_of_arrays_changes_with_a_pixel_a_label_and_a_class():
    images = open_images("sample")[1]
    assert images.fingerprint() == open_images("sample")[1].fingerprint()
    found = {images.fingerprint(), images.without([3]).fingerprint()}
    for field in ("images", "labels"):
        changed = getattr(images, field).copy()
        changed.flat[7] ^= 1
        arrays = {"images": images.images, "labels": images.labels, field: changed}
        found.add(ArrayImages(name="x", classes=images.classes, **arrays).fingerprint())
    found.add(
        ArrayImages(
            name="x", classes=("x", *images.classes[1:]), images=images.images, labels=images.labels
        ).fingerprint()
    )
    assert len(found) == 5


def test_the_fingerprint_of_files_changes_with_a_name_a_size_and_a_label(tmp_path):
    def fingerprint(folder):
        return open_images(str(folder))[0].fingerprint()

    first, second = write_splits(tmp_path / "a"), write_splits(tmp_path / "b")
    assert fingerprint(first) == fingerprint(second)
    cat = second / "train" / "cat"
    (cat / "000.jpg").rename(cat / "003.jpg")
    renamed = fingerprint(second)
    (cat / "003.jpg").write_bytes((cat / "003.jpg").read_bytes() + b"\0")
    longer = fingerprint(second)
    (cat / "003.jpg").rename(second / "train" / "dog" / "003.jpg")
    assert len({fingerprint(first), renamed, longer, fingerprint(second)}) == 4


def test_a_file_that_is_gone_has_no_fingerprint(tmp_path):
    train, _ = open_images(str(write_splits(tmp_path)))
    path = tmp_path / "train" / "cat" / "001.jpg"
    path.unlink()
    with pytest.raises(UserError, match=r"cannot read .*001\.jpg: No such file"):
        train.fingerprint()
    assert [index for index, _ in find_corrupt(train, ignore)] == [1]


def test_a_photograph_that_lies_on_its_side_is_turned_upright(tmp_path):
    write_splits(tmp_path)
    tags = Image.Exif()
    tags[0x0112] = 6
    picture(0).save(tmp_path / "train" / "cat" / "000.jpg", exif=tags)
    assert open_images(str(tmp_path))[0].read(0).size == (74, 64)


def test_grey_images_of_16_bits_keep_their_contrast(tmp_path):
    write_splits(tmp_path)
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(ramp * 257).save(tmp_path / "train" / "cat" / "000.png")
    image = open_images(str(tmp_path))[0].read(1)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image)[..., 0], ramp)


def test_a_corrupt_image_that_is_read_is_named(tmp_path):
    train, _ = open_images(str(write_splits(tmp_path)))
    path = tmp_path / "train" / "cat" / "001.jpg"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError) as error:
        train.read(1)
    assert str(error.value).startswith(f"corrupt image {path}: ")


def write_kinds(folder, number=300):
    """Write one photograph of 240 x 250 pixels in many formats and return the files."""
    for suffix, options in (
        (".jpg", {}),
        (".jpeg", {"progressive": True, "quality": 95}),
        (".png", {}),
        (".webp", {}),
        (".gif", {}),
        (".bmp", {}),
        (".tif", {"compression": "tiff_deflate"}),
    ):
        for label in ("cat", "dog"):
            (folder / "train" / label).mkdir(parents=True, exist_ok=True)
            picture(number, 240).save(folder / "train" / label / f"photo{suffix}", **options)
    write_classes(folder / "val", {"cat": 1})
    return sorted((folder / "train" / "cat").iterdir())


def test_sound_images_of_every_kind_are_found_sound(tmp_path):
    write_kinds(tmp_path)
    for label, mode in enumerate(["1", "L", "CMYK"]):
        Image.new(mode, (30, 20)).save(tmp_path / "train" / "cat" / f"{label}.jpg")
    # A thumbnail is a JPEG of its own before the picture, and cameras put more after it.
    path, small = tmp_path / "train" / "cat" / "thumbnail.jpg", io.BytesIO()
    picture(3).save(small, "JPEG")
    picture(3).save(path, exif=b"Exif\0\0" + small.getvalue(), restart_marker_blocks=1)
    path.write_bytes(path.read_bytes() + b"more \xff\x01")
    train, val = open_images(str(tmp_path))
    assert find_corrupt(train, ignore) == find_corrupt(val, ignore) == []
    assert find_corrupt(open_images("sample")[0], ignore) == []


@pytest.mark.parametrize("kept", [0.0, 0.2, 0.5, 0.9, 0.99])
def test_every_file_that_is_cut_short_is_found(tmp_path, kept):
    for path in write_kinds(tmp_path):
        content = path.read_bytes()
        path.write_bytes(content[: int(kept * len(content))])
    train, _ = open_images(str(tmp_path))
    found = find_corrupt(train, ignore)
    assert [index for index, _ in found] == list(range(7))
    assert all(reason and "\n" not in reason for _, reason in found)


@pytest.mark.parametrize("seed", range(4))
def test_noise_amid_a_jpeg_or_png_is_found(tmp_path, seed):
    generator = np.random.default_rng(seed)
    write_kinds(tmp_path, seed)
    damaged = [
        tmp_path / "train" / "cat" / f"photo{suffix}" for suffix in (".jpg", ".jpeg", ".png")
    ]
    for path in damaged:
        content = bytearray(path.read_bytes())
        start = len(content) // 2
        noise = generator.integers(0, 256, 1024, np.uint8).tobytes()
        # A marker that there is not, of which so much noise has four on average.
        content[start : start + 1024] = b"\xff\x02" + noise[2:]
        path.write_bytes(content)
    train, _ = open_images(str(tmp_path))
    assert [train.where(index) for index, _ in find_corrupt(train, ignore)] == sorted(
        map(str, damaged)
    )


def test_a_jpeg_that_ends_in_zeros_is_found_though_it_decodes(tmp_path):
    write_splits(tmp_path)
    path = tmp_path / "train" / "cat" / "001.jpg"
    pixels = np.random.default_rng(0).normal(128, 9, (300, 400)).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=95)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2].ljust(len(content), b"\0"))
    decoded(path)
    train, _ = open_images(str(tmp_path))
    assert find_corrupt(train, ignore) == [(1, "the JPEG has no end")]


def test_progress_ends_at_the_number_of_images(tmp_path):
    train, _ = open_images(str(write_splits(tmp_path, train={"cat": 70, "dog": 70})))
    told = []
    find_corrupt(train, lambda *numbers: told.append(numbers))
    assert told == [(64, 140), (128, 140), (140, 140)]


def test_an_error_of_the_caller_ends_the_check(tmp_path):
    train, _ = open_images(str(write_splits(tmp_path)))

    def interrupt(done, count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_corrupt(train, interrupt)


def spoil(images, indices):
    for index in indices:
        with open(images.where(index), "r+b") as file:
            file.truncate(100)


def test_corrupt_images_are_an_error_that_names_the_first_five(tmp_path):
    train, _ = open_images(str(write_splits(tmp_path, train={"cat": 6, "dog": 6})))
    spoil(train, [0, 7])
    with pytest.raises(UserError) as error:
        checked(train, False, ignore)
    message = str(error.value)
    assert message.startswith(f"2 of 12 images are corrupt: {train.where(0)} (")
    assert f", {train.where(7)} (" in message
    assert message.endswith("; repair or remove them, or pass --skip-corrupt")
    assert "more" not in message
    spoil(train, range(1, 8))
    with pytest.raises(
        UserError, match=r"^8 of 12 images are corrupt: .* and 3 more; repair"
    ) as error:
        checked(train, False, ignore)
    assert train.where(4) in str(error.value)
    assert train.where(5) not in str(error.value)
    assert "\n" not in str(error.value)


def test_corrupt_images_that_are_skipped_are_left_out_and_listed(tmp_path):
    train, _ = open_images(str(write_splits(tmp_path, train={"cat": 3, "dog": 3})))
    spoil(train, [1, 4])
    rest, corrupt = checked(train, True, ignore)
    assert [where for where, _ in corrupt] == [train.where(1), train.where(4)]
    assert all(reason for _, reason in corrupt)
    assert [rest.where(index) for index in range(len(rest))] == [
        train.where(index) for index in (0, 2, 3, 5)
    ]
    assert rest.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("source", ["files", "sample"])
def test_sound_images_are_returned_as_they_are(tmp_path, source):
    train, _ = open_images(str(write_splits(tmp_path)) if source == "files" else source)
    for skip_corrupt in (False, True):
        rest, corrupt = checked(train, skip_corrupt, ignore)
        assert corrupt == []
        assert rest.fingerprint() == train.fingerprint()


def test_a_class_that_loses_all_images_is_an_error(tmp_path):
    train, _ = open_images(str(write_splits(tmp_path)))
    spoil(train, [3, 4])
    with pytest.raises(UserError, match=r"all images of class 'dog' of .*train are corrupt"):
        checked(train, True, ignore)
