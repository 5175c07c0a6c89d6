"""Batches of images read and augmented by worker processes, the same however they are made."""

import hashlib
import multiprocessing
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from rexnet.data.handover import Parcel
from rexnet.data.image_sets import Images
from rexnet.data.transforms import Transform
from rexnet.errors import UserError
from rexnet.runs.processes import end_with_parent

Batch = tuple[Tensor, Tensor]
"""Inputs (N, channels, height, width), float32 and channels last; and what is wanted of them."""

Key = tuple[int, int]
"""An epoch, and the index of an image in it."""


class Samples(Protocol):
    """What batches are made of."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def sample(self, index: int) -> Any:
        """Return a sample; it may draw from the global generators of random, numpy and torch."""

    def batch(self, samples: Sequence[Any]) -> Batch:
        """Return a batch of what ``sample`` returned."""


class LabelledImages:
    """Images with one label each.

    Args:
        images: The images.
        transform: Makes an input of a picture; it may draw from the global generators of
            ``random``, numpy and torch.
    """

    def __init__(self, images: Images, transform: Transform) -> None:
        self._images, self._transform = images, transform

    def __len__(self) -> int:
        return len(self._images)

    def sample(self, index: int) -> tuple[Tensor, int]:
        """Return an input (channels, height, width) and its label."""
        return self._transform(self._images.read(index)), int(self._images.labels[index])

    def batch(self, samples: Sequence[tuple[Tensor, int]]) -> Batch:
        """Return inputs (N, channels, height, width) and labels (N,)."""
        inputs, labels = zip(*samples, strict=True)
        return stacked(inputs), torch.tensor(labels)


def stacked(inputs: Sequence[Tensor]) -> Tensor:
    """Return inputs (channels, height, width) as one (N, ...), channels last in memory."""
    batch = torch.empty((len(inputs), *inputs[0].shape), memory_format=torch.channels_last)
    return torch.stack(list(inputs), out=batch)


class TrainingBatches:
    """Every sample once an epoch, in a new order each, in equal parts for every process.

    What is in a step, and what augmentation made of it, depends on the samples, the batch size and
    the seed alone: neither on the number of workers, nor on how a batch is divided among processes
    and micro-batches, nor on where an epoch is taken up.

    Args:
        samples: The samples.
        batch_size: Images of a step, over all processes.
        seed: At least 0.
        rank: Number of this process, from 0.
        world: Number of processes.
        accumulate: Micro-batches into which a process divides its part of a step.
        num_workers: Processes that read images; with 0 this one does.
        pin_memory: Put batches where a GPU can fetch them.

    Attributes:
        batch_size: Images of a step: all there are, if those are fewer than asked for.

    Raises:
        UserError: A batch cannot be divided into equal micro-batches.
    """

    def __init__(
        self,
        samples: Samples,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.batch_size = min(batch_size, len(samples))
        parts = world * accumulate
        if self.batch_size < 1 or self.batch_size % parts:
            raise UserError(
                f"a batch of {self.batch_size} images (batch size {batch_size}, {len(samples)} "
                f"images) cannot be divided among {world} processes x {accumulate} micro-batches; "
                f"take a multiple of {parts}"
            )
        self._num_images = len(samples)
        self._plan = _Plan(
            num_images=len(samples),
            batch_size=self.batch_size,
            seed=seed,
            parts=range(rank * accumulate, (rank + 1) * accumulate),
            num_parts=parts,
        )
        read = _Read(samples, seed)
        self._loader = _loader(read, self._plan, num_workers, pin_memory, persistent=True)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch; images that do not fill a last one are left out."""
        return self._num_images // self.batch_size

    def epoch(self, number: int, start_step: int = 0) -> Iterator[Batch]:
        """Yield this process's micro-batches of an epoch, ``accumulate`` of them a step.

        One epoch at a time: another call ends the one before.

        Args:
            number: The epoch, from 0.
            start_step: Steps to leave out at the start of the epoch.

        Raises:
            UserError: An image is corrupt; it is named.
        """
        self._plan.epoch, self._plan.start_step = number, start_step
        yield from _batches(self._loader)


