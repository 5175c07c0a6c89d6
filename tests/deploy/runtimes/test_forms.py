import pytest
import torch
from small_models import network, write_detector

from rexnet.deploy import parity
from rexnet.deploy.runtimes.forms import padded
from rexnet.deploy.runtimes.torch import module_run


@pytest.mark.numeric
@pytest.mark.parametrize("split", [False, True])
def test_the_form_of_a_file_gives_the_same_without_norms(split, tmp_path):
    for model, side in ((network(), 32), (write_detector(tmp_path / "D"), 64)):
        other, images = padded(model, split=split), parity.batches((3, side, side))
        assert parity.compare(module_run(model), module_run(other), images).difference < 1e-4
        kinds = [{type(part) for part in m.modules()} for m in (model, other)]
        assert [torch.nn.BatchNorm2d in kind for kind in kinds] == [True, False]


def test_a_detector_gives_a_plain_tuple(tmp_path):
    detector = write_detector(tmp_path / "D")
    with torch.no_grad():
        found = padded(detector)(torch.zeros(1, 3, 64, 64))
    # ExecuTorch cannot write a named tuple.
    assert type(found) is tuple
