import subprocess
import sys

import pytest

from rexnet import allocator

FAULTS = """
import resource, threading, torch
from rexnet.allocator import keep_freed_memory
kept = keep_freed_memory()

def fill(num_bytes):
    for _ in range(20):
        torch.ones(num_bytes // 4)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def in_thread():
    thread = threading.Thread(target=fill, args=(2**23,))
    thread.start()
    thread.join()

fill(2**26)
in_thread()
before = faults()
fill(2**26)
in_thread()
print(kept, faults() - before)
"""


def run(code):
    arguments = [sys.executable, "-c", code]
    return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split()


def test_freed_memory_is_used_again_without_the_kernel():
    kept, num_faults = run(FAULTS)
    if kept == "False":
        pytest.skip("the C library is not glibc")
    # 20 x 64 MiB and 20 x 8 MiB are 368,640 pages. The heap may still grow by a tensor or two.
    assert int(num_faults) < 100_000


def test_nothing_happens_where_the_c_library_is_another(monkeypatch):
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert not allocator.keep_freed_memory()


def test_a_library_that_refuses_is_told(monkeypatch):
    class Library:
        def mallopt(self, option, value):
            return 0

    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: Library())
    assert not allocator.keep_freed_memory()
