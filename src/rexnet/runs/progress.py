"""How far a job is, in numbers and in words, and when it will have ended."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a job is.

    Attributes:
        share: What part of it is done, from 0 to 1; it falls where another part of the job begins.
        words: The same in words, the time that is left included where the job tells it.
        seconds_left: Estimated wall time to the end; None before it can be told.
        line: Whether a log gets the words; None for a line at every tenth of the job.
    """

    share: float
    words: str
    seconds_left: float | None = None
    line: bool | None = None


OnProgress = Callable[[Progress], None]
"""What a job tells how far it is."""


class Estimate:
    """What time is left, by the work that was done since this was made.

    Args:
        clock: Tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._begun = clock, clock()

    def seconds_left(self, done: float, left: float) -> float | None:
        """Return the estimated wall time to the end; None before anything is done.

        Args:
            done: The work done since this was made, in any unit.
            left: The work that is left, in the same unit.
        """
        return left * (self._clock() - self._begun) / done if done > 0 else None


def counting(
    on_progress: OnProgress,
    words: str,
    *,
    first: float = 0.0,
    last: float = 1.0,
    line: bool | None = None,
) -> Callable[[int, int], None]:
    """Return what takes how many are done of how many, and tells of it as ``1,000/5,000 images``.

    Args:
        on_progress: What is told.
        words: What is counted.
        first: The share of the job before the first is done.
        last: The share of the job when all are done.
        line: As that of ``Progress``.
    """

    def tell(done: int, total: int) -> None:
        share = first + (last - first) * done / total
        on_progress(Progress(share=share, words=f"{done:,}/{total:,} {words}", line=line))

    return tell


def time_left(seconds: float | None) -> str:
    """Return an estimate in words: ``time left 1:15``, or ``time left -`` while there is none."""
    return f"time left {'-' if seconds is None else duration(seconds)}"


def duration(seconds: float) -> str:
    """Return a duration: 75 -> ``1:15``, 4000 -> ``1:06:40``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
