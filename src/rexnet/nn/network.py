"""A NetSpec made a module."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from rexnet import families
from rexnet.nn.blocks import Block
from rexnet.nn.layers import ConvNorm, activation
from rexnet.spec import NetSpec


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A feature map of ``forward_features``.

    Attributes:
        stride: Input pixels for one pixel of the map.
        width: Its channels.
        block: The 1-based block whose output it is.
    """

    stride: int
    width: int
    block: int


class Network(nn.Module):
    """Any network of ``NetSpec``.

    Attributes:
        spec: The network as data.
        features: The maps of ``forward_features``: the last block's output at every stride of at
            least 4.
    """

    def __init__(self, spec: NetSpec) -> None:
        super().__init__()
        self.spec = spec
        self.stem = ConvNorm(3, spec.stem_width, 3, spec.stem_stride)
        self.stem_act = activation(spec.stem_act)
        self.blocks = nn.ModuleList(
            Block(width_in, block)
            for width_in, block in zip(spec.widths_in, spec.blocks, strict=True)
        )
        width = spec.widths[-1]
        self.penultimate = (
            ConvNorm(width, spec.penultimate_width) if spec.penultimate_width else None
        )
        self.penultimate_act = activation(spec.penultimate_act)
        width = spec.penultimate_width or width
        self.hidden = nn.Linear(width, spec.hidden_width) if spec.hidden_width else None
        self.hidden_norm = nn.BatchNorm1d(spec.hidden_width) if spec.hidden_width else None
        self.hidden_act = activation(spec.hidden_act)
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(spec.hidden_width or width, spec.num_classes)
        self.features = _features(spec)

    def forward_features(self, x: Tensor) -> dict[int, Tensor]:
        """Return the feature maps of ``features`` for images (N, 3, H, W), keyed by stride."""
        taps = {feature.block: feature.stride for feature in self.features}
        maps = {}
        x = self.stem_act(self.stem(x))
        for number, block in enumerate(self.blocks, 1):
            x = block(x)
            if number in taps:
                maps[taps[number]] = x
        return maps

    def forward_head(self, x: Tensor) -> Tensor:
        """Map the last block's output (N, width, H, W) to logits (N, num_classes)."""
        if self.penultimate is not None:
            x = self.penultimate_act(self.penultimate(x))
        x = x.mean((2, 3))
        if self.hidden is not None and self.hidden_norm is not None:
            x = self.hidden_act(self.hidden_norm(self.hidden(x)))
        return self.classifier(self.dropout(x))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, num_classes)."""
        x = self.stem_act(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.forward_head(x)


def create_model(network: str | NetSpec, weights: str | Path | None = None) -> Network:
    """Build a network, with weights if a file is given.

    Args:
        network: A name of ``rexnet list``, the path of a spec in JSON, or a NetSpec.
        weights: A ``.safetensors`` or ``.pth`` file with the tensor names of the official models,
            of timm's ReXNet or of this package; which of them is told by the names.

    Raises:
        UserError: The name is unknown, the file cannot be read, or its tensors do not fit.
    """
    model = Network(network if isinstance(network, NetSpec) else families.resolve(network))
    if weights is not None:
        from rexnet.nn.weights import load_weights

        load_weights(model, weights)
    return model


def _features(spec: NetSpec) -> tuple[Feature, ...]:
    stride, last = spec.stem_stride, {}
    for number, block in enumerate(spec.blocks, 1):
        stride *= block.stride
        last[stride] = Feature(stride=stride, width=block.width, block=number)
    return tuple(feature for stride, feature in last.items() if stride >= 4)
