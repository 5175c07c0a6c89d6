"""The numbers that the paper printed, and what can be read off its Figure 1: data alone.

Networks go by their names in this package. Accuracies and average precisions are in percent; costs
are strings as printed, some of them cut off instead of rounded.
"""

from collections.abc import Mapping
from typing import NamedTuple

FIGURE_1_RATIOS = (0.1, 0.2, 0.5, 1.0)
"""The ratios of input to output channels at which Figure 1 was read."""


def _curve(*values: float) -> Mapping[float, float]:
    return dict(zip(FIGURE_1_RATIOS, values, strict=True))


FIGURE_1: Mapping[str, Mapping[str, Mapping[float, float]]] = {
    "pointwise": {
        "linear": _curve(0.1, 0.2, 0.5, 1.0),
        "relu6": _curve(0.855, 0.905, 0.948, 0.960),
        "relu": _curve(0.848, 0.900, 0.948, 0.965),
        "leaky_relu": _curve(0.875, 0.930, 0.977, 0.991),
        "elu": _curve(0.915, 0.963, 0.988, 0.998),
        "softplus": _curve(0.935, 0.975, 0.990, 0.998),
        "hardswish": _curve(0.948, 0.984, 0.995, 0.998),
        "silu": _curve(0.958, 0.983, 0.991, 0.998),
    },
    "conv": {"relu": {0.1: 0.867}, "silu": {0.1: 0.963}},
    "bottleneck": {
        "relu": _curve(0.30, 0.56, 0.91, 1.0),
        "relu6": _curve(0.30, 0.56, 0.91, 1.0),
        "silu": _curve(0.39, 0.68, 0.95, 1.0),
        "hardswish": _curve(0.39, 0.68, 0.95, 1.0),
    },
    "depthwise": {
        "relu": _curve(0.19, 0.36, 0.69, 1.0),
        "silu": _curve(0.25, 0.43, 0.75, 1.0),
        "hardswish": _curve(0.25, 0.43, 0.75, 1.0),
    },
}
"""Rank by output channels, by architecture, function and ratio of widths (Figure 1).

Read with the eye, to 0.01 in (a) and 0.02 in (c) and (d); of (b) two points.
"""


class Factor(NamedTuple):
    """A row of Table 2: top-1 on CIFAR-100 and nuclear norm of the final feature, of three runs."""

    top1: float
    nuclear_norm: float
    macs: str


TABLE_2: Mapping[str, Factor] = {
    "baseline": Factor(48.0, 5997.5, "103M"),
    "expansion": Factor(52.1, 6655.9, "99M"),
    "ratio": Factor(53.8, 6703.2, "105M"),
    "silu": Factor(54.6, 6895.9, "105M"),
}
"""The factor study (section 3): each row has one rule of design more."""


class Searched(NamedTuple):
    """A row of Table 3: a budget, and 200 networks inside it after 30 epochs on CIFAR-100.

    Attributes:
        params: Most parameters; the networks keep it without their classifier.
        macs: Most multiply-accumulates.
        top: Mean accuracy and its standard error of the best tenth.
        middle: The same of those from 50 to 60 %.
        bottom: The same of the worst tenth.
        best: Block widths of the best network.
        worst: Block widths of the worst one.
    """

    params: str
    macs: str
    top: tuple[float, float]
    middle: tuple[float, float]
    bottom: tuple[float, float]
    best: tuple[int, ...]
    worst: tuple[int, ...]


TABLE_3: Mapping[str, Searched] = {
    "a": Searched(
        params="0.2M",
        macs="30M",
        top=(63.1, 0.1),
        middle=(62.2, 0.0),
        bottom=(61.4, 0.2),
        best=(34, 34, 45, 55, 66),
        worst=(36, 36, 36, 36, 83),
    ),
    "b": Searched(
        params="0.5M",
        macs="100M",
        top=(68.8, 0.1),
        middle=(68.0, 0.1),
        bottom=(67.4, 0.3),
        best=(24, 33, 42, 50, 59, 68, 77, 85, 94),
        worst=(39, 39, 39, 39, 39, 39, 39, 87, 158),
    ),
    "c": Searched(
        params="1.0M",
        macs="200M",
        top=(71.0, 0.1),
        middle=(70.3, 0.0),
        bottom=(69.9, 0.2),
        best=(30, 45, 59, 74, 88, 103, 117, 132, 146),
        worst=(47, 47, 70, 70, 70, 70, 70, 70, 364),
    ),
    "d": Searched(
        params="3.0M",
        macs="300M",
        top=(73.0, 0.1),
        middle=(72.1, 0.1),
        bottom=(71.7, 0.1),
        best=(34, 34, 34, 40, 64, 88, 112, 136, 160, 184, 208, 232, 256),
        worst=(52, 52, 52, 52, 52, 52, 52, 52, 52, 115, 263, 263, 412),
    ),
}
"""The channel search (section 4). Networks of row d take 351M, not the 300M that it prints."""


