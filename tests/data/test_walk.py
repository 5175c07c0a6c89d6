import io
import os
import shutil

import numpy as np
import pytest
from photographs import PIXELS, picture, refusal, write_classes
from PIL import Image

from rexnet.data.folders import class_folders
from rexnet.data.in_memory import load
from rexnet.data.sources import open_images
from rexnet.data.walk import Tally, endings, images_in


def encoded(kind="JPEG"):
    """Return a photograph as the content of a file."""
    content = io.BytesIO()
    picture(3).save(content, kind)
    return content.getvalue()


def walked(folder):
    """Return the images in a folder, sorted, and what is left out by reason."""
    tally = Tally()
    found = sorted(images_in(str(folder), tally))
    return found, {left.reason: left.count for left in tally.left_out()}


SYSTEM_FILES = (
    *("._000.png", ".DS_Store", "Thumbs.db", "desktop.ini", ".ipynb_checkpoints/000.png"),
    *("__MACOSX/000.png", "__MACOSX/._000.png", "@eaDir/000.png", "$RECYCLE.BIN/000.png"),
)


def test_files_of_systems_are_left_out_alike_in_a_training_and_a_search(tmp_path):
    write_classes(tmp_path / "clean", {"cat": 25, "dog": 12}, ".png")
    shutil.copytree(tmp_path / "clean", tmp_path / "mac")
    for folder in (tmp_path / "mac", tmp_path / "mac" / "cat", tmp_path / "mac" / "dog"):
        for name in SYSTEM_FILES:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(encoded("PNG"))
    (tmp_path / "mac" / "dog").rename(tmp_path / "elsewhere")
    (tmp_path / "mac" / "dog").symlink_to(tmp_path / "elsewhere")
    clean, mac = (
        [p.files.tolist() for p in open_images(str(tmp_path / n))] for n in ("clean", "mac")
    )
    assert mac == clean
    whole = load(str(tmp_path / "mac"), 64)
    for images, part in zip(open_images(str(tmp_path / "mac")), (False, True), strict=True):
        read = [np.asarray(images.read(index))[5:-5] for index in range(len(images))]
        np.testing.assert_array_equal(read, whole.images[whole.held_out == part])
    (left,) = class_folders(tmp_path / "mac").left_out
    assert (left.reason, left.count) == ("hidden files and folders", 3 * 8)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("a.jfif", "JPEG"), ("a.jpe", "JPEG"), ("a.JPE", "JPEG"), ("a.mpo", "JPEG")),
        *(("a.avif", "AVIF"), ("a.jp2", "JPEG2000"), ("a.tga", "TGA"), ("a.pgm", "PPM")),
        *(("a.apng", "PNG"), ("a.ico", "ICO"), ("a.dib", "DIB"), ("a.pcx", "PCX")),
        *(("a.jpg_large", "JPEG"), ("a.jpg?w=300&h=2", "JPEG"), ("a.png!d", "PNG")),
        *(("a", "JPEG"), ("a", "PNG"), ("a", "AVIF"), ("IMG.0001", "WEBP"), ("1. a cat", "GIF")),
    ],
)
def test_what_pillow_can_read_is_read(tmp_path, name, kind):
    (tmp_path / name).write_bytes(encoded(kind))
    assert walked(tmp_path) == ([name], {})


def test_endings_are_those_of_pictures():
    assert {".jpg", ".jpeg", ".png", ".webp", ".avif", ".jfif", ".tiff"} <= endings()
    assert not {".pdf", ".ps", ".eps", ".mpg", ".h5", ".wmf", ".txt", ""} & endings()
    formats = {Image.registered_extensions()[ending] for ending in endings()}
    assert formats <= {*Image.OPEN, "MPO"}


def test_what_is_left_out_is_counted_by_ending(tmp_path):
    for name in ("a.txt", "b.TXT", "c.heic", "d.jpg~", "README", "2.", "x.tar.gz", "e.mp4"):
        (tmp_path / name).write_bytes(b"BM no picture")
    # Of another ending, whatever it holds.
    (tmp_path / "f.bak").write_bytes(encoded())
    (tmp_path / "a.jpg").write_bytes(b"no picture, but called one")
    assert walked(tmp_path) == (
        ["a.jpg"],
        {
            "files ending in .txt": 2,
            "files without an ending": 2,
            "files ending in .bak": 1,
            "files ending in .gz": 1,
            "files ending in .heic": 1,
            "files ending in .jpg~": 1,
            "files ending in .mp4": 1,
        },
    )


def test_an_image_that_is_cut_short_keeps_its_place_without_an_ending(tmp_path):
    (tmp_path / "a").write_bytes(encoded()[:-200])
    (tmp_path / "b").write_bytes(b"")
    assert walked(tmp_path) == (["a"], {"files without an ending": 1})


def test_folders_without_images_are_counted(tmp_path):
    write_classes(tmp_path, {"a": 1, "b": 0})
    write_classes(tmp_path / "c", {"d": 0})
    assert walked(tmp_path) == (["a/000.jpg"], {"folders without images": 2})


def test_an_example_is_the_first_in_the_alphabet(tmp_path):
    tally = Tally()
    for name in "bca":
        tally.add("letters", name)
    (left,) = tally.left_out()
    assert (left.reason, left.count, left.example) == ("letters", 3, "a")


def test_a_link_that_leads_in_a_circle_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert f"link {tmp_path / 'a' / 'again'} leads back" in refusal(walked, tmp_path)


def test_a_pipe_is_left_out_and_a_link_to_itself_cannot_be_read(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to("b.jpg")
    (tmp_path / "c.jpg").symlink_to("gone.jpg")
    assert walked(tmp_path) == (["b.jpg", "c.jpg"], {"pipes and devices": 1})


def test_photographs_of_all_endings_are_trained_and_searched_on(tmp_path):
    kinds = {"jpg": "JPEG", "jfif": "JPEG", "avif": "AVIF", "": "PNG", "jpg_large": "JPEG"}
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for ending, kind in kinds.items():
            Image.fromarray(PIXELS[7]).save(tmp_path / label / "x.png", kind)
            (tmp_path / label / "x.png").rename(tmp_path / label / f"x.{ending}".strip("."))
    assert sum(map(len, open_images(str(tmp_path)))) == 10
    assert len(load(str(tmp_path)).images) == 10
