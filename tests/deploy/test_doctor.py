import dataclasses
import importlib.metadata
import json
import os

import pytest
import torch
from clocks import GIB, QUIET

from rexnet.cli import main as cli
from rexnet.deploy import doctor
from rexnet.deploy.doctor import Machine, Process

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

MEMORY = """\
MemTotal:       16777216 kB
MemFree:          100000 kB
MemAvailable:    1048576 kB
SwapTotal:       2097152 kB
SwapFree:        1048576 kB
"""

UNKNOWN = {
    "num_physical_cores": None,
    "num_logical_cores": None,
    "memory_bytes": None,
    "free_bytes": None,
    "swap_bytes": None,
    "load": None,
    "others": None,
    "governors": (),
    "frequency_share": None,
    "on_battery": None,
    "virtual": None,
}


def write(root, path, text):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding="utf-8")


def stat(pid, name, ticks):
    return f"{pid} ({name}) S 1 1 1 0 -1 4194304 99 0 0 0 {ticks} 5 0 0 20 0 1 0 98323 0\n"


def test_what_the_file_of_the_processor_says():
    assert doctor.processor_name(XEON) == "A Xeon  of two cores"
    assert doctor.num_cores(XEON) == (2, 3)
    flags = doctor.processor_flags(XEON)
    assert "hypervisor" in flags
    assert doctor.instructions(flags) == ("AVX2", "AVX-512", "VNNI", "AMX", "bf16")


def test_what_the_file_of_a_processor_of_arm_says():
    assert doctor.processor_name(ARM) is None
    assert doctor.num_cores(ARM) == (None, 1)
    assert doctor.instructions(doctor.processor_flags(ARM)) == ("bf16", "NEON")


def test_what_the_file_of_the_memory_says():
    assert doctor.memory_bytes(MEMORY) == (16 * GIB, GIB, GIB)


@pytest.mark.parametrize("text", ["", "garbage", "MemTotal: many\nflags\nprocessor : x\n:::\n"])
def test_files_that_say_nothing_leave_facts_unknown(text, tmp_path):
    assert doctor.processor_name(text) is None
    assert doctor.num_cores(text) == (None, None)
    assert doctor.memory_bytes(text) == (None, None, None)
    assert doctor.processor_flags(text) is None
    assert doctor.driver_version(text) is None
    write(tmp_path, "proc/self/cgroup", text)
    write(tmp_path, "proc/12/stat", text)
    assert doctor.cpu_quota(tmp_path) is None
    assert doctor.process_ticks(tmp_path) == {}


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
    assert doctor.driver_version(text) == version


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
    assert doctor.cpu_quota(tmp_path) == quota


def test_governors_and_the_frequency_of_the_slowest_core(tmp_path):
    assert doctor.frequencies(tmp_path) == ((), None)
    for core, governor, allowed in ((0, "powersave", 3000), (1, "performance", 1500)):
        folder = f"sys/devices/system/cpu/cpu{core}/cpufreq"
        write(tmp_path, f"{folder}/scaling_governor", f"{governor}\n")
        write(tmp_path, f"{folder}/scaling_max_freq", f"{allowed}\n")
        write(tmp_path, f"{folder}/cpuinfo_max_freq", "3000\n")
    assert doctor.frequencies(tmp_path) == (("performance", "powersave"), 0.5)


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
    assert doctor.on_battery(tmp_path) is expected


def test_processes_that_took_time_are_found_by_name(tmp_path):
    write(tmp_path, "proc/11/stat", stat(11, "a (strange) one", 100))
    write(tmp_path, "proc/12/stat", stat(12, "idle", 100))
    write(tmp_path, f"proc/{os.getpid()}/stat", stat(os.getpid(), "me", 100))
    before = doctor.process_ticks(tmp_path)
    write(tmp_path, "proc/11/stat", stat(11, "a (strange) one", 200))
    write(tmp_path, "proc/12/stat", stat(12, "idle", 101))
    write(tmp_path, "proc/13/stat", stat(13, "new", 500))
    write(tmp_path, f"proc/{os.getpid()}/stat", stat(os.getpid(), "me", 900))
    found = doctor.busiest(before, doctor.process_ticks(tmp_path), 2.0)
    assert found == (Process(pid=11, name="a (strange) one", cores=0.5),)


def test_a_quiet_machine_has_no_findings():
    assert doctor.findings(QUIET) == []


def test_what_is_unknown_is_no_finding():
    assert doctor.findings(dataclasses.replace(QUIET, **UNKNOWN)) == []


FINDINGS = {
    "load": ({"load": 2.0}, "load average of the last minute is 2.0 on 8", "end other work"),
    "process": (
        {"busy": (Process(pid=7, name="make", cores=1.5),)},
        "make (process 7) keeps 1.5 cores busy",
        "stop it",
    ),
    "others": ({"others": 0.8}, "other work takes 80 % of the cores' time", "outside of this"),
    "virtual": ({"virtual": True}, "virtual machine", "hypervisor"),
    "torch": ({"num_threads": 9}, "9 threads share 8 usable cores", "OMP_NUM_THREADS=8"),
    "variable": ({"omp_num_threads": "16"}, "16 threads share 8", "OMP_NUM_THREADS=8"),
    "pinned": ({"num_allowed_cores": 2}, "4 threads share 2 usable", "OMP_NUM_THREADS=2"),
    "quota": ({"cpu_quota": 4.5}, "4.5 of 8 cores", "cpuset"),
    "governor": ({"governors": ("performance", "schedutil")}, "is schedutil", "cpupower"),
    "clocks": ({"frequency_share": 0.6}, "held to 60 %", "power settings"),
    "battery": ({"on_battery": True}, "battery", "plug it in"),
    "memory": ({"free_bytes": GIB}, "1.0 GiB of 16.0 GiB memory is free", "end what holds it"),
    "swap": ({"swap_bytes": GIB}, "1.0 GiB of swap is in use", "swapoff"),
}


