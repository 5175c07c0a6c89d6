"""SSDLite: a backbone's maps, smaller maps behind them, and a light head on each.

The layout is that of the TensorFlow MobileNetV2-SSDLite, which reproduces the params and MACs of
the paper's Table 6.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from rexnet.detect.backbone import Backbone
from rexnet.detect.detector import Detections, Detector
from rexnet.detect.heads import boxes, loss
from rexnet.detect.heads.anchors import anchors, counts
from rexnet.detect.heads.boxes import Raw
from rexnet.detect.recipe import Loss
from rexnet.preprocessing import Preprocessing

EXTRA_WIDTHS = (512, 256, 256, 128)
"""Channels of the maps behind the backbone's, each of half the side."""


RARE = -math.log(99)
"""Logit that the focal loss starts from: a probability of 1 %."""


class SSDLite(Detector):
    """A detector; see ``Detector``.

    Attributes:
        anchors: Shape (anchors, 4): x1, y1, x2, y2, in 0 to 1.
    """

    architecture = "ssdlite"
    outputs = ("logits", "offsets")

    anchors: Tensor

    def __init__(
        self,
        backbone: Backbone,
        classes: Sequence[str],
        category_ids: Sequence[int] | None = None,
        *,
        preprocessing: Preprocessing,
        criterion: Loss = "multibox",
    ) -> None:
        super().__init__(
            backbone, classes, category_ids, preprocessing=preprocessing, criterion=criterion
        )
        widths = [*backbone.widths, *EXTRA_WIDTHS]
        self.extras = nn.ModuleList(map(_extra, widths[1:], EXTRA_WIDTHS))
        heads = list(zip(widths, counts(), strict=True))
        self.logits = nn.ModuleList(_predictor(w, n * self.num_outputs) for w, n in heads)
        self.offsets = nn.ModuleList(_predictor(width, 4 * n) for width, n in heads)
        if criterion == "focal":
            for name, parameter in self.logits.named_parameters():
                if name.endswith(".1.bias"):
                    nn.init.constant_(parameter, RARE)
        sides = [-(-preprocessing.resolution // stride) for stride in backbone.strides]
        for _ in EXTRA_WIDTHS:
            sides.append(-(-sides[-1] // 2))
        self.register_buffer("anchors", anchors(sides), persistent=False)

    @property
    def num_outputs(self) -> int:
        """Logits of an anchor: the classes and the background."""
        return 1 + len(self.classes)

    def heads(self, maps: Sequence[Tensor]) -> Raw:
        """Map the backbone's maps to logits and offsets for every anchor."""
        maps = self.all_maps(maps)
        return Raw(_outputs(self.logits, maps, self.num_outputs), _outputs(self.offsets, maps, 4))

    def loss(self, raw: Raw, targets: Tensor) -> Tensor:
        """Return the loss for each matched anchor, of classes and offsets; see ``Detector``."""
        return loss.loss(raw, *loss.matched(self.anchors, targets), self.criterion)

    def detections(self, raw: Raw, *, score: float) -> list[Detections]:
        """Return what is left of each image after non-maximum suppression; see ``Detector``."""
        return boxes.detections(raw, self.anchors, self.criterion, score=score)

    @property
    def constants(self) -> Mapping[str, Tensor]:
        """The anchors."""
        return {"anchors": self.anchors}

    def all_maps(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the backbone's maps and the smaller ones behind them."""
        found = [*maps]
        for extra in self.extras:
            found.append(extra(found[-1]))
        return found


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
