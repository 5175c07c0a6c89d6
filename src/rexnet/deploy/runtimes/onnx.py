"""Files in ONNX, which ONNX Runtime and OpenVINO read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rexnet.deploy.runtimes.runtime import Size, quiet
from rexnet.runs import write_bytes

if TYPE_CHECKING:
    from torch import nn

LIBRARIES = ("onnx", "onnxscript")
"""What writing a file needs."""

INPUT = "images"


MIN_SIDE = 8
"""The lowest height or width, in pixels, of a file in which they are free."""


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Writes files in ONNX; an instance is a ``runtime.Write``.

    Attributes:
        opset: The version of ONNX's operators; None for torch's own.
        free: Which of ``height`` and ``width`` are free.
        half: Whether weights and arithmetic are in float16; images and outputs are not.
    """

    opset: int | None = None
    free: tuple[str, ...] = ()
    half: bool = False

    def __call__(
        self,
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
        axes = {0: torch.export.Dim("batch", min=1)}
        axes |= {
            place: torch.export.Dim(name, min=MIN_SIDE)
            for place, name in ((2, "height"), (3, "width"))
            if name in self.free
        }
        if self.half:
            from rexnet.deploy.runtimes.forms import Halved

            module = Halved(module)
        with quiet():
            program = torch.onnx.export(
                module,
                (images,),
                dynamo=True,
                input_names=[INPUT],
                output_names=list(outputs),
                dynamic_shapes=(axes,),
                opset_version=self.opset,
                verbose=False,
            )
        assert program is not None
        proto: Any = program.model_proto
        _forget_sources(proto)
        for key, value in (metadata or {}).items():
            entry = proto.metadata_props.add()
            entry.key, entry.value = key, value
        write_bytes(path, proto.SerializeToString())


write = Writer()
"""Writes as torch does by itself."""


def _forget_sources(proto: Any) -> None:
    """Leave out where in whose files torch met each operation: a file may go to strangers."""
    for part in (proto.graph, *proto.functions):
        for item in (*part.node, *part.value_info):
            del item.metadata_props[:]
