"""What the tests of executors share."""

import os

from toys import SPACE, Holds


def specs(count):
    """Return different networks of SPACE."""
    return [SPACE.template.with_widths([8 + number] * 5) for number in range(count)]


def results_of(executor, candidates):
    """Evaluate ``(number, spec)`` pairs and return their results by number."""
    waiting, results = list(candidates), []
    while waiting or executor.num_busy:
        while waiting and executor.has_room:
            executor.submit(*waiting.pop(0))
        results += executor.wait(60)
    by_number = {result.number: result for result in results}
    assert len(by_number) == len(results)
    return by_number


def assert_ends_its_work(make_executor, fifo):
    """Check that leaving an executor ends the candidate that it is evaluating."""
    os.mkfifo(fifo)
    with make_executor(Holds(fifo=fifo)) as executor:
        executor.submit(0, specs(1)[0])
        pipe = fifo.open("rb", buffering=0)
        assert pipe.read(2) == b"up"
    with pipe:
        assert pipe.read() == b""
