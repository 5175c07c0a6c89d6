import subprocess
import sys

import numpy as np
import pytest
from small_models import network

from rexnet.deploy import parity, runtimes
from rexnet.deploy.runtimes.openvino import OPENVINO, core

pytestmark = pytest.mark.numeric

SIGNAL = """
import os, signal, sys
from pathlib import Path
from rexnet.deploy.runtimes.openvino import OPENVINO
one, other = (OPENVINO.run(Path(sys.argv[1]), 1, "float32") for _ in range(2))
del one
del other
seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
os.kill(os.getpid(), signal.SIGUSR1)
assert seen == [1]
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Return the file of a network."""
    path = tmp_path_factory.mktemp("files") / "model.xml"
    runtimes.write(OPENVINO, OPENVINO.form(network()), path, size=(3, 32, 32))
    return path


def test_a_signal_behind_two_files_does_not_end_the_process(path):
    arguments = [sys.executable, "-c", SIGNAL, str(path)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_float32_is_what_is_computed_by_itself(path):
    request = core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    images = parity.batches((3, 32, 32))[2]
    (ours,) = runtimes.run(OPENVINO, path, 1)(images)
    np.testing.assert_allclose(ours, request(images)[0], atol=1e-5 * np.abs(ours).max())
