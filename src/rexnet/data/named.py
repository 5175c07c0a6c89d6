"""Images that are named: those in files, folders and lists, read ahead and taken in batches."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rexnet.data.decode import MAX_MEGAPIXELS, shown
from rexnet.data.walk import Tally, images_in
from rexnet.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 2
"""Batches that are read while one is computed."""

MAX_THREADS = 16


@dataclass(frozen=True, kw_only=True)
class Unread:
    """What stands in place of a result for an image that cannot be read.

    Attributes:
        reason: Why it cannot.
    """

    reason: str


def names_in(content: bytes, name: str) -> list[str]:
    """Return the paths in a list, one a line; empty lines are left out.

    Args:
        content: The list, in the encoding of the file system.
        name: What it is called in an error.

    Raises:
        UserError: It is no text.
    """
    if b"\0" in content:
        raise UserError(f"{name} holds null bytes and is no list; give one path a line")
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    paths = (os.fsdecode(line.removesuffix(b"\r")) for line in lines)
    return [path for path in paths if path.strip()]


def files_of(
    names: Iterable[str], leave_out: Callable[[str], bool] = lambda path: False
) -> list[str]:
    """Return the files that are named; a folder names the images in it and below, in order.

    Hidden files and folders are left out; a folder without images stands for itself.

    Args:
        names: Paths of files and folders.
        leave_out: Tells which files in folders are left out, too.

    Raises:
        UserError: A folder cannot be read, or a link leads back to a folder above it.
    """
    files: list[str] = []
    for name in names:
        if not os.path.isdir(name):
            files.append(name)
            continue
        paths = (os.path.join(name, path) for path in images_in(name, Tally()))
        files += [path for path in paths if not leave_out(path)] or [name]
    return files


def in_batches(
    files: Sequence[str],
    prepare: "Callable[[Image], T]",
    compute: Callable[[list[T]], Sequence[R]],
    batch_size: int,
    max_megapixels: int = MAX_MEGAPIXELS,
) -> Iterator[tuple[str, R | Unread]]:
    """Yield every file with its result, in order; an image that cannot be read stops nothing.

    Threads read a few batches ahead, so what is in memory does not grow with the files.

    Args:
        files: Files of images.
        prepare: What is done to a picture, RGB and upright, in a thread.
        compute: From prepared pictures to a result each.
        batch_size: Pictures that are computed at a time, at most.
        max_megapixels: Most millions of pixels of a file.
    """
    pool = ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1))
    ahead: deque[list[tuple[str, Future[T | Unread]]]] = deque()
    try:
        for start in range(0, len(files), batch_size):
            batch = files[start : start + batch_size]
            ahead.append(
                [(path, pool.submit(_prepared, path, prepare, max_megapixels)) for path in batch]
            )
            if len(ahead) > AHEAD:
                yield from _computed(ahead.popleft(), compute)
        while ahead:
            yield from _computed(ahead.popleft(), compute)
    finally:
        # Whoever has had enough does not wait for the rest.
        pool.shutdown(cancel_futures=True)


def _computed(
    batch: list[tuple[str, Future[T | Unread]]], compute: Callable[[list[T]], Sequence[R]]
) -> Iterator[tuple[str, R | Unread]]:
    read = [(path, future.result()) for path, future in batch]
    sound = [value for _, value in read if not isinstance(value, Unread)]
    results = iter(compute(sound) if sound else ())
    for path, value in read:
        yield path, value if isinstance(value, Unread) else next(results)


def _prepared(path: str, prepare: "Callable[[Image], T]", max_megapixels: int) -> T | Unread:
    if os.path.isdir(path):
        return Unread(reason="a folder without images")
    if not os.path.exists(path):
        return Unread(reason="no such file")
    try:
        return prepare(shown(Path(path).read_bytes(), max_megapixels=max_megapixels).picture)
    except OSError as error:
        return Unread(reason=error.strerror or str(error))
    except ValueError as error:
        return Unread(reason=" ".join(str(error).split()))
