import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from rexnet import UserError
from rexnet.data.stored import Part, Store, opened

PIXELS = np.random.default_rng(0).integers(0, 256, (600, 4, 4, 3), dtype=np.uint8)


def store_in(folder):
    """Return a store, what it told and the images that it asked for."""
    told, asked = [], []

    def read(numbers):
        asked.extend(numbers)
        return PIXELS[numbers.start : numbers.stop]

    place = Store(folder=folder / "S", tell=told.append)
    return lambda key="k": place.array(key, PIXELS.shape, read), told, asked


def test_images_are_told_written_once_and_mapped(tmp_path):
    array, told, asked = store_in(tmp_path)
    found = array()
    np.testing.assert_array_equal(found, PIXELS)
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable
    assert asked == list(range(600))
    assert len(told) == 1
    assert "600 images of 4 px" in told[0]
    assert "0.0 MB are written to" in told[0]
    np.testing.assert_array_equal(array(), PIXELS)
    assert len(asked) == 600
    assert {path.name for path in (tmp_path / "S").iterdir()} == {".pixels.npy", ".pixels.json"}


def test_other_images_are_written_anew(tmp_path):
    array, _, asked = store_in(tmp_path)
    array("one")
    array("another")
    assert len(asked) == 1200
    array("another")
    assert len(asked) == 1200
    array("one")
    assert len(asked) == 1800


@pytest.mark.parametrize("harm", ["cut", "gone", "other"])
def test_a_damaged_file_is_written_anew(tmp_path, harm):
    array, _, asked = store_in(tmp_path)
    del array()._mmap
    path = tmp_path / "S" / ".pixels.npy"
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    elif harm == "gone":
        path.unlink()
    else:
        np.save(path, PIXELS.astype(np.float32))
    np.testing.assert_array_equal(array(), PIXELS)
    assert len(asked) == 1200


def test_what_is_cut_off_while_it_is_written_is_not_taken_for_whole(tmp_path):
    array, _, _ = store_in(tmp_path)
    array("one")

    def fails(numbers):
        if numbers.start:
            raise OSError(28, "No space left on device")
        return PIXELS[: len(numbers)]

    with pytest.raises(UserError, match=r"cannot write .*pixels.npy: No space left on device"):
        Store(folder=tmp_path / "S", tell=print).array("two", PIXELS.shape, fails)
    assert [path.name for path in (tmp_path / "S").iterdir()] == [".pixels.npy"]
    array, _, asked = store_in(tmp_path)
    np.testing.assert_array_equal(array("two"), PIXELS)
    assert len(asked) == 600


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=100))
    array, told, asked = store_in(tmp_path)
    with pytest.raises(UserError, match=r"the images take 0.0 MB and the disk of .* has 0.0 MB"):
        array()
    assert told == asked == []


def test_a_part_reads_what_is_asked_for(tmp_path):
    array, _, _ = store_in(tmp_path)
    index = np.arange(1, 600, 3)
    part = Part(images=array(), index=index)
    assert len(part) == len(index)
    np.testing.assert_array_equal(part[3:9], PIXELS[index[3:9]])
    chosen = np.array([5, 2, 2])
    np.testing.assert_array_equal(part[chosen], PIXELS[index[chosen]])
    assert type(part[chosen]) is np.ndarray


def test_a_file_of_another_shape_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", PIXELS)
    with pytest.raises(ValueError, match="of shape"):
        opened(tmp_path / "a.npy", (1, 4, 4, 3))
