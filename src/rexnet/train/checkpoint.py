"""Checkpoints: all that a training is between two steps, in one file."""

import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rexnet import runs
from rexnet.errors import UserError
from rexnet.train.distributed import resolved_precision
from rexnet.train.recipe import LoopRecipe
from rexnet.train.schedule import make_optimizer, make_scheduler

FORMAT = 1


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
        save(path, state)

    def load(self, path: Path) -> None:
        """Take over what ``save`` wrote, but for the schedule, which the recipe says.

        It may be one of more epochs than that of the checkpoint.

        Raises:
            UserError: The file cannot be read or is no checkpoint of this package.
        """
        state = load(path)
        self.model.load_state_dict(state["model"])
        if self.ema:
            self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.losses, self.history = state["step"], state["losses"], state["history"]
        self.seconds = state["seconds"]


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` atomically.

    Raises:
        UserError: The folder cannot be written to, or the disk is full.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    runs.write_bytes(path, buffer.getbuffer())


def load(path: Path) -> dict[str, Any]:
    """Read what ``save`` wrote, onto the CPU and without unpickling code.

    Raises:
        UserError: The file cannot be read or is no checkpoint of this package.
    """
    try:
        content = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read the checkpoint {path}: {error.strerror or error}") from None
    try:
        state = torch.load(content, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 (for a damaged file torch raises almost anything)
        raise UserError(
            f"cannot read the checkpoint {path}: it is damaged; remove it, and the same command "
            "trains from the beginning"
        ) from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{path} is no checkpoint of this version of rexnet")
    return state
