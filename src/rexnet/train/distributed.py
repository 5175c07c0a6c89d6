"""The processes that train one network together, as torchrun starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

from rexnet.errors import UserError
from rexnet.runs.memory import keep_freed_memory
from rexnet.train.recipe import Device, Precision

PATIENCE = timedelta(days=2)
"""How long processes wait for what another hands over, of which it may first read all images."""


@dataclass(frozen=True, kw_only=True)
class World:
    """This process among all.

    Attributes:
        rank: Its number, from 0.
        size: How many there are.
        device: What it computes on.
        patient: The group through which objects go, with time to wait; None: the default group.
    """

    rank: int
    size: int
    device: torch.device
    patient: Any = None

    @property
    def leads(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of ``tensor`` over all processes."""
        if self.size > 1:
            tensor = tensor.clone()
            distributed.all_reduce(tensor)
        return tensor

    def share(self, tensor: Tensor) -> None:
        """Overwrite ``tensor`` with the leader's."""
        if self.size > 1:
            distributed.broadcast(tensor, src=0)

    def from_leader(self, value: Any) -> Any:
        """Return the leader's ``value`` in every process."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, group=self.patient)
        return box[0]

    def gathered(self, rows: list[Any]) -> list[Any]:
        """Return the rows of all processes, one process after another, in every process."""
        if self.size == 1:
            return rows
        parts: list[Any] = [None] * self.size
        distributed.all_gather_object(parts, rows, group=self.patient)
        return [row for part in parts for row in part]


def on_gpu(device: Device) -> bool:
    """Tell whether ``device`` is a GPU here.

    Raises:
        UserError: There is none.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise UserError(f"--device cuda: torch {torch.__version__} finds no GPU here")
    return available if device == "auto" else device == "cuda"


@contextmanager
def joined(device: Device) -> Iterator[World]:
    """Join the processes that torchrun started; without torchrun there is but this one.

    Raises:
        UserError: There is no such device here, or more processes than GPUs.
    """
    size, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    is_gpu = on_gpu(device)
    if is_gpu and local >= torch.cuda.device_count():
        raise UserError(
            f"process {local + 1} of this machine finds only {torch.cuda.device_count()} GPUs; "
            "give torchrun a lower --nproc-per-node"
        )
    place = torch.device("cuda", local) if is_gpu else torch.device("cpu")
    if is_gpu:
        torch.cuda.set_device(place)
        # All inputs of a training have the same shape, so the fastest kernels are worth a trial.
        torch.backends.cudnn.benchmark = True
    else:
        keep_freed_memory()
    if size == 1:
        yield World(rank=0, size=1, device=place)
        return
    distributed.init_process_group("nccl" if is_gpu else "gloo")
    try:
        patient = distributed.new_group(backend="gloo", timeout=PATIENCE)
        yield World(rank=distributed.get_rank(), size=size, device=place, patient=patient)
        # Nobody leaves before the leader has written its files: the threads of gloo let go of the
        # last tensors a little late, and abort the process if Python has ended by then.
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


def resolved_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """Return what convolutions are computed in on ``device``.

    Raises:
        UserError: The device cannot train in it.
    """
    if precision == "auto":
        if device.type == "cpu":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if precision == "float16" and device.type == "cpu":
        raise UserError("precision float16 is for GPUs; on a CPU give float32 or bfloat16")
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[
        precision
    ]
