"""Memory that a training step frees and the next one needs stays in the process."""

import ctypes
import os
import sys

# From malloc.h of glibc.
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8


def keep_freed_memory() -> bool:
    """Make glibc's malloc hand no memory back; call it before threads are started.

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
    # glibc before 2.35 takes at most 32 MiB for the first. Arenas but the main one shrink anyhow.
    return bool(
        (mallopt(MMAP_THRESHOLD, 2**31 - 1) or mallopt(MMAP_THRESHOLD, 2**25))
        and mallopt(TRIM_THRESHOLD, -1)
        and mallopt(ARENA_MAX, 1)
    )
