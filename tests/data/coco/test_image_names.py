from pathlib import Path

import pytest
from annotations_to_read import write_images

from rexnet import UserError
from rexnet.data.coco.image_names import find_files


@pytest.fixture
def folder(two_images):
    """Return the folder of a.png and b.png, with more below it."""
    below = two_images / "images" / "more"
    below.mkdir()
    (below / "a.png").write_bytes(b"")
    (below / "\xfc.png").write_bytes(b"")
    (below / "my photo.JPG").write_bytes(b"")
    return Path("images")


def find(*names, folder="images"):
    return find_files(names, Path(folder), Path("boxes.json"))


def test_names_count_as_they_are_written(folder):
    here = Path.cwd()
    names = ["a.png", "more/a.png", "../images/b.png", str(here / "images/more/my photo.JPG")]
    found = find(*names)
    assert found.names == names
    assert found.remarks == ()
    assert found.same == []


SPELT = {
    "Windows": (r"more\a.png", "more/a.png"),
    "the folder itself": ("images/a.png", "a.png"),
    "the folder itself, of Windows": (r"images\more\a.png", "more/a.png"),
    "another machine": ("/home/tom/set/images/more/a.png", "more/a.png"),
    "another Windows": (r"C:\Users\tom\b.png", "b.png"),
    "above": ("../../label-studio/media/b.png", "b.png"),
    "address": ("https://example.org/set/images/more/my%20photo.JPG?x=1", "more/my photo.JPG"),
    "letter and mark": ("more/u\u0308.png", "more/\xfc.png"),
    "space": ("more/my%20photo.JPG", "more/my photo.JPG"),
    "local files": ("/data/local-files/?d=images/b.png", "b.png"),
}


@pytest.mark.parametrize("spelling", SPELT)
def test_names_as_other_tools_spell_them(spelling, folder):
    name, wanted = SPELT[spelling]
    found = find(name)
    assert found.names[0] == wanted
    (remark,) = found.remarks
    assert remark == f"1 file names are read otherwise, such as {name} as {wanted}"


def test_two_names_of_one_file_are_found(folder):
    found = find("b.png", "./a.png", "more/../a.png", "more/a.png")
    assert found.same == [(1, 2)]


MISSING = {
    "nothing like it": (["c.png"], r"1 of 1 images of boxes\.json are not in images: c\.png; mend"),
    "another case": (["A.PNG"], r"A\.PNG \(there is images/a\.png\)"),
    "another ending": (["b.jpg"], r"b\.jpg \(there is images/b\.png\)"),
    "below": (["my photo.JPG"], r"\(there is images/more/my photo\.JPG\)"),
    "other folder": (["train/b.png"], r"train/b\.png \(there is images/b\.png\)"),
    "two of one": (["/x/a.png", "/y/a.png"], r"2 of 2 images .*: /x/a\.png \(.*, /y/a\.png"),
    "folder": (["more"], "not in images: more"),
    "nothing": ([""], "1 of 1 images of boxes.json are not in images: ;"),
    "no name of a file": (["a\0.png", "\ud800.png"], r"not in images: 'a\\x00.png', '\\ud800"),
    "many": ([f"{number}" for number in range(8)], r"8 of 8 .*: 0, 1, 2, 3, 4 \.\.\.;"),
}


@pytest.mark.parametrize("case", MISSING)
def test_missing_files_are_named_with_where_they_may_be(case, folder):
    names, wanted = MISSING[case]
    with pytest.raises(UserError, match=wanted) as error:
        find(*names)
    assert "\n" not in str(error.value)


def test_a_missing_folder_is_told(two_images):
    write_images()
    with pytest.raises(UserError, match="cannot be found: there is no folder elsewhere"):
        find("a.png", folder="elsewhere")
