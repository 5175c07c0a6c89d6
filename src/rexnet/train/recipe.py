"""Recipe: how a network is trained (paper, section 5.1), read from YAML with overrides."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

from rexnet.errors import UserError, check_ranges, closest
from rexnet.runs import options
from rexnet.spec import NetSpec

Device = Literal["auto", "cpu", "cuda"]

Precision = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class LoopRecipe:
    """What the training loop follows, whatever is trained; recipes extend it.

    Attributes:
        epochs: Times through the training images.
        batch_size: Images a step, over all processes.
        accumulate: Parts into which a process cuts its share of a batch, to need less memory.
        optimizer: A name that timm's ``create_optimizer_v2`` knows; sgd is with Nesterov momentum.
        lr: Peak learning rate for ``lr_batch_size`` images; scaled linearly with ``batch_size``.
        lr_batch_size: The batch size that ``lr`` is for.
        warmup_epochs: Epochs of linear warm-up, before the cosine.
        warmup_start: Share of the peak learning rate that the warm-up starts from.
        momentum: Of the optimiser.
        weight_decay: Not applied to biases and batch norms.
        layer_decay: The learning rate of a layer divided by that of the next; 1 for all the same.
        clip_grad: Largest norm of all gradients; 0 does not clip.
        ema: Decay a step of the moving average of the weights, which is then what is evaluated and
            kept; 0 is without.
        precision: What convolutions are computed in: auto is bfloat16 on a GPU that has it, float16
            on other GPUs, float32 on a CPU.
        pretrained: Whether the training starts from trained weights.

    Raises:
        UserError: A value is out of range.
    """

    epochs: int = 400
    batch_size: int = 512
    accumulate: int = 1
    optimizer: str = "sgd"
    lr: float = 0.5
    lr_batch_size: int = 512
    warmup_epochs: float = 5.0
    warmup_start: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 1e-5
    layer_decay: float = 1.0
    clip_grad: float = 0.0
    ema: float = 0.0
    precision: Precision = "auto"
    pretrained: bool = False

    def __post_init__(self) -> None:
        million = (1, 10**6, "1,000,000")
        check_ranges(
            self,
            epochs=million,
            batch_size=million,
            accumulate=million,
            lr_batch_size=million,
            lr=(0, 1e3),
            warmup_start=(0, 1),
            momentum=(0, 1),
            weight_decay=(0, 1),
            layer_decay=(0.01, 1),
            clip_grad=(0, 1e6),
            ema=(0, 0.999999),
        )
        check_ranges(self, warmup_epochs=(0, self.epochs, f"epochs, {self.epochs}"))

    @property
    def peak_lr(self) -> float:
        """The learning rate after the warm-up."""
        return self.lr * self.batch_size / self.lr_batch_size


@dataclass(frozen=True, kw_only=True)
class Recipe(LoopRecipe):
    """How a network is trained on labelled images: the fields of ``recipes/*.yaml``.

    Attributes:
        classifier: What a new classifier of trained weights starts from: random weights, or the
            linear probe of these weights (Kumar et al., 2022), so that it does not undo them.
        freeze_norm: Keep the statistics of batch norms as trained weights have them; scales and
            biases are trained.
        label_smoothing: Share of the target spread over all classes.
        dropout: Before the classifier.
        drop_path: Stochastic depth of the last block, rising linearly from the first.
        mixup: Alpha of mixup; 0 is without.
        cutmix: Alpha of CutMix; 0 is without.
        crop: ``resized`` (a random part, resized), ``padded`` (a random crop of the padded image,
            for small ones) or ``none`` (as in evaluation).
        scale: The share of the area that a resized crop takes, from and to.
        flip: Probability of a mirror image.
        rand_augment: RandAugment in timm's notation, such as rand-m9-mstd0.5; empty is without.
        random_erasing: Probability of a random rectangle of noise.
        resolution: Side of the input in pixels (default: the model's).
        eval_crop: Side of the centre crop of evaluation divided by the shorter side of the resized
            image (default: the model's).
        teacher: A trained model of the same classes whose outputs are learnt, too: what
            ``rexnet validate`` takes as a model; empty is without, and the fields below do nothing.
        teacher_weights: The weights of a teacher that is named without: what ``rexnet validate``
            takes as weights.
        distill_weight: Share of the loss that the teacher has; the labels have the rest.
        temperature: What the logits of both are divided by before they are compared.

    Raises:
        UserError: A value is out of range, or there are weights of a teacher without a teacher.
    """

    classifier: Literal["random", "probe"] = "random"
    freeze_norm: bool = False
    label_smoothing: float = 0.1
    dropout: float = 0.2
    drop_path: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    crop: Literal["resized", "padded", "none"] = "resized"
    scale: tuple[float, float] = (0.08, 1.0)
    flip: float = 0.5
    rand_augment: str = ""
    random_erasing: float = 0.0
    resolution: int | None = None
    eval_crop: float | None = None
    teacher: str = ""
    teacher_weights: str = ""
    distill_weight: float = 0.5
    temperature: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(
            self,
            label_smoothing=(0, 0.99),
            dropout=(0, 0.99),
            drop_path=(0, 0.99),
            mixup=(0, 100),
            cutmix=(0, 100),
            distill_weight=(0, 1),
            temperature=(0.1, 100),
        )
        if self.teacher_weights and not self.teacher:
            raise UserError(f"teacher_weights {self.teacher_weights} belong to no teacher; set it")
        if self.has_mixing and self.batch_size // self.accumulate % 2:
            raise UserError(f"mixup and cutmix need an even batch_size, not {self.batch_size}")

    @property
    def has_mixing(self) -> bool:
        """Whether images of a batch are mixed with each other."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def identity(self) -> dict[str, Any]:
        """What makes two recipes the same; a teacher is known by its weights, not by its name."""
        fields = dataclasses.asdict(self) | {"scale": list(self.scale)}
        for name in TEACHERS if self.teacher else (*TEACHERS, *OF_TEACHERS):
            del fields[name]
        # Recipes keep the identities that they had before these fields.
        for name in ("classifier", "freeze_norm"):
            if fields[name] == getattr(Recipe, name):
                del fields[name]
        return fields


TEACHERS, OF_TEACHERS = ("teacher", "teacher_weights"), ("distill_weight", "temperature")
"""The fields that name a teacher, and those that do nothing without one."""


def adapted(spec: NetSpec, recipe: Recipe) -> NetSpec:
    """Return a network as a recipe has it."""
    resolution = recipe.resolution or spec.resolution
    return dataclasses.replace(spec, dropout=recipe.dropout, resolution=resolution)


SHIPPED = ("imagenet", "cifar", "finetune")
"""The recipes of training that come with the package."""

R = TypeVar("R", bound=LoopRecipe)


def load(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe of training on labelled images.

    Args:
        name: A shipped recipe (imagenet, cifar or finetune), or the path of a YAML file.
        overrides: ``FIELD=VALUE``, stronger than the file.

    Raises:
        UserError: There is no such recipe, a field is unknown, or a value is wrong.
    """
    return load_as(Recipe, SHIPPED, name, overrides)


def load_as(kind: type[R], shipped: Sequence[str], name: str, overrides: Sequence[str]) -> R:
    """Read a recipe of another kind; see ``load``.

    Args:
        kind: Its class.
        shipped: The names of the recipes of this kind that come with the package.
        name: One of them, or the path of a YAML file.
        overrides: ``FIELD=VALUE``, stronger than the file.
    """
    for override in overrides:
        if "=" not in override:
            raise UserError(f"--set {override}: give FIELD=VALUE, such as epochs=5")
    path = _path(name, shipped)
    try:
        return options.read(kind, [f"--config={path}", *(f"--{o}" for o in overrides)])
    except UserError as error:
        raise UserError(f"recipe {name}: {str(error).replace('--', '')}") from None


def _path(name: str, shipped: Sequence[str]) -> Path:
    folder = Path(str(files("rexnet"))) / "recipes"
    path = folder / f"{name}.yaml" if name in shipped else Path(name)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise UserError(
            f"no recipe {name!r}{closest(name, shipped)}; give {', '.join(shipped)} or a YAML file"
        )
    return path
