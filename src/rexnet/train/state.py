"""What a training is between two steps: all that a checkpoint holds."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from rexnet.errors import UserError
from rexnet.train import checkpoint
from rexnet.train.distributed import resolved_precision
from rexnet.train.recipe import LoopRecipe


class State:
    """A model in training and all that trains it, which go to disk and come back together.

    Args:
        model: The module, on the device.
        recipe: How it is trained.
        steps_per_epoch: Steps of an epoch.
        seed: Seed of dropout, stochastic depth and mixing.
        device: What computes.

    Attributes:
        model: The module.
        ema: The moving average of its weights, timm's ``ModelEmaV3``; None without.
        optimizer: The optimiser of the recipe.
        scheduler: timm's schedule of its learning rate.
        scaler: The scaler of the loss, which does nothing but in float16.
        seed: The seed.
        step: Steps that are done.
        losses: Mean losses of the steps of the epoch under way.
        seconds: Wall time of the epoch under way.
        history: The lines of ``metrics.jsonl``, one an epoch.

    Raises:
        UserError: timm knows no such optimiser, or the device cannot train in the precision.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: LoopRecipe,
        *,
        steps_per_epoch: int,
        seed: int,
        device: torch.device,
    ) -> None:
        from timm.utils import ModelEmaV3

        is_half = resolved_precision(recipe.precision, device) == torch.float16
        self.model, self.seed = model, seed
        self.ema = ModelEmaV3(model, decay=recipe.ema, use_warmup=True) if recipe.ema else None
        self.optimizer = make_optimizer(model, recipe)
        self.scheduler = make_scheduler(self.optimizer, recipe, steps_per_epoch)
        self.scaler = torch.amp.GradScaler(device.type, enabled=is_half)
        self.step = 0
        self.losses: list[float] = []
        self.seconds = 0.0
        self.history: list[dict[str, Any]] = []

    @property
    def kept(self) -> nn.Module:
        """What is evaluated and kept: the moving average if there is one."""
        return self.ema.module if self.ema else self.model

    @property
    def lr(self) -> float:
        """The highest learning rate of the last step."""
        return float(max(group["lr"] for group in self.optimizer.param_groups))

    def save(self, path: Path) -> None:
        """Write a checkpoint.

        Raises:
            UserError: The folder cannot be written to, or the disk is full.
        """
        state = {
            "step": self.step,
            "seed": self.seed,
            "model": self.model.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "losses": self.losses,
            "seconds": self.seconds,
            "history": self.history,
        }
        checkpoint.save(path, state)

    def load(self, path: Path) -> None:
        """Take over what ``save`` wrote, but for the schedule, which the recipe says.

        It may be one of more epochs than that of the checkpoint.

        Raises:
            UserError: The file cannot be read or is no checkpoint of this package.
        """
        state = checkpoint.load(path)
        self.model.load_state_dict(state["model"])
        if self.ema:
            self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.losses, self.history = state["step"], state["losses"], state["history"]
        self.seconds = state["seconds"]


def make_optimizer(model: nn.Module, recipe: LoopRecipe) -> torch.optim.Optimizer:
    """Return the optimiser of a recipe; weight decay spares biases and batch norms.

    Raises:
        UserError: timm knows no such optimiser.
    """
    from timm.optim import create_optimizer_v2

    extra: dict[str, Any] = {"fused": True} if recipe.optimizer == "sgd" else {}
    try:
        return create_optimizer_v2(
            model,
            opt=recipe.optimizer,
            lr=recipe.peak_lr,
            weight_decay=recipe.weight_decay,
            momentum=recipe.momentum,
            layer_decay=recipe.layer_decay if recipe.layer_decay < 1 else None,
            **extra,
        )
    except (ValueError, AssertionError, TypeError) as error:
        reason = str(error) or "timm cannot make it"
        raise UserError(f"optimizer {recipe.optimizer!r}: {reason}") from None


def make_scheduler(
    optimizer: torch.optim.Optimizer, recipe: LoopRecipe, steps_per_epoch: int
) -> Any:
    """Return the schedule of a recipe over steps: linear warm-up, then a cosine to 0."""
    from timm.scheduler.cosine_lr import CosineLRScheduler

    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    return CosineLRScheduler(
        optimizer,
        # timm warns of a cosine of a single step.
        t_initial=max(2, recipe.epochs * steps_per_epoch - warmup),
        warmup_t=warmup,
        warmup_lr_init=recipe.warmup_start * recipe.peak_lr,
        warmup_prefix=True,
        t_in_epochs=False,
    )
