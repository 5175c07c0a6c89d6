"""Memory that a training step frees and the next one needs stays in the process."""

import ctypes
import os
import sys

# From malloc.h of glibc.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3

HEAP_BYTES = 64 * 2**20
"""Size of the heaps that the memory of threads is taken from."""


def keep_freed_memory() -> bool:
    """Make glibc's malloc hand no memory back to the kernel.

    By default it takes every large tensor from the kernel and hands it back, and a third of a
    training step on the CPU goes into clearing pages. The process keeps the most it ever needed.

    Returns:
        Whether it could be set: false where the C library is another one, and nothing changes.
    """
    if sys.platform != "linux" or "CS_GNU_LIBC_VERSION" not in os.confstr_names:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    # Some versions take at most 32 MiB for the first. The last keeps heaps that are empty.
    return bool(
        (mallopt(MMAP_THRESHOLD, 2**31 - 1) or mallopt(MMAP_THRESHOLD, 2**25))
        and mallopt(TRIM_THRESHOLD, -1)
        and mallopt(TOP_PAD, HEAP_BYTES)
    )
