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
from rexnet.train.checkpoint import State
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
        note: Gives what is told of the steps besides their losses; nothing if it is empty.
    """

    loss: Callable[[nn.Module, Batch], Tensor]
    evaluate: Callable[[nn.Module], Mapping[str, float]]
    metric: str
    note: Callable[[], str] = str


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
        self._batches, self._task, self._recipe, self._world = batches, task, recipe, world
        self._folder, self._checkpoint_seconds = folder, checkpoint_seconds
        self._on_progress, self._on_epoch = on_progress, on_epoch
        self._dtype = resolved_precision(recipe.precision, world.device)
        self._steps = recipe.epochs * batches.steps_per_epoch
        self._state = State(
            model,
            recipe,
            steps_per_epoch=batches.steps_per_epoch,
            seed=seed,
            device=world.device,
        )
        self._forward = DistributedDataParallel(forward) if world.size > 1 else forward
        self._unread: list[Tensor] = []
        self._resume()
        self._resumed_at = self._state.step
        self._estimate = Estimate()
        self._counted = self._saved = time.monotonic()

    def run(self) -> list[dict[str, Any]]:
        """Train to the end and return the lines of ``metrics.jsonl``, one an epoch.

        Raises:
            UserError: The loss, a weight or a result became infinite or not a number.
        """
        while self._state.step < self._steps:
            self._train_epoch()
            self._end_epoch()
        return self._state.history

    @property
    def kept(self) -> nn.Module:
        """What is evaluated and kept: the moving average if there is one."""
        return self._state.kept

    @property
    def epoch(self) -> int:
        """Epochs that are complete."""
        return self._state.step // self._batches.steps_per_epoch

    def _train_epoch(self) -> None:
        self._state.model.train()
        done = self._state.step % self._batches.steps_per_epoch
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
        state, recipe, total = self._state, self._recipe, torch.zeros((), device=self._world.device)
        state.scheduler.step_update(state.step)
        for number in range(recipe.accumulate):
            batch = next(parts)
            self._seed_part(number)
            is_last = number == recipe.accumulate - 1
            with self._gradients_apart(not is_last), self._autocast():
                x, y = (value.to(self._world.device, non_blocking=True) for value in batch)
                loss = self._task.loss(self._forward, (x, y))
            with self._gradients_apart(not is_last):
                state.scaler.scale(loss / recipe.accumulate).backward()
            total += loss.detach() / recipe.accumulate
        self._unread.append(total)
        if recipe.clip_grad:
            state.scaler.unscale_(state.optimizer)
            nn.utils.clip_grad_norm_(state.model.parameters(), recipe.clip_grad)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        if state.ema:
            state.ema.update(state.model, step=state.step)

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
        seeds = np.random.SeedSequence((self._state.seed, self._state.step, part)).generate_state(2)
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
        first = self._state.step - len(losses)
        self._unread.clear()
        for step, loss in enumerate(losses, first + 1):
            if not np.isfinite(loss):
                raise UserError(self._explosion("the loss", loss, step))
        self._state.losses += losses

    def _explosion(self, name: str, value: float, step: int) -> str:
        self._state.scheduler.step_update(step - 1)
        epoch = (step - 1) // self._batches.steps_per_epoch + 1
        last = self._folder / "last.pt"
        good = (
            f"the last good checkpoint is {last} (step {checkpoint.load(last)['step']})"
            if last.exists()
            else "there is no checkpoint yet"
        )
        return (
            f"{name} is {value} at step {step} of {self._steps} (epoch {epoch}), at learning rate "
            f"{self._state.lr:.3g}; {good}; "
            "start anew in another --out with a lower --set lr=..., or with --set clip_grad=5"
        )

    def _end_epoch(self) -> None:
        # Batch statistics differ from process to process; those of the leader are kept.
        state = self._state
        for buffer in (*state.model.buffers(), *self.kept.buffers()):
            self._world.share(buffer)
        results = dict(self._task.evaluate(self.kept))
        for name, value in results.items():
            if not np.isfinite(value):
                raise UserError(self._explosion(name, value, self._state.step))
        self._count_seconds()
        row = {
            "epoch": self.epoch,
            "step": state.step,
            "lr": state.lr,
            "train_loss": float(np.mean(state.losses)),
            **results,
            "seconds": round(state.seconds, 1),
        }
        state.losses.clear()
        state.seconds = 0.0
        best = max((r[self._task.metric] for r in state.history), default=-np.inf)
        state.history.append(row)
        self._save(("best", "last") if results[self._task.metric] > best else ("last",))
        self._on_epoch(row)
        self._show(line=True)

    def _count_seconds(self) -> None:
        """Add the wall time since this was last called to that of the epoch under way."""
        now = time.monotonic()
        self._state.seconds += now - self._counted
        self._counted = now

    def _show(self, line: bool | None = None) -> None:
        state = self._state
        done, left = state.step - self._resumed_at, self._steps - state.step
        seconds, epochs = self._estimate.seconds_left(done, left), self._recipe.epochs
        words = [f"epoch {min(self.epoch + 1, epochs)}/{epochs}"]
        if state.losses:
            words.append(f"loss {np.mean(state.losses):.4g}")
        if note := self._task.note():
            words.append(note)
        if state.history:
            last, metric = state.history[-1], self._task.metric
            words.append(
                f"after epoch {last['epoch']}: train loss {last['train_loss']:.4g}, "
                f"{TITLES[metric]} {100 * last[metric]:.1f} %"
            )
        told = ", ".join([*words, time_left(seconds)])
        share = state.step / self._steps
        self._on_progress(Progress(share=share, words=told, seconds_left=seconds, line=line))

    def _save(self, names: tuple[str, ...] = ("last",)) -> None:
        self._read_losses()
        # The last step may have spoilt the weights after a loss that was still finite.
        for parameter in self._state.model.parameters():
            if not torch.isfinite(parameter).all():
                raise UserError(self._explosion("a weight", float("nan"), self._state.step))
        self._count_seconds()
        self._saved = self._counted
        if not self._world.leads:
            return
        for name in names:
            self._state.save(self._folder / f"{name}.pt")
        runs.write_jsonl(self._folder / "metrics.jsonl", self._state.history)

    def _resume(self) -> None:
        path = self._folder / "last.pt"
        if not path.exists():
            return
        self._state.load(path)
        if self._world.leads:
            runs.write_jsonl(self._folder / "metrics.jsonl", self._state.history)
