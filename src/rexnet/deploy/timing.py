"""How long things take, measured in turns."""

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

PAUSE_SECONDS = 0.05
"""Between turns: threads of a runtime that wait for work spin for so long and slow the next."""

WARM_CALLS, WARM_SECONDS = 3, 0.2
"""Calls before the first round: at least so many, and for at least so long."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What one contender took.

    Attributes:
        milliseconds: One number a round.
    """

    milliseconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the rounds in milliseconds."""
        return statistics.median(self.milliseconds)

    @property
    def fastest(self) -> float:
        """The fastest round in milliseconds."""
        return min(self.milliseconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The quarter of the rounds below and above, in milliseconds."""
        return _quartiles(self.milliseconds)


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times as long one contender took as another.

    Attributes:
        value: Of the medians.
        quartiles: Of the ratios round by round.
    """

    value: float
    quartiles: tuple[float, float]


def take_turns(
    contenders: Mapping[str, Callable[[], Any]],
    rounds: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Timing]:
    """Time every contender once a round, in an order that is drawn anew for every round.

    Before a timed call there are a pause and a call that is not timed.

    Args:
        contenders: What to call, by name.
        rounds: Calls of each that are timed.
        on_progress: Called with the number of rounds done and of all rounds.
    """
    for call in contenders.values():
        _warm(call)
    order = random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for done in range(rounds):
        for name in order.sample(list(contenders), len(contenders)):
            time.sleep(PAUSE_SECONDS)
            contenders[name]()
            start = time.perf_counter()
            contenders[name]()
            times[name].append(1000 * (time.perf_counter() - start))
        on_progress(done + 1, rounds)
    return {name: Timing(milliseconds=tuple(found)) for name, found in times.items()}


def ratio(one: Timing, other: Timing) -> Ratio:
    """Return how many times as long ``one`` took as ``other`` in the same rounds."""
    pairs = zip(one.milliseconds, other.milliseconds, strict=True)
    return Ratio(
        value=one.median / other.median, quartiles=_quartiles([ours / its for ours, its in pairs])
    )


def _warm(call: Callable[[], Any]) -> None:
    start, calls = time.perf_counter(), 0
    while calls < WARM_CALLS or time.perf_counter() - start < WARM_SECONDS:
        call()
        calls += 1


def _quartiles(values: "tuple[float, ...] | list[float]") -> tuple[float, float]:
    ordered = sorted(values)
    quarter = (len(ordered) - 1) // 4
    return ordered[quarter], ordered[-quarter - 1]
