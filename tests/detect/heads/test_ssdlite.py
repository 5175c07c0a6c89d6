import pytest
import torch

from rexnet import UserError
from rexnet.detect.backbone import create_backbone
from rexnet.detect.cost import count
from rexnet.detect.detector import of_detector
from rexnet.detect.heads.ssdlite import SSDLite

pytestmark = pytest.mark.numeric

TABLE_6 = {
    "rexnet_0.9": (5.0, 0.88),
    "rexnet_1.0": (5.7, 1.01),
    "rexnet_1.3": (8.4, 1.60),
    "timm:efficientnet_b0": (6.2, 0.97),
    "timm:efficientnet_b1": (8.7, 1.35),
    "timm:efficientnet_b2": (10.0, 1.54),
    "mobilenet_v2": (4.3, 0.79),
    "mobilenet_v1": (5.1, 1.31),
}
"""Params in millions and MACs in billions; B2 is 1.55 there, and 0.9 is cut off, not rounded."""


def detector(name, num_classes=80, resolution=320, **options):
    backbone = create_backbone(name)
    names = [str(number) for number in range(num_classes)]
    preprocessing = of_detector(backbone.preprocessing, resolution)
    return SSDLite(backbone, names, preprocessing=preprocessing, **options)


@pytest.mark.parametrize("name", TABLE_6)
def test_params_and_macs_are_the_published_ones(name):
    with torch.device("meta"):
        total = count(detector(name))
    params, macs = TABLE_6[name]
    assert round(total.params / 1e6, 1) == params
    assert abs(total.macs / 1e9 - macs) < 0.008


@pytest.mark.parametrize("resolution", [64, 96, 100, 224, 320])
def test_there_is_an_anchor_for_every_output(resolution):
    model = detector("rexnet_0.6", 5, resolution).eval()
    with torch.no_grad():
        raw = model(torch.randn(2, 3, resolution, resolution))
    assert raw.logits.shape == (2, len(model.anchors), 6)
    assert raw.offsets.shape == (2, len(model.anchors), 4)


def test_what_is_no_detector_is_refused():
    with pytest.raises(UserError, match="at least one class"):
        detector("rexnet_0.6", 0)
    with pytest.raises(UserError, match="resolution 32 of a detector"):
        detector("rexnet_0.6", 3, 32)


def test_the_focal_loss_starts_from_rare_objects():
    model = detector("rexnet_0.6", 3, 64, criterion="focal").eval()
    with torch.no_grad():
        logits = model(torch.randn(1, 3, 64, 64)).logits
    assert logits.sigmoid().mean() < 0.05
