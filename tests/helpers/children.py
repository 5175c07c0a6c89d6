"""What child processes of the tests do."""

import os
import signal
import sys


def serve(connection):
    """Tell the environment that matters, and what Ctrl-C does; then wait for a word."""
    threads = os.environ["OMP_NUM_THREADS"]
    connection.send((threads, signal.getsignal(signal.SIGINT) == signal.SIG_IGN))
    connection.recv()


def start_and_tell():
    """Start a child, print its process id and wait to be killed."""
    from rexnet.runs import processes

    child = processes.start(serve, daemon=False)
    child.connection.recv()
    sys.stdout.write(f"{child.process.pid}\n")
    sys.stdout.flush()
    child.process.join()


if __name__ == "__main__":
    start_and_tell()
