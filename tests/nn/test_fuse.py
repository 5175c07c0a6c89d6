import pytest
import torch
from torch import nn

from rexnet import create_model
from rexnet.detect.backbone import create_backbone
from rexnet.detect.ssdlite import SSDLite, of_detector
from rexnet.nn.fuse import fuse


def shaken(model):
    """Move batch norms off their start."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.eval()


@pytest.mark.parametrize("name", ["rexnet_1.0", "rexnet_plain", "rexnet_lite_1.0", "mobilenet_v2"])
def test_a_fused_network_gives_the_same_logits_without_batch_norms(name):
    model = shaken(create_model(name, num_classes=10))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fused = fuse(model)
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(fused(images), model(images), rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", ["rexnet_0.6", "timm:efficientnet_b0"])
def test_a_fused_detector_gives_the_same(name):
    backbone = create_backbone(name)
    preprocessing = of_detector(backbone.preprocessing, 64)
    # Statistics off their start let rounding grow from layer to layer.
    model = shaken(SSDLite(backbone, ("a", "b"), preprocessing=preprocessing)).double()
    images = torch.randn(2, 3, 64, 64).double()
    with torch.no_grad():
        ours, theirs = fuse(model)(images), model(images)
    torch.testing.assert_close(ours.logits, theirs.logits)
    torch.testing.assert_close(ours.offsets, theirs.offsets)
