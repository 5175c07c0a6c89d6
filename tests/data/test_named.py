import numpy as np
import pytest
from PIL import Image

from rexnet import UserError
from rexnet.data.named import Unread, files_of, in_batches, names_in


def write_greys(folder, count):
    """Write images of one grey each, 0 and on, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for value in range(count):
        Image.new("RGB", (9, 8), (value,) * 3).save(folder / f"{value:03}.png")
    return [str(folder / f"{value:03}.png") for value in range(count)]


def test_a_folder_names_the_images_in_it_and_below_in_order(tmp_path):
    for name in ("b/2.png", "b/.hidden.png", "b/.cache/3.png", "b/a/1.JPG", "b/notes.txt", "c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "empty").mkdir()
    names = [str(tmp_path / name) for name in ("c", "b", "empty", "nowhere", "c")]
    found = [path.removeprefix(f"{tmp_path}/") for path in files_of(names)]
    assert found == ["c", "b/2.png", "b/a/1.JPG", "empty", "nowhere", "c"]
    assert files_of([str(tmp_path / "b")], lambda path: path.endswith("2.png")) == [
        str(tmp_path / "b" / "a" / "1.JPG")
    ]


def test_a_list_has_a_path_a_line_whatever_ends_it():
    content = "\ufeffa b.png\r\n\n  \n/x/\u4e00.jpg\n".encode() + b"\xff.png"
    assert names_in(content, "names.txt") == ["a b.png", "/x/\u4e00.jpg", "\udcff.png"]
    with pytest.raises(UserError, match=r"photo\.png holds null bytes and is no list"):
        names_in(b"\x89PNG\0", "photo.png")


@pytest.mark.parametrize("size", [1, 4, 100])
def test_results_come_in_order_and_an_image_that_cannot_be_read_stops_nothing(size, tmp_path):
    files = write_greys(tmp_path / "greys", 21)
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    files[3:3] = [str(tmp_path / "bad.jpg"), str(tmp_path / "no\0name")]
    files += [str(tmp_path), str(tmp_path / "nowhere.png")]
    sizes = []

    def doubled(values):
        sizes.append(len(values))
        return [2 * value for value in values]

    found = dict(in_batches(files, lambda picture: picture.getpixel((0, 0))[0], doubled, size))
    assert list(found) == files
    reasons = {path: value.reason for path, value in found.items() if isinstance(value, Unread)}
    assert reasons == {
        str(tmp_path / "bad.jpg"): "cannot identify image file",
        str(tmp_path / "no\0name"): "no such file",
        str(tmp_path): "a folder without images",
        str(tmp_path / "nowhere.png"): "no such file",
    }
    assert [found[path] for path in files if path not in reasons] == list(range(0, 42, 2))
    assert sum(sizes) == 21
    assert max(sizes) <= size


def test_what_is_read_ahead_does_not_grow_with_the_files(tmp_path):
    files = write_greys(tmp_path / "greys", 40)
    read = []

    def prepare(picture):
        read.append(np.asarray(picture)[0, 0, 0])
        return 0

    found = in_batches(files, prepare, list, 4)
    next(found)
    found.close()
    assert len(read) <= 3 * 4
