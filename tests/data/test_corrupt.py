import pytest
from photographs import write_splits

from rexnet import UserError
from rexnet.data.corrupt import checked
from rexnet.data.examine import examine
from rexnet.data.sources import open_images


def examined(images, skip_corrupt):
    found = examine(images, lambda done, count: None)
    return checked(images, found, skip_corrupt)


def spoil(images, indices):
    for index in indices:
        with open(images.where(index), "r+b") as file:
            file.truncate(100)


def test_corrupt_images_are_an_error_that_names_the_first_five(tmp_path):
    train, _ = open_images(str(write_splits(tmp_path, train={"cat": 6, "dog": 6})))
    spoil(train, [0, 7])
    with pytest.raises(UserError) as error:
        examined(train, False)
    message = str(error.value)
    assert message.startswith(f"2 of 12 images are corrupt: {train.where(0)} (")
    assert f", {train.where(7)} (" in message
    assert message.endswith("; repair or remove them, or pass --skip-corrupt")
    assert "more" not in message
    spoil(train, range(1, 8))
    with pytest.raises(
        UserError, match=r"^8 of 12 images are corrupt: .* and 3 more; repair"
    ) as error:
        examined(train, False)
    assert train.where(4) in str(error.value)
    assert train.where(5) not in str(error.value)
    assert "\n" not in str(error.value)


def test_corrupt_images_that_are_skipped_are_left_out_and_listed(tmp_path):
    train, _ = open_images(str(write_splits(tmp_path, train={"cat": 3, "dog": 3})))
    spoil(train, [1, 4])
    rest, corrupt = examined(train, True)
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
        rest, corrupt = examined(train, skip_corrupt)
        assert corrupt == []
        assert rest.fingerprint() == train.fingerprint()


def test_a_class_that_loses_all_images_is_an_error(tmp_path):
    train, _ = open_images(str(write_splits(tmp_path)))
    spoil(train, [3, 4])
    with pytest.raises(UserError, match=r"all 2 images of class 'dog' of .*train are corrupt"):
        examined(train, True)
