"""The form of a model in which runtimes compute its file fastest."""

import copy

from torch import Tensor, nn

from rexnet.detect.detector import Detector
from rexnet.nn.fast.inference import fold
from rexnet.nn.fast.padded import fill
from rexnet.nn.network import Network


def padded(module: nn.Module, *, split: bool = False) -> nn.Module:
    """Return a copy with batch norms folded, of a network also with its widths filled up.

    Args:
        module: In evaluation mode.
        split: As in ``fill``.
    """
    if isinstance(module, Network):
        return fill(module, split=split)
    return PlainOutputs(fold(module)) if isinstance(module, Detector) else fold(module)


class PlainOutputs(nn.Module):
    """A detector that gives a plain tuple: ExecuTorch cannot write a named one."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, 3, resolution, resolution) to the detector's ``outputs``."""
        return tuple(self.detector(x))


class Halved(nn.Module):
    """A copy of a module that computes in float16, from float32 and to float32."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).half()

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Map images (N, channels, height, width) to the outputs of the module."""
        found = self.module(x.half())
        return found.float() if isinstance(found, Tensor) else tuple(y.float() for y in found)
