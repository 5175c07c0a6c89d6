"""What a user can set of the rank study, and the choices that the paper is silent about."""

import dataclasses
from dataclasses import dataclass
from typing import Literal, get_args

from rexnet.errors import UserError, check_ranges, closest

Architecture = Literal["pointwise", "conv", "bottleneck", "depthwise"]

Function = Literal["linear", "relu6", "relu", "leaky_relu", "elu", "softplus", "hardswish", "silu"]

MAX_IMAGES = 100_000
"""Images that a network is looked at with, at most."""

RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the paper does not tell of its random layers.

    Attributes:
        input: Distribution of the input: uniform from 0 to 1, or normal.
        norm: Where a function has its batch norm: before it or after it.
        maps: What a 3x3 convolution sees around a pixel: zeros, as each is an image of its own
            (points), or its neighbours in one square image.
        samples: Pixels for each output channel.
        tolerance: Singular values above this share of the largest one count.
        expansion: Channels inside an inverted bottleneck by those of its input.
        widths: Fewest and most output channels, both included.
    """

    input: Literal["uniform", "normal"] = "uniform"
    norm: Literal["before", "after"] = "after"
    maps: Literal["points", "image"] = "points"
    samples: float
    tolerance: float
    expansion: int = 1
    widths: tuple[int, int]

    def __post_init__(self) -> None:
        if not 1 < self.samples <= 16:
            raise UserError(f"samples {self.samples} must be above 1 and at most 16")
        if not 1e-5 <= self.tolerance < 1:
            raise UserError(f"tolerance {self.tolerance} must be from 0.00001 to below 1")
        check_ranges(self, expansion=(1, 16))
        least, most = self.widths
        if not 8 <= least <= most <= 4096:
            raise UserError(f"widths {least} to {most} must rise and be from 8 to 4,096")


FITTED: dict[Architecture, Choices] = {
    "pointwise": Choices(samples=1.03, tolerance=0.0012, widths=(64, 200)),
    "conv": Choices(samples=1.03, tolerance=0.0012, widths=(64, 200)),
    "bottleneck": Choices(
        norm="before", samples=1.1, tolerance=0.0117, expansion=3, widths=(24, 96)
    ),
    "depthwise": Choices(samples=2, tolerance=0.074, expansion=2, widths=(24, 96)),
}
"""The choices that come nearest to what can be read off Figure 1, panel by panel."""


@dataclass(frozen=True, kw_only=True)
class RankStudy:
    """Count the rank of random layers' outputs by width ratio and function (Figure 1).

    Attributes:
        architectures: pointwise (a), conv (b), bottleneck (c), depthwise (d): a 1x1 convolution, a
            3x3 one, an inverted bottleneck with a 3x3 convolution, one with a depthwise one.
        functions: What follows a convolution.
        ratios: Input channels by output channels, 0.1 to 1.
        networks: Random layers for each point.
        seed: Seed of weights, inputs and widths.
        input: uniform from 0 to 1, or normal (default: what fits the paper best).
        norm: Batch norm before the function or after it (default: what fits best).
        maps: Pixels that are images of their own, or one image (default: what fits best).
        samples: Pixels for each output channel (default: what fits best).
        tolerance: Singular values above this share of the largest count (default: what fits best).
        expansion: Channels inside a bottleneck by those of its input (default: what fits best).
        widths: Fewest and most output channels (default: so that all takes minutes).
        parallel: Points at a time, one thread each (default: one a core).
        out: The folder; a study that was stopped goes on from what is there.
    """

    architectures: tuple[Architecture, ...] = get_args(Architecture)
    functions: tuple[Function, ...] = get_args(Function)
    ratios: tuple[float, ...] = RATIOS
    networks: int = 1000
    seed: int = 0
    input: Literal["uniform", "normal"] | None = None
    norm: Literal["before", "after"] | None = None
    maps: Literal["points", "image"] | None = None
    samples: float | None = None
    tolerance: float | None = None
    expansion: int | None = None
    widths: tuple[int, int] | None = None
    parallel: int | None = None
    out: str = "runs/rank"

    def __post_init__(self) -> None:
        for field, kind in (("architectures", Architecture), ("functions", Function)):
            given, known = getattr(self, field), get_args(kind)
            for name in given:
                if name not in known:
                    raise UserError(
                        f"{field}: {name!r}{closest(name, known)} is not one of {', '.join(known)}"
                    )
            if not given or len(set(given)) < len(given):
                raise UserError(f"{field} must be different, at least one")
        if not self.ratios or not all(0.05 <= ratio <= 1 for ratio in self.ratios):
            raise UserError(f"ratios {self.ratios} must be from 0.05 to 1")
        check_ranges(
            self,
            networks=(1, 100_000, "100,000"),
            parallel=(1, 256),
            seed=(0, 2**32 - 1),
        )
        if not self.out:
            raise UserError("--out must be a path")
        for architecture in self.architectures:
            self.choices(architecture)

    def choices(self, architecture: Architecture) -> Choices:
        """Return the choices for an architecture: those given, else those that fit best."""
        names = (field.name for field in dataclasses.fields(Choices))
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return dataclasses.replace(FITTED[architecture], **given)


@dataclass(frozen=True, kw_only=True)
class NetworkStudy:
    """Look at the ranks inside a network.

    Attributes:
        model: A run folder, a model folder, a name of `rexnet list` or a spec in JSON.
        data: Images, as in training; those of the validation part.
        weights: As in training (default: those of the run folder, else random ones).
        images: How many.
        out: The folder.
    """

    model: str
    data: str
    weights: str | None = None
    images: int = 128
    out: str = "runs/rank"

    def __post_init__(self) -> None:
        for field in ("model", "data", "out"):
            if not getattr(self, field):
                raise UserError(f"--{field} must be a name or a path")
        check_ranges(self, images=(2, MAX_IMAGES, f"{MAX_IMAGES:,}"))
