import dataclasses

import pytest
import torch

from rexnet import families
from rexnet.nn.inherit import parts
from rexnet.nn.inherit.needs import needs
from rexnet.nn.network import Network


@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobilenet_v2", "rexnet_1.0"])
def test_the_memory_is_that_of_the_maps_of_a_forward_pass(name):
    spec = dataclasses.replace(families.get(name), resolution=64)
    model, held = Network(spec).eval(), []
    for block in parts.blocks(model):
        entering = []
        block.register_forward_pre_hook(
            lambda _, x, entering=entering: entering.append(x[0].numel())
        )
        block.depthwise.conv.register_forward_hook(
            lambda *found, entering=entering: held.append(entering[0] + found[2].numel())
        )
    with torch.inference_mode():
        model(torch.zeros(1, 3, 64, 64))
    assert needs(spec, spec, 5).num_bytes == 4 * 5 * (3 * 64**2 + max(held))


def test_more_images_take_more_of_both():
    spec = families.get("efficientnet_lite0")
    few, many = (needs(spec, spec, count) for count in (10, 100))
    assert many.num_bytes == 10 * few.num_bytes
    assert many.core_seconds == pytest.approx(10 * few.core_seconds)
    assert many.words.startswith("inheriting with 100 images: about ")