def evaluation_batches(
    samples: Samples,
    *,
    batch_size: int,
    rank: int = 0,
    world: int = 1,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Yield every sample once over all processes, as those of number ``rank`` + i ``world``.

    Args:
        samples: The samples.
        batch_size: Images of a batch of this process; the last one has what is left.
        rank: Number of this process, from 0.
        world: Number of processes.
        num_workers: Processes that read images; with 0 this one does.
        pin_memory: Put batches where a GPU can fetch them.

    Raises:
        UserError: An image is corrupt; it is named.
    """
    mine = range(rank, len(samples), world)
    keys = [
        [(0, index) for index in mine[start : start + batch_size]]
        for start in range(0, len(mine), batch_size)
    ]
    yield from _batches(_loader(_Read(samples, 0), keys, num_workers, pin_memory, persistent=False))


def counted(
    batches: Iterable[Batch], total: int, on_progress: Callable[[int, int], None]
) -> Iterator[Batch]:
    """Yield ``batches``, and tell after each how many samples of ``total`` are done."""
    done = 0
    for batch in batches:
        yield batch
        done += len(batch[1])
        on_progress(done, total)


class _Plan:
    """The keys of the micro-batches of an epoch; set ``epoch`` and ``start_step`` before."""

    def __init__(
        self, *, num_images: int, batch_size: int, seed: int, parts: range, num_parts: int
    ) -> None:
        self._num_images, self._batch_size, self._seed = num_images, batch_size, seed
        self._parts, self._num_parts = parts, num_parts
        self.epoch = self.start_step = 0

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self.epoch
        order = np.random.default_rng([self._seed, epoch]).permutation(self._num_images)
        num_steps = self._num_images // self._batch_size
        steps = order[: num_steps * self._batch_size].reshape(num_steps, self._num_parts, -1)
        mine = steps[self.start_step :, self._parts.start : self._parts.stop]
        return ([(epoch, index) for index in part.tolist()] for step in mine for part in step)


class _Read(Dataset[Batch]):
    """Whole micro-batches by the keys of their samples."""

    def __init__(self, samples: Samples, seed: int) -> None:
        self._samples, self._seed = samples, seed

    def __getitems__(self, keys: list[Key]) -> Batch | Parcel | UserError:
        """Return a batch, or the error that DataLoader would wrap in a traceback."""
        try:
            with _kept_generators():
                batch = self._samples.batch([self._sample(epoch, index) for epoch, index in keys])
        except UserError as error:
            return error
        if get_worker_info() is None:
            return batch
        try:
            return Parcel(batch)
        except OSError as error:
            return UserError(
                f"a process that reads images cannot hand over a batch: {error.strerror or error}; "
                "take fewer of them, or smaller batches"
            )

    def _sample(self, epoch: int, index: int) -> Any:
        _seed_generators(self._seed, epoch, index)
        return self._samples.sample(index)


def _seed_generators(*numbers: int) -> None:
    """Seed the global generators from the numbers."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=20).digest()
    random.seed(int.from_bytes(digest[:8]))
    # timm's RandAugment draws from numpy's global generator.
    np.random.seed(int.from_bytes(digest[8:12]))  # noqa: NPY002
    torch.default_generator.manual_seed(int.from_bytes(digest[12:20]))


@contextmanager
def _kept_generators() -> Iterator[None]:
    """Leave the global generators as they were found."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


def _loader(
    samples: _Read,
    keys: Iterable[list[Key]],
    num_workers: int,
    pin_memory: bool,
    persistent: bool,
) -> "DataLoader[Batch]":
    if num_workers < 0:
        raise UserError(f"num_workers {num_workers} must be at least 0")
    return DataLoader(
        samples,
        batch_sampler=keys,
        num_workers=num_workers,
        collate_fn=_as_it_is,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
        persistent_workers=persistent and num_workers > 0,
        # Without one of its own it draws from the global generator.
        generator=torch.Generator(),
    )


def _as_it_is(batch: Any) -> Any:
    return batch


def _start_worker(number: int) -> None:
    # torch takes whatever has adopted the worker for its parent, if that was killed meanwhile.
    end_with_parent()
    # Ctrl-C reaches the whole process group; the workers end with the process that made them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The thread that hands batches over shows a traceback when the other side has gone; errors in
    # reading images go another way.
    sys.excepthook = _say_nothing
    # Of oddities that do no harm, such as EXIF it cannot read.
    warnings.filterwarnings("ignore", module="PIL")


def _say_nothing(*_: object) -> None:
    pass


def _batches(loader: "DataLoader[Batch]") -> Iterator[Batch]:
    """Yield what a loader gives, and raise the errors that it hands over."""
    _check_room(loader.num_workers)
    with _interrupts_held():
        iterator = iter(loader)
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise UserError(
                "a process that reads images died; memory may be short: take fewer of them "
                "(--workers) or smaller batches"
            ) from None
        if isinstance(batch, UserError):
            # A new one: its traceback holds this frame, and both would hold the workers.
            raise UserError(str(batch))
        yield batch[0], batch[1]


def _check_room(num_workers: int) -> None:
    """Check that the locks of so many processes can be made, which are files in /dev/shm.

    A loader that finds out halfway shows a traceback besides.

    Raises:
        UserError: There is no room for them.
    """
    if not num_workers:
        return
    try:
        # Four for each process's queue and eight for what they share, at most.
        _ = [multiprocessing.Lock() for _ in range(4 * num_workers + 8)]
    except OSError as error:
        raise UserError(
            f"processes that read images cannot start: no room for their locks in /dev/shm "
            f"({error.strerror or error}); give it a megabyte, or take --workers 0"
        ) from None


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back, here and in the processes that start meanwhile, until the end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
