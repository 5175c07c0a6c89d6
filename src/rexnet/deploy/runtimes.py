"""Models made functions of images, one a runtime."""

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rexnet.deploy.formats import need, quiet

Images = NDArray[np.float32]

Run = Callable[[Images], list[Images]]
"""Maps images (N, channels, height, width) to the outputs of a model."""


def torch_run(module: nn.Module, device: str = "cpu", precision: str = "float32") -> Run:
    """Return a module as a function; channels lie last in memory.

    Args:
        module: In evaluation mode.
        device: Where it computes, such as cuda.
        precision: What convolutions are computed in: float32, or less by autocast.
    """
    placed: nn.Module = module.to(device)

    def run(images: Images) -> list[Images]:
        found = _computed(placed, _laid_out(images, device), precision)
        return [y.float().cpu().numpy() for y in found]

    return run


def torch_call(
    module: nn.Module, images: Images, device: str = "cpu", precision: str = "float32"
) -> Callable[[], list[Tensor]]:
    """Return a module as a function of images that lie on its device, where its outputs stay.

    Args:
        module: As of ``torch_run``.
        images: Shape (N, channels, height, width).
        device: As of ``torch_run``.
        precision: As of ``torch_run``.
    """
    placed: nn.Module = module.to(device)
    x = _laid_out(images, device)

    def call() -> list[Tensor]:
        found = _computed(placed, x, precision)
        # A GPU is told what to do and does it later.
        if x.device.type == "cuda":
            torch.cuda.synchronize(x.device)
        return found

    return call


def _laid_out(images: Images, device: str) -> Tensor:
    return torch.from_numpy(images).to(device, memory_format=torch.channels_last)


def _computed(module: nn.Module, x: Tensor, precision: str) -> list[Tensor]:
    dtype = getattr(torch, precision)
    lower = torch.autocast(x.device.type, dtype) if dtype != torch.float32 else nullcontext()
    with torch.inference_mode(), lower:
        found = module(x)
    return list(found) if isinstance(found, tuple) else [found]


def onnxruntime_run(path: Path, threads: int) -> Run:
    """Return an ONNX file as a function.

    Raises:
        UserError: ONNX Runtime is not installed.
    """
    need("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: Images) -> list[Images]:
        return session.run(None, {name: images})

    return run


def openvino_run(path: Path, threads: int, precision: str = "f32") -> Run:
    """Return an OpenVINO or ONNX file as a function.

    Args:
        path: The file that ends in ``.xml`` or ``.onnx``.
        threads: Threads that compute.
        precision: What is computed in; by itself OpenVINO may take bf16.

    Raises:
        UserError: OpenVINO is not installed.
    """
    need("openvino")
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = openvino_core().compile_model(path, "CPU", settings).create_infer_request()

    def run(images: Images) -> list[Images]:
        # The memory of the outputs is used again by the next call.
        found = request.infer({0: images}, share_inputs=True)
        return [np.array(found[place]) for place in range(len(found))]

    return run


@functools.cache
def openvino_core() -> Any:
    """Return the one core of OpenVINO in this process.

    A core gives the thread another stack for signals and takes it back when it is freed. Several
    that are freed in another order leave the thread with one that is gone, and the next signal that
    Python handles, such as that of Ctrl-C, ends the process.
    """
    import openvino

    return openvino.Core()


def executorch_run(path: Path, threads: int) -> Run:
    """Return an ExecuTorch file as a function.

    Raises:
        UserError: ExecuTorch is not installed.
    """
    need("executorch")
    with quiet():
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime as Executor

    with _silent():
        portable_lib._unsafe_reset_threadpool(threads)
    method = Executor.get().load_program(path).load_method("forward")
    assert method is not None

    def run(images: Images) -> list[Images]:
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
