import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import randomise, specs
from torch import nn

from rexnet import create_model
from rexnet.nn.fast.padded import MULTIPLE, fill

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("name", ["rexnet_0.6", "rexnet_plain", "rexnet_lite_1.0", "mobilenet_v2"])
def test_a_filled_network_gives_the_same_logits_from_widths_in_multiples(name, split):
    model = create_model(name, num_classes=10).eval()
    randomise(model)
    filled = fill(model, split=split)
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(filled(images), model(images), rtol=1e-4, atol=1e-4)
    convs = [module for module in filled.modules() if isinstance(module, nn.Conv2d)]
    widths = {conv.out_channels for conv in convs if conv.kernel_size != (1, 1)}
    assert widths
    assert all(width % MULTIPLE == 0 for width in widths)


@settings(max_examples=25, deadline=None)
@given(specs(), st.booleans())
def test_any_network_can_be_filled(spec, split):
    model = create_model(spec).double().eval()
    randomise(model)
    images = torch.randn(1, 3, 32, 32).double()
    torch.testing.assert_close(fill(model, split=split)(images), model(images))
