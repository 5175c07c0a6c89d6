"""SSDLite: a backbone's maps, smaller maps behind them, and a light head on each.

The layout is that of the TensorFlow MobileNetV2-SSDLite, which reproduces the params and MACs of
the paper's Table 6.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rexnet.detect.backbone import Backbone
from rexnet.detect.heads.anchors import anchors, counts
from rexnet.detect.recipe import Loss
from rexnet.errors import UserError
from rexnet.preprocessing import Preprocessing

EXTRA_WIDTHS = (512, 256, 256, 128)
"""Channels of the maps behind the backbone's, each of half the side."""


RARE = -math.log(99)
"""Logit that the focal loss starts from: a probability of 1 %."""


class Raw(NamedTuple):
    """What the heads give.

    Attributes:
        logits: Shape (N, anchors, 1 + classes); the first is the background's.
        offsets: Shape (N, anchors, 4): boxes in SSD's coding, relative to the anchors.
    """

    logits: Tensor
    offsets: Tensor


class SSDLite(nn.Module):
    """A detector.

    Args:
        backbone: Gives the first two maps.
        classes: Names of the classes.
        category_ids: Their ids in the annotations; from 1 by default.
        preprocessing: What an image goes through: whatever its shape it is resized to the square of
            the resolution, and normalised.
        loss: What it is trained with, which tells how its logits become scores.

    Attributes:
        anchors: Shape (anchors, 4): x1, y1, x2, y2, in 0 to 1.

    Raises:
        UserError: There is no class, or the resolution is out of range.
    """

    anchors: Tensor

    def __init__(
        self,
        backbone: Backbone,
        classes: Sequence[str],
        category_ids: Sequence[int] | None = None,
        *,
        preprocessing: Preprocessing,
        loss: Loss = "multibox",
    ) -> None:
        resolution = preprocessing.resolution
        if not classes:
            raise UserError("a detector needs at least one class")
        if not 64 <= resolution <= 2048:
            raise UserError(f"resolution {resolution} of a detector must be from 64 to 2,048")
        super().__init__()
        self.backbone, self.preprocessing, self.loss = backbone, preprocessing, loss
        self.classes = tuple(classes)
        self.category_ids = tuple(category_ids or range(1, len(classes) + 1))
        widths = [*backbone.widths, *EXTRA_WIDTHS]
        self.extras = nn.ModuleList(map(_extra, widths[1:], EXTRA_WIDTHS))
        heads = list(zip(widths, counts(), strict=True))
        self.logits = nn.ModuleList(_predictor(w, n * self.num_outputs) for w, n in heads)
        self.offsets = nn.ModuleList(_predictor(width, 4 * n) for width, n in heads)
        if loss == "focal":
            for name, parameter in self.logits.named_parameters():
                if name.endswith(".1.bias"):
                    nn.init.constant_(parameter, RARE)
        sides = [-(-resolution // stride) for stride in backbone.strides]
        for _ in EXTRA_WIDTHS:
            sides.append(-(-sides[-1] // 2))
        self.register_buffer("anchors", anchors(sides), persistent=False)

    @property
    def num_outputs(self) -> int:
        """Logits of an anchor: the classes and the background."""
        return 1 + len(self.classes)

    def forward(self, x: Tensor) -> Raw:
        """Map images (N, 3, resolution, resolution) to logits and offsets for every anchor."""
        return self.heads(self.backbone(x))

    def heads(self, maps: Sequence[Tensor]) -> Raw:
        """Map the backbone's maps to logits and offsets for every anchor."""
        maps = self.all_maps(maps)
        return Raw(_outputs(self.logits, maps, self.num_outputs), _outputs(self.offsets, maps, 4))

    def all_maps(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the backbone's maps and the smaller ones behind them."""
        found = [*maps]
        for extra in self.extras:
            found.append(extra(found[-1]))
        return found


def of_detector(preprocessing: Preprocessing, resolution: int) -> Preprocessing:
    """Return the preprocessing of a detector on a backbone: its mean and std, the whole image.

    Raises:
        UserError: The resolution is out of range.
    """
    return dataclasses.replace(
        preprocessing, resolution=resolution, crop=1.0, interpolation="bilinear"
    )


def _extra(width_in: int, width: int) -> nn.Module:
    """Return 1x1 -> depthwise 3x3 at stride 2 -> 1x1."""
    from torchvision.ops import Conv2dNormActivation

    middle, act = width // 2, nn.ReLU6
    return nn.Sequential(
        Conv2dNormActivation(width_in, middle, 1, activation_layer=act),
        Conv2dNormActivation(middle, middle, 3, 2, groups=middle, activation_layer=act),
        Conv2dNormActivation(middle, width, 1, activation_layer=act),
    )


def _predictor(width: int, num_outputs: int) -> nn.Module:
    """Return depthwise 3x3 -> 1x1."""
    from torchvision.ops import Conv2dNormActivation

    # differs: the bias before the batch norm does nothing, but the paper's params count it.
    depthwise = Conv2dNormActivation(
        width, width, 3, groups=width, activation_layer=nn.ReLU6, bias=True
    )
    return nn.Sequential(depthwise, nn.Conv2d(width, num_outputs, 1))


def _outputs(heads: Iterable[nn.Module], maps: Iterable[Tensor], width: int) -> Tensor:
    """Return what a head on each map gives, (N, anchors, width)."""
    found = (head(x).permute(0, 2, 3, 1) for head, x in zip(heads, maps, strict=True))
    # Not len(x): an exporter would take the number of images for a constant.
    return torch.cat([x.reshape(x.shape[0], -1, width) for x in found], 1)
