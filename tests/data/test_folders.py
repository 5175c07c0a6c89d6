import os
import unicodedata

import pytest
from photographs import picture, refusal, write_classes, write_splits

from rexnet.data.folders import class_folders, parts_in
from rexnet.data.in_memory import load
from rexnet.data.sources import open_images

CLASSES = {"cat": 3, "dog": 2}


@pytest.mark.parametrize(
    ("training", "validation"),
    [
        ("Training", "Testing"),
        ("TRAIN", "VAL"),
        ("train_set", "test_set"),
        ("TrainImages", "DevImages"),
        ("training-data", "evaluation data"),
        ("trainset", "valset"),
        ("fruit_train", "fruit_test"),
        ("train2017", "val2017"),
        ("Train", "tst"),
    ],
)
def test_parts_are_known_by_any_common_name(tmp_path, training, validation):
    write_classes(tmp_path / training, CLASSES)
    write_classes(tmp_path / validation, {"cat": 1})
    write_classes(tmp_path / "more", {"annotations": 2})
    train, val = open_images(str(tmp_path))
    assert (train.name, val.name) == (str(tmp_path / training), str(tmp_path / validation))
    assert (len(train), len(val)) == (5, 1)
    message = refusal(load, str(tmp_path))
    assert "not classes" in message
    assert message.endswith(f"give the folder of the training part, {tmp_path / training}")


def test_a_part_to_test_on_is_taken_if_there_is_no_other(tmp_path):
    for name in ("Testing", "Training", "Valid"):
        write_classes(tmp_path / name, CLASSES)
    assert open_images(str(tmp_path))[1].name == str(tmp_path / "Valid")


@pytest.mark.parametrize("beside", ["annotations", "labels", "csv"])
@pytest.mark.parametrize("has_pictures", [True, False])
@pytest.mark.parametrize("part", ["train", "Training"])
def test_one_part_beside_a_folder_of_other_things_is_no_class(tmp_path, beside, has_pictures, part):
    write_classes(tmp_path / part, CLASSES)
    write_classes(tmp_path, {beside: 2 if has_pictures else 0})
    (tmp_path / beside / "a.csv").write_text("a,b", encoding="utf-8")
    message = refusal(open_images, str(tmp_path))
    assert message.startswith(f"{tmp_path} holds {part}, not classes; it needs train and one of")
    assert f"such as {tmp_path / part}" in message
    assert str(tmp_path / part) in refusal(load, str(tmp_path))


def test_several_parts_to_train_on_are_refused(tmp_path):
    for name in ("train1", "train2", "val"):
        write_classes(tmp_path / name, CLASSES)
    wanted = "holds several parts to train on: train1, train2; call one train"
    assert wanted in refusal(open_images, str(tmp_path))


@pytest.mark.parametrize(
    "classes",
    [
        ("train", "plane"),
        ("invalid", "valid"),
        ("control", "test"),
        ("steam_train", "toy train"),
        ("dataset", "photos"),
        ("bullet_train", "eval"),
    ],
)
def test_classes_may_be_called_like_parts(tmp_path, classes):
    write_classes(tmp_path, dict.fromkeys(classes, 3))
    for images in (open_images(str(tmp_path))[0], load(str(tmp_path))):
        assert images.classes == tuple(sorted(classes))


def test_classes_called_like_parts_may_have_folders_below(tmp_path):
    write_classes(tmp_path / "test", {"monday": 1, "friday": 2})
    write_classes(tmp_path / "control", {"june": 1, "july": 2})
    assert parts_in(tmp_path) == {}
    assert open_images(str(tmp_path))[0].classes == ("control", "test")


@pytest.mark.parametrize("above", ["archive", "archive/dataset"])
def test_what_is_wrapped_in_single_folders_is_named(tmp_path, above):
    write_splits(tmp_path / "set" / above)
    (tmp_path / "set" / "notes").mkdir()
    for read in (open_images, load):
        assert refusal(read, str(tmp_path / "set")).endswith(f"give {tmp_path / 'set' / above}")
    (tmp_path / "set" / "notes").rmdir()
    message = refusal(open_images, str(tmp_path / "set"))
    assert "has 1 class folders; it needs at least 2" in message
    assert message.endswith(f"give {tmp_path / 'set' / above}")


def test_wrapped_classes_are_named(tmp_path):
    write_classes(tmp_path / "a" / "b" / "c", CLASSES)
    assert refusal(open_images, str(tmp_path)).endswith(f"give {tmp_path / 'a' / 'b' / 'c'}")
    assert refusal(load, str(tmp_path / "a")).endswith(f"give {tmp_path / 'a' / 'b' / 'c'}")


def test_folders_of_which_each_has_all_the_classes_are_refused(tmp_path):
    write_classes(tmp_path / "first", CLASSES)
    write_classes(tmp_path / "second", {**CLASSES, "ship": 1})
    for read in (open_images, load):
        message = refusal(read, str(tmp_path))
        assert "hold folders of the same names (cat, dog)" in message
        assert f"such as {tmp_path / 'first'}" in message
    # An image that lies directly in one says that it is a class.
    picture(0).save(tmp_path / "first" / "x.jpg")
    assert open_images(str(tmp_path))[0].classes == ("first", "second")


def test_parts_within_classes_are_refused(tmp_path):
    for name in ("cat", "dog"):
        write_classes(tmp_path / name / "train", {"2020": 2, "2021": 2})
        write_classes(tmp_path / name / "test", {"2020": 2})
    message = refusal(open_images, str(tmp_path))
    assert "hold folders of the same names (test, train): each has parts of its own" in message