class Cost(NamedTuple):
    """What a detector costs in Table 6."""

    params: str
    macs: str


TABLE_6: Mapping[str, Cost] = {
    "rexnet_0.9": Cost("5.0M", "0.88B"),
    "rexnet_1.0": Cost("5.7M", "1.01B"),
    "rexnet_1.3": Cost("8.4M", "1.60B"),
    "timm:efficientnet_b0": Cost("6.2M", "0.97B"),
    "timm:efficientnet_b1": Cost("8.7M", "1.35B"),
    "timm:efficientnet_b2": Cost("10.0M", "1.55B"),
    "mobilenet_v2": Cost("4.3M", "0.79B"),
    "mobilenet_v1": Cost("5.1M", "1.31B"),
}
"""SSDLite at 320 pixels, by its backbone (section 5)."""


class Timed(NamedTuple):
    """A row of Table A1, at 224 pixels.

    Attributes:
        top1: Of ImageNet's validation images.
        macs: Multiply-accumulates of one image.
        params: Learnable parameters.
        cpu_milliseconds: For one image on a Xeon E5-2630 v4.
        gpu_milliseconds: For 64 images on a V100.
    """

    top1: float
    macs: str
    params: str
    cpu_milliseconds: int
    gpu_milliseconds: int

    def milliseconds(self, device: str) -> int:
        """Return the time on ``cpu`` or ``cuda``."""
        return self.cpu_milliseconds if device == "cpu" else self.gpu_milliseconds


BASE = "rexnet_1.0"
"""The network whose multiples the others are, and with whose time theirs are compared."""

TABLE_A1: Mapping[str, Timed] = {
    "rexnet_plain": Timed(74.8, "0.56B", "3.4M", 22, 10),
    "rexnet_0.9": Timed(77.2, "0.35B", "4.1M", 46, 20),
    "rexnet_1.0": Timed(77.9, "0.40B", "4.8M", 47, 21),
    "rexnet_1.1": Timed(78.6, "0.48B", "5.6M", 51, 24),
    "rexnet_1.2": Timed(79.0, "0.57B", "6.6M", 53, 26),
    "rexnet_1.3": Timed(79.5, "0.66B", "7.6M", 55, 28),
    "rexnet_1.4": Timed(79.8, "0.76B", "8.6M", 57, 30),
    "rexnet_1.5": Timed(80.3, "0.86B", "9.7M", 59, 31),
    "rexnet_2.0": Timed(81.6, "1.5B", "16M", 69, 40),
    "rexnet_2.2": Timed(81.7, "1.8B", "19M", 73, 46),
    "rexnet_3.0": Timed(82.8, "3.4B", "34M", 96, 61),
}
"""The networks of the appendix (B.3)."""


class Accuracy(NamedTuple):
    """A row of Table A2: accuracy on ImageNet's validation images."""

    top1: float
    top5: float


TABLE_A2: Mapping[str, Accuracy] = {
    "relu6": Accuracy(77.3, 93.5),
    "leaky_relu": Accuracy(77.4, 93.6),
    "softplus": Accuracy(77.6, 93.8),
    "elu": Accuracy(77.6, 93.7),
    "silu": Accuracy(77.9, 93.9),
}
"""The nonlinearity study (appendix, C.1), in its order."""


class Precision(NamedTuple):
    """A row of Tables A3 and A4: average precision on COCO's val2017."""

    ap: float
    ap50: float
    ap75: float


TABLE_A3: Mapping[str, Precision] = {
    "timm:tf_efficientnet_b0.ns_jft_in1k": Precision(23.6, 39.4, 23.3),
    "rexnet_0.9": Precision(24.6, 41.2, 24.6),
    "timm:tf_efficientnet_b1.ns_jft_in1k": Precision(25.6, 42.2, 25.8),
    "rexnet_1.0": Precision(25.2, 41.9, 25.3),
    "timm:tf_efficientnet_b2.ns_jft_in1k": Precision(26.4, 43.4, 26.6),
    "rexnet_1.3": Precision(27.1, 44.7, 27.4),
}
"""Detectors on pretrained backbones (appendix, C.2)."""

TABLE_A4: Mapping[str, Precision] = {
    "timm:efficientnet_b0": Precision(23.9, 39.6, 24.1),
    "rexnet_0.9": Precision(25.3, 41.4, 25.9),
    "timm:efficientnet_b1": Precision(25.6, 41.9, 26.0),
    "rexnet_1.0": Precision(25.9, 42.6, 26.3),
    "timm:efficientnet_b2": Precision(26.5, 43.3, 26.7),
    "rexnet_1.3": Precision(27.7, 45.1, 28.0),
}
"""The same from scratch, for twice as many iterations."""
