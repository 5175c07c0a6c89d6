"""A NetSpec made a module."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from rexnet.errors import UserError
from rexnet.nn.blocks import Block
from rexnet.nn.layers import ConvNorm, activation
from rexnet.preprocessing import Preprocessing
from rexnet.spec import NetSpec


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A feature map of ``forward_features``.

    Attributes:
        stride: Input pixels for one pixel of the map.
        width: Its channels.
        block: The 1-based block whose output it is; 0 is the stem.
    """

    stride: int
    width: int
    block: int


class Network(nn.Module):
    """Any network of ``NetSpec``, with random weights.

    Args:
        spec: The network as data.
        drop_path: Rate of stochastic depth of the last block; it rises linearly from 0 at the
            first block. Blocks without a shortcut have none.

    Attributes:
        spec: The network as data.
        features: The last block's output at every stride of at least 4: maps of
            ``forward_features``.
        preprocessing: What an image goes through before the network sees it.
        classes: The names of the classes in the order of the logits; empty if they are not known.
        classifier: The last layer; of no classes the identity, which leaves the features.

    Raises:
        UserError: ``drop_path`` is out of range.
    """

    def __init__(self, spec: NetSpec, drop_path: float = 0.0) -> None:
        if not 0 <= drop_path < 1:
            raise UserError(f"drop_path {drop_path} must be at least 0 and below 1")
        super().__init__()
        self.spec = spec
        padding, eps = spec.padding, spec.norm_eps
        geometry = 3, spec.stem_stride, 1, padding, eps
        self.stem = ConvNorm(spec.in_channels, spec.stem_width, *geometry)
        self.stem_act = activation(spec.stem_act)
        rise = drop_path / max(1, len(spec.blocks) - 1)
        self.blocks = nn.ModuleList(
            Block(width_in, block, rise * index, padding, eps)
            for index, (width_in, block) in enumerate(zip(spec.widths_in, spec.blocks, strict=True))
        )
        width = spec.widths[-1]
        self.penultimate = (
            ConvNorm(width, spec.penultimate_width, eps=eps) if spec.penultimate_width else None
        )
        self.penultimate_act = activation(spec.penultimate_act)
        width = spec.penultimate_width or width
        self.hidden = nn.Linear(width, spec.hidden_width) if spec.hidden_width else None
        self.hidden_norm = nn.BatchNorm1d(spec.hidden_width, eps) if spec.hidden_width else None
        self.hidden_act = activation(spec.hidden_act)
        self.dropout = nn.Dropout(spec.dropout)
        self.num_features = spec.hidden_width or width
        self.classifier = _classifier(self.num_features, spec.num_classes)
        self.features = tuple(stage for stage in stages(spec) if stage.stride >= 4)
        preprocessing = Preprocessing(resolution=spec.resolution)
        self.preprocessing = preprocessing.with_channels(spec.in_channels)
        self.classes: tuple[str, ...] = ()

    def forward_features(self, x: Tensor) -> dict[int, Tensor]:
        """Return feature maps of images (N, channels, H, W) by their strides.

        They are the maps of ``features``, and the last block's output in any case, as the last one.
        """
        taps = {stage.block: stage.stride for stage in (*self.features, stages(self.spec)[-1])}
        maps = {}
        x = self.stem_act(self.stem(x))
        for number, block in enumerate(self.blocks, 1):
            x = block(x)
            if number in taps:
                maps[taps[number]] = x
        return maps

    def forward_head(self, x: Tensor | Mapping[int, Tensor], pre_logits: bool = False) -> Tensor:
        """Map the last block's output (N, width, H, W) to logits (N, num_classes).

        Args:
            x: That output, or all that ``forward_features`` gives, of which it is the last.
            pre_logits: Return what the classifier would be given: (N, num_features).
        """
        last: Tensor = x if isinstance(x, Tensor) else x[max(x)]
        if self.penultimate is not None:
            last = self.penultimate_act(self.penultimate(last))
        last = last.mean((2, 3))
        if self.hidden is not None and self.hidden_norm is not None:
            last = self.hidden_act(self.hidden_norm(self.hidden(last)))
        last = self.dropout(last)
        return last if pre_logits else self.classifier(last)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, channels, H, W) to logits (N, num_classes)."""
        x = self.stem_act(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.forward_head(x)

    @property
    def num_classes(self) -> int:
        """The number of logits; 0 if there is no classifier."""
        return self.spec.num_classes

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """The last output at every stride, under timm's field names."""
        return [
            {"num_chs": stage.width, "reduction": stage.stride, "module": _module(stage)}
            for stage in stages(self.spec)
        ]

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """What images need, as timm's ``resolve_model_data_config`` reads it."""
        return self.preprocessing.to_config() | {
            "num_classes": self.num_classes,
            "first_conv": "stem.conv",
            "classifier": "classifier",
        }

    def get_classifier(self) -> nn.Module:
        """Return the last layer, as timm's models do."""
        return self.classifier

    def reset_classifier(self, num_classes: int) -> None:
        """Put a new last layer of ``num_classes`` outputs in place; the classes lose their names.

        Raises:
            UserError: ``num_classes`` is out of range.
        """
        self.spec = dataclasses.replace(self.spec, num_classes=num_classes)
        self.classifier = _classifier(self.num_features, num_classes).to(self.stem.conv.weight)
        self.classes = ()

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Return patterns that sort parameters by depth, for timm's layer-wise learning rates.

        The groups are those of timm's ReXNet: the stem, every block, the penultimate convolution,
        the head. As there, ``coarse`` changes nothing.
        """
        return {"stem": r"^stem", "blocks": r"^blocks\.(\d+)", "penultimate": r"^penultimate"}


def stages(spec: NetSpec) -> tuple[Feature, ...]:
    """Return the last output at every stride, the stem's included."""
    stride = spec.stem_stride
    last = {stride: Feature(stride=stride, width=spec.stem_width, block=0)}
    for number, block in enumerate(spec.blocks, 1):
        stride *= block.stride
        last[stride] = Feature(stride=stride, width=block.width, block=number)
    return tuple(last.values())


def _classifier(num_features: int, num_classes: int) -> nn.Module:
    return nn.Linear(num_features, num_classes) if num_classes else nn.Identity()


def _module(stage: Feature) -> str:
    return f"blocks.{stage.block - 1}" if stage.block else "stem_act"
