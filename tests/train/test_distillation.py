import dataclasses
import signal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from resuming import apart, assert_same_end, end_of, together
from runs_of_toys import QUICK, config, train_and_die_by, train_by
from torch.nn import functional as F

from rexnet import UserError, load_model, runs, save_pretrained
from rexnet.preprocessing import Preprocessing
from rexnet.train import job
from rexnet.train.distillation import Clock, Teacher, order_of
from rexnet.train.recipe import Recipe

CLASSES = ("airplane", "automobile", "bird", "cat")
SHORT = (*QUICK, "epochs=1", "warmup_epochs=0")
TAUGHT = (*SHORT, "teacher=first", "distill_weight=0.7", "temperature=3")
CPU = torch.device("cpu")


def trained(**changes):
    return job.run(config(**changes), lambda progress: None)


@pytest.fixture
def first(here):
    """Train a teacher, whose outputs are far from even, and return it."""
    trained(out="first", set=(*SHORT, "lr=0.2"))
    return load_model(here / "first")


def teacher_of(first, student, **changes):
    recipe = Recipe(teacher="first", **changes)
    return Teacher(recipe, CLASSES, student or first.preprocessing, CPU)


def test_the_loss_is_that_of_labels_and_teacher_in_shares(first):
    taught, learnt = torch.randn(5, 4), torch.randn(5, 4)
    teacher = teacher_of(first, None, distill_weight=0.7, temperature=3.0)
    p, q = (taught / 3).softmax(1), (learnt / 3).softmax(1)
    distance = (p * (p / q).log()).sum(1).mean()
    wanted = 0.3 * 1.25 + 0.7 * 9 * distance
    torch.testing.assert_close(teacher.blended(torch.tensor(1.25), learnt, taught), wanted)


def test_nothing_is_learnt_from_a_teacher_that_says_the_same(first):
    teacher = teacher_of(first, None, distill_weight=1.0)
    z = torch.randn(5, 4, requires_grad=True)
    teacher.blended(torch.tensor(9.0), z, z.detach()).backward()
    assert z.grad is not None
    assert z.grad.abs().max() < 1e-6


