"""What of a machine timings depend on, and what on it makes them lie.

Facts are read from the files of Linux below a root, so that a test can make them up; a file that a
system does not have, as on macOS, leaves its fact unknown: ``None``.
"""

import os
import platform
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rexnet import __version__
from rexnet.deploy import usage
from rexnet.deploy.runtimes import RUNTIMES
from rexnet.latency import BUSY as BUSY_SHARE

PACKAGES = ("torch", "torchvision", "timm", "numpy", "optuna")
EXTRAS = {
    name: next(one.extra for one in RUNTIMES.values() if name in one.libraries)
    for runtime in RUNTIMES.values()
    for name in runtime.libraries
}
"""The libraries of the runtimes and the first extra of rexnet that installs each."""

INSTRUCTIONS = {
    "AVX2": {"avx2"},
    "AVX-512": {"avx512f"},
    "VNNI": {"avx512_vnni", "avx_vnni"},
    "AMX": {"amx_tile"},
    "bf16": {"avx512_bf16", "amx_bf16", "bf16"},
    "NEON": {"asimd", "neon"},
}
"""Instruction sets that decide how fast a network runs, by the flags of a processor."""

BUSY = 0.2
"""Cores that another process takes before it is a finding."""

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


@dataclass(frozen=True, kw_only=True)
class Process:
    """Another process: its number, its name, and how many ``cores`` it keeps busy."""

    pid: int
    name: str
    cores: float


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU that torch sees."""

    name: str
    memory_bytes: int
    driver: str | None


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Facts on a machine; ``None`` is unknown.

    Attributes:
        versions: Of Python and of packages; ``None`` where one is not installed.
        system: The operating system.
        processor: The model of the processor.
        num_physical_cores: Cores, those that share their units counted once.
        num_logical_cores: Cores as the system counts them.
        num_allowed_cores: Logical cores that this process may run on (its affinity).
        cpu_quota: Cores' worth of time that control groups allow; ``None`` without a limit.
        num_threads: Threads of torch.
        omp_num_threads: The variable OMP_NUM_THREADS.
        instructions: Instruction sets that matter, of ``INSTRUCTIONS``.
        memory_bytes: All memory.
        free_bytes: Memory that can be had without swapping.
        swap_bytes: Swap in use.
        gpus: GPUs that torch sees.
        load: The load average of the last minute.
        busy: Other processes that take at least ``BUSY`` cores, the busiest first.
        others: The share of the allowed cores' time that all other work takes.
        governors: The kinds of frequency governor of all cores.
        frequency_share: The highest frequency allowed, as a share of the processor's.
        on_battery: Whether a battery is being discharged.
        virtual: Whether this is a virtual machine.
    """

    versions: Mapping[str, str | None]
    system: str
    processor: str
    num_physical_cores: int | None
    num_logical_cores: int | None
    num_allowed_cores: int
    cpu_quota: float | None
    num_threads: int
    omp_num_threads: str | None
    instructions: tuple[str, ...]
    memory_bytes: int | None
    free_bytes: int | None
    swap_bytes: int | None
    gpus: tuple[Gpu, ...]
    load: float | None
    busy: tuple[Process, ...]
    others: float | None
    governors: tuple[str, ...]
    frequency_share: float | None
    on_battery: bool | None
    virtual: bool | None

    @property
    def num_usable_cores(self) -> float:
        """Cores' worth of time that this process can get."""
        return min(self.num_allowed_cores, self.cpu_quota or self.num_allowed_cores)


def examine(root: Path = Path("/"), seconds: float = 0.5) -> Machine:
    """Return the facts on this machine; nothing is written.

    Args:
        root: Where the files of the system are.
        seconds: How long other processes are watched at least.
    """
    used, before, start = usage.read(root), process_ticks(root), time.monotonic()
    import torch

    # Loading torch is waiting enough where it was not loaded yet.
    time.sleep(max(0.0, start + seconds - time.monotonic()))
    taken = time.monotonic() - start
    cpuinfo, meminfo = _read(root / "proc/cpuinfo"), _read(root / "proc/meminfo")
    flags = processor_flags(cpuinfo)
    physical, logical = num_cores(cpuinfo)
    memory, free, swap = memory_bytes(meminfo)
    governors, frequency_share = frequencies(root)
    return Machine(
        versions=versions(),
        system=platform.platform(),
        processor=processor_name(cpuinfo) or platform.processor() or platform.machine(),
        num_physical_cores=physical,
        num_logical_cores=logical or os.cpu_count(),
        num_allowed_cores=_num_allowed_cores(),
        cpu_quota=cpu_quota(root),
        num_threads=torch.get_num_threads(),
        omp_num_threads=os.environ.get("OMP_NUM_THREADS"),
        instructions=(
            (torch.backends.cpu.get_cpu_capability(),) if flags is None else instructions(flags)
        ),
        memory_bytes=memory,
        free_bytes=free,
        swap_bytes=swap,
        gpus=_gpus(driver_version(_read(root / "proc/driver/nvidia/version"))),
        load=_load(),
        busy=busiest(before, process_ticks(root), taken),
        others=usage.of_others(used, usage.read(root)),
        governors=governors,
        frequency_share=frequency_share,
        on_battery=on_battery(root),
        virtual=None if flags is None else "hypervisor" in flags,
    )


def versions() -> dict[str, str | None]:
    """Return the versions of Python, this package and what it runs on."""
    found = {"python": platform.python_version(), "rexnet": __version__}
    return found | {name: installed(name) for name in (*PACKAGES, *EXTRAS)}


