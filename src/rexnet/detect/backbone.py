"""Backbones of a detector: networks that give the two maps SSDLite starts from."""

import math
from typing import Any

from torch import Tensor, nn

from rexnet.errors import UserError
from rexnet.nn.blocks import Block
from rexnet.nn.create import create_model
from rexnet.nn.network import Network
from rexnet.nn.sources import resolve
from rexnet.nn.timm_models import timm_model
from rexnet.preprocessing import Preprocessing

STRIDES = (16, 32)
"""Strides of the two maps of a model of timm."""


class TapNetwork(nn.Module):
    """A network that gives the two maps SSDLite starts from.

    They are those of the TensorFlow MobileNetV2-SSDLite, which the counts of the paper's Table 6
    fit: the expanded features of the first block at the largest stride, before they are strided,
    and the penultimate convolution's output.

    Args:
        model: The network, which shares its modules; its classifier is left out.

    Attributes:
        name: The network's.
        spec: The whole network as data.
        preprocessing: What an image goes through before the network sees it.
        widths: Channels of the two maps.
        strides: Input pixels for one pixel of each map.
        tapped: The 0-based block whose expanded features, or input if it expands nothing, are the
            first map.

    Raises:
        UserError: No block is strided.
    """

    def __init__(self, model: Network) -> None:
        super().__init__()
        self.spec = spec = model.spec
        strided = [index for index, block in enumerate(spec.blocks) if block.stride > 1]
        if not strided:
            raise UserError(f"{spec.name} has no strided block, which SSDLite takes a map from")
        self.name, self.preprocessing, self.tapped = spec.name, model.preprocessing, strided[-1]
        self.stem, self.stem_act, self.blocks = model.stem, model.stem_act, model.blocks
        self.penultimate, self.penultimate_act = model.penultimate, model.penultimate_act
        tapped = spec.blocks[self.tapped]
        width = spec.widths_in[self.tapped] * tapped.expansion
        self.widths = width, spec.penultimate_width or spec.widths[-1]
        stride = spec.stem_stride * math.prod(block.stride for block in spec.blocks)
        self.strides = stride // tapped.stride, stride

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (N, channels, H, W) to maps (N, width, H / stride, W / stride)."""
        x = self.stem_act(self.stem(x))
        maps = []
        for index, block in enumerate(self.blocks):
            if index != self.tapped:
                x = block(x)
                continue
            assert isinstance(block, Block)
            maps.append(block.expanded(x))
            x = block.finished(maps[0], x)
        return [*maps, x if self.penultimate is None else self.penultimate_act(self.penultimate(x))]


class TimmBackbone(nn.Module):
    """A model of timm without its classifier.

    Of an EfficientNet the maps are those of ``TapNetwork``, of other models the features that
    timm lists at strides 16 and 32.

    Attributes:
        name: ``timm:`` and timm's name.
        spec: None: it is no network of this package.
        widths: Channels of the two maps.
        strides: Input pixels for one pixel of each map.
        preprocessing: What an image goes through before the model sees it.

    Raises:
        UserError: timm knows no such model, its weights cannot be had, or it has no such features.
    """

    def __init__(self, name: str, weights: str | None = None) -> None:
        super().__init__()
        from timm.models.efficientnet import EfficientNet

        model = timm_model(name, weights)
        self.name, self.spec, self.strides = f"timm:{name}", None, STRIDES
        self.preprocessing = _preprocessing(model)
        if isinstance(model, EfficientNet):
            self.features, self.widths = _cut(model)
        else:
            self.features, self.widths = _listed(name, weights, model.feature_info)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (N, channels, H, W) to maps (N, width, H / stride, W / stride)."""
        return self.features(x)


class _Stages(nn.ModuleList):
    """Modules one after another, all of whose outputs are returned."""

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [x]
        for stage in self:
            maps.append(stage(maps[-1]))
        return maps[1:]


Backbone = TapNetwork | TimmBackbone


def create_backbone(source: str, weights: str | None = None, *, load: bool = True) -> Backbone:
    """Build a backbone.

    Args:
        source: What ``create_model`` takes as a network, or ``timm:NAME``.
        weights: What ``create_model`` takes as weights; of a model of timm ``timm``, for those that
            the name stands for, or a file of timm's.
        load: Load the weights, which otherwise say only which network of a search is meant.

    Raises:
        UserError: There is no such network, its weights cannot be had, or it has no such maps.
    """
    given = weights if load else None
    scheme, _, name = source.partition(":")
    if scheme == "timm":
        return TimmBackbone(name, given)
    # The classifier is left out, so weights with any number of classes will do.
    return TapNetwork(create_model(resolve(source, weights), given, num_classes=1))


def _preprocessing(model: Any) -> Preprocessing:
    from timm.data import resolve_model_data_config

    known = resolve_model_data_config(model)
    return Preprocessing(
        resolution=known["input_size"][-1],
        interpolation=known["interpolation"],
        mean=tuple(known["mean"]),
        std=tuple(known["std"]),
    )


def _cut(model: Any) -> tuple[nn.Module, tuple[int, int]]:
    """Cut an EfficientNet of timm behind the expansion of its last strided block."""
    blocks = [block for stage in model.blocks for block in stage]
    strided = max(i for i, block in enumerate(blocks) if block.conv_dw.stride[0] > 1)
    expand, norm, *rest = blocks[strided].children()
    start = nn.Sequential(model.conv_stem, model.bn1, *blocks[:strided], expand, norm)
    end = nn.Sequential(*rest, *blocks[strided + 1 :], model.conv_head, model.bn2)
    return _Stages([start, end]), (expand.out_channels, model.conv_head.out_channels)


def _listed(name: str, weights: str | None, info: Any) -> tuple[nn.Module, tuple[int, int]]:
    strides = [stage["reduction"] for stage in info]
    if not set(STRIDES) <= set(strides):
        raise UserError(f"timm:{name} lists no features at strides 16 and 32, only {strides}")
    indices = tuple(len(strides) - 1 - strides[::-1].index(stride) for stride in STRIDES)
    model = timm_model(name, weights, features_only=True, out_indices=indices)
    return model, tuple(model.feature_info.channels())
