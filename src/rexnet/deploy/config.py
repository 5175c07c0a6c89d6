"""What a user can set of the jobs around deployment."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rexnet.deploy.runtimes import RUNTIMES, by_format
from rexnet.errors import UserError, check_ranges, closest

if TYPE_CHECKING:
    RuntimeName = str
    FormatName = str
else:
    RuntimeName = Literal[tuple(RUNTIMES)]
    FormatName = Literal[tuple(by_format(RUNTIMES))]

Precision = Literal["float32", "bfloat16", "float16"]

OPSETS = (18, 23)
"""The versions of ONNX's operators that torch writes and ONNX Runtime reads, both included."""

AXES = ("batch", "height", "width")
"""What can be free in a file in ONNX; the number of images always is."""

GPU_BATCH = 64
"""Images of a call in the GPU column of Table A1."""


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
        accept: With --int8: percentage points of top-1 that 8 bits may cost; a file that costs more
            is not kept.
        threads: Threads of all that is timed (default: those of torch).
        opset: With onnx: the version of its operators, from 18 to 23 (default: torch's own).
        dynamic: With onnx: sizes of the images that are free, height, width or both; the number of
            images always is.
        half: With onnx: weights and arithmetic in float16; images and outputs stay float32.
    """

    model: str
    format: FormatName
    weights: str | None = None
    resolution: int | None = None
    out: str | None = None
    int8: bool = False
    calibration: str | None = None
    images: int = 256
    accept: float = 1.0
    threads: int | None = None
    opset: int | None = None
    dynamic: tuple[str, ...] = ()
    half: bool = False

    def __post_init__(self) -> None:
        if not self.model:
            raise UserError("give a model: a name or a path")
        if self.out is not None and not self.out:
            raise UserError("--out must be a path")
        if self.int8 and not self.calibration:
            raise UserError("--int8 needs --calibration DATA: images that set the ranges")
        if self.calibration and not self.int8:
            raise UserError("--calibration goes with --int8")
        check_ranges(self, images=(1, 100_000, "100,000"))
        if not 0 <= self.accept <= 100:
            raise UserError(f"accept {self.accept:g} must be from 0 to 100 points of top-1")
        check_ranges(self, threads=(1, 1024, "1,024"), opset=OPSETS)
        for axis in self._dynamic:
            if axis not in AXES:
                hint = closest(axis, AXES)
                raise UserError(f"--dynamic {axis!r} is not one of {', '.join(AXES)}{hint}")
        if self.int8 and self.format == "executorch":
            raise UserError(f"--int8 is for onnx and openvino, not for {self.format}")
        if self.int8 and self.half:
            raise UserError("--half and --int8 are two files: export one after the other")
        for name in ("opset", "dynamic", "half"):
            if getattr(self, name) and self.format != "onnx":
                raise UserError(f"--{name} is for --format onnx, not for {self.format}")

    @property
    def free(self) -> tuple[str, ...]:
        """Which of height and width are free."""
        return tuple(axis for axis in AXES[1:] if axis in self._dynamic)

    @property
    def _dynamic(self) -> list[str]:
        return [axis for word in self.dynamic for axis in word.split(",")]


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Time models in runtimes side by side; outputs that disagree with eager torch's are refused.

    Attributes:
        models: Names of `rexnet list`, specs in JSON, run folders, model folders, hf:USER/REPO or
            timm:NAME.
        against: More models, such as timm:NAME, to compare with the first one.
        table: a1 times the networks of Table A1 beside the published times.
        runtimes: What computes (default: torch, torch-fused and, on a CPU, those installed of
            onnxruntime, openvino and executorch).
        batch: Images of a call (default: 1; of a table on a GPU 64).
        threads: Threads of every runtime on a CPU (default: torch's).
        device: Where to compute.
        precision: What is computed in; weights and images come in float32.
        rounds: Timed calls of each model in each runtime.
        resolution: Side of the images in pixels (default: each model's own).
        out: The folder of benchmark.jsonl.
    """

    models: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    table: Literal["a1"] | None = None
    runtimes: tuple[str, ...] | None = None
    batch: int | None = None
    threads: int | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Precision = "float32"
    rounds: int = 30
    resolution: int | None = None
    out: str = "runs/benchmark"

    def __post_init__(self) -> None:
        if bool(self.models) == (self.table is not None):
            raise UserError("give either models, such as rexnet_1.0, or --table a1")
        names = (*self.models, *self.against)
        if len(set(names)) < len(names) or not all(names):
            raise UserError(f"models {', '.join(names)} must be different names")
        if self.runtimes is not None and len(set(self.runtimes)) < len(self.runtimes):
            raise UserError(f"runtimes {', '.join(self.runtimes)} must be different")
        check_ranges(
            self,
            batch=(1, 4096),
            threads=(1, 1024),
            rounds=(1, 1000),
            resolution=(8, 4096, "4096 pixels"),
        )
        if not self.out:
            raise UserError("--out must be a path")

    @property
    def num_images(self) -> int:
        """Images of a call."""
        default = GPU_BATCH if self.table is not None and self.device == "cuda" else 1
        return default if self.batch is None else self.batch
