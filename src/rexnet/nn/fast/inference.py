"""The same network for evaluation, in fewer passes over memory."""

import copy
import itertools
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rexnet.nn.blocks import Block
from rexnet.nn.fast.onednn import InPlaceShortcut, LinearGate, OneDnnConv, can_be_onednn, follows
from rexnet.nn.layers import ConvNorm, SameConv2d, SqueezeExcite

M = TypeVar("M", bound=nn.Module)


def fold(model: M) -> M:
    """Return a copy for evaluation with every batch norm folded into the convolution before it.

    The copy gives the same values but for rounding and cannot be trained.

    Args:
        model: A network or a detector of this package; other modules are kept as they are.
    """
    folded = copy.deepcopy(model).eval()
    with torch.no_grad():
        for parent in list(folded.modules()):
            pairs = itertools.pairwise(list(parent.named_children()))
            for (name, conv), (norm_name, norm) in pairs:
                # Subclasses, such as timm's norms with an activation in them, do more.
                is_plain = type(conv) in (nn.Conv2d, SameConv2d)
                if is_plain and isinstance(conv, nn.Conv2d) and type(norm) is nn.BatchNorm2d:
                    setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                    setattr(parent, norm_name, nn.Identity())
    return folded.requires_grad_(False)


def fuse(model: M) -> M:
    """Return a copy for evaluation on the same device, channels last in memory.

    Batch norms are folded. On a CPU in float32 every convolution is oneDNN's, which applies the
    activation in the same pass, and squeeze-excite and shortcuts work in place. The copy gives the
    same values but for rounding and can be neither trained nor exported.

    Args:
        model: A network or a detector of this package; other modules are kept as they are.
    """
    fused = fold(model).to(memory_format=torch.channels_last)
    tensors = itertools.chain(fused.parameters(), fused.buffers())
    plain = all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors)
    if not plain or not torch.backends.mkldnn.is_available():
        return fused
    for parent in list(fused.modules()):
        if isinstance(parent, Block):
            _in_place(parent)
        for name, activation in list(_followed(parent)):
            _join(parent, name, activation)
    for parent in list(fused.modules()):
        for name, child in list(parent.named_children()):
            if can_be_onednn(child):
                setattr(parent, name, OneDnnConv(child))
    return fused


def _in_place(block: Block) -> None:
    if block.shortcut is not None:
        block.shortcut = InPlaceShortcut()
    if isinstance(block.se, SqueezeExcite):
        block.se = LinearGate(block.se)
        if isinstance(block.depthwise_act, nn.ReLU6):
            block.depthwise_act = nn.ReLU6(inplace=True)


def _followed(parent: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the names of a convolution, folded or bare, and of the activation right behind it."""
    children = dict(parent.named_children())
    if isinstance(parent, nn.Sequential):
        names = [name for name, child in children.items() if not isinstance(child, nn.Identity)]
        yield from itertools.pairwise(names)
        return
    for name, child in children.items():
        gated = name == "depthwise" and isinstance(parent, Block) and parent.se is not None
        if isinstance(child, ConvNorm) and not gated and f"{name}_act" in children:
            yield name, f"{name}_act"


def _join(parent: nn.Module, name: str, activation: str) -> None:
    conv, act = getattr(parent, name), getattr(parent, activation)
    conv = conv.conv if isinstance(conv, ConvNorm) else conv
    if can_be_onednn(conv) and follows(act):
        setattr(parent, name, OneDnnConv(conv, act))
        setattr(parent, activation, nn.Identity())
