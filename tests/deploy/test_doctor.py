import dataclasses
import json
import platform

import pytest
from clocks import GIB, QUIET

from rexnet.cli import main as cli
from rexnet.cli.deploy import print_machine
from rexnet.deploy import doctor, machine
from rexnet.deploy.machine import Gpu, Machine, Process

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


def test_the_command_says_how_to_install_what_is_missing(capsys):
    versions = {"python": "3.12.1", "timm": "1.2.3"} | dict.fromkeys(machine.EXTRAS)
    bare = dataclasses.replace(QUIET, **UNKNOWN, versions=versions)
    print_machine(bare)
    out, err = capsys.readouterr()
    assert err == ""
    lines = {line.partition(" ")[0]: line.partition(" ")[2].strip() for line in out.splitlines()}
    assert lines["timm"] == "1.2.3"
    for name, extra in machine.EXTRAS.items():
        assert lines[name] == f"not installed: pip install 'rexnet[{extra}]'"
    assert lines["memory"].startswith("unknown, unknown free")
    assert lines["governor"] == "unknown"


def test_the_command_looks_at_this_machine_and_writes_nothing(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["versions"]["python"] == platform.python_version()
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_one_object_of_json(capsys):
    found = dataclasses.replace(QUIET, on_battery=True)
    print_machine(found, as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["findings"] == [
        {"what": "the machine runs on its battery", "mend": "plug it in"}
    ]
    assert printed["versions"] == {"python": "3.12.1", "torch": "2.14.1"}
    assert printed["cpu_quota"] is None
    assert {field.name for field in dataclasses.fields(Machine)} | {"findings"} == set(printed)


def test_the_command_prints_findings_and_facts_a_line_each(capsys):
    gpu = Gpu(name="H100", memory_bytes=80 * GIB, driver=None)
    found = dataclasses.replace(QUIET, gpus=(gpu,), swap_bytes=GIB, cpu_quota=6.0)
    print_machine(found)
    lines = capsys.readouterr().out.splitlines()
    assert "GPU          H100, 80.0 GiB, driver unknown" in lines
    assert "cores        4 physical, 8 logical; this process may use 8, a quota of 6" in lines
    assert lines[lines.index("Likely to make timings lie:") + 2].startswith("  1.0 GiB of swap")
    print_machine(QUIET)
    assert "No reason to doubt timings." in capsys.readouterr().out
