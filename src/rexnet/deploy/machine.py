"""What of a machine timings depend on.

What psutil does not tell is read from the files of Linux below a root, so that a test can make them
up. A fact that a system does not tell, as macOS many, is unknown: ``None``.
"""

import os
import platform
import re
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from rexnet import __version__
from rexnet.deploy import usage
from rexnet.deploy.runtimes import RUNTIMES

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
        root: Where the files are that psutil does not read.
        seconds: How long other processes are watched at least.
    """
    used, before, start = usage.read(), cpu_seconds(), time.monotonic()
    import torch

    # Loading torch is waiting enough where it was not loaded yet.
    time.sleep(max(0.0, start + seconds - time.monotonic()))
    taken = time.monotonic() - start
    flags = processor_flags(_read(root / "proc/cpuinfo"))
    memory = psutil.virtual_memory()
    governors, frequency_share = frequencies(root)
    return Machine(
        versions=versions(),
        system=platform.platform(),
        processor=processor(root),
        num_physical_cores=psutil.cpu_count(logical=False),
        num_logical_cores=psutil.cpu_count(),
        num_allowed_cores=len(usage.allowed_cores()),
        cpu_quota=cpu_quota(root),
        num_threads=torch.get_num_threads(),
        omp_num_threads=os.environ.get("OMP_NUM_THREADS"),
        instructions=(
            (torch.backends.cpu.get_cpu_capability(),) if flags is None else instructions(flags)
        ),
        memory_bytes=memory.total,
        free_bytes=memory.available,
        swap_bytes=_swap_bytes(),
        gpus=_gpus(driver_version(_read(root / "proc/driver/nvidia/version"))),
        load=_load(),
        busy=busiest(before, cpu_seconds(), taken),
        others=usage.of_others(used, usage.read()),
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


def processor(root: Path = Path("/")) -> str:
    """Return the model of the processor; of ARM's its kind alone."""
    name = processor_name(_read(root / "proc/cpuinfo"))
    return name or platform.processor() or platform.machine()


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
    """Tell whether a battery of the machine is being discharged; psutil takes a mouse's for it."""
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


def cpu_seconds() -> dict[tuple[int, str], float]:
    """Return the seconds that every other process has computed, by its number and name."""
    found = {}
    for process in psutil.process_iter(["name", "cpu_times"]):
        times = process.info["cpu_times"]
        # Of a process of another user it may be hidden.
        if times is not None and process.pid != os.getpid():
            found[process.pid, process.info["name"]] = times.user + times.system
    return found


def busiest(
    before: Mapping[tuple[int, str], float], after: Mapping[tuple[int, str], float], seconds: float
) -> tuple[Process, ...]:
    """Return the processes that took at least ``BUSY`` cores, the busiest first.

    Args:
        before: Seconds of ``cpu_seconds`` at the start.
        after: The same at the end.
        seconds: The time in between, above 0.
    """
    found = [
        Process(pid=pid, name=name, cores=(taken - before[pid, name]) / seconds)
        for (pid, name), taken in after.items()
        if (pid, name) in before
    ]
    busy = (process for process in found if process.cores >= BUSY)
    return tuple(sorted(busy, key=lambda process: -process.cores))


def _swap_bytes() -> int:
    with warnings.catch_warnings():
        # Of pages that were moved, which are not asked for.
        warnings.simplefilter("ignore", RuntimeWarning)
        return psutil.swap_memory().used


def _load() -> float | None:
    try:
        return round(psutil.getloadavg()[0], 2)
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
