import subprocess
import sys

import pytest

from rexnet.runs import memory

FAULTS = """
import resource, torch
from rexnet.runs.memory import keep_freed_memory

def faults_of_fills():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults_of_fills()
handing_back = faults_of_fills()
kept = keep_freed_memory()
faults_of_fills()
print(kept, handing_back, faults_of_fills())
"""


def test_freed_memory_is_used_again_without_the_kernel():
    arguments = [sys.executable, "-c", FAULTS]
    output = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    kept, handing_back, keeping = output.split()
    if kept == "False":
        pytest.skip("the C library is not glibc")
    assert int(keeping) < int(handing_back) / 2


def test_nothing_happens_where_the_c_library_is_another(monkeypatch):
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert not memory.keep_freed_memory()


def test_a_library_that_refuses_is_told(monkeypatch):
    class Library:
        def mallopt(self, option, value):
            return 0

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: Library())
    assert not memory.keep_freed_memory()
