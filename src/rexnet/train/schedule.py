"""The optimiser of a recipe, and the schedule of its learning rate."""

from typing import Any

import torch
from torch import nn

from rexnet.errors import UserError
from rexnet.train.recipe import LoopRecipe


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
