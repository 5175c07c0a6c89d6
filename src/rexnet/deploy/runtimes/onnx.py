"""Files in ONNX, which ONNX Runtime and OpenVINO read."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rexnet.deploy.runtimes.runtime import Size, quiet
from rexnet.runs import write_bytes

if TYPE_CHECKING:
    from torch import nn

LIBRARIES = ("onnx", "onnxscript")
"""What writing a file needs."""

INPUT = "images"


def write(
    module: "nn.Module",
    path: Path,
    size: Size,
    outputs: tuple[str, ...] = ("logits",),
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a module as ``runtime.Write`` says."""
    import torch

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
    _forget_sources(proto)
    for key, value in (metadata or {}).items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    write_bytes(path, proto.SerializeToString())


def _forget_sources(proto: Any) -> None:
    """Leave out where in whose files torch met each operation: a file may go to strangers."""
    for part in (proto.graph, *proto.functions):
        for item in (*part.node, *part.value_info):
            del item.metadata_props[:]
