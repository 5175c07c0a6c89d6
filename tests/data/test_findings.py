import dataclasses
import json

import numpy as np
import pytest
from annotations_to_read import box, document, image, read
from photographs import picture, write_classes
from PIL import Image

from rexnet.data.examine import examine
from rexnet.data.findings import Seen, surveyed
from rexnet.data.folders import class_folders
from rexnet.data.image_sets import ArrayImages
from rexnet.data.survey import Survey

PHOTO = np.asarray(picture(0))


def seen(title, images, **changes):
    return Seen(
        title=title, images=images, examined=examine(images, lambda done, total: None), **changes
    )


def arrays(labels, seed=0, **changes):
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 8, 8, 3), dtype=np.uint8)
    fields = {"name": "arrays", "classes": ("cat", "dog"), "images": pixels} | changes
    return ArrayImages(labels=np.array(labels), **fields)


def in_folders(folder, **classes):
    """Write pictures by class and number, and return the images of the folder."""
    for name, pictures in classes.items():
        (folder / name).mkdir(parents=True)
        for number, found in enumerate(pictures):
            found.save(folder / name / f"{number}.png")
    return class_folders(folder)


def test_sound_images_have_nothing_wrong():
    found = surveyed([seen("train", arrays([0, 0, 1, 1])), seen("val", arrays([0, 1], seed=1))])
    assert (found.left_out, found.notes, found.wrong) == ((), (), ())
    assert found.classes == ("cat", "dog")
    assert [part.num_of_class for part in found.parts] == [(2, 2), (1, 1)]
    assert Survey.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_pictures_in_both_parts_are_told_whatever_their_names():
    train = arrays([0, 0, 1, 1])
    val = arrays([1, 0], seed=1)
    val.images[1] = train.images[1]
    (line,) = surveyed([seen("train", train), seen("val", val)]).wrong
    assert line == (
        "in train too, so results on them say little: 1 of 2 images of val, such as image 1 of "
        "arrays, which is image 1 of arrays"
    )


def test_a_picture_in_two_classes_has_a_wrong_label():
    train = arrays([0, 0, 1, 1])
    train.images[3] = train.images[0]
    found = surveyed([seen("train", train)])
    (line,) = found.wrong
    assert line.startswith(
        "pictures that are in two classes: 1, such as image 0 of arrays and image 3"
    )
    (note,) = found.notes
    assert note.startswith("copies of others there: 1 of 4 images of train, such as image 3")


def test_images_of_one_colour_are_no_copies():
    train = arrays([0, 0, 1, 1])
    train.images[1:3] = 7
    (line,) = surveyed([seen("train", train)]).wrong
    assert line.startswith("of a single colour: 2 of 4 images of train, such as image 1")