@pytest.mark.parametrize("name", FINDINGS)
def test_a_finding_says_what_it_is_and_how_to_mend_it(name):
    changes, what, mend = FINDINGS[name]
    (finding,) = doctor.findings(dataclasses.replace(QUIET, **changes))
    assert what in finding.what
    assert mend in finding.mend
    assert "\n" not in finding.what + finding.mend


def test_other_work_that_is_seen_by_its_processes_is_told_once():
    busy = (Process(pid=7, name="make", cores=1.5),)
    machine = dataclasses.replace(QUIET, busy=busy, others=0.8, load=9.0, virtual=True)
    (finding,) = doctor.other_work(machine)
    assert finding.what == "make (process 7) keeps 1.5 cores busy"


def test_a_quota_below_the_threads_is_told_with_them():
    machine = dataclasses.replace(QUIET, cpu_quota=1.5)
    threads, quota = doctor.findings(machine)
    assert threads.mend == "set OMP_NUM_THREADS=1"
    assert "the time of 1.5 of 8 cores" in quota.what


def test_a_machine_is_read_from_its_files(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    write(tmp_path, "proc/cpuinfo", XEON)
    write(tmp_path, "proc/meminfo", MEMORY)
    machine = doctor.examine(tmp_path, seconds=0.001)
    assert machine.processor == "A Xeon  of two cores"
    assert (machine.num_physical_cores, machine.num_logical_cores) == (2, 3)
    assert (machine.memory_bytes, machine.swap_bytes) == (16 * GIB, GIB)
    assert machine.virtual is True
    assert machine.omp_num_threads == "3"
    assert machine.num_threads == torch.get_num_threads()
    assert machine.on_battery is None


def test_a_machine_without_such_files_is_unknown(tmp_path):
    machine = doctor.examine(tmp_path, seconds=0.001)
    assert machine.processor
    assert machine.num_logical_cores == os.cpu_count()
    assert machine.instructions == (torch.backends.cpu.get_cpu_capability(),)
    for name in set(UNKNOWN) - {"num_logical_cores", "load"}:
        assert getattr(machine, name) == UNKNOWN[name]


def test_gpus_are_named_with_memory_and_driver(tmp_path, monkeypatch):
    class Properties:
        name, total_memory = "H100", 80 * GIB

    write(tmp_path, "proc/driver/nvidia/version", "Kernel Module  535.104.05  Sat\n")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Properties)
    (gpu,) = doctor.examine(tmp_path, seconds=0.001).gpus
    assert gpu == doctor.Gpu(name="H100", memory_bytes=80 * GIB, driver="535.104.05")


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """Examine an empty machine on which no extra of rexnet is installed."""

    def version(name):
        if name in doctor.EXTRAS:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.2.3"

    examine = doctor.examine
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setattr(doctor, "examine", lambda: examine(tmp_path, 0.001))
    return tmp_path


def test_the_command_says_how_to_install_what_is_missing_and_writes_nothing(bare, capsys):
    assert cli.main(["doctor"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = {line.partition(" ")[0]: line.partition(" ")[2].strip() for line in out.splitlines()}
    assert lines["timm"] == "1.2.3"
    for name, extra in doctor.EXTRAS.items():
        assert lines[name] == f"not installed: pip install 'rexnet[{extra}]'"
    assert lines["memory"].startswith("unknown, unknown free")
    assert lines["governor"] == "unknown"
    assert list(bare.iterdir()) == []


def test_the_command_prints_one_object_of_json(capsys, monkeypatch):
    machine = dataclasses.replace(QUIET, on_battery=True)
    monkeypatch.setattr(doctor, "examine", lambda: machine)
    assert cli.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["findings"] == [{"what": "the machine runs on its battery", "mend": "plug it in"}]
    assert found["versions"] == {"python": "3.12.1", "torch": "2.14.1"}
    assert found["cpu_quota"] is None
    assert {field.name for field in dataclasses.fields(Machine)} | {"findings"} == set(found)


def test_the_command_prints_findings_and_facts_a_line_each(capsys, monkeypatch):
    gpu = doctor.Gpu(name="H100", memory_bytes=80 * GIB, driver=None)
    machine = dataclasses.replace(QUIET, gpus=(gpu,), swap_bytes=GIB, cpu_quota=6.0)
    monkeypatch.setattr(doctor, "examine", lambda: machine)
    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "GPU          H100, 80.0 GiB, driver unknown" in lines
    assert "cores        4 physical, 8 logical; this process may use 8, a quota of 6" in lines
    assert lines[lines.index("Likely to make timings lie:") + 2].startswith("  1.0 GiB of swap")
    monkeypatch.setattr(doctor, "examine", lambda: QUIET)
    assert cli.main(["doctor"]) == 0
    assert "No reason to doubt timings." in capsys.readouterr().out
