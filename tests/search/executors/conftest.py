import logging
import os
import signal
import tempfile
import uuid
from unittest import mock

import pytest
import toys


@pytest.fixture(scope="package")
def surroundings():
    """Keep Ray's files out of the home folder, and clusters of this machine out of the tests."""
    # Ray's sockets need a short path, and it adds to the environment itself.
    with (
        tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder,
        mock.patch.dict(os.environ, RAY_TMPDIR=folder, RAY_AUTH_TOKEN=uuid.uuid4().hex),
    ):
        os.environ.pop("RAY_ADDRESS", None)
        yield


@pytest.fixture(scope="package")
def cluster(surroundings):
    """Connect this process to a cluster of one node, which has two CPUs and no GPU."""
    import ray
    from ray import cloudpickle

    handler = signal.getsignal(signal.SIGTERM)
    # The nodes need not have the helpers.
    cloudpickle.register_pickle_by_value(toys)
    ray.init(
        "local",
        num_cpus=2,
        num_gpus=0,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield
    ray.shutdown()
    cloudpickle.unregister_pickle_by_value(toys)
    signal.signal(signal.SIGTERM, handler)
