"""How much of the cores' time other work takes.

``/proc/stat`` counts all that runs on a core, also outside of a container, and what a hypervisor
takes; where it is not there, as on macOS, or counts nothing, the share is unknown: ``None``.
"""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path


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


def read(root: Path = Path("/")) -> Reading | None:
    """Return what is counted up to now.

    Args:
        root: Where the files of the system are.
    """
    try:
        text = (root / "proc/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    ticks = [
        [int(word) for word in words.split()[:8]]
        for core, words in re.findall(r"^cpu(\d+)((?: \d+){8,})", text, re.MULTILINE)
        if int(core) in _cores()
    ]
    # Linux counts in hundredths of a second; the fourth and fifth number are idle.
    return Reading(
        counted=sum(map(sum, ticks)) / 100,
        idle=sum(core[3] + core[4] for core in ticks) / 100,
        own=time.process_time(),
    )


def of_others(before: Reading | None, after: Reading | None) -> float | None:
    """Return the share of the cores' time that other work took between two readings."""
    if before is None or after is None or after.counted <= before.counted:
        return None
    counted = after.counted - before.counted
    others = counted - (after.idle - before.idle) - (after.own - before.own)
    return round(min(max(others / counted, 0.0), 1.0), 3)


def _cores() -> set[int]:
    try:
        return os.sched_getaffinity(0)
    except AttributeError:
        # macOS binds no process to cores.
        return set(range(os.cpu_count() or 1))