def test_pictures_that_look_blank_are_told_by_why(tmp_path):
    values = np.asarray(picture(0).convert("L"))
    white = Image.new("RGBA", values.shape[::-1], "white")
    white.putalpha(Image.fromarray(values))
    images = in_folders(
        tmp_path,
        cat=[Image.fromarray(values > 127).convert("RGB"), Image.new("L", (32, 32), 9), white],
        # Whole numbers of 8 bits in 16, and from 0 to 1 in 8.
        dog=[Image.fromarray(values.astype(np.uint16)), Image.fromarray(values // 128)],
    )
    found = surveyed([seen("train", images)])
    assert [line.split(", such as")[0] for line in found.wrong] == [
        "of a single colour: 1 of 5 images of train",
        "of a single colour on white: 1 of 5 images of train",
        "so little of the range of their bits is used that they look blank: 2 of 5 images of train",
    ]
    assert not any("copies" in note for note in found.notes)
    (line,) = surveyed(
        [seen("train", arrays([0, 1], images=np.uint8([PHOTO // 128, PHOTO // 99])))]
    ).wrong
    assert line.startswith("so little of the range of their bits is used that they look blank: 2")


def test_files_are_told_by_what_is_wrong_with_them(tmp_path):
    clear = Image.new("RGBA", (32, 32))
    clear.paste((0, 0, 0, 255), (8, 8, 20, 20))
    faint = Image.fromarray(np.arange(32 * 32, dtype=np.uint16).reshape(32, 32))
    photo = picture(0)
    images = in_folders(
        tmp_path,
        cat=[photo, clear, photo.rotate(90)],
        dog=[faint, photo.resize((200, 40)), photo.resize((6, 6)), photo.rotate(180)],
    )
    path = tmp_path / "dog" / "3.png"
    path.write_bytes(path.read_bytes()[:100])
    found = surveyed([seen("train", images)])
    told = [line.split(", such as")[0] for line in found.wrong]
    assert told == [
        "cannot be read: 1 of 7 images of train",
        "so little of the range of their bits is used that they look blank: 1 of 7 images of train",
        "less than 8 pixels high or wide: 1 of 7 images of train",
        "more than 3 times as long as wide, and only the middle is looked at: 1 of 7 images of "
        "train",
    ]
    assert f": 1 of 7 images of train, such as {path} (" in found.wrong[0]
    assert "with transparent parts, which are shown on white" in found.notes[0]
    assert found.parts[0].num_of_class == (3, 3)
    assert found.parts[0].sizes[0] == (6, 6)
    skipped = surveyed([seen("train", images, skipped=True)])
    assert skipped.left_out == found.wrong[:1]
    assert skipped.wrong == found.wrong[1:]


def test_classes_that_differ_in_case_and_classes_without_images():
    train = arrays([0, 0, 1, 1], classes=("Cat", "cat "))
    found = surveyed([seen("train", train), seen("val", arrays([0], seed=1))])
    assert found.wrong == ("classes 'Cat' and 'cat ' differ in case or spaces alone",)
    assert found.notes == ("val has no images of dog (1 of 2 classes)",)


def test_folders_below_the_class_folders_may_be_the_classes(tmp_path):
    for name in ("2023/cat", "2023/dog", "2024/cat"):
        write_classes(tmp_path / "years", {name: 1})
    (note,) = surveyed([seen("train", class_folders(tmp_path / "years"))]).notes[-1:]
    assert "such as 2023/cat and 2024/cat; if cat is the class" in note
    # A folder of the same name in each class, or images beside, say nothing.
    write_classes(tmp_path / "plain", {"cat/images": 1, "dog/images": 1})
    write_classes(tmp_path / "beside", {"cat": 1, "cat/old": 1, "dog/old": 1, "dog/new": 1})
    for name in ("plain", "beside"):
        told = surveyed([seen("train", class_folders(tmp_path / name))]).notes
        assert not any("folders below" in note for note in told)


def test_names_cannot_move_the_cursor():
    found = surveyed([seen("train", arrays([0, 1], classes=("a\nb", "c\x1b[2J")))])
    assert found.classes == ("a\nb", "c\x1b[2J")
    assert found.lines()[1].endswith("2: a?b, c?[2J")


def test_what_lies_beside_is_told_as_left_out(tmp_path):
    in_folders(tmp_path, cat=[picture(0)], dog=[picture(1)])
    (tmp_path / "cat" / "read.me").write_text("x")
    found = surveyed([seen("train", class_folders(tmp_path))])
    assert found.left_out == (f"files ending in .me: 1, such as {tmp_path}/cat/read.me",)


@pytest.mark.usefixtures("two_images")
def test_boxes_are_told_with_doubts_and_misfits():
    two = [image(5, "a.png", width=99), image(2, "b.png")]
    images = read(document(box(1), box(2, image_id=2), images=two))
    images = dataclasses.replace(images, num_clipped=2, remarks=("odd",), doubts=("wrong",))
    found = surveyed([seen("val", images)])
    assert found.parts[0].num_images == 1
    assert found.parts[0].num_boxes == 1
    assert found.wrong[0].startswith(
        "of another shape than their boxes were drawn in: 1 of 2 images of val"
    )
    assert found.wrong[0].endswith("a.png (it shows 40 x 20 pixels, its entry says 99 x 20)")
    assert "val: wrong" in found.wrong
    assert "val: odd" in found.notes
    assert "boxes of val that reach over an edge and are cut: 2" in found.notes


@pytest.mark.usefixtures("two_images")
def test_what_nothing_can_be_learnt_of_looks_wrong():
    images = read(document(box(1, iscrowd=1), box(2, bbox=[9, 9, 0, 0])), skip_degenerate=True)
    wanted = "boxes of train that have no area: 1"
    found = surveyed([seen("train", images)])
    assert found.wrong[0] == wanted
    assert "train has no boxes that can be used, so nothing can be learnt of it" in found.wrong
    assert wanted in surveyed([seen("train", images, skipped=True)]).left_out


@pytest.mark.usefixtures("two_images")
@pytest.mark.parametrize(("bbox", "wrong"), [([1, 2, 6, 4], False), ([20, 2, 6, 4], True)])
def test_copies_with_other_boxes_look_wrong(bbox, wrong):
    for name in "ab":
        picture(0).resize((40, 20)).save(f"images/{name}.png")
    boxes = box(1, bbox=[1, 2, 6, 4]), box(2, image_id=2, bbox=bbox)
    images = read(document(*boxes, images=[image(5, "a.png"), image(2, "b.png")]))
    found = surveyed([seen("train", images)])
    assert found.notes[0].startswith("copies of others there: 1 of 2 images of train")
    assert ["with other boxes" in line for line in found.wrong] == [True] * wrong


@pytest.mark.usefixtures("two_images")
def test_categories_that_differ_in_case_look_wrong():
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "Cat"}]
    images = read(document(box(1, category_id=2), categories=categories))
    assert "classes 'cat' and 'Cat' differ in case or spaces alone" in (
        surveyed([seen("train", images)]).wrong
    )


def test_what_takes_the_place_of_held_out_images_is_told(tmp_path):
    images = in_folders(tmp_path, cat=map(picture, range(3)), dog=map(picture, range(3, 6)))
    parts = images.without([2, 5]), images.without([0, 1, 3, 4])
    path = tmp_path / "cat" / "2.png"
    path.write_bytes(path.read_bytes()[:100])
    told = "others are held out in place of those of val that cannot be read"
    for skipped in (True, False):
        both = (
            seen(title, part, skipped=skipped)
            for title, part in zip(("train", "val"), parts, strict=True)
        )
        assert (told in surveyed([*both]).notes) == skipped