def installed(name: str) -> str | None:
    """Return the version of a package, None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def processor_name(cpuinfo: str) -> str | None:
    """Return the model of the processor; those of ARM say none in ``/proc/cpuinfo``."""
    match = re.search(r"^model name\s*:\s*(\S.*)$", cpuinfo, re.MULTILINE)
    return match[1].strip() if match else None


def processor_flags(cpuinfo: str) -> set[str] | None:
    """Return the flags of the first core of ``/proc/cpuinfo``."""
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    return set(match[1].split()) if match else None


def instructions(flags: set[str]) -> tuple[str, ...]:
    """Return which of ``INSTRUCTIONS`` a processor with these flags has."""
    return tuple(name for name, wanted in INSTRUCTIONS.items() if wanted & flags)


def num_cores(cpuinfo: str) -> tuple[int | None, int | None]:
    """Return the physical and the logical cores of ``/proc/cpuinfo``."""
    logical, packages, cores = (
        re.findall(rf"^{name}\s*:\s*(\d+)", cpuinfo, re.MULTILINE)
        for name in ("processor", "physical id", "core id")
    )
    return len(set(zip(packages, cores, strict=False))) or None, len(logical) or None


def memory_bytes(meminfo: str) -> tuple[int | None, int | None, int | None]:
    """Return all memory, the memory that is free and the swap in use of ``/proc/meminfo``."""
    found = dict(re.findall(r"^(\w+):\s*(\d+) kB", meminfo, re.MULTILINE))
    total, free, swap, unused = (
        1024 * int(found[name]) if name in found else None
        for name in ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree")
    )
    return total, free, None if swap is None or unused is None else swap - unused


def cpu_quota(root: Path) -> float | None:
    """Return the cores' worth of time that the control groups of this process allow, if limited."""
    quotas = []
    lines = _read(root / "proc/self/cgroup")
    for controllers, path in re.findall(r"^\d+:(.*?):/(.*)$", lines, re.MULTILINE):
        if not controllers:
            mounts = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
        elif "cpu" in controllers.split(","):
            mounts = ("sys/fs/cgroup/cpu", f"sys/fs/cgroup/{controllers}")
        else:
            continue
        inside = Path(path)
        # A group is limited by those around it, too.
        for group in (inside, *inside.parents):
            quotas += [_quota(root / mount / group) for mount in mounts]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(group: Path) -> float | None:
    old = [_read(group / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
    text = _read(group / "cpu.max") or " ".join(old)
    match = re.fullmatch(r"\s*(\d+)\s+([1-9]\d*)\s*", text)
    return int(match[1]) / int(match[2]) if match else None


def frequencies(root: Path) -> tuple[tuple[str, ...], float | None]:
    """Return the kinds of governor, and the least share of its top frequency a core may take."""
    governors, shares = set(), []
    for folder in root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq"):
        governors.add(_read(folder / "scaling_governor").strip())
        allowed, top = (
            _read(folder / f"{name}_max_freq").strip() for name in ("scaling", "cpuinfo")
        )
        if allowed.isdecimal() and top.isdecimal() and int(top):
            shares.append(int(allowed) / int(top))
    return tuple(sorted(governors - {""})), min(shares, default=None)


def on_battery(root: Path) -> bool | None:
    """Tell whether a battery of the machine, not of a mouse, is being discharged."""
    folder = root / "sys/class/power_supply"
    if not folder.is_dir():
        return None
    return any(
        _read(supply / "type").strip() == "Battery"
        and _read(supply / "scope").strip() != "Device"
        and _read(supply / "status").strip() == "Discharging"
        for supply in folder.iterdir()
    )


def driver_version(text: str) -> str | None:
    """Return the version in ``/proc/driver/nvidia/version``."""
    match = re.search(r"\s(\d+\.\d+(?:\.\d+)*)\s", text)
    return match[1] if match else None


def process_ticks(root: Path) -> dict[tuple[int, str], int]:
    """Return the ticks of 1/100 s that every other process has taken, by its number and name."""
    found = {}
    for path in root.glob("proc/[0-9]*/stat"):
        match = re.fullmatch(r"(\d+) \((.*)\) \S((?: -?\d+)+)\s*", _read(path), re.DOTALL)
        numbers = match[3].split() if match else []
        if match and len(numbers) > 11 and int(match[1]) != os.getpid():
            found[int(match[1]), match[2]] = int(numbers[10]) + int(numbers[11])
    return found


def busiest(
    before: Mapping[tuple[int, str], int], after: Mapping[tuple[int, str], int], seconds: float
) -> tuple[Process, ...]:
    """Return the processes that took at least ``BUSY`` cores, the busiest first.

    Args:
        before: Ticks of ``process_ticks`` at the start.
        after: The same at the end.
        seconds: The time in between, above 0.
    """
    # Linux counts the time of processes in hundredths of a second on every machine.
    found = [
        Process(pid=pid, name=name, cores=(ticks - before[pid, name]) / 100 / seconds)
        for (pid, name), ticks in after.items()
        if (pid, name) in before
    ]
    busy = (process for process in found if process.cores >= BUSY)
    return tuple(sorted(busy, key=lambda process: -process.cores))


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


def _num_allowed_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        # macOS binds no process to cores.
        return os.cpu_count() or 1


def _load() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def _gpus(driver: str | None) -> tuple[Gpu, ...]:
    import torch

    if not torch.cuda.is_available():
        return ()
    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return tuple(Gpu(name=gpu.name, memory_bytes=gpu.total_memory, driver=driver) for gpu in found)


def _read(path: Path) -> str:
    """Return the text of a file of the system, empty if there is none, as of an ended process."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
