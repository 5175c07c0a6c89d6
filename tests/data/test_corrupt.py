import io

import numpy as np
import pytest
from photographs import picture, write_classes, write_splits
from PIL import Image

from rexnet import UserError
from rexnet.data.corrupt import checked, find_corrupt
from rexnet.data.decode import decoded
from rexnet.data.sources import open_images


def ignore(done, count):
    pass


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


def test_a_file_that_is_gone_is_found(tmp_path):
    train, _ = open_images(str(write_splits(tmp_path)))
    (tmp_path / "train" / "cat" / "001.jpg").unlink()
    assert [index for index, _ in find_corrupt(train, ignore)] == [1]


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
