import os

import pytest

from rexnet.deploy import usage
from rexnet.deploy.usage import Reading, of_others, read


@pytest.fixture(autouse=True)
def cores(monkeypatch):
    """Let this process use the cores 0 and 2, and compute for 3 seconds so far."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2}, raising=False)
    monkeypatch.setattr(usage.time, "process_time", lambda: 3.0)


def write(root, text):
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/stat").write_text(text, encoding="utf-8")


def test_what_runs_on_the_cores_of_this_process_is_counted(tmp_path):
    write(
        tmp_path,
        "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 100 0 50 200 10 1 2 37 5 0\n"
        "cpu1 999 0 0 999 0 0 0 0 0 0\ncpu2 300 0 0 100 0 0 0 0 0 0\nintr 1 2\nbtime 3\n",
    )
    assert read(tmp_path) == Reading(counted=8.0, idle=3.1, own=3.0)


def test_what_neither_was_idle_nor_computed_here_is_of_others():
    before = Reading(counted=100, idle=50, own=10)
    assert of_others(before, Reading(counted=120, idle=54, own=16)) == 0.5
    assert of_others(before, Reading(counted=120, idle=66, own=14)) == 0
    # The clocks differ: a share below 0 is none.
    assert of_others(before, Reading(counted=120, idle=66, own=15)) == 0


@pytest.mark.parametrize("text", ["", "garbage", "cpu0 1 2\n", "cpu0 0 0 0 0 0 0 0 0 0 0\n"])
def test_files_that_count_nothing_leave_the_share_unknown(text, tmp_path):
    write(tmp_path, text)
    assert of_others(read(tmp_path), read(tmp_path)) is None


def test_without_the_file_the_share_is_unknown(tmp_path):
    assert read(tmp_path) is None
    assert of_others(None, Reading(counted=1, idle=1, own=0)) is None
