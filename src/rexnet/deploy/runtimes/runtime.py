"""What a runtime is: how a model is written for it, and how what was written computes."""

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rexnet.errors import UserError

if TYPE_CHECKING:
    from torch import nn

Array = NDArray[np.float32]

Size = tuple[int, int, int]
"""Channels, height and width of an image."""

Run = Callable[[Array], list[Array]]
"""Maps images (N, channels, height, width) to the outputs of a model."""

Write = Callable[["nn.Module", Path, Size, tuple[str, ...], Mapping[str, str]], None]
"""Writes a module as a file: the size of an image, names of outputs, what it says of itself."""


def padded(module: "nn.Module") -> "nn.Module":
    """Return ``forms.padded``; torch is loaded when it is called."""
    from rexnet.deploy.runtimes import forms

    return forms.padded(module)


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What computes a model; a file of this package, or of a user's, makes one.

    Attributes:
        name: What a benchmark knows it by.
        run: Opens a file, without ``write`` a module in evaluation mode, as a function of images on
            the CPU. Its other arguments are the number of threads and the precision.
        write: Writes a module in evaluation mode as a file; the number of images is dynamic. None:
            there is no file.
        format: What an export knows the file by.
        suffix: What the name of the file ends in.
        libraries: What it needs besides torch; its own is the last.
        extra: The extra of this package that installs them; None: they go by their own names.
        precisions: What it computes in.
        max_batch: Images of a call at most; None is no limit.
        form: Makes a copy of a module of the form that it computes fastest.
        from_onnx: Makes of a file in ONNX its own, with what that says of itself. Only with it are
            there files in 8 bits.
        on_gpu: Returns a module, images and a precision as a call of images that lie on a GPU,
            where its outputs, complete, stay. None: it computes on a CPU alone.
        own_only: Whether it takes networks and detectors of this package alone.
        on_request: Whether it is timed only when it is asked for.
        session: Makes what holds while it is timed.
    """

    name: str
    run: Callable[[Any, int, str], Run]
    write: Write | None = None
    format: str | None = None
    suffix: str = ""
    libraries: tuple[str, ...] = ()
    extra: str | None = None
    precisions: tuple[str, ...] = ("float32",)
    max_batch: int | None = None
    form: Callable[["nn.Module"], "nn.Module"] = padded
    from_onnx: Callable[[Path, Path, Mapping[str, str]], None] | None = None
    on_gpu: Callable[["nn.Module", Array, str], Callable[[], Any]] | None = None
    own_only: bool = False
    on_request: bool = False
    session: Callable[[], AbstractContextManager[Any]] = nullcontext


def check(runtime: Runtime) -> None:
    """Check that the libraries of a runtime are installed.

    Raises:
        UserError: One is not; the command that installs it is named.
    """
    for library in runtime.libraries:
        if importlib.util.find_spec(library) is None:
            source = f"'rexnet[{runtime.extra}]'" if runtime.extra else library
            raise UserError(f"{library} is not installed; install it with pip install {source}")


def write(
    runtime: Runtime,
    module: "nn.Module",
    path: Path,
    *,
    size: Size,
    outputs: tuple[str, ...] = ("logits",),
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a module as a file of a runtime; the number of images is dynamic.

    Args:
        runtime: One that has files.
        module: In evaluation mode, on the CPU; maps images (N, channels, height, width) to its
            outputs.
        path: The file; OpenVINO has a second one beside it that ends in ``.bin``.
        size: Channels, height and width of an image.
        outputs: The names of what the module gives.
        metadata: What the file is to say of itself.

    Raises:
        UserError: A library is not installed, the file cannot be written, or the format has no
            place for what the module computes.
    """
    assert runtime.write is not None, f"{runtime.name} has no files"
    check(runtime)
    try:
        runtime.write(module, path, size, outputs, dict(metadata or {}))
    except UserError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(
            f"this model cannot be written as {runtime.format}: {reason}; try another format"
        ) from error


def run(runtime: Runtime, source: Any, threads: int, precision: str = "float32") -> Run:
    """Open what a runtime computes as a function.

    Args:
        runtime: What computes.
        source: A file of the runtime, or of one without files a module in evaluation mode.
        threads: Threads that compute; a module computes on those of torch.
        precision: What is computed in, one of the runtime's.

    Raises:
        UserError: A library is not installed.
    """
    check(runtime)
    return runtime.run(source, threads, precision)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the notices of exporters, which concern their developers, from the user."""
    names = (
        "torch.onnx",
        "torch.export",
        "torch.utils._pytree",
        "onnxscript",
        "onnx_ir",
        "executorch",
        "root",
    )
    loggers = [logging.getLogger(None if name == "root" else name) for name in names]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