def test_a_teacher_gives_what_it_gives_when_validated_and_learns_nothing(first):
    x = torch.randn(3, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    found = teacher_of(first, None)(x)
    assert not found.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(found, first(x), rtol=1e-4, atol=1e-4)


def test_a_teacher_sees_the_pixels_at_its_own_resolution_and_normalised_as_it_needs_them(first):
    own = Preprocessing(resolution=24, mean=(0.4, 0.5, 0.6), std=(0.3, 0.2, 0.1))
    first.preprocessing = own
    save_pretrained(first, "first/model")
    student = Preprocessing(resolution=16, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    pixels = torch.rand(3, 3, 16, 16)
    x, enlarged = pixels, F.interpolate(pixels, (24, 24), mode="bicubic", antialias=True)
    with torch.no_grad():
        wanted = first(normalised(enlarged, own))
    found = teacher_of(first, student)(normalised(x, student))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def normalised(pixels, preprocessing):
    mean, std = (torch.tensor(v)[:, None, None] for v in (preprocessing.mean, preprocessing.std))
    return (pixels - mean) / std


def test_classes_in_another_order_are_known_by_their_names(first):
    first.classes = CLASSES[::-1]
    assert order_of(CLASSES, first) == [3, 2, 1, 0]
    save_pretrained(first, "first/model")
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        found = teacher_of(first, None)(x)
        torch.testing.assert_close(found, first(x).flip(1), rtol=1e-4, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(5)))
def test_the_order_of_classes_is_found_again(order):
    class Named:
        classes = tuple(f"class {number}" for number in range(5))
        num_classes = 5

    assert order_of(tuple(Named.classes[i] for i in order), Named) == list(order)


@pytest.mark.parametrize("more", [(), ("mixup=0.2", "cutmix=0.5"), ("accumulate=2",)])
def test_a_teacher_without_weight_changes_no_step(more, first, here):
    trained(out="alone", set=(*SHORT, *more))
    trained(out="taught", set=(*TAUGHT, *more, "distill_weight=0"))
    assert_same_end(here / "alone", here / "taught")


@pytest.mark.numeric
@pytest.mark.parametrize("more", [(), ("cutmix=0.5",), ("precision=bfloat16",)])
def test_a_student_learns_from_its_teacher_alone(more, first, here):
    plain = ("crop=none", "flip=0", "dropout=0", "optimizer=adamw", "lr=0.005", "epochs=10")
    trained(set=(*TAUGHT, *plain, "distill_weight=1", *more))
    rows = runs.read_jsonl(here / "T" / "metrics.jsonl")
    assert rows[-1]["train_loss"] < 0.5 * rows[0]["train_loss"]


def test_the_record_knows_a_teacher_by_its_weights_and_says_nothing_without_one(first, here):
    trained(set=(*SHORT, "distill_weight=0.9"))
    alone = runs.read_json(here / "T" / "train.json")
    assert not {"teacher", "teacher_weights", "distill_weight"} & {*alone, *alone["recipe"]}
    result = trained(out="taught", set=TAUGHT)
    held = runs.read_json(here / "taught" / "train.json")
    assert len(held["teacher"]) == 16
    assert held["recipe"] == {**alone["recipe"], "distill_weight": 0.7, "temperature": 3.0}
    (here / "first").rename(here / "elsewhere")
    assert trained(out="taught", set=(*TAUGHT, "teacher=elsewhere")) == result
    with pytest.raises(UserError, match=r"teacher is '?[0-9a-f]{16}'?, not None"):
        trained(out="taught", set=SHORT)
    trained(out="other", seed=1, set=SHORT)
    with pytest.raises(UserError, match=r": teacher is [0-9a-f]{16}, not [0-9a-f]{16};"):
        trained(out="taught", set=(*TAUGHT, "teacher=other"))


def test_a_taught_training_killed_in_mid_epoch_ends_as_one_that_was_not(first, here):
    trained(out="whole", set=TAUGHT)
    assert apart(train_and_die_by, TAUGHT, 0.5, "killed") == -signal.SIGKILL
    trained(out="killed", set=TAUGHT)
    assert_same_end(here / "whole", here / "killed")


@pytest.mark.numeric
def test_two_processes_are_taught_as_one_is(first, here):
    assert together(2, train_by, TAUGHT, "two") == [0, 0]
    trained(out="one", set=(*TAUGHT, "accumulate=2"))
    (_, rows), (_, others) = end_of(here / "one"), end_of(here / "two")
    assert rows[0]["train_loss"] == pytest.approx(others[0]["train_loss"], rel=1e-5)


def test_the_cost_of_the_teacher_is_told(first):
    told = []
    job.run(config(set=TAUGHT), lambda progress: told.append(progress.words))
    assert any("teacher +" in words for words in told)


def test_a_clock_tells_a_cost_by_the_steps_in_the_middle(monkeypatch):
    times = iter([0, 1, 4, 5, 8, 9, 100, 101, 104, 105])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    clock = Clock(CPU)
    told = []
    for _ in range(5):
        with clock:
            pass
        told.append(clock.more)
    assert told == [None, None, *[pytest.approx(1 / 3)] * 3]


MISTAKES = {
    "nothing": ("teacher=nowhere", "teacher nowhere: nowhere is no run folder"),
    "a name alone": ("teacher=rexnet_1.0", "needs teacher_weights timm"),
    "no weights": ("teacher_weights=w.pth", "teacher_weights w.pth belong to no teacher; set it"),
    "share": ("distill_weight=1.1", "distill_weight 1.1 must be from 0 to 1"),
    "temperature": ("temperature=0", "temperature 0.0 must be from 0.1 to 100"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line_and_leaves_nothing_behind(mistake, here):
    setting, wanted = MISTAKES[mistake]
    with pytest.raises(UserError) as error:
        trained(set=(*SHORT, setting))
    assert wanted in str(error.value)
    assert "\n" not in str(error.value)
    assert not (here / "T").exists()


@pytest.mark.parametrize(
    ("classes", "wanted"),
    [
        (("car", "dog", "cow", "pig"), r"it knows 4 classes \(car, dog, cow, \.\.\.\), the images"),
        (("airplane", "automobile", "bird"), "it knows 3 classes"),
        ((*CLASSES, "deer"), r"the images have 4 classes \(airplane, .*must know the same"),
        ((), "it knows 6 classes"),
    ],
)
def test_a_teacher_of_other_classes_is_refused_before_images_are_looked_at(
    classes, wanted, first, here
):
    first.reset_classifier(len(classes) or 6)
    first.classes = classes
    save_pretrained(first, here / "first" / "model")
    seen = []
    with pytest.raises(UserError, match=wanted) as error:
        job.run(config(set=TAUGHT), seen.append)
    assert "\n" not in str(error.value)
    assert not seen
    assert not (here / "T").exists()


def test_a_teacher_of_grey_images_is_refused(first):
    grey = dataclasses.replace(first.preprocessing, mean=(0.5,), std=(0.2,))
    with pytest.raises(UserError, match="teacher first: it sees 3 channels, the network 1"):
        teacher_of(first, grey)
