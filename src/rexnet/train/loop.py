"""The training loop of every job: steps, epochs, checkpoints, resuming.

It knows no data and no task: it is handed batches, a loss and an evaluation. All randomness of a
step comes from the seed and the number of the step, so a position is all that resuming needs.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rexnet import runs
from rexnet.errors import UserError
from rexnet.runs.progress import Estimate, OnProgress, Progress, time_left
from rexnet.train import checkpoint
from rexnet.train.distributed import World, resolved_precision
from rexnet.train.recipe import LoopRecipe

Batch = tuple[Any, Any]

LOSSES_ON_GPU = 20
"""Steps after which losses are read from a GPU, which waits for it."""

TITLES = {"top1": "top-1", "ap": "AP"}
"""What results are called in words."""


class Batches(Protocol):
    """What a training reads: the same batches for the same epoch, whatever was read before."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""

    def epoch(self, number: int, start_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of this process in epoch ``number``, ``accumulate`` a step."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is trained for.

    Attributes:
        loss: From the training module and a batch on the device to the mean loss of the batch.
        evaluate: From the module to be kept to its results; called in every process.
        metric: The result that the best checkpoint has the highest of.
    """

    loss: Callable[[nn.Module, Batch], Tensor]
    evaluate: Callable[[nn.Module], Mapping[str, float]]
    metric: str


OnEpoch = Callable[[Mapping[str, float]], None]
"""What is told an epoch's line of ``metrics.jsonl``."""


class Loop:
    """Trains a module in a run folder, from where the folder's ``last.pt`` stands.

    Args:
        model: The module, on the device.
        forward: What is called in training; it has the parameters of ``model``.
        batches: What to train on.
        task: What to train for.
        recipe: How.
        world: The processes that train together.
        folder: The run folder.
        seed: Seed of dropout, stochastic depth and mixing.
        checkpoint_seconds: Seconds between checkpoints within an epoch.
        on_progress: Called after every step.
        on_epoch: Called after every epoch.
    """

    def __init__(
        self,
        model: nn.Module,
        forward: nn.Module,
        batches: Batches,
        task: Task,
        *,
        recipe: LoopRecipe,
        world: World,
        folder: Path,
        seed: int,
        checkpoint_seconds: float,
        on_progress: OnProgress,
        on_epoch: OnEpoch = lambda row: None,
    ) -> None:
        from timm.utils import ModelEmaV3

        self._model, self._batches, self._task = model, batches, task
        self._recipe, self._world, self._folder, self._seed = recipe, world, folder, seed
        self._checkpoint_seconds = checkpoint_seconds
        self._on_progress, self._on_epoch = on_progress, on_epoch
        self._dtype = resolved_precision(recipe.precision, world.device)
        self._steps = recipe.epochs * batches.steps_per_epoch
        self._optimizer = optimizer_of(model, recipe)
        self._scheduler = scheduler_of(self._optimizer, recipe, batches.steps_per_epoch)
        self._scaler = torch.amp.GradScaler(world.device.type, enabled=self._dtype == torch.float16)
        self._ema = ModelEmaV3(model, decay=recipe.ema, use_warmup=True) if recipe.ema else None
        self._forward = DistributedDataParallel(forward) if world.size > 1 else forward
        self._step = 0
        self._losses: list[float] = []
        self._unread: list[Tensor] = []
        self._history: list[dict[str, Any]] = []
        self._earlier_seconds = 0.0
        self._resume()
        self._resumed_at = self._step
        self._estimate = Estimate()
        self._epoch_begun = self._saved = time.monotonic()

    def run(self) -> list[dict[str, Any]]:
        """Train to the end and return the lines of ``metrics.jsonl``, one an epoch.

        Raises:
            UserError: The loss, a weight or a result became infinite or not a number.
        """
        while self._step < self._steps:
            self._train_epoch()
            self._end_epoch()
        return self._history

    @property
    def kept(self) -> nn.Module:
        """What is evaluated and kept: the moving average if there is one."""
        return self._ema.module if self._ema else self._model

    @property
    def epoch(self) -> int:
        """Epochs that are complete."""
        return self._step // self._batches.steps_per_epoch

    def _train_epoch(self) -> None:
        self._model.train()
        done = self._step % self._batches.steps_per_epoch
        parts = self._batches.epoch(self.epoch, done)
        for left in reversed(range(self._batches.steps_per_epoch - done)):
            self._train_step(parts)
            if self._world.device.type == "cpu" or len(self._unread) >= LOSSES_ON_GPU:
                self._read_losses()
            # After the last step the epoch is yet to be evaluated, and its end is saved then.
            if left and time.monotonic() - self._saved > self._checkpoint_seconds:
                self._save()
            self._show()
        self._read_losses()

    def _train_step(self, parts: Iterator[Batch]) -> None:
        recipe, total = self._recipe, torch.zeros((), device=self._world.device)
        self._scheduler.step_update(self._step)
        for number in range(recipe.accumulate):
            batch = next(parts)
            self._seed_part(number)
            is_last = number == recipe.accumulate - 1
            with self._gradients_apart(not is_last), self._autocast():
                x, y = (value.to(self._world.device, non_blocking=True) for value in batch)
                loss = self._task.loss(self._forward, (x, y))
            with self._gradients_apart(not is_last):
                self._scaler.scale(loss / recipe.accumulate).backward()
            total += loss.detach() / recipe.accumulate
        self._unread.append(total)
        if recipe.clip_grad:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._model.parameters(), recipe.clip_grad)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self._step += 1
        if self._ema:
            self._ema.update(self._model, step=self._step)

    def _gradients_apart(self, apart: bool) -> Any:
        """Return what keeps gradients of this process until those of the last part are known."""
        if apart and isinstance(self._forward, DistributedDataParallel):
            return self._forward.no_sync()
        return nullcontext()

    def _autocast(self) -> Any:
        enabled = self._dtype != torch.float32
        return torch.autocast(self._world.device.type, self._dtype, enabled=enabled)

    def _seed_part(self, number: int) -> None:
        part = self._world.rank * self._recipe.accumulate + number
        seeds = np.random.SeedSequence((self._seed, self._step, part)).generate_state(2)
        torch.manual_seed(int(seeds[0]))
        # timm's Mixup draws from numpy's global generator.
        np.random.seed(int(seeds[1]))  # noqa: NPY002
        random.seed(int(seeds[1]))

    def _read_losses(self) -> None:
        """Read the losses of all processes and check them, before anything is written.

        Raises:
            UserError: One of them is not finite.
        """
        if not self._unread:
            return
        losses = (self._world.sum(torch.stack(self._unread)) / self._world.size).tolist()
        first = self._step - len(losses)
        self._unread.clear()
        for step, loss in enumerate(losses, first + 1):
            if not np.isfinite(loss):
                raise UserError(self._explosion("the loss", loss, step))
        self._losses += losses

    def _explosion(self, name: str, value: float, step: int) -> str:
        self._scheduler.step_update(step - 1)
        lr = max(group["lr"] for group in self._optimizer.param_groups)
        epoch = (step - 1) // self._batches.steps_per_epoch + 1
        last = self._folder / "last.pt"
        good = (
            f"the last good checkpoint is {last} (step {checkpoint.load(last)['step']})"
            if last.exists()
            else "there is no checkpoint yet"
        )
        return (
            f"{name} is {value} at step {step} of {self._steps} (epoch {epoch}), at learning rate "
            f"{lr:.3g}; {good}; "
            "start anew in another --out with a lower --set lr=..., or with --set clip_grad=5"
        )

    def _end_epoch(self) -> None:
        # Batch statistics differ from process to process; those of the leader are kept.
        for buffer in (*self._model.buffers(), *self.kept.buffers()):
            self._world.share(buffer)
        results = dict(self._task.evaluate(self.kept))
        for name, value in results.items():
            if not np.isfinite(value):
                raise UserError(self._explosion(name, value, self._step))
        row = {
            "epoch": self.epoch,
            "step": self._step,
            "lr": max(group["lr"] for group in self._optimizer.param_groups),
            "train_loss": float(np.mean(self._losses)),
            **results,
            "seconds": round(self._epoch_seconds(), 1),
        }
        self._losses.clear()
        self._earlier_seconds, self._epoch_begun = 0.0, time.monotonic()
        best = max((r[self._task.metric] for r in self._history), default=-np.inf)
        self._history.append(row)
        self._save(("best", "last") if results[self._task.metric] > best else ("last",))
        self._on_epoch(row)
        self._show(line=True)

    def _epoch_seconds(self) -> float:
        return self._earlier_seconds + time.monotonic() - self._epoch_begun

    def _show(self, line: bool | None = None) -> None:
        done, left = self._step - self._resumed_at, self._steps - self._step
        seconds, epochs = self._estimate.seconds_left(done, left), self._recipe.epochs
        words = [f"epoch {min(self.epoch + 1, epochs)}/{epochs}"]
        if self._losses:
            words.append(f"loss {np.mean(self._losses):.4g}")
        if self._history:
            last, metric = self._history[-1], self._task.metric
            words.append(
                f"after epoch {last['epoch']}: train loss {last['train_loss']:.4g}, "
                f"{TITLES[metric]} {100 * last[metric]:.1f} %"
            )
        told = ", ".join([*words, time_left(seconds)])
        share = self._step / self._steps
        self._on_progress(Progress(share=share, words=told, seconds_left=seconds, line=line))

    def _save(self, names: tuple[str, ...] = ("last",)) -> None:
        self._read_losses()
        # The last step may have spoilt the weights after a loss that was still finite.
        for parameter in self._model.parameters():
            if not torch.isfinite(parameter).all():
                raise UserError(self._explosion("a weight", float("nan"), self._step))
        self._saved = time.monotonic()
        if not self._world.leads:
            return
        for name in names:
            checkpoint.save(self._folder / f"{name}.pt", self._state())
        runs.write_jsonl(self._folder / "metrics.jsonl", self._history)

    def _state(self) -> dict[str, Any]:
        return {
            "step": self._step,
            "seed": self._seed,
            "model": self._model.state_dict(),
            "ema": self._ema.module.state_dict() if self._ema else None,
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._scheduler.state_dict(),
            "scaler": self._scaler.state_dict(),
            "losses": self._losses,
            "seconds": self._epoch_seconds(),
            "history": self._history,
        }

    def _resume(self) -> None:
        path = self._folder / "last.pt"
        if not path.exists():
            return
        state = checkpoint.load(path)
        self._model.load_state_dict(state["model"])
        if self._ema:
            self._ema.module.load_state_dict(state["ema"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scheduler.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])
        self._step, self._losses, self._history = state["step"], state["losses"], state["history"]
        self._earlier_seconds = state["seconds"]
        if self._world.leads:
            runs.write_jsonl(self._folder / "metrics.jsonl", self._history)


def optimizer_of(model: nn.Module, recipe: LoopRecipe) -> torch.optim.Optimizer:
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


def scheduler_of(optimizer: torch.optim.Optimizer, recipe: LoopRecipe, steps_per_epoch: int) -> Any:
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
