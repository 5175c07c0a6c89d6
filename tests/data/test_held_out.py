import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from photographs import refusal, write_classes, write_splits

from rexnet.data.held_out import are_of_one, exchanged, part_of, without_corrupt
from rexnet.data.sources import open_images


def places(images):
    return {images.where(index) for index in range(len(images))}


def test_what_is_held_out_is_drawn_class_by_class():
    # Earlier runs held out the same images.
    labels = np.random.default_rng(3).integers(0, 60, 2000)
    generator, wanted = np.random.default_rng(0), np.zeros(2000, dtype=bool)
    for label in range(60):
        where = np.flatnonzero(labels == label)
        wanted[generator.permutation(where)[: max(1, round(0.1 * len(where)))]] = True
    names = tuple(map(str, range(60)))
    found = part_of(labels, names, "x")
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("count", [2, 5, 14, 15, 100])
def test_a_tenth_of_a_class_is_held_out_and_at_least_one(count):
    labels = np.arange(2 * count) % 2
    found = part_of(labels, ("a", "b"), "x")
    assert np.bincount(labels[found]).tolist() == [max(1, round(count / 10))] * 2


def test_a_larger_part_holds_a_smaller_one():
    labels = np.arange(200) % 4
    small, large = (part_of(labels, "abcd", "x", share) for share in (0.1, 0.2))
    assert large.sum() == 2 * small.sum() == 40
    assert large[small].all()


@given(data=st.data())
def test_as_many_are_held_out_as_before_if_there_are_enough(data):
    number = st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.booleans()), max_size=40)
    rows = data.draw(number)
    labels, held_out, corrupt = (np.array([row[i] for row in rows]) for i in range(3))
    labels, held_out, corrupt = labels.astype(int), held_out.astype(bool), corrupt.astype(bool)
    found = exchanged(labels, held_out, corrupt)
    assert not (found & corrupt).any()
    assert found[held_out & ~corrupt].all()
    for label in range(3):
        of_class = labels == label
        before, now = (int((of_class & part).sum()) for part in (held_out, found))
        trained_on = int((of_class & ~found & ~corrupt).sum())
        could = int((of_class & ~held_out & ~corrupt).sum())
        assert now <= before
        assert trained_on >= min(could, 1)
        assert now == before or trained_on <= 1
        if not (of_class & held_out & corrupt).any():
            assert (found == held_out)[of_class].all()


def test_another_is_held_out_in_the_place_of_a_corrupt_one(tmp_path):
    train, val = parts = open_images(str(write_classes(tmp_path, {"cat": 10, "dog": 10})))
    assert are_of_one(train, val)
    new_train, new_val = without_corrupt(parts, ([], [0]))
    assert (len(new_train), len(new_val)) == (17, 2)
    assert new_val.labels.tolist() == [0, 1]
    assert places(new_train) | places(new_val) == (places(train) | places(val)) - {val.where(0)}
    assert not places(new_train) & places(new_val)
    assert (new_train.name, new_val.name) == (train.name, val.name)
    again = without_corrupt(parts, ([], [0]))
    assert again[1].files.tolist() == new_val.files.tolist()
    assert len(without_corrupt(parts, ([], [0]), exchange=False)[1]) == 1


def test_what_is_held_out_stays_if_only_others_are_corrupt(tmp_path):
    train, val = parts = open_images(str(write_classes(tmp_path, {"cat": 15, "dog": 10})))
    rest, same = without_corrupt(parts, ([0, 3], []))
    assert same.fingerprint() == val.fingerprint()
    assert places(rest) == places(train) - {train.where(0), train.where(3)}


def test_parts_of_their_own_are_not_mixed(tmp_path):
    parts = open_images(str(write_splits(tmp_path, val={"cat": 2, "dog": 2})))
    assert not are_of_one(*parts)
    train, val = without_corrupt(parts, ([], [0]))
    assert (len(train), len(val)) == (5, 3)
    message = refusal(without_corrupt, parts, ([], [2, 3]))
    assert message.startswith(f"all 2 images of class 'dog' of {tmp_path / 'val'} are corrupt")


@pytest.mark.parametrize(
    ("num_corrupt", "wanted"),
    [
        (10, "all 10 images of class 'cat' of {} are corrupt; repair"),
        (
            9,
            "9 of the 10 images of class 'cat' of {} are corrupt, and every class needs at least 2",
        ),
    ],
)
def test_a_class_with_too_few_sound_images_is_refused_with_numbers(tmp_path, num_corrupt, wanted):
    parts = open_images(str(write_classes(tmp_path, {"cat": 10, "dog": 10})))
    message = refusal(without_corrupt, parts, (list(range(num_corrupt - 1)), [0]))
    assert message.startswith(wanted.format(tmp_path))


def test_images_in_memory_are_left_as_they_are():
    parts = open_images("sample")
    train, val = without_corrupt(parts, ([], []))
    assert (train.fingerprint(), val.fingerprint()) == tuple(part.fingerprint() for part in parts)
