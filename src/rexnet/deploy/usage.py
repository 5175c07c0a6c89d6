"""How much of the cores' time other work takes.

Counted is all that runs on a core, also outside of a container, and what a hypervisor takes; where
nothing is counted, the share is unknown: ``None``.
"""

import os
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import psutil

GUESTS = {"guest", "guest_nice"}
"""What is counted as the time of users, too."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What was counted so far, in seconds of all cores that this process may use.

    Attributes:
        counted: All of it.
        idle: Nothing to do.
        own: Computed by this process.
    """

    counted: float
    idle: float
    own: float


def read() -> Reading | None:
    """Return what is counted up to now."""
    times = [core._asdict() for core in psutil.cpu_times(percpu=True)]
    return reading(times, allowed_cores(), time.process_time())


def reading(times: Sequence[Mapping[str, float]], cores: Set[int], own: float) -> Reading | None:
    """Return what is counted of some cores, None where they are not all there.

    Args:
        times: The seconds of each core by what it did, as psutil names it.
        cores: The numbers of the cores that this process may use.
        own: The seconds that it computed.
    """
    if max(cores) >= len(times):
        return None
    used = [times[core] for core in cores]
    return Reading(
        counted=sum(
            seconds for core in used for name, seconds in core.items() if name not in GUESTS
        ),
        idle=sum(core["idle"] + core.get("iowait", 0.0) for core in used),
        own=own,
    )


def of_others(before: Reading | None, after: Reading | None) -> float | None:
    """Return the share of the cores' time that other work took between two readings."""
    if before is None or after is None or after.counted <= before.counted:
        return None
    counted = after.counted - before.counted
    others = counted - (after.idle - before.idle) - (after.own - before.own)
    return round(min(max(others / counted, 0.0), 1.0), 3)


def allowed_cores() -> Set[int]:
    """Return the numbers of the cores that this process may use."""
    try:
        return os.sched_getaffinity(0)
    except AttributeError:
        # macOS binds no process to cores.
        return set(range(os.cpu_count() or 1))
