"""OpenVINO."""

import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rexnet.deploy.runtimes import onnx
from rexnet.deploy.runtimes.runtime import Array, Run, Runtime, Size
from rexnet.runs import write_bytes

if TYPE_CHECKING:
    from torch import nn

HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
"""What OpenVINO calls precisions; by itself it may take bf16."""


def _write(
    module: "nn.Module",
    path: Path,
    size: Size,
    outputs: tuple[str, ...],
    metadata: Mapping[str, str],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model.onnx"
        onnx.write(module, source, size, outputs)
        _from_onnx(source, path, metadata)


def _from_onnx(source: Path, path: Path, metadata: Mapping[str, str]) -> None:
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


def _run(path: Path, threads: int, precision: str) -> Run:
    settings = {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = core().compile_model(path, "CPU", settings).create_infer_request()

    def run(images: Array) -> list[Array]:
        # The memory of the outputs is used again by the next call.
        found = request.infer({0: images}, share_inputs=True)
        return [np.array(found[place]) for place in range(len(found))]

    return run


@functools.cache
def core() -> Any:
    """Return the one core of OpenVINO in this process.

    A core gives the thread another stack for signals and takes it back when it is freed. Several
    that are freed in another order leave the thread with one that is gone, and the next signal that
    Python handles, such as that of Ctrl-C, ends the process.
    """
    import openvino

    return openvino.Core()


OPENVINO = Runtime(
    name="openvino",
    run=_run,
    write=_write,
    format="openvino",
    suffix=".xml",
    libraries=(*onnx.LIBRARIES, "openvino"),
    extra="openvino",
    precisions=tuple(HINTS),
    from_onnx=_from_onnx,
)
