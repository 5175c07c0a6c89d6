"""What on a machine makes timings lie."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rexnet.deploy.machine import Machine
from rexnet.latency import BUSY as BUSY_SHARE

LOAD = 0.25
"""The load average, as a share of the cores, from which it is a finding."""

FREE = 0.1
"""The share of the memory that has to be free."""

SWAPPED = 0.01
"""Swap in use, as a share of the memory, from which it is a finding."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that makes timings lie: ``what`` it is, and how to ``mend`` it."""

    what: str
    mend: str


def findings(machine: Machine) -> list[Finding]:
    """Return what is likely to make timings on ``machine`` lie."""
    return [
        *_of_load(machine),
        *_of_threads(machine),
        *_of_power(machine),
        *_of_memory(machine),
    ]


def other_work(machine: Machine) -> list[Finding]:
    """Return what else computes now, the three busiest processes or what is not seen of them."""
    found = [
        Finding(
            what=f"{process.name} (process {process.pid}) keeps {process.cores:.1f} cores busy",
            mend="wait for its end, or stop it",
        )
        for process in machine.busy[:3]
    ]
    if not found and machine.others is not None and machine.others >= BUSY_SHARE:
        what = f"other work takes {100 * machine.others:.0f} % of the cores' time"
        mend = "end it; if no process here shows it, it runs outside of this container or machine"
        found.append(Finding(what=what, mend=mend))
    return found


def _of_load(machine: Machine) -> Iterator[Finding]:
    cores = machine.num_logical_cores or machine.num_allowed_cores
    if machine.load is not None and machine.load >= LOAD * cores:
        what = f"the load average of the last minute is {machine.load} on {cores} logical cores"
        yield Finding(what=what, mend="end other work, or wait a minute if it has just ended")
    yield from other_work(machine)
    if machine.virtual:
        yield Finding(
            what="this is a virtual machine, whose neighbours take time that it does not see",
            mend="time on a machine without a hypervisor, or compare runs at several times",
        )


def _of_threads(machine: Machine) -> Iterator[Finding]:
    cores, quota = machine.num_usable_cores, machine.cpu_quota
    wanted = re.match(r"\d+", machine.omp_num_threads or "")
    threads = max(machine.num_threads, int(wanted[0]) if wanted else 0)
    if threads > cores:
        unset = "unset" if machine.omp_num_threads is None else machine.omp_num_threads
        yield Finding(
            what=f"{threads} threads share {cores:g} usable cores (OMP_NUM_THREADS is {unset})",
            mend=f"set OMP_NUM_THREADS={max(1, int(cores))}",
        )
    if quota is not None and quota < machine.num_allowed_cores:
        yield Finding(
            what=f"a control group, such as a container's, stops this process whenever it has had "
            f"the time of {quota:g} of {machine.num_allowed_cores} cores",
            mend="lift the quota and pin cores instead, such as docker run --cpuset-cpus=0-3",
        )


def _of_power(machine: Machine) -> Iterator[Finding]:
    slow = [name for name in machine.governors if name != "performance"]
    if slow:
        yield Finding(
            what=f"the frequency governor is {', '.join(slow)}, so clocks follow the load",
            mend="sudo cpupower frequency-set --governor performance",
        )
    if machine.frequency_share is not None and machine.frequency_share < 1:
        yield Finding(
            what=f"clocks are held to {100 * machine.frequency_share:.0f} % of the processor's top",
            mend="lift the limit in the power settings, or say it beside the timings",
        )
    if machine.on_battery:
        yield Finding(what="the machine runs on its battery", mend="plug it in")


def _of_memory(machine: Machine) -> Iterator[Finding]:
    if machine.memory_bytes is None:
        return
    if machine.free_bytes is not None and machine.free_bytes < FREE * machine.memory_bytes:
        yield Finding(
            what=f"{gib(machine.free_bytes)} of {gib(machine.memory_bytes)} memory is free",
            mend="end what holds it",
        )
    if machine.swap_bytes is not None and machine.swap_bytes > SWAPPED * machine.memory_bytes:
        yield Finding(
            what=f"{gib(machine.swap_bytes)} of swap is in use",
            mend="end what holds memory, then sudo swapoff -a && sudo swapon -a",
        )


def gib(num_bytes: int) -> str:
    """Return a size in GiB: 1610612736 -> ``1.5 GiB``."""
    return f"{num_bytes / 2**30:.1f} GiB"
