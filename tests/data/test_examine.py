import io
from pathlib import Path

import numpy as np
import pytest
from photographs import PIXELS, picture, refusal, write_classes, write_splits
from PIL import Image

from rexnet.data.decode import shown
from rexnet.data.examine import examine, woven
from rexnet.data.image_sets import ArrayImages
from rexnet.data.sources import open_folder, open_images


def ignore(done, count):
    pass


def damage(images):
    return examine(images, ignore).damage


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
    assert damage(train) == damage(val) == damage(open_images("sample")[0]) == {}


@pytest.mark.parametrize("kept", [0.0, 0.2, 0.5, 0.9, 0.99])
def test_every_file_that_is_cut_short_is_found(tmp_path, kept):
    for path in write_kinds(tmp_path):
        content = path.read_bytes()
        path.write_bytes(content[: int(kept * len(content))])
    train, _ = open_images(str(tmp_path))
    found = damage(train)
    assert sorted(found) == list(range(7))
    assert all(reason and "\n" not in reason for reason in found.values())


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
    assert [train.where(index) for index in damage(train)] == sorted(map(str, damaged))


def test_a_jpeg_that_ends_in_zeros_is_found_though_it_decodes(tmp_path):
    write_splits(tmp_path)
    path = tmp_path / "train" / "cat" / "001.jpg"
    pixels = np.random.default_rng(0).normal(128, 9, (300, 400)).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=95)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2].ljust(len(content), b"\0"))
    shown(path.read_bytes())
    train, _ = open_images(str(tmp_path))
    assert damage(train) == {1: "the JPEG has no end"}


def test_a_file_that_is_gone_is_found(tmp_path):
    train, _ = open_images(str(write_splits(tmp_path)))
    (tmp_path / "train" / "cat" / "001.jpg").unlink()
    assert damage(train) == {1: "No such file or directory"}


def test_progress_ends_at_the_number_of_images(tmp_path):
    train, _ = open_images(str(write_splits(tmp_path, train={"cat": 70, "dog": 70})))
    told = []
    examine(train, lambda *numbers: told.append(numbers))
    assert told == [(64, 140), (128, 140), (140, 140)]


