import errno
import multiprocessing
import os
import pickle
import random
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from samples import colour, count_threads, die, draw, fail, failure, labels_of, numbered

from rexnet import UserError
from rexnet.data.loader import LabelledImages, TrainingBatches, evaluation_batches
from rexnet.data.sources import open_images
from rexnet.data.transforms import Augmentation, evaluation_transform, training_transform
from rexnet.preprocessing import Preprocessing

pytestmark = [
    # Where there are fewer cores than workers, and from Python 3.12 on.
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]

SAMPLE = open_images("sample")[1]

SMALL = Preprocessing(resolution=32, crop=1.0)

# One step of every kind, each with a generator of its own.
AUGMENTATION = Augmentation(rand_augment="rand-m9-mstd0.5", random_erasing=0.5)

INTERRUPTED = """
import os, signal, sys
from rexnet.data.loader import LabelledImages, TrainingBatches
from rexnet.data.sources import open_images
from rexnet.data.transforms import Augmentation, training_transform
from rexnet.preprocessing import Preprocessing

images = open_images("sample")[0]
transform = training_transform(Preprocessing(resolution=64), Augmentation())
batches = TrainingBatches(LabelledImages(images, transform), batch_size=64, seed=0, num_workers=2)
try:
    for epoch in range(1000):
        for _ in batches.epoch(epoch):
            print("started", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def draws(**changes):
    """Return an epoch of inputs that show the draws for 24 images."""
    options = {"batch_size": 6, "seed": 5} | changes
    number, start = options.pop("number", 2), options.pop("start_step", 0)
    return list(TrainingBatches(LabelledImages(numbered(24), draw), **options).epoch(number, start))


def assert_equal(found, wanted):
    assert len(found) == len(wanted)
    for (x, y), (wanted_x, wanted_y) in zip(found, wanted, strict=True):
        assert torch.equal(x, wanted_x)
        assert torch.equal(y, wanted_y)


def write_files(folder, count=12):
    """Write a folder of class folders of JPEG files from the sample and open it."""
    for number in range(count):
        path = folder / ("cat", "dog")[number % 2] / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(SAMPLE.images[number]).resize((80, 60))
        picture.save(path)
    return open_images(str(folder))[0]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("photos"), 28)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_over_all_processes_an_epoch_has_every_image_at_most_once(data):
    count = data.draw(st.integers(1, 60), "images")
    batch_size = data.draw(st.integers(1, 70), "batch_size")
    size = min(batch_size, count)
    world = data.draw(st.sampled_from([w for w in range(1, size + 1) if size % w == 0]), "world")
    rest = size // world
    accumulate = data.draw(st.sampled_from([a for a in range(1, rest + 1) if rest % a == 0]))
    seen = []
    for rank in range(world):
        batches = TrainingBatches(
            LabelledImages(numbered(count), colour),
            batch_size=batch_size,
            seed=3,
            rank=rank,
            world=world,
            accumulate=accumulate,
        )
        assert batches.batch_size == size
        assert batches.steps_per_epoch == count // size >= 1
        found = list(batches.epoch(1))
        assert len(found) == batches.steps_per_epoch * accumulate
        for x, y in found:
            assert len(y) == size // world // accumulate
            assert x.flatten().tolist() == y.tolist()
        seen += labels_of(found)
    assert len(seen) == len(set(seen)) == count // size * size


def test_an_epoch_that_batches_fill_has_every_image_once_in_another_order_each():
    batches = TrainingBatches(LabelledImages(numbered(24), colour), batch_size=6, seed=0)
    first, second = (labels_of(batches.epoch(number)) for number in (0, 1))
    assert sorted(first) == sorted(second) == list(range(24))
    assert first != second
    assert first != list(range(24))
    assert first == labels_of(batches.epoch(0))
    other = TrainingBatches(LabelledImages(numbered(24), colour), batch_size=6, seed=1)
    assert labels_of(other.epoch(0)) != first


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([1, 2, 3]), st.sampled_from([1, 2]), st.integers(0, 2))
def test_processes_and_micro_batches_divide_the_same_steps(world, accumulate, start):
    size = 12 // world // accumulate
    whole = draws(batch_size=12)
    ranks = [
        draws(batch_size=12, rank=rank, world=world, accumulate=accumulate, start_step=start)
        for rank in range(world)
    ]
    for step, (x, y) in enumerate(whole[start:]):
        parts = [part for found in ranks for part in found[step * accumulate :][:accumulate]]
        assert all(len(part[1]) == size for part in parts)
        assert torch.equal(torch.cat([part[0] for part in parts]), x)
        assert torch.equal(torch.cat([part[1] for part in parts]), y)
    assert all(len(found) == (2 - start) * accumulate for found in ranks)


def test_one_process_with_two_micro_batches_sees_what_two_processes_see():
    one = draws(accumulate=2)
    two = [draws(rank=rank, world=2) for rank in range(2)]
    assert_equal(one[0::2], two[0])
    assert_equal(one[1::2], two[1])


def test_the_draws_for_an_image_change_with_the_epoch_the_seed_and_the_image():
    found = {}
    for change in ({}, {"number": 3}, {"seed": 6}):
        for x, _ in draws(**change):
            for index, *numbers in x.flatten(1).tolist():
                for kind, number in enumerate(numbers):
                    found.setdefault((index, kind), []).append(number)
    assert len(found) == 24 * 3
    assert all(len(set(numbers)) == 3 for numbers in found.values())
    assert len({numbers[0] for numbers in found.values()}) == 24 * 3
    # The order of the images has no part in them.
    by_size = [
        {x[0].item(): x.flatten().tolist() for batch, _ in draws(batch_size=size) for x in batch}
        for size in (6, 4)
    ]
    assert by_size[0] == by_size[1]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_the_inputs_are_the_same_whatever_the_number_of_workers(files, num_workers):
    transform = training_transform(SMALL, AUGMENTATION)
    options = {"batch_size": 8, "seed": 1}
    alone = TrainingBatches(LabelledImages(files, transform), **options)
    wanted = [list(alone.epoch(number)) for number in (0, 1)]
    batches = TrainingBatches(LabelledImages(files, transform), **options, num_workers=num_workers)
    for number in (0, 1):
        assert_equal(list(batches.epoch(number)), wanted[number])
    # An epoch that is left half way, then taken up, and one that has only its end left.
    some = batches.epoch(0)
    next(some)
    assert_equal(list(batches.epoch(0, start_step=1)), wanted[0][1:])
    assert_equal(list(batches.epoch(1, start_step=2)), wanted[1][2:])
    assert list(batches.epoch(1, start_step=3)) == []
    assert_equal(list(batches.epoch(1)), wanted[1])
    assert not torch.equal(wanted[0][0][0], wanted[1][0][0])


def test_everything_a_worker_needs_can_be_sent_to_a_process_that_starts_afresh(files):
    transform = training_transform(SMALL, AUGMENTATION)
    wanted = list(TrainingBatches(LabelledImages(files, transform), batch_size=8, seed=1).epoch(0))
    images, transform = pickle.loads(pickle.dumps((files, transform)))
    assert_equal(
        list(TrainingBatches(LabelledImages(images, transform), batch_size=8, seed=1).epoch(0)),
        wanted,
    )


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_global_generators_are_left_as_they_were(num_workers):
    def state():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002

    before = state()
    samples, options = LabelledImages(SAMPLE, draw), {"batch_size": 500, "num_workers": num_workers}
    for _ in TrainingBatches(samples, seed=0, **options).epoch(0):
        assert state() == before
    for _ in evaluation_batches(samples, **options):
        assert state() == before
    assert state() == before


def test_inputs_are_float32_with_channels_last_and_labels_int64():
    transform = training_transform(SMALL, AUGMENTATION)
    for batches in (
        TrainingBatches(LabelledImages(SAMPLE, transform), batch_size=500, seed=0).epoch(0),
        evaluation_batches(LabelledImages(SAMPLE, transform), batch_size=500),
    ):
        for x, y in batches:
            assert x.shape == (500, 3, 32, 32)
            assert x.dtype == torch.float32
            assert x.is_contiguous(memory_format=torch.channels_last)
            assert y.dtype == torch.int64
            assert y.shape == (500,)


@pytest.mark.parametrize(
    ("count", "options", "wanted"),
    [
        (
            24,
            {"batch_size": 6, "world": 4},
            "a batch of 6 images (batch size 6, 24 images) cannot be divided among 4 processes x "
            "1 micro-batches; take a multiple of 4",
        ),
        (24, {"batch_size": 6, "world": 2, "accumulate": 2}, "take a multiple of 4"),
        (7, {"batch_size": 32, "accumulate": 2}, "a batch of 7 images (batch size 32, 7 images)"),
        (7, {"batch_size": 0}, "a batch of 0 images"),
        (7, {"batch_size": 7, "num_workers": -1}, "num_workers -1 must be at least 0"),
    ],
)
def test_what_cannot_be_divided_is_refused(count, options, wanted):
    with pytest.raises(UserError) as error:
        TrainingBatches(LabelledImages(numbered(count), colour), seed=0, **options)
    assert wanted in str(error.value)
    assert "\n" not in str(error.value)


def test_fewer_images_than_a_batch_are_one_batch():
    batches = TrainingBatches(LabelledImages(numbered(7), colour), batch_size=32, seed=0)
    ((x, y),) = batches.epoch(0)
    assert sorted(y.tolist()) == list(range(7))
    assert len(x) == 7


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.integers(1, 70), st.integers(1, 9))
def test_every_image_is_evaluated_once_over_all_processes(count, batch_size, world):
    seen = []
    for rank in range(world):
        batches = list(
            evaluation_batches(
                LabelledImages(numbered(count), colour),
                batch_size=batch_size,
                rank=rank,
                world=world,
            )
        )
        sizes = [len(y) for _, y in batches]
        assert all(size == batch_size for size in sizes[:-1])
        assert all(0 < size <= batch_size for size in sizes)
        assert all(x.flatten().tolist() == y.tolist() for x, y in batches)
        assert count // world <= sum(sizes) <= -(-count // world)
        seen += labels_of(batches)
    assert sorted(seen) == list(range(count))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_evaluation_sees_the_images_in_order_as_they_are(num_workers):
    transform = evaluation_transform(
        Preprocessing(resolution=32, crop=1.0, mean=(0,) * 3, std=(1,) * 3)
    )
    batches = list(
        evaluation_batches(
            LabelledImages(SAMPLE, transform), batch_size=300, num_workers=num_workers
        )
    )
    assert [len(y) for _, y in batches] == [300, 300, 300, 100]
    assert labels_of(batches) == SAMPLE.labels.tolist()
    pixels = torch.cat([x for x, _ in batches]).mul(255).round().permute(0, 2, 3, 1)
    np.testing.assert_array_equal(pixels.numpy(), SAMPLE.images)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("job", ["train", "evaluate"])
def test_a_corrupt_image_is_one_line_that_names_it(tmp_path, num_workers, job):
    images = write_files(tmp_path)
    path = images.where(3)
    with open(path, "r+b") as file:
        file.truncate(300)
    transform = evaluation_transform(SMALL)
    options = {"batch_size": 5, "num_workers": num_workers}
    if job == "train":
        batches = TrainingBatches(LabelledImages(images, transform), seed=0, **options).epoch(0)
    else:
        batches = evaluation_batches(LabelledImages(images, transform), **options)
    message = failure(batches)
    assert message.startswith(f"corrupt image {path}: ")
    assert "\n" not in message


def test_a_worker_that_is_killed_is_an_error_of_one_line():
    batches = evaluation_batches(LabelledImages(SAMPLE, die), batch_size=8, num_workers=1)
    assert failure(batches).startswith("a process that reads images died; memory may be short")


@pytest.mark.parametrize(
    ("where", "name", "wanted"),
    [
        (os, "memfd_create", "cannot hand over a batch: No space left on device; take fewer"),
        (multiprocessing, "Lock", "cannot start: no room for their locks in /dev/shm .No space"),
    ],
)
def test_no_room_for_what_processes_share_is_one_line(where, name, wanted, monkeypatch):
    if sys.platform != "linux" or multiprocessing.get_start_method() != "fork":
        pytest.skip("what is patched here reaches workers by fork alone")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(where, name, full)
    samples = LabelledImages(numbered(8), colour)
    message = failure(evaluation_batches(samples, batch_size=4, num_workers=1))
    assert re.search(wanted, message)
    here = evaluation_batches(samples, batch_size=4, num_workers=0)
    assert [len(labels) for _, labels in here] == [4, 4]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_bug_in_a_transform_keeps_its_traceback(num_workers):
    samples = LabelledImages(SAMPLE, fail)
    batches = evaluation_batches(samples, batch_size=8, num_workers=num_workers)
    assert "a bug" in failure(batches, ZeroDivisionError)


def test_a_worker_has_one_thread():
    samples = LabelledImages(numbered(4), count_threads)
    ((x, _),) = evaluation_batches(samples, batch_size=4, num_workers=1)
    assert x.flatten().tolist() == [1, 1, 1, 1]


LATE = """
import os
from rexnet.data import loader

start, parent = loader._start_worker, os.getpid()

def start_late(number):
    while number == 1 and os.getppid() == parent:
        pass
    start(number)

loader._start_worker = start_late
"""


def test_a_worker_that_starts_when_its_parent_is_gone_ends():
    process = subprocess.Popen(
        [sys.executable, "-c", LATE + INTERRUPTED], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b"started\n"
    process.kill()
    # The workers hold these pipes as well: both end when the last process has.
    _, err = process.communicate(timeout=600)
    assert err == b""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_process_that_made_them_and_without_a_word(how):
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "started\n"
    if how == signal.SIGINT:
        # As a terminal does: to the process and its workers.
        os.killpg(process.pid, how)
    else:
        process.kill()
    # The workers hold these pipes as well: both end when the last process has.
    out, err = process.communicate(timeout=600)
    assert err == ""
    if how == signal.SIGINT:
        assert out.splitlines()[-1] == "interrupted"
