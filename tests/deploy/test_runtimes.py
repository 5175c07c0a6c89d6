import subprocess
import sys

import numpy as np
import pytest
import torch
from small_models import network
from torch import nn

from rexnet.deploy import formats, parity, runtimes
from rexnet.nn.fast.padded import fill

pytestmark = pytest.mark.numeric

OPENERS = {
    "onnx": runtimes.onnxruntime_run,
    "openvino": runtimes.openvino_run,
    "executorch": runtimes.executorch_run,
}

SIGNAL = """
import os, signal, sys
from pathlib import Path
from rexnet.deploy.runtimes import openvino_run
one, other = (openvino_run(Path(sys.argv[1]), 1) for _ in range(2))
del one
del other
seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
os.kill(os.getpid(), signal.SIGUSR1)
assert seen == [1]
"""


class Two(nn.Module):
    """Gives two outputs."""

    def forward(self, x):
        return x.mean((2, 3)), x.amax((2, 3))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a network and a file of it for each format."""
    folder, model = tmp_path_factory.mktemp("files"), network()
    paths = {kind: folder / f"model{suffix}" for kind, suffix in formats.SUFFIXES.items()}
    for kind, path in paths.items():
        formats.write(kind, fill(model), path, size=(3, 32, 32))
    return model, paths


@pytest.mark.parametrize("kind", OPENERS)
def test_a_file_gives_what_its_model_gives(kind, files):
    model, paths = files
    run = OPENERS[kind](paths[kind], 1)
    first, second, third = parity.batches((3, 32, 32))
    found = parity.compare(runtimes.torch_run(model), run, [first, second, third])
    assert found.difference < 1e-4
    assert not found.is_faint
    # What a call gave stays when the next one is made.
    (kept,) = run(second)
    before = kept.copy()
    run(second + 1)
    np.testing.assert_array_equal(kept, before)


@pytest.mark.parametrize("kind", OPENERS)
def test_outputs_come_in_their_order(kind, tmp_path):
    path = tmp_path / f"two{formats.SUFFIXES[kind]}"
    formats.write(kind, Two().eval(), path, size=(3, 8, 8), outputs=("mean", "top"))
    images = np.arange(2 * 3 * 64, dtype=np.float32).reshape(2, 3, 8, 8)
    mean, top = OPENERS[kind](path, 1)(images)
    np.testing.assert_allclose(mean, images.mean((2, 3)), rtol=1e-6)
    np.testing.assert_array_equal(top, images.max((2, 3)))


def test_torch_computes_in_a_lower_precision(files):
    model, _ = files
    images = parity.batches((3, 32, 32))
    lower = runtimes.torch_run(model, precision="bfloat16")
    found = parity.compare(runtimes.torch_run(model), lower, images)
    assert 1e-4 < found.difference < 0.5
    assert lower(images[0])[0].dtype == np.float32


def test_a_signal_behind_two_files_of_openvino_does_not_end_the_process(files):
    _, paths = files
    arguments = [sys.executable, "-c", SIGNAL, str(paths["openvino"])]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_openvino_computes_in_float32_by_itself(files):
    _, paths = files
    request = runtimes.openvino_core().compile_model(
        paths["openvino"], "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    images = parity.batches((3, 32, 32))[2]
    (ours,) = runtimes.openvino_run(paths["openvino"], 1)(images)
    np.testing.assert_allclose(ours, request(images)[0], atol=1e-5 * np.abs(ours).max())
    assert torch.get_num_threads() >= 1
