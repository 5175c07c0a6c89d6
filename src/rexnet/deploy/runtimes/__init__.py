"""What computes a model: torch, and runtimes that read files. Importing it loads none of them."""

from collections.abc import Mapping
from types import MappingProxyType

from rexnet.deploy.runtimes.executorch import EXECUTORCH
from rexnet.deploy.runtimes.onnxruntime import ONNXRUNTIME
from rexnet.deploy.runtimes.openvino import OPENVINO
from rexnet.deploy.runtimes.runtime import Array, Run, Runtime, Size, check, run, write
from rexnet.deploy.runtimes.torch import TORCH, TORCH_COMPILE, TORCH_FUSED

__all__ = [
    "RUNTIMES",
    "Array",
    "Run",
    "Runtime",
    "Size",
    "by_format",
    "check",
    "run",
    "table",
    "write",
]


def table(*runtimes: Runtime) -> Mapping[str, Runtime]:
    """Return runtimes by their names, as jobs take them.

    Another one beside those of this package: ``table(*RUNTIMES.values(), mine)``.
    """
    return MappingProxyType({runtime.name: runtime for runtime in runtimes})


RUNTIMES = table(TORCH, TORCH_FUSED, TORCH_COMPILE, ONNXRUNTIME, OPENVINO, EXECUTORCH)
"""The runtimes of this package, in the order of a benchmark."""


def by_format(runtimes: Mapping[str, Runtime]) -> dict[str, Runtime]:
    """Return those of ``runtimes`` that have files, by the name of the format."""
    return {one.format: one for one in runtimes.values() if one.format is not None}
