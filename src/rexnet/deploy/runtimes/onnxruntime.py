"""ONNX Runtime."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rexnet.deploy.runtimes import onnx
from rexnet.deploy.runtimes.runtime import Array, Run, Runtime
from rexnet.runs import write_bytes

if TYPE_CHECKING:
    from torch import nn


def _form(module: "nn.Module") -> "nn.Module":
    from rexnet.deploy.runtimes import forms

    return forms.padded(module, split=True)


def _run(path: Path, threads: int, _precision: str) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: Array) -> list[Array]:
        return session.run(None, {name: images})

    return run


def _from_onnx(source: Path, path: Path, _metadata: Mapping[str, str]) -> None:
    write_bytes(path, source.read_bytes())


ONNXRUNTIME = Runtime(
    name="onnxruntime",
    run=_run,
    write=onnx.write,
    format="onnx",
    suffix=".onnx",
    libraries=(*onnx.LIBRARIES, "onnxruntime"),
    extra="export",
    form=_form,
    from_onnx=_from_onnx,
)
