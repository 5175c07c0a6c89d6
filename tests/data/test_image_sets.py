from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import write_classes, write_splits

from rexnet import UserError
from rexnet.data.image_sets import ArrayImages, FileImages
from rexnet.data.sources import open_images

SAMPLE_VAL = open_images("sample")[1]


@pytest.mark.parametrize("kind", ["files", "arrays"])
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_images_without_some_are_the_others_in_order(tmp_path_factory, kind, data):
    images = SAMPLE_VAL
    if kind == "files":
        images = FileImages(
            name="x",
            classes=images.classes,
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


def test_a_file_that_is_gone_changes_the_fingerprint(tmp_path):
    write_classes(tmp_path, {"cat": 3, "dog": 3})
    images = open_images(str(tmp_path))[0]
    before = images.fingerprint()
    Path(images.where(0)).unlink()
    assert images.fingerprint() != before


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


def test_a_corrupt_image_that_is_read_is_named(tmp_path):
    train, _ = open_images(str(write_splits(tmp_path)))
    path = tmp_path / "train" / "cat" / "001.jpg"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError) as error:
        train.read(1)
    assert str(error.value).startswith(f"corrupt image {path}: ")