def test_an_error_of_the_caller_ends_the_check(tmp_path):
    train, _ = open_images(str(write_splits(tmp_path)))

    def interrupt(done, count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        examine(train, interrupt)


def write_images(folder, pictures):
    """Write pictures, each an image and how it is saved or a file's content, each of a class."""
    for number, (image, suffix, options) in enumerate(pictures):
        path = folder / str(number) / f"photo{suffix}"
        path.parent.mkdir(parents=True)
        if isinstance(image, bytes):
            path.write_bytes(image)
        else:
            image.save(path, **options)
    return open_folder(folder)


def jpeg(image):
    """Return the content of a JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG")
    return file.getvalue()


def turned(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def test_sizes_are_those_that_are_shown(tmp_path):
    images = write_images(
        tmp_path,
        [
            (picture(3, 64), ".png", {}),
            (picture(3, 64), ".jpg", {"exif": turned(6)}),
            (picture(3, 400), ".jpg", {"exif": turned(8)}),
            (picture(3, 64), ".tif", {"tiffinfo": {0x0112: 5}}),
        ],
    )
    found = examine(images, ignore)
    assert found.sizes.tolist() == [[64, 74], [74, 64], [410, 400], [74, 64]]
    assert found.sizes.dtype == np.int32


def test_copies_have_one_digest_whatever_the_format_and_the_metadata(tmp_path):
    photo, small, large = picture(5), jpeg(picture(5)), jpeg(picture(5, 400))
    comment = b"\xff\xfe\0\x08a copy"
    images = write_images(
        tmp_path,
        [
            (photo, ".png", {}),
            (photo, ".bmp", {}),
            (photo, ".tif", {"compression": "tiff_lzw"}),
            (photo, ".webp", {"lossless": True}),
            (photo.rotate(90, expand=True), ".png", {"exif": turned(6)}),
            (small[:2] + comment + small[2:], ".jpg", {}),
            (Image.open(io.BytesIO(small)), ".png", {}),
            (large, ".jpg", {}),
            (large[:2] + comment + large[2:], ".jpg", {}),
            (picture(6), ".png", {}),
        ],
    )
    digests = examine(images, ignore).digests
    assert len(set(digests[:5].tolist())) == 1
    assert digests[5] == digests[6]
    assert digests[7] == digests[8]
    assert len(set(digests.tolist())) == 4
    assert digests.dtype == np.uint64


def test_small_pictures_that_differ_in_a_pixel_have_two_digests(tmp_path):
    pixels = np.array(picture(5, 200))
    other = pixels.copy()
    other[7, 9] ^= 255
    options = {"quality": 100, "subsampling": 0}
    images = write_images(
        tmp_path, [(Image.fromarray(p), ".jpg", options) for p in (pixels, other)]
    )
    first, second = examine(images, ignore).digests
    assert first != second


def test_what_a_viewer_shows_as_nothing_is_told(tmp_path):
    white, drawing = Image.new("RGBA", (20, 20), (255, 255, 255, 0)), Image.new("RGBA", (20, 20))
    drawing.paste("black", (2, 2, 9, 9))
    scan = Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64))
    lines = np.zeros((600, 600), np.uint8)
    lines[::2] = 255
    images = write_images(
        tmp_path,
        [
            (white, ".png", {}),
            (drawing, ".png", {}),
            (scan, ".png", {}),
            (Image.fromarray(np.asarray(scan) * 16), ".png", {}),
            (Image.fromarray(np.asarray(scan) + 61440), ".tif", {}),
            (Image.new("L", (600, 600), 99), ".jpg", {}),
            (Image.fromarray(lines), ".jpg", {}),
        ],
    )
    found = examine(images, ignore)
    assert np.flatnonzero(found.flat).tolist() == [0, 5]
    assert np.flatnonzero(found.transparent).tolist() == [0, 1]
    assert np.flatnonzero(found.faint).tolist() == [2, 4]


def test_damage_of_a_small_png_is_found_by_its_checksums(tmp_path):
    images = write_images(tmp_path, [(Image.fromarray(PIXELS[n]), ".png", {}) for n in range(8)])
    for index in range(8):
        path = Path(images.where(index))
        content = bytearray(path.read_bytes())
        half = len(content) // 2
        # Zeros are pixels to a decoder.
        content[half:] = bytes(len(content) - half)
        path.write_bytes(content)
    assert len(examine(images, ignore).damage) == 8


def test_images_in_memory_are_examined_as_their_files_are(tmp_path):
    pixels = PIXELS[:70].copy()
    pixels[3] = 17
    labels = np.arange(70) % 2
    arrays = ArrayImages(name="photos", classes=("a", "b"), labels=labels, images=pixels)
    for name in "ab":
        (tmp_path / name).mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "ab"[number >= 35] / f"{number:03}.png")
    assert_same(examine(arrays, ignore), examine(open_folder(tmp_path), ignore))
    assert np.flatnonzero(examine(arrays, ignore).flat).tolist() == [3]


def assert_same(one, other):
    assert one.damage == other.damage
    for name in ("sizes", "flat", "faint", "transparent", "digests"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("world", [2, 3, 200])
def test_shares_of_processes_are_woven_into_the_whole(tmp_path, world):
    train, _ = open_images(str(write_splits(tmp_path, train={"cat": 70, "dog": 71})))
    for index in (0, 1, 77, 140):
        with open(train.where(index), "r+b") as file:
            file.truncate(100)
    whole = examine(train, ignore)
    assert sorted(whole.damage) == [0, 1, 77, 140]
    told = []
    shares = [
        examine(train, lambda *numbers: told.append(numbers), rank=rank, world=world)
        for rank in range(world)
    ]
    assert sum(map(len, shares)) == 141
    assert all(done <= count == 141 for done, count in told)
    assert_same(woven(shares), whole)


def test_damaged_images_have_no_facts(tmp_path):
    images = write_images(tmp_path, [(b"no picture", ".png", {}), (b"", ".jpg", {})])
    found = examine(images, ignore)
    assert found.damage == dict.fromkeys(range(2), "cannot identify image file")
    assert not any(getattr(found, name).any() for name in ("sizes", "flat", "digests"))


def huge(width, height):
    """Return the content of a JPEG whose header claims another size."""
    content = bytearray(jpeg(picture(3)))
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(content)


def test_images_of_too_many_pixels_name_the_option_that_lets_them_pass(tmp_path):
    small, content = picture(3, 100), huge(20_000, 9_000)
    images = write_images(tmp_path, [(content, ".jpg", {}), (small, ".png", {})])
    told = "20,000 x 9,000 pixels are more than --max-megapixels 179"
    assert damage(images) == {0: told}
    found = examine(images.limited(180), ignore)
    assert found.damage == {}
    assert found.sizes.tolist() == [[20_000, 9_000], [100, 110]]
    message = refusal(images.read, 0)
    assert message == f"corrupt image {images.where(0)}: {told}; repair or remove it"
    many = write_images(tmp_path / "more", [(picture(3, 1100), ".png", {}), (small, ".png", {})])
    assert damage(many) == {}
    assert list(damage(many.limited(1))) == [0]


def test_pillows_own_limit_is_none_of_ours_and_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    images = write_images(tmp_path, [(picture(3, n), ".png", {}) for n in (64, 90, 200)])
    assert damage(images) == {}
    assert images.read(2).size == (200, 210)
    assert Image.MAX_IMAGE_PIXELS == 5000
