"""The forward and backward pass of a detector by hand, for training on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn

from rexnet.detect.backbone import TapNetwork
from rexnet.detect.detector import Detector
from rexnet.nn.fast.training import (
    apply_layers,
    can_fuse,
    check_fusible,
    fused_layer,
    fused_layers,
)


class FusedDetector(nn.Module):
    """The training-mode forward of a detector with its backbone's passes by hand, on a CPU.

    Raises:
        ValueError: The backbone cannot be fused.
    """

    def __init__(self, model: Detector) -> None:
        super().__init__()
        assert isinstance(model.backbone, TapNetwork)
        self.model, self._body = model, FusedTap(model.backbone)

    def forward(self, x: Tensor) -> Any:
        """Map images (N, 3, resolution, resolution) to the detector's ``outputs``."""
        return self.model.heads(self._body(x))


def training_module(model: Detector, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Return what is called in training: on a CPU the passes by hand, where they know the network.

    Args:
        model: The detector, on ``device``.
        device: What it is trained on.
        dtype: What convolutions are computed in.
    """
    spec, on_cpu = model.backbone.spec, device.type == "cpu" and dtype == torch.float32
    return FusedDetector(model) if spec and on_cpu and can_fuse(spec) else model


class FusedTap(nn.Module):
    """The training-mode forward of a backbone with passes by hand; see ``Fused``.

    Args:
        model: The backbone; for evaluation, call it itself.

    Raises:
        ValueError: ``can_fuse(model.spec)`` is false.
    """

    def __init__(self, model: TapNetwork) -> None:
        super().__init__()
        self.model = model
        check_fusible(model.spec)
        self._stem = [fused_layer(model.stem, model.spec.stem_act)]
        pairs = zip(model.blocks, model.spec.blocks, strict=True)
        self._blocks = [fused_layers(module, block) for module, block in pairs]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the maps of images (N, channels, height, width)."""
        model = self.model
        x, maps = apply_layers(self._stem, x), []
        for index, (layers, shortcut_width) in enumerate(self._blocks):
            if index == model.tapped:
                # A strided block has no shortcut around both parts.
                *expand, depthwise, project = layers
                maps = [apply_layers(expand, x) if expand else x]
                layers, x = [depthwise, project], maps[0]
            x = apply_layers(layers, x, shortcut_width=shortcut_width)
        if model.penultimate is not None:
            layer = fused_layer(model.penultimate, model.spec.penultimate_act)
            x = apply_layers([layer], x)
        return [*maps, x]
