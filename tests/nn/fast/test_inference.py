import copy
import dataclasses

import pytest
import torch
from torch import nn

from rexnet import create_model, families
from rexnet.detect.backbone import create_backbone
from rexnet.detect.detector import of_detector
from rexnet.detect.heads.ssdlite import SSDLite
from rexnet.nn.fast.inference import fold, fuse
from rexnet.nn.fast.onednn import OneDnnConv

pytestmark = pytest.mark.numeric


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


@pytest.mark.parametrize("change", [fold, fuse])
@pytest.mark.parametrize(
    "name",
    ["rexnet_1.0", "rexnet_plain", "rexnet_lite_1.0", "mobilenet_v2", "efficientnet_lite0"],
)
def test_the_changed_network_gives_the_same_logits_without_batch_norms(name, change):
    model = shaken(create_model(name, num_classes=10))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    changed = change(model)
    # Sizes follow on each other: a fused network lays out its weights for each.
    for size in ((2, 3, 64, 64), (1, 3, 96, 64)):
        images = torch.randn(size)
        torch.testing.assert_close(changed(images), model(images), rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in changed.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch lacks oneDNN here")
@pytest.mark.parametrize("act", ["relu", "relu6", "leaky_relu", "elu", "softplus", "hardswish"])
def test_every_convolution_of_a_fused_network_is_onednns_whatever_its_activation(act):
    spec = families.get("rexnet_1.0")
    blocks = [
        dataclasses.replace(block, expand_act=act, depthwise_act=act, project_act=act)
        for block in spec.blocks
    ]
    spec = dataclasses.replace(spec, blocks=tuple(blocks), stem_act=act, penultimate_act=act)
    model = shaken(create_model(spec))
    fused = fuse(model)
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(fused(images), model(images), rtol=1e-4, atol=1e-4)
    kinds = {type(module) for module in fused.modules()}
    assert OneDnnConv in kinds
    assert nn.Conv2d not in kinds
    with pytest.raises(TypeError, match="copy the model"):
        copy.deepcopy(fused)


@pytest.mark.parametrize("name", ["rexnet_0.6", "timm:efficientnet_b0"])
def test_a_fused_detector_gives_the_same(name):
    backbone = create_backbone(name)
    preprocessing = of_detector(backbone.preprocessing, 64)
    # Statistics off their start let rounding grow from layer to layer.
    model = shaken(SSDLite(backbone, ("a", "b"), preprocessing=preprocessing)).double()
    images = torch.randn(2, 3, 64, 64).double()
    with torch.no_grad():
        theirs, exact = model(images), fuse(model)(images)
        ours = fuse(model.float())(images.float())
    torch.testing.assert_close(exact.logits, theirs.logits)
    torch.testing.assert_close(exact.offsets, theirs.offsets)
    torch.testing.assert_close(ours.logits.double(), theirs.logits, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(ours.offsets.double(), theirs.offsets, rtol=1e-2, atol=1e-2)