def test_one_folder_of_the_same_name_in_every_class_is_no_class(tmp_path):
    for name in ("cat", "dog"):
        write_classes(tmp_path / name, {"images": 3})
    assert [len(part) for part in open_images(str(tmp_path))] == [4, 2]


def test_images_without_class_folders_are_told(tmp_path):
    picture(0).save(tmp_path / "a.jpg")
    assert refusal(open_images, str(tmp_path)).endswith("its own images are in no class")


def test_what_lies_beside_class_folders_is_counted(tmp_path):
    write_classes(tmp_path, CLASSES)
    for name in ("b.jpg", "a.jpg"):
        picture(0).save(tmp_path / name)
    (tmp_path / "labels.csv").write_text("a,b", encoding="utf-8")
    train, val = open_images(str(tmp_path))
    assert [(left.reason, left.count, left.example) for left in train.left_out] == [
        ("images beside the class folders", 2, str(tmp_path / "a.jpg")),
        ("files ending in .csv", 1, str(tmp_path / "labels.csv")),
    ]
    assert val.left_out == ()


def test_every_part_counts_what_it_leaves_out(tmp_path):
    write_splits(tmp_path)
    for part, count in (("train", 2), ("val", 1)):
        for number in range(count):
            (tmp_path / part / "cat" / f"{number}.txt").touch()
    found = [[(left.reason, left.count) for left in p.left_out] for p in open_images(str(tmp_path))]
    assert found == [[("files ending in .txt", 2)], [("files ending in .txt", 1)]]


def test_what_is_left_out_does_not_change_the_fingerprint(tmp_path):
    write_classes(tmp_path, CLASSES)
    before = [part.fingerprint() for part in open_images(str(tmp_path))]
    (tmp_path / "cat" / "a.txt").touch()
    (tmp_path / "cat" / ".DS_Store").touch()
    assert [part.fingerprint() for part in open_images(str(tmp_path))] == before


def test_a_class_is_the_same_in_both_forms_of_unicode(tmp_path):
    folders = [unicodedata.normalize(form, "café") for form in ("NFD", "NFC")]
    write_splits(tmp_path, train={folders[0]: 3, "tea": 2}, val={folders[1]: 2, "tea": 1})
    if folders[1] in os.listdir(tmp_path / "train"):
        pytest.skip("this file system composes names itself")
    train, val = open_images(str(tmp_path))
    assert train.classes == val.classes == (folders[0], "tea")
    assert val.labels.tolist() == [0, 0, 1]
    assert val.read(1).size == (64, 74)


def test_two_folders_of_one_name_in_two_forms_of_unicode_are_refused(tmp_path):
    for form in ("NFC", "NFD"):
        write_classes(tmp_path, {unicodedata.normalize(form, "café"): 2})
    write_classes(tmp_path, {"tea": 2})
    assert "has two folders that are both called café" in refusal(open_images, str(tmp_path))


@pytest.mark.parametrize("name", ["Cat", "cat ", "CAT"])
def test_a_class_to_validate_on_that_is_written_otherwise_is_named(tmp_path, name):
    write_splits(tmp_path, val={name: 1})
    message = refusal(open_images, str(tmp_path))
    assert f"class {name!r} of {tmp_path / 'val'} is not among the 2 classes" in message
    assert message.endswith("; rename it to 'cat'")


def test_classes_may_have_any_names(tmp_path):
    strange = os.fsdecode(b"caf\xe9")
    names = ["🐈", "cat ", "猫", "cat", "Cat"]
    write_classes(tmp_path, dict.fromkeys(names, 2))
    try:
        write_classes(tmp_path, {strange: 2})
        names.append(strange)
    except OSError:
        pass
    images = class_folders(tmp_path)
    assert images.classes == tuple(sorted(names))
    assert len(images) == 2 * len(names)
    assert images.read(len(images) - 1).size == (64, 74)
    assert len(images.fingerprint()) == 16


def test_parts_and_archives_that_are_not_used_are_told(tmp_path):
    write_splits(tmp_path)
    for name in ("Train", "test", "beside"):
        write_classes(tmp_path / name, {"cat": 1, "dog": 1})
    (tmp_path / "train" / "owl.zip").write_bytes(b"x")
    told = {left.reason: left.count for left in open_images(str(tmp_path))[0].left_out}
    assert told == {"files ending in .zip": 1, "folders of images that are not used": 3}
    (tmp_path / "packed").mkdir()
    archive = (tmp_path / "train" / "owl.zip").rename(tmp_path / "packed" / "owl.zip")
    assert refusal(open_images, str(archive.parent)).endswith(f"; unpack {archive}")


def test_an_error_of_missing_images_tells_what_is_left_out(tmp_path):
    write_splits(tmp_path / "kaggle", val={})
    write_classes(tmp_path / "kaggle", {"val": 3})
    message = refusal(open_images, str(tmp_path / "kaggle"))
    assert "(left out: images beside the class folders: 3, such as" in message
    write_classes(tmp_path / "phone", {"cat": 3, "dog": 0})
    (tmp_path / "phone" / "dog" / "a.heic").write_bytes(b"x")
    for job in (open_images, load):
        message = refusal(job, str(tmp_path / "phone"))
        assert "(left out: files ending in .heic: 1, such as" in message
