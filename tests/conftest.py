"""What all tests share; what they import lies in ``helpers``."""

import os
import signal

from hypothesis import HealthCheck, settings

# Tests run side by side, a process a core: more threads would wait for each other. Torch reads it
# when it is imported, and processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A loaded machine takes its time over an example, and every machine is to try the same ones.
settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")

# What a shell starts in the background takes no notice of Ctrl-C, nor do processes that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
