"""Torch itself: the module as it is, fused, or compiled."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from rexnet.deploy.runtimes.runtime import Array, Run, Runtime
from rexnet.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

PRECISIONS = ("float32", "bfloat16", "float16")

GRAPHS = 1000
"""Models that torch.compile keeps; by itself it computes those beyond 8 of a class eagerly."""


def module_run(module: "nn.Module", device: str = "cpu", precision: str = "float32") -> Run:
    """Return a module as a function; channels lie last in memory.

    Args:
        module: In evaluation mode.
        device: Where it computes, such as cuda.
        precision: What convolutions are computed in: float32, or less by autocast.
    """
    placed: nn.Module = module.to(device)

    def run(images: Array) -> list[Array]:
        found = _computed(placed, _laid_out(images, device), precision)
        return [y.float().cpu().numpy() for y in found]

    return run


def module_call(
    module: "nn.Module", images: Array, device: str = "cpu", precision: str = "float32"
) -> Callable[[], "list[Tensor]"]:
    """Return a module as a function of images that lie on its device, where its outputs stay.

    Args:
        module: As of ``module_run``.
        images: Shape (N, channels, height, width).
        device: As of ``module_run``.
        precision: As of ``module_run``.
    """
    import torch

    placed: nn.Module = module.to(device)
    x = _laid_out(images, device)

    def call() -> "list[Tensor]":
        found = _computed(placed, x, precision)
        # A GPU is told what to do and does it later.
        if x.device.type == "cuda":
            torch.cuda.synchronize(x.device)
        return found

    return call


def _laid_out(images: Array, device: str) -> "Tensor":
    import torch

    return torch.from_numpy(images).to(device, memory_format=torch.channels_last)


def _computed(module: "nn.Module", x: "Tensor", precision: str) -> "list[Tensor]":
    import torch

    dtype = getattr(torch, precision)
    lower = torch.autocast(x.device.type, dtype) if dtype != torch.float32 else nullcontext()
    with torch.inference_mode(), lower:
        found = module(x)
    return list(found) if isinstance(found, tuple) else [found]


def _fused(module: "nn.Module", device: str, precision: str) -> "nn.Module":
    import torch

    from rexnet.nn.fast.inference import fold, fuse

    return fuse(fold(module).to(device, getattr(torch, precision)))


def _compiled(module: "nn.Module", device: str) -> "nn.Module":
    # In one graph, or torch would compute what it cannot compile eagerly and say nothing.
    compiled = copy.copy(module.to(device))
    compiled.compile(fullgraph=True)
    return compiled


@contextmanager
def _many_graphs() -> Iterator[None]:
    from torch._dynamo import config

    with config.patch(recompile_limit=GRAPHS):
        yield


def _told(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``call``, whose first compiles, with a failure to compile told in a line."""
    from torch._dynamo.exc import TorchDynamoException

    def told(*images: Array) -> Any:
        try:
            return call(*images)
        except TorchDynamoException as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"torch cannot compile it: {reason}") from None

    return told


TORCH = Runtime(
    name="torch",
    run=lambda module, threads, precision: module_run(module, "cpu", precision),
    on_gpu=lambda module, images, precision: module_call(module, images, "cuda", precision),
    precisions=PRECISIONS,
)

TORCH_FUSED = Runtime(
    name="torch-fused",
    run=lambda module, threads, precision: module_run(
        _fused(module, "cpu", precision), "cpu", precision
    ),
    on_gpu=lambda module, images, precision: module_call(
        _fused(module, "cuda", precision), images, "cuda", precision
    ),
    precisions=PRECISIONS,
    own_only=True,
)

TORCH_COMPILE = Runtime(
    name="torch-compile",
    run=lambda module, threads, precision: _told(
        module_run(_compiled(module, "cpu"), "cpu", precision)
    ),
    on_gpu=lambda module, images, precision: _told(
        module_call(_compiled(module, "cuda"), images, "cuda", precision)
    ),
    precisions=PRECISIONS,
    on_request=True,
    session=_many_graphs,
)
