import copy

import pytest
import torch
from kinks import clear_of_kinks
from networks_to_fuse import assert_close, batch, pair, small

from rexnet.detect.backbone import TapNetwork, create_backbone
from rexnet.detect.detector import of_detector
from rexnet.detect.fused import FusedDetector, FusedTap
from rexnet.detect.heads.ssdlite import SSDLite

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("name", ["rexnet_1.0", "rexnet_plain", "mobilenet_v1"])
def test_the_two_maps_of_a_network_and_their_gradients_are_those_of_the_module(name):
    spec = small(name, 64)
    model, _ = pair(spec)
    images, _ = batch(spec, 8)
    clear_of_kinks(model, images)
    exact, other = TapNetwork(copy.deepcopy(model)), TapNetwork(model)
    found = []
    for model, forward, x in (
        (exact.double(), exact, images.double()),
        (other, FusedTap(other), images),
    ):
        maps = forward(x)
        sum(m.square().mean() for m in maps).backward()
        found.append((maps, [p.grad for p in model.parameters()]))
    (maps, theirs), (other_maps, ours) = found
    for one, another in zip(maps, other_maps, strict=True):
        torch.testing.assert_close(another.double(), one, rtol=1e-3, atol=1e-3)
    assert_close(ours, theirs)


def test_with_the_passes_by_hand_a_detector_gives_the_same():
    torch.manual_seed(0)
    backbone = create_backbone("rexnet_0.6")
    preprocessing = of_detector(backbone.preprocessing, 96)
    model = SSDLite(backbone, ("a", "b", "c"), preprocessing=preprocessing)
    model = model.to(memory_format=torch.channels_last)
    images = torch.randn(4, 3, 96, 96).contiguous(memory_format=torch.channels_last)
    ours, theirs = FusedDetector(copy.deepcopy(model))(images), model(images)
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-3, atol=5e-3)
    torch.testing.assert_close(ours.offsets, theirs.offsets, rtol=1e-3, atol=5e-3)
