"""Batch norms folded into convolutions: the same network for evaluation, in fewer passes."""

import copy
import itertools
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

M = TypeVar("M", bound=nn.Module)


def fuse(model: M) -> M:
    """Return a copy for evaluation on the same device, channels last in memory.

    Every batch norm that directly follows a convolution is folded into it. The copy gives the same
    values but for rounding and cannot be trained.

    Args:
        model: A network or a detector of this package; other modules are kept as they are.
    """
    fused = copy.deepcopy(model).eval()
    with torch.no_grad():
        for parent in list(fused.modules()):
            pairs = itertools.pairwise(list(parent.named_children()))
            for (name, conv), (norm_name, norm) in pairs:
                # Subclasses, such as timm's norms with an activation in them, do more.
                if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d:
                    setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                    setattr(parent, norm_name, nn.Identity())
    return fused.to(memory_format=torch.channels_last).requires_grad_(False)
