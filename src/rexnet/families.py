"""Names and formulas of the known networks: name -> NetSpec."""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from rexnet.channels import make_divisible, steps
from rexnet.errors import UserError, closest
from rexnet.paper import TABLE_3
from rexnet.spec import MAX_BLOCKS, Activation, BlockSpec, NetSpec, Shortcut

REXNET_WIDTHS = ("0.6", "0.9", "1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "2.0", "2.2", "3.0")
LITE_WIDTHS = ("1.0", "1.3", "1.5", "2.0")
FACTORS: dict[str, tuple[int, float, int, Activation]] = {
    "baseline": (7, 0.22, 20, "relu6"),
    "expansion": (10, 0.22, 6, "relu6"),
    "ratio": (53, 0.8, 6, "relu6"),
    "silu": (53, 0.8, 6, "silu"),
}
"""Stem width, ratio of a block's input to its output, expansion and first activation (Table 2)."""

EFFICIENTNET_LITE = {
    "0": (1.0, 1.0, 224, 0.2),
    "1": (1.0, 1.1, 240, 0.2),
    "2": (1.1, 1.2, 260, 0.3),
    "3": (1.2, 1.4, 280, 0.3),
    "4": (1.4, 1.8, 300, 0.3),
}
"""Multipliers of width and depth, resolution and dropout of EfficientNet-Lite."""

LITE_STAGES, LITE_LENGTHS = (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1)

WIDTH = re.compile(r"\d+(\.\d+)?")
MIN_WIDTH, MAX_WIDTH = 0.1, 20.0

TIMM = re.compile(r"(?:hf[-_]hub:)?(?:timm/)?rexnet(r?)_([0-3]\d0)(?:\.[a-z]\w*)?")
OFFICIAL = re.compile(r"rexnet(?:_?v1)?[-_](lite[-_])?(\d\.\d)x", re.IGNORECASE)
"""What timm and the paper's authors call these networks: rexnet_100 and ReXNetV1_1.0x."""

STAGE_LENGTHS = (1, 2, 2, 3, 3, 5)
STAGE_STRIDES = (1, 2, 2, 2, 1, 2)


@dataclass(frozen=True, kw_only=True)
class Family:
    """The networks that one function makes.

    Attributes:
        make: Returns the network of a member, or the only one.
        members: What stands behind the family's name in the names that are listed; empty for a
            single network.
        by_width: Whether every width multiplier is a member.
    """

    make: Callable[..., NetSpec]
    members: tuple[str, ...] = ()
    by_width: bool = False


def names() -> list[str]:
    """Return the named networks; ``rexnet_W`` and ``rexnet_lite_W`` take any width multiplier."""
    return [
        f"{name}_{member}" if member else name
        for name, family in FAMILIES.items()
        for member in family.members or ("",)
    ]


def get(name: str) -> NetSpec:
    """Return the spec of a named network.

    Raises:
        UserError: The name is unknown (the closest one is named) or its width is out of range.
    """
    start, _, member = name.rpartition("_")
    family = FAMILIES.get(start)
    if family and family.by_width and WIDTH.fullmatch(member) and not TIMM.fullmatch(name):
        _check_width(name, start, member)
        return family.make(float(member))
    if name not in names():
        hint = _foreign(name) or closest(name, names())
        raise UserError(f"unknown model {name!r}{hint}; `rexnet list` names them all")
    return FAMILIES[name].make() if name in FAMILIES else FAMILIES[start].make(member)


def _check_width(name: str, start: str, member: str) -> None:
    """Check the width multiplier of a name.

    Raises:
        UserError: It is out of range, or of two digits, which leave open where the point is meant.
    """
    value = float(member)
    if MIN_WIDTH <= value <= MAX_WIDTH and not re.fullmatch(r"\d\d", member):
        return
    likely = value / 10 ** (len(member) - 1)
    meant = [width for width in (likely, value) if MIN_WIDTH <= width <= MAX_WIDTH]
    names = " or ".join(f"{start}_{width:.2f}".removesuffix("0") for width in meant)
    hint = f" and have a point: {names}" if names and member.isdigit() else ""
    raise UserError(f"width multiplier {member} of {name} must be from 0.1 to 20{hint}")


def _foreign(name: str) -> str:
    """Return in words what a name of timm's or of the paper's authors is here, or nothing."""
    if match := TIMM.fullmatch(name):
        if match[1]:
            return (
                f": timm's rexnetr_{match[2]} is another network, of widths in multiples of 8; "
                "benchmark, export and detection take it as timm:NAME"
            )
        return f": timm's rexnet_{match[2]} is rexnet_{int(match[2]) / 100} here"
    if match := OFFICIAL.fullmatch(name):
        return f": the authors' {name} is rexnet_{'lite_' if match[1] else ''}{match[2]} here"
    return ""


def resolve(name: str) -> NetSpec:
    """Return the spec of a known name, or of a JSON file.

    Raises:
        UserError: The name is unknown, or the file holds no spec.
    """
    return NetSpec.load(name) if name.endswith(".json") else get(name)


def rexnet(
    width: float, num_blocks: int = 16, num_classes: int = 1000, resolution: int = 224
) -> NetSpec:
    """ReXNet at a width multiplier (appendix, Figure A2a and Table A1), at other depths too.

    From 1 upwards everything scales; below 1 the stem and the first block keep 32 and 16 channels.

    Raises:
        UserError: There are fewer blocks than the 6 stages.
    """
    lengths = _stage_lengths(num_blocks)
    # Summed in the official order, so that ties round to the same channel.
    channels, widths = 16 / width if width < 1 else 16.0, []
    for _ in range(num_blocks):
        widths.append(round(channels * width))
        channels += 180 / num_blocks
    strides = _stage_strides(lengths, STAGE_STRIDES)
    return NetSpec(
        name=f"rexnet_{float(width)}",
        blocks=_bottlenecks(widths, strides, "silu", first_se=lengths[0] + lengths[1]),
        stem_width=round(32 * max(width, 1.0)),
        penultimate_width=int(1280 * width),
        num_classes=num_classes,
        resolution=resolution,
    )


def rexnet_lite(width: float) -> NetSpec:
    """ReXNet-lite: ReLU6, no SE, widths in multiples of 8 and a hidden layer of 1024."""
    total = sum(STAGE_LENGTHS)
    channels, widths = 16 / width if width < 1 else 16.0, []
    for _ in range(total):
        widths.append(make_divisible(round(channels * width), 8))
        # differs from ReXNet: divided by the number of steps, not of blocks.
        channels += 164 / (total - 1)
    strides = _stage_strides(STAGE_LENGTHS, STAGE_STRIDES)
    return NetSpec(
        name=f"rexnet_lite_{float(width)}",
        blocks=_bottlenecks(widths, strides, "relu6"),
        stem_width=make_divisible(round(32 * max(width, 1.0)), 8),
        stem_act="relu6",
        penultimate_width=int(1280 * max(width, 1.0)),
        penultimate_act="relu6",
        hidden_width=1024,
    )


def rexnet_plain() -> NetSpec:
    """ReXNet (plain): MobileNetV1 on a line, without shortcuts (appendix, B.2 and Table A1).

    Figure A2b as drawn cannot be what Table A1 measured; MobileNetV1's own strides and no 1280
    convolution reproduce both of its counts.
    """
    widths = [48 * (index + 1) for index in range(1, 13)] + [1024]
    return _separable("rexnet_plain", widths, "silu")


def mobilenet_v1() -> NetSpec:
    """MobileNetV1, the baseline of ReXNet (plain)."""
    widths = steps((64, 128, 256, 512, 1024), (1, 2, 2, 6, 2))
    return _separable("mobilenet_v1", widths, "relu")


def mobilenet_v2() -> NetSpec:
    """MobileNetV2, the stage-wise baseline of ReXNet."""
    lengths = (1, 2, 3, 4, 3, 3, 1)
    widths = steps((16, 24, 32, 64, 96, 160, 320), lengths)
    strides = _stage_strides(lengths, (1, 2, 2, 2, 1, 2, 1))
    return NetSpec(
        name="mobilenet_v2",
        blocks=_bottlenecks(widths, strides, "relu6", shortcut="equal"),
        stem_act="relu6",
        penultimate_act="relu6",
    )


def efficientnet_lite(version: str) -> NetSpec:
    """EfficientNet-Lite: inverted bottlenecks of kernels 3 and 5 with ReLU6, without SE.

    As in TensorFlow, convolutions pad as ``SAME`` does and batch norms add 0.001; timm has these as
    ``tf_efficientnet_lite0`` to ``lite4``.
    """
    width, depth, resolution, dropout = EFFICIENTNET_LITE[version]
    lengths = [n if i in (0, 6) else math.ceil(n * depth) for i, n in enumerate(LITE_LENGTHS)]
    widths = steps([make_divisible(c * width, 8) for c in LITE_STAGES], lengths)
    strides = _stage_strides(lengths, (1, 2, 2, 2, 1, 2, 1))
    kernels = steps((3, 3, 5, 3, 5, 5, 3), lengths)
    bottlenecks = _bottlenecks(widths, strides, "relu6", shortcut="equal")
    return NetSpec(
        name=f"efficientnet_lite{version}",
        blocks=tuple(
            dataclasses.replace(block, kernel=kernel)
            for block, kernel in zip(bottlenecks, kernels, strict=True)
        ),
        stem_act="relu6",
        penultimate_act="relu6",
        dropout=dropout,
        resolution=resolution,
        padding="same",
        norm_eps=1e-3,
    )


def search_network(widths: Sequence[int], num_classes: int, resolution: int = 32) -> NetSpec:
    """The fixed network of the channel search (paper, section 4; Figure 2, Table 3, Figure A1).

    A stem of 16 channels at stride 1, inverted bottlenecks of expansion 6 with ReLU6, strides of 2
    at the first block of the second and third of three stages, a 1x1 convolution to 1280 channels.

    Raises:
        UserError: There are fewer than 3 blocks, or the widths fall.
    """
    num_blocks = len(widths)
    if num_blocks < 3:
        raise UserError(f"the search network needs at least 3 blocks, not {num_blocks}")
    reductions = (num_blocks // 3, 2 * (num_blocks // 3))
    return NetSpec(
        name=f"search_{num_blocks}b",
        blocks=tuple(
            BlockSpec(width=int(width), stride=2 if i in reductions else 1, expand_act="relu6")
            for i, width in enumerate(widths)
        ),
        stem_width=16,
        stem_stride=1,
        stem_act="relu",
        penultimate_act="relu6",
        num_classes=num_classes,
        dropout=0.0,
        resolution=resolution,
    )


def rexnet_cifar(row: str) -> NetSpec:
    """The best network of a row of Table 3, for images of 32 pixels and 100 classes.

    What section 4.4 changes in MobileNetV2 is changed in it: SiLU after the expansions, and SE,
    here from the second stage on.
    """
    spec = search_network(TABLE_3[row].best, 100)
    first = len(spec.blocks) // 3
    blocks = tuple(
        dataclasses.replace(block, expand_act="silu", se_divisor=12 if index >= first else 0)
        for index, block in enumerate(spec.blocks)
    )
    return dataclasses.replace(
        spec,
        name=f"rexnet_cifar_{row}",
        blocks=blocks,
        stem_act="silu",
        penultimate_act="silu",
        dropout=0.2,
    )


def factors(name: str) -> NetSpec:
    """A network of the factor study (section 3, Table 2), for images of 32 pixels, 100 classes.

    Two blocks between the stem and the penultimate layer of the search network. From ``baseline``
    on, each changes one thing more: the expansion, the ratio of the blocks' widths, SiLU after the
    expansions. The paper does not give widths: a stem of these makes its MACs, to 2.1 %.
    """
    stem_width, ratio, expansion, activation = FACTORS[name]
    width = round(stem_width / ratio)
    return NetSpec(
        name=f"factors_{name}",
        blocks=tuple(
            BlockSpec(width=width, stride=stride, expansion=expansion, expand_act=activation)
            for width, stride in ((width, 1), (round(width / ratio), 2))
        ),
        stem_width=stem_width,
        stem_stride=1,
        stem_act="relu",
        penultimate_act="relu6",
        num_classes=100,
        dropout=0.0,
        resolution=32,
    )


FAMILIES = {
    "rexnet": Family(make=rexnet, members=REXNET_WIDTHS, by_width=True),
    "rexnet_plain": Family(make=rexnet_plain),
    "rexnet_lite": Family(make=rexnet_lite, members=LITE_WIDTHS, by_width=True),
    "rexnet_cifar": Family(make=rexnet_cifar, members=tuple(TABLE_3)),
    "factors": Family(make=factors, members=tuple(FACTORS)),
    "mobilenet_v1": Family(make=mobilenet_v1),
    "mobilenet_v2": Family(make=mobilenet_v2),
    **{
        f"efficientnet_lite{version}": Family(make=partial(efficientnet_lite, version))
        for version in EFFICIENTNET_LITE
    },
}
"""The named networks; a new family is a function above and a line here."""


def _bottlenecks(
    widths: Sequence[int],
    strides: Sequence[int],
    expand_act: Activation,
    first_se: int | None = None,
    shortcut: Shortcut = "pad",
) -> tuple[BlockSpec, ...]:
    """Inverted bottlenecks: the first without expansion, SE from the block ``first_se`` on."""
    return tuple(
        BlockSpec(
            width=width,
            stride=stride,
            expansion=1 if index == 0 else 6,
            se_divisor=0 if first_se is None or index < first_se else 12,
            expand_act=expand_act,
            shortcut=shortcut,
        )
        for index, (width, stride) in enumerate(zip(widths, strides, strict=True))
    )


def _separable(name: str, widths: Sequence[int], project_act: Activation) -> NetSpec:
    strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    return NetSpec(
        name=name,
        blocks=tuple(
            BlockSpec(
                width=width,
                stride=stride,
                expansion=1,
                depthwise_act="relu",
                project_act=project_act,
                shortcut="none",
            )
            for width, stride in zip(widths, strides, strict=True)
        ),
        stem_act="relu",
        penultimate_width=0,
    )


def _stage_lengths(num_blocks: int) -> tuple[int, ...]:
    """Spread blocks over the six stages of ReXNet in the proportions of its 16 blocks."""
    if not len(STAGE_LENGTHS) <= num_blocks <= MAX_BLOCKS:
        raise UserError(
            f"{num_blocks} blocks; a ReXNet has {len(STAGE_LENGTHS)} to {MAX_BLOCKS} blocks"
        )
    lengths = [1] * len(STAGE_LENGTHS)
    for _ in range(num_blocks - len(lengths)):
        # Sainte-Lague; the first stage stays a single block without expansion.
        claims = [want / (2 * have + 1) for want, have in zip(STAGE_LENGTHS, lengths, strict=True)]
        lengths[claims.index(max(claims[1:]), 1)] += 1
    return tuple(lengths)


def _stage_strides(lengths: Sequence[int], strides: Sequence[int]) -> list[int]:
    return [
        stride if position == 0 else 1
        for length, stride in zip(lengths, strides, strict=True)
        for position in range(length)
    ]
