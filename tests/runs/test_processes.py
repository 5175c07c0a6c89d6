import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import children
import pytest

from rexnet.runs import processes


def test_a_child_computes_on_one_thread_and_takes_no_notice_of_ctrl_c(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    handler = signal.getsignal(signal.SIGINT)
    child = processes.start(children.serve)
    assert child.connection.recv() == ("1", True)
    # This process is as it was.
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert signal.getsignal(signal.SIGINT) == handler
    child.connection.send("end")
    child.process.join()
    assert child.process.exitcode == 0


def test_the_end_of_a_child_closes_its_connection():
    child = processes.start(children.serve)
    child.connection.recv()
    child.process.kill()
    with pytest.raises((EOFError, ConnectionResetError)):
        child.connection.recv()
    child.process.join()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of the end of a process")
def test_a_child_ends_when_its_parent_is_killed():
    arguments = [sys.executable, str(Path(children.__file__))]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:
        watched = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    ended, _, _ = select.select([watched], [], [], 60)
    os.close(watched)
    assert ended
