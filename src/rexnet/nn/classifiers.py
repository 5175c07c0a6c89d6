"""Classifiers of this package and of timm alike: read, written, counted, made fast."""

import copy
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rexnet import cost
from rexnet.nn.create import create_model
from rexnet.nn.fast.inference import fuse
from rexnet.nn.hub import load_model, save_pretrained
from rexnet.nn.network import Network
from rexnet.nn.sources import find, find_weights
from rexnet.nn.timm_models import TimmNetwork, create_timm, save_timm

Classifier = Network | TimmNetwork

ROUNDING = 0.01
"""How far outputs may be from those of a module that was changed, by the largest of them."""


def load_classifier(source: str, weights: str | None = None) -> Classifier:
    """Build a trained classifier in evaluation mode.

    Args:
        source: What ``load_model`` takes, also with a model of timm in it; with weights, what
            ``create_model`` takes as a network, or ``timm:NAME``.
        weights: What ``create_model`` takes as weights; of a model of timm ``timm``, or a file or a
            folder with timm's names of tensors.

    Raises:
        UserError: The model or its weights cannot be had, or do not belong together.
    """
    known = find_weights(source).timm if weights is None else find(source).timm
    if known is not None:
        return create_timm(known, source if weights is None else weights).eval()
    return load_model(source) if weights is None else create_model(source, weights).eval()


def save_classifier(model: Classifier, folder: str | Path) -> None:
    """Write a model folder for ``load_classifier``.

    Raises:
        UserError: The folder cannot be written to, or the disk is full.
    """
    if isinstance(model, Network):
        save_pretrained(model, folder)
    else:
        save_timm(model, folder)


def body_of(model: Classifier) -> nn.Module:
    """Return the module that is trained: of timm's its own, whose names of layers timm knows."""
    return model if isinstance(model, Network) else model.body


def with_body(model: Classifier, body: nn.Module) -> Classifier:
    """Return a classifier that is ``body``, and all else as ``model``."""
    if isinstance(model, Network):
        assert isinstance(body, Network)
        return body
    other = TimmNetwork(body, model.known)
    other.preprocessing, other.classes = model.preprocessing, model.classes
    return other


def identity_of(model: Classifier) -> Mapping[str, Any]:
    """Return what makes two classifiers the same but for their weights and classes."""
    if isinstance(model, Network):
        return {"name": model.spec.name, "spec_id": model.spec.spec_id}
    return {"name": model.name, "spec_id": None, "model_args": dict(model.known.arguments)}


def params_and_macs(model: Classifier) -> tuple[int, int]:
    """Return the learnable parameters and the multiply-accumulates for one image."""
    if isinstance(model, Network):
        total = cost.count(model.spec)
        return total.params, total.macs
    side = model.preprocessing.resolution
    macs = counted_macs(model, (model.preprocessing.num_channels, side, side))
    return sum(parameter.numel() for parameter in model.parameters()), macs


def counted_macs(module: nn.Module, size: tuple[int, int, int]) -> int:
    """Return the multiply-accumulates of a module for one image, by computing it.

    They are those of convolutions, linear layers and attention.

    Args:
        module: The module, which is left as it is.
        size: Channels, height and width of the image.
    """
    from torch.utils.flop_counter import FlopCounterMode

    device = next((parameter.device for parameter in module.parameters()), None)
    # The counter looks for gradients of whatever could have some.
    counted = copy.deepcopy(module).eval().requires_grad_(False)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        counted(torch.zeros(1, *size, device=device))
    return counter.get_total_flops() // 2


def quick(model: Classifier) -> nn.Module:
    """Return a copy for evaluation on the same device, in the fastest form there is."""
    if isinstance(model, Network):
        return fuse(model)
    plain = copy.deepcopy(model).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    fused = fuse(_folded(plain))
    # In a module of others two neighbours need not follow each other.
    return fused if _agree(plain, fused, model.preprocessing.resolution) else plain


def _folded(model: TimmNetwork) -> TimmNetwork:
    """Return a copy in which timm's batch norms with an activation are folded, too."""
    from timm.layers import BatchNormAct2d, Conv2dSame

    folded = copy.deepcopy(model)
    with torch.no_grad():
        for parent in list(folded.modules()):
            pairs = itertools.pairwise(list(parent.named_children()))
            for (name, conv), (norm_name, norm) in pairs:
                if not isinstance(conv, nn.Conv2d) or type(norm) is not BatchNormAct2d:
                    continue
                # Others do more with their weights.
                if type(conv) not in (nn.Conv2d, Conv2dSame):
                    continue
                setattr(parent, name, nn.Sequential(fuse_conv_bn_eval(conv, norm), norm.act))
                setattr(parent, norm_name, norm.drop)
    return folded


def _agree(plain: nn.Module, fused: nn.Module, resolution: int) -> bool:
    """Tell whether a module for evaluation gives what the one does that it was made of."""
    tensor = next(plain.parameters())
    size = (2, 3, resolution, resolution)
    x = torch.rand(size, generator=torch.Generator().manual_seed(0)).to(tensor)
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        try:
            wanted, found = plain(x), fused(x)
        except (AttributeError, RuntimeError, TypeError):
            # It asks a layer for what that has no more.
            return False
    return bool((found - wanted).abs().max() <= ROUNDING * wanted.abs().max())
