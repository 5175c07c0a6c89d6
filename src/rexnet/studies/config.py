"""What a user can set of the studies of trainings."""

from dataclasses import dataclass
from typing import get_args

from rexnet.errors import UserError, check_range, closest
from rexnet.spec import Activation
from rexnet.train.recipe import Device


@dataclass(frozen=True, kw_only=True)
class ActivationStudy:
    """Train a network with several activations after its expansions (Table A2).

    Attributes:
        model: A name of `rexnet list`, or the path of a spec in JSON.
        data: As in `rexnet train`.
        recipe: As in `rexnet train`.
        set: As in `rexnet train`.
        activations: What comes after every expanding 1x1 convolution, the penultimate one too.
        seeds: Trainings for each activation.
        out: The folder; each training is a run folder in it.
        parallel: Trainings at a time (default: one a core, each on one thread; one on a GPU).
        device: What computes: auto is a GPU if there is one.
    """

    model: str = "rexnet_cifar_a"
    data: str = "cifar10"
    recipe: str = "cifar"
    set: tuple[str, ...] = ()
    activations: tuple[Activation, ...] = ("relu6", "leaky_relu", "softplus", "elu", "silu")
    seeds: int = 3
    out: str = "runs/activations"
    parallel: int | None = None
    device: Device = "auto"

    def __post_init__(self) -> None:
        check_study(self.seeds, self.parallel)
        known = get_args(Activation)
        for name in self.activations:
            if name not in known:
                raise UserError(
                    f"activation {name!r}{closest(name, known)} is not one of {', '.join(known)}"
                )
        if not self.activations or len(set(self.activations)) < len(self.activations):
            raise UserError(f"activations {self.activations} must be different, at least one")


@dataclass(frozen=True, kw_only=True)
class FactorStudy:
    """Train the four networks of the factor study (Table 2) and look at their final features.

    Attributes:
        data: As in `rexnet train`.
        recipe: As in `rexnet train`.
        set: As in `rexnet train`.
        seeds: Trainings of each network.
        out: The folder; each training is a run folder in it.
        parallel: Trainings at a time (default: one a core, each on one thread; one on a GPU).
        device: What computes: auto is a GPU if there is one.
    """

    data: str = "cifar100"
    recipe: str = "cifar"
    set: tuple[str, ...] = ()
    seeds: int = 3
    out: str = "runs/factors"
    parallel: int | None = None
    device: Device = "auto"

    def __post_init__(self) -> None:
        check_study(self.seeds, self.parallel)


@dataclass(frozen=True, kw_only=True)
class DetectionStudy:
    """Train detectors on several backbones alike (Tables A3 and A4).

    Attributes:
        data: As in `rexnet detect train`.
        backbones: What to compare.
        recipe: As in `rexnet detect train`.
        set: As in `rexnet detect train`.
        weights: Trained weights that all backbones start from, such as timm.
        from_scratch: Start from new weights and train twice as long (Table A4).
        seeds: Trainings for each backbone.
        out: The folder; each training is a run folder in it.
        parallel: Trainings at a time (default: one a core, each on one thread; one on a GPU).
        device: What computes: auto is a GPU if there is one.
        skip_corrupt: As in `rexnet detect train`.
    """

    data: str
    backbones: tuple[str, ...] = ()
    recipe: str = "ssdlite_coco"
    set: tuple[str, ...] = ()
    weights: str | None = None
    from_scratch: bool = False
    seeds: int = 1
    out: str = "runs/detection"
    parallel: int | None = None
    device: Device = "auto"
    skip_corrupt: bool = False

    def __post_init__(self) -> None:
        check_study(self.seeds, self.parallel)
        if not self.backbones or len(set(self.backbones)) < len(self.backbones):
            raise UserError(f"backbones {self.backbones} must be different, at least one")
        if self.from_scratch and self.weights:
            raise UserError("--from-scratch starts from new weights; give no --weights with it")


def check_study(seeds: int, parallel: int | None) -> None:
    """Check what the options of all studies share.

    Raises:
        UserError: A number is out of range.
    """
    check_range("seeds", seeds, 1, 100)
    check_range("parallel", parallel, 1, 256)
