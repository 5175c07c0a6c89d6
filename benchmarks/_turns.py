"""What benchmarks share: turns within a limit of time, and the arithmetic peak of a core."""

import time
from collections.abc import Callable, Iterator

import torch
from torch.nn import functional as F

from rexnet.deploy import machine

SIDE = 1024
"""Of the matrices that are multiplied."""

PASSES = 3
"""Forward, to the gradient of the input, and to that of the weight: each costs the MACs once."""


class Deadline:
    """A moment until which a benchmark takes turns."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes

    def turns(self, most: int, least: int, share: float = 1.0) -> Iterator[int]:
        """Yield the numbers of at most ``most`` turns that end in a ``share`` of the time left.

        There are ``least`` turns in any case.
        """
        begun, longest = time.monotonic(), 0.0
        end = begun + share * (self._end - begun)
        for number in range(most):
            start = time.monotonic()
            if number >= least and start + longest > end:
                return
            yield number
            longest = max(longest, time.monotonic() - start)


def matmul_peak(seconds: float = 1.0) -> float:
    """Return the GFLOP/s at which one core multiplies float32 matrices.

    The better of torch's two libraries counts: a product, and a 1x1 convolution that is the same.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    a, b = torch.randn(2, SIDE, SIDE)
    images = a.view(16, SIDE // 16, 1, SIDE).permute(0, 3, 2, 1)
    images = images.contiguous(memory_format=torch.channels_last)
    weight = b.view(SIDE, SIDE, 1, 1)
    with torch.inference_mode():
        fastest = min(
            _fastest(call, seconds / 2)
            for call in (lambda: a @ b, lambda: F.conv2d(images, weight))
        )
    torch.set_num_threads(threads)
    return 2 * SIDE**3 / fastest / 1e9


def share_of_peak(images_per_second: float, macs: int, peak: float) -> float:
    """Return the share of a core's ``peak`` at which images of ``macs`` are trained on it."""
    return images_per_second * PASSES * 2 * macs / 1e9 / peak


def has_bfloat16() -> bool:
    """Tell whether the processor computes in bfloat16; others take many times as long for it."""
    return "bf16" in machine.examine().instructions


def _fastest(call: Callable[[], object], seconds: float) -> float:
    call()
    fastest, end = float("inf"), time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        call()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest
