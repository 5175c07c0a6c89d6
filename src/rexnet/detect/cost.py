"""Params and MACs of a detector (Tables 6, A3 and A4 of the paper)."""

import copy

import torch

from rexnet.cost import Cost
from rexnet.detect.detector import Detector


def count(model: Detector) -> Cost:
    """Return the cost of a detector for one image of its resolution, without choosing boxes.

    MACs are those of convolutions and linear layers, as everywhere in this package; activations are
    the elements of all maps that the head looks at.
    """
    from torch.utils.flop_counter import FlopCounterMode

    # Nothing is computed on this device.
    shapes = copy.deepcopy(model).to("meta").eval()
    side = model.preprocessing.resolution
    images = torch.empty(1, model.preprocessing.num_channels, side, side, device="meta")
    with torch.no_grad():
        activations = sum(x.numel() for x in shapes.all_maps(shapes.backbone(images)))
        with FlopCounterMode(display=False) as counter:
            shapes(images)
    return Cost(
        params=sum(parameter.numel() for parameter in model.parameters()),
        macs=counter.get_total_flops() // 2,
        activations=activations,
    )
