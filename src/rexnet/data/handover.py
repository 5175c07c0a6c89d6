"""Tensors handed from one process to another in memory that needs no room in /dev/shm.

torch hands them over in files of /dev/shm, of which containers often have 64 MB only. Where these
do not suffice, the thread that hands over fails out of sight, and the reader waits for good.
"""

import mmap
import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

ALIGNMENT = 64
"""Bytes: tensors in one piece of memory begin at multiples of it."""

Layout = tuple[torch.dtype, torch.Size, tuple[int, ...], int, int]
"""Type, shape, strides, the byte at which a tensor begins, and its number of elements there."""


class Parcel:
    """Tensors in memory of their own; the process that unpickles it gets a tuple of them.

    What can fail does so here, not when it is pickled.

    Args:
        tensors: On the CPU; their contents are copied.

    Raises:
        OSError: There is no memory for them, or too many files are open.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._handle, self._layouts = _packed(tensors)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Return what makes the tensors of it on the other side."""
        return _unpacked, (self._handle, self._layouts)


def _packed(tensors: Sequence[Tensor]) -> tuple[Any, list[Layout]]:
    """Copy tensors into new memory; return a handle for another process, and where they are."""
    from multiprocessing.reduction import DupFd

    layouts: list[Layout] = []
    with _memory() as file:
        for tensor in tensors:
            last = torch.channels_last
            if not (tensor.is_contiguous() or tensor.is_contiguous(memory_format=last)):
                tensor = tensor.contiguous()
            # All elements in the order in which they lie.
            flat = tensor.as_strided((tensor.numel(),), (1,))
            start = -(-file.tell() // ALIGNMENT) * ALIGNMENT
            file.seek(start)
            _write(file, flat.view(torch.uint8).numpy().data)
            layouts.append((tensor.dtype, tensor.shape, tensor.stride(), start, tensor.numel()))
        return DupFd(file.fileno()), layouts


def _memory() -> Any:
    """Return a file in memory, of no file system; without such a thing, one with no name."""
    create = getattr(os, "memfd_create", None)
    if create is None:
        return tempfile.TemporaryFile(buffering=0)
    return open(create("rexnet-batch"), "w+b", buffering=0)


def _write(file: Any, content: memoryview) -> None:
    while len(content):
        content = content[file.write(content) :]


def _unpacked(handle: Any, layouts: list[Layout]) -> tuple[Tensor, ...]:
    """Return the tensors, which hold on to their memory."""
    descriptor = handle.detach()
    try:
        memory = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)
    return tuple(
        torch.frombuffer(memory, dtype=dtype, count=count, offset=start).as_strided(shape, strides)
        if count
        else torch.empty(shape, dtype=dtype)
        for dtype, shape, strides, start, count in layouts
    )
