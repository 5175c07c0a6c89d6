"""What a user can set of an export."""

from dataclasses import dataclass
from typing import Literal

from rexnet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Write a model as a file of a runtime, compare the file with the model and time both.

    Attributes:
        model: A name of `rexnet list`, a spec in JSON, a run folder, a model folder, hf:USER/REPO,
            or timm:NAME.
        format: onnx for ONNX Runtime, openvino for OpenVINO, executorch for ExecuTorch.
        weights: As in training, or timm for a model of timm (default: those of the run folder, else
            random ones).
        resolution: Side of the images in pixels (default: the model's).
        out: The folder (default: export/FORMAT in the run folder, else runs/NAME-export/FORMAT).
        int8: Also write a file that computes in 8 bits; needs --calibration.
        calibration: With --int8: images as in training, whose training part sets the ranges and
            whose validation part counts the accuracy of both files.
        images: With --int8: images of the training part that set the ranges.
        threads: Threads of all that is timed (default: those of torch).
    """

    model: str
    format: Literal["onnx", "openvino", "executorch"]
    weights: str | None = None
    resolution: int | None = None
    out: str | None = None
    int8: bool = False
    calibration: str | None = None
    images: int = 256
    threads: int | None = None

    def __post_init__(self) -> None:
        if not self.model:
            raise UserError("give a model: a name or a path")
        if self.out is not None and not self.out:
            raise UserError("--out must be a path")
        if self.int8 and not self.calibration:
            raise UserError("--int8 needs --calibration DATA: images that set the ranges")
        if self.calibration and not self.int8:
            raise UserError("--calibration goes with --int8")
        if self.int8 and self.format == "executorch":
            raise UserError("--int8 is for onnx and openvino, not for executorch")
        if not 1 <= self.images <= 100_000:
            raise UserError(f"images {self.images} must be from 1 to 100,000")
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise UserError(f"threads {self.threads} must be from 1 to 1,024")
