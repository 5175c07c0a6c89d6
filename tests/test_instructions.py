"""``make test-isa`` takes effect: libraries compute with the instructions it leaves them."""

import os

import pytest
import torch
from numba.core.registry import cpu_target

pytestmark = pytest.mark.numeric


@pytest.fixture(autouse=True)
def chosen():
    if "ATEN_CPU_CAPABILITY" not in os.environ:
        pytest.skip("the processor's own instructions are used; `make test-isa` takes others")


def test_torch_uses_no_others():
    asked = os.environ["ATEN_CPU_CAPABILITY"]
    assert torch.backends.cpu.get_cpu_capability() == asked.upper()


def test_onednn_uses_no_others(capfd):
    convolution, x = torch.nn.Conv2d(16, 16, 3), torch.ones(2, 16, 8, 8)
    with torch.no_grad(), torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        convolution(x)
    calls = [line.split(",") for line in capfd.readouterr().out.splitlines()]
    (kernel,) = (call[call.index("convolution") + 1] for call in calls if "convolution" in call)
    assert kernel.endswith(f":{os.environ['ONEDNN_MAX_CPU_ISA'].lower()}")


def test_numba_uses_no_others():
    name = cpu_target.target_context.codegen().magic_tuple()[1]
    assert name == os.environ["NUMBA_CPU_NAME"]
