"""ExecuTorch."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rexnet.deploy.runtimes.runtime import Array, Run, Runtime, Size, quiet
from rexnet.runs import write_bytes

if TYPE_CHECKING:
    from torch import nn

MAX_BATCH = 64
"""Images that a file takes at most: its memory is planned for so many."""


def _write(
    module: "nn.Module",
    path: Path,
    size: Size,
    _outputs: tuple[str, ...],
    metadata: Mapping[str, str],
) -> None:
    import torch

    with quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
        program = torch.export.export(
            module, (torch.zeros(2, *size),), dynamic_shapes=({0: batch},)
        )
        lowered = to_edge_transform_and_lower(
            program,
            partitioner=[XnnpackPartitioner()],
            constant_methods={"metadata": json.dumps(metadata)},
        )
        content = lowered.to_executorch().buffer
    write_bytes(path, content)


def _run(path: Path, threads: int, _precision: str) -> Run:
    import torch

    with quiet():
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime as Executor

    with _silent():
        portable_lib._unsafe_reset_threadpool(threads)
    method = Executor.get().load_program(path).load_method("forward")
    assert method is not None

    def run(images: Array) -> list[Array]:
        return [y.numpy() for y in method.execute([torch.from_numpy(images)])]

    return run


@contextmanager
def _silent() -> Iterator[None]:
    """Keep what a C++ library writes to the standard error from the user."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


EXECUTORCH = Runtime(
    name="executorch",
    run=_run,
    write=_write,
    format="executorch",
    suffix=".pte",
    libraries=("executorch",),
    extra="executorch",
    max_batch=MAX_BATCH,
)
