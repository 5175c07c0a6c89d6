"""Files that other runtimes read: ONNX, OpenVINO and ExecuTorch."""

import contextlib
import importlib.util
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from rexnet.errors import UserError
from rexnet.runs import write_bytes

Format = Literal["onnx", "openvino", "executorch"]

SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "openvino": ".xml", "executorch": ".pte"}

EXTRAS: dict[str, str] = {
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "export",
    "openvino": "openvino",
    "executorch": "executorch",
}
"""The extra of this package that each library comes with."""

MAX_BATCH = 64
"""Images that an ExecuTorch file takes at most: its memory is planned for so many."""

INPUT = "images"


def need(*libraries: str) -> None:
    """Check that libraries are installed.

    Raises:
        UserError: One is not; the command that installs it is named.
    """
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            raise UserError(
                f"{library} is not installed; install it with pip install "
                f"'rexnet[{EXTRAS[library]}]'"
            )


def write(
    kind: Format,
    module: nn.Module,
    path: Path,
    *,
    size: tuple[int, int, int],
    outputs: tuple[str, ...] = ("logits",),
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a module as a file of a runtime; the number of images is dynamic.

    Args:
        kind: The file's format.
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
    writers: dict[Format, Callable[..., None]] = {
        "onnx": _write_onnx,
        "openvino": _write_openvino,
        "executorch": _write_executorch,
    }
    try:
        writers[kind](module, path, size, outputs, dict(metadata or {}))
    except UserError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(
            f"this model cannot be written as {kind}: {reason}; try another format"
        ) from error


def _write_onnx(
    module: nn.Module,
    path: Path,
    size: tuple[int, int, int],
    outputs: tuple[str, ...],
    metadata: dict[str, str],
) -> None:
    need("onnx", "onnxscript")
    # Two images: a batch of one would be taken for a constant.
    images = torch.zeros(2, *size)
    batch = torch.export.Dim("batch", min=1)
    with quiet():
        program = torch.onnx.export(
            module,
            (images,),
            dynamo=True,
            input_names=[INPUT],
            output_names=list(outputs),
            dynamic_shapes=({0: batch},),
            verbose=False,
        )
    assert program is not None
    proto: Any = program.model_proto
    for key, value in metadata.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    write_bytes(path, proto.SerializeToString())


def _write_openvino(
    module: nn.Module,
    path: Path,
    size: tuple[int, int, int],
    outputs: tuple[str, ...],
    metadata: dict[str, str],
) -> None:
    need("onnx", "onnxscript", "openvino")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model.onnx"
        _write_onnx(module, source, size, outputs, {})
        convert(source, path, metadata)


def convert(source: Path, path: Path, metadata: Mapping[str, str]) -> None:
    """Write an ONNX file as one of OpenVINO.

    Args:
        source: The ONNX file.
        path: The file; a second one beside it ends in ``.bin``.
        metadata: What the file is to say of itself.

    Raises:
        UserError: OpenVINO is not installed, or the file cannot be written.
    """
    need("openvino")
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        model = openvino.convert_model(source)
        for key, value in metadata.items():
            model.set_rt_info(value, ["rexnet", key])
        made = Path(folder) / path.name
        openvino.save_model(model, made, compress_to_fp16=False)
        # The weights first: a reader finds a whole model behind the other file.
        for name in (path.with_suffix(".bin").name, path.name):
            write_bytes(path.with_name(name), (Path(folder) / name).read_bytes())


def _write_executorch(
    module: nn.Module,
    path: Path,
    size: tuple[int, int, int],
    outputs: tuple[str, ...],
    metadata: dict[str, str],
) -> None:
    need("executorch")
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
