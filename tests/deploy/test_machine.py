import os

import psutil
import pytest
import torch
from clocks import GIB

from rexnet.deploy import machine
from rexnet.deploy.machine import Process

XEON = """\
processor\t: 0
model name\t: A Xeon  of two cores
physical id\t: 0
core id\t\t: 0
flags\t\t: fpu avx2 avx512f avx512_vnni amx_tile amx_bf16 hypervisor

processor\t: 1
model name\t: A Xeon  of two cores
physical id\t: 0
core id\t\t: 0
flags\t\t: fpu

processor\t: 2
physical id\t: 1
core id\t\t: 0
"""

ARM = """\
processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd bf16
CPU implementer\t: 0x41
"""


def write(root, path, text):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding="utf-8")


def test_what_the_file_of_the_processor_says():
    assert machine.processor_name(XEON) == "A Xeon  of two cores"
    flags = machine.processor_flags(XEON)
    assert "hypervisor" in flags
    assert machine.instructions(flags) == ("AVX2", "AVX-512", "VNNI", "AMX", "bf16")


def test_what_the_file_of_a_processor_of_arm_says():
    assert machine.processor_name(ARM) is None
    assert machine.instructions(machine.processor_flags(ARM)) == ("bf16", "NEON")


@pytest.mark.parametrize("text", ["", "garbage", "flags\nprocessor : x\n:::\n"])
def test_files_that_say_nothing_leave_facts_unknown(text, tmp_path):
    assert machine.processor_name(text) is None
    assert machine.processor_flags(text) is None
    assert machine.driver_version(text) is None
    write(tmp_path, "proc/self/cgroup", text)
    assert machine.cpu_quota(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat\nGCC 12.2.0\n",
            "535.104.05",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35 Release\n", "560.35"),
    ],
)
def test_the_version_of_a_driver(text, version):
    assert machine.driver_version(text) == version


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/", {"cpu.max": "250000 100000\n"}, 2.5),
        ("0::/", {"cpu.max": "max 100000\n"}, None),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000"}, 0.5),
        ("0::/a", {"a/cpu.max": "400000 100000", "cpu.max": "800000 100000"}, 4),
        ("0::/not/here", {"cpu.max": "100000 100000\n"}, 1),
        ("3:cpu,cpuacct:/a", {"cpu/a/cpu.cfs_quota_us": "300000\n"}, 3),
        ("3:cpu,cpuacct:/a", {"cpu,cpuacct/a/cpu.cfs_quota_us": "300000\n"}, 3),
        ("3:cpu:/\n0::/", {"cpu/cpu.cfs_quota_us": "-1\n", "unified/cpu.max": "max 100000"}, None),
        ("4:memory:/a", {"cpu/a/cpu.cfs_quota_us": "300000\n"}, None),
        ("4:cpuset:/a", {"cpu/a/cpu.cfs_quota_us": "300000\n"}, None),
    ],
)
def test_the_quota_of_control_groups_is_the_least_around_the_process(
    groups, files, quota, tmp_path
):
    write(tmp_path, "proc/self/cgroup", groups + "\n")
    for name, text in files.items():
        path = f"sys/fs/cgroup/{name}"
        write(tmp_path, path, text)
        write(tmp_path, f"{path.rpartition('/')[0]}/cpu.cfs_period_us", "100000\n")
    assert machine.cpu_quota(tmp_path) == quota


def test_governors_and_the_frequency_of_the_slowest_core(tmp_path):
    assert machine.frequencies(tmp_path) == ((), None)
    for core, governor, allowed in ((0, "powersave", 3000), (1, "performance", 1500)):
        folder = f"sys/devices/system/cpu/cpu{core}/cpufreq"
        write(tmp_path, f"{folder}/scaling_governor", f"{governor}\n")
        write(tmp_path, f"{folder}/scaling_max_freq", f"{allowed}\n")
        write(tmp_path, f"{folder}/cpuinfo_max_freq", "3000\n")
    assert machine.frequencies(tmp_path) == (("performance", "powersave"), 0.5)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"BAT0/type": "Battery\n", "BAT0/status": "Discharging\n"}, True),
        ({"BAT0/type": "Battery\n", "BAT0/status": "Charging\n"}, False),
        ({"m/type": "Battery\n", "m/status": "Discharging\n", "m/scope": "Device\n"}, False),
        ({"AC/type": "Mains\n"}, False),
        ({}, None),
    ],
)
def test_a_battery_that_is_discharged_is_the_machines(files, expected, tmp_path):
    for name, text in files.items():
        write(tmp_path, f"sys/class/power_supply/{name}", text)
    assert machine.on_battery(tmp_path) is expected


def test_processes_that_took_time_are_found_by_name():
    before = {(11, "make"): 1.0, (12, "idle"): 1.0, (15, "ld"): 0.0}
    after = {(11, "make"): 2.0, (12, "idle"): 1.01, (13, "new"): 5.0, (15, "ld"): 3.0}
    assert machine.busiest(before, after, 2.0) == (
        Process(pid=15, name="ld", cores=1.5),
        Process(pid=11, name="make", cores=0.5),
    )


def test_the_seconds_of_other_processes_are_counted():
    found = machine.cpu_seconds()
    assert os.getpid() not in {pid for pid, _ in found}
    parent = psutil.Process(os.getppid())
    assert found[parent.pid, parent.name()] >= 0


def test_a_machine_is_read_from_psutil_and_its_files(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    write(tmp_path, "proc/cpuinfo", XEON)
    found = machine.examine(tmp_path, seconds=0.001)
    assert found.processor == "A Xeon  of two cores"
    assert found.virtual is True
    assert found.on_battery is None
    assert found.omp_num_threads == "3"
    assert found.num_threads == torch.get_num_threads()
    assert found.num_logical_cores == psutil.cpu_count()
    assert 1 <= found.num_allowed_cores <= found.num_logical_cores
    assert 0 < found.free_bytes <= found.memory_bytes == psutil.virtual_memory().total
    assert found.swap_bytes >= 0
    assert found.load is None or found.load >= 0


def test_a_machine_without_such_files_is_unknown(tmp_path):
    found = machine.examine(tmp_path, seconds=0.001)
    assert found.processor
    assert found.instructions == (torch.backends.cpu.get_cpu_capability(),)
    assert (found.governors, found.cpu_quota) == ((), None)
    assert (found.frequency_share, found.on_battery, found.virtual) == (None, None, None)


def test_what_is_not_installed_has_no_version():
    assert machine.installed("no-such-package") is None
    found = machine.versions()
    assert list(found)[:3] == ["python", "rexnet", "torch"]
    assert {"onnx", "onnxruntime", "openvino", "executorch"} <= set(found)


def test_gpus_are_named_with_memory_and_driver(tmp_path, monkeypatch):
    class Properties:
        name, total_memory = "H100", 80 * GIB

    write(tmp_path, "proc/driver/nvidia/version", "Kernel Module  535.104.05  Sat\n")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Properties)
    (gpu,) = machine.examine(tmp_path, seconds=0.001).gpus
    assert gpu == machine.Gpu(name="H100", memory_bytes=80 * GIB, driver="535.104.05")
