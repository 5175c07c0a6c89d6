"""Models in runtimes, timed in turns and compared with eager torch."""

import copy
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import nn

from rexnet import runs
from rexnet.deploy import formats, runtimes, usage
from rexnet.deploy.config import BenchmarkConfig, Runtime
from rexnet.deploy.doctor import EXTRAS, Machine, examine, findings
from rexnet.deploy.models import Model, at_resolution, exportable, load
from rexnet.deploy.parity import settled
from rexnet.deploy.timing import PAUSE_SECONDS, WARM_CALLS, WARM_SECONDS, Timing, ratio, take_turns
from rexnet.detect.detector import Detector
from rexnet.errors import UserError
from rexnet.latency import business
from rexnet.nn.fast.inference import fold, fuse
from rexnet.nn.network import Network
from rexnet.paper import TABLE_A1
from rexnet.runs.progress import Estimate, OnProgress, Progress, time_left

FILE = "benchmark.jsonl"

LIMITS = {"float32": 1e-3, "float16": 5e-2, "bfloat16": 0.4}
"""How far outputs may be from eager torch's in float32, as a share of the largest output.

bfloat16 rounds 8 times as coarsely as float16, and random weights let it grow: to 0.14 in ReXNets.
"""

LIBRARIES: dict[Runtime, tuple[str, ...]] = {
    "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
    "executorch": ("executorch",),
}
"""What a runtime needs besides torch; those that need something compute on a CPU."""

VERSIONS = ("python", "rexnet", "torch", "timm", "numpy", *EXTRAS)

HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
"""What OpenVINO calls precisions; ONNX Runtime and ExecuTorch take float32 files as they are."""

SETTLING = 8
"""Images from which the batch norms of a model with random weights get their statistics."""

GRAPHS = 1000
"""Models that torch.compile keeps; by itself it computes those beyond 8 of a class eagerly."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What was measured: the lines of ``benchmark.jsonl``.

    Attributes:
        protocol: How, on what, and which default runtimes are left out for which reason.
        rows: One a contender, in the order asked for.
    """

    protocol: dict[str, Any]
    rows: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A model in a runtime.

    Attributes:
        model: What is computed.
        runtime: What computes.
        call: Computes the outputs of the images once.
        difference: How far its outputs are from eager torch's.
        macs: Of the model for one image.
    """

    model: Model
    runtime: Runtime
    call: Callable[[], Any]
    difference: float
    macs: int


def run(config: BenchmarkConfig, on_progress: OnProgress) -> Result:
    """Time what the config names and write ``benchmark.jsonl``, the protocol in its first line.

    Raises:
        UserError: A model or a runtime cannot be had, or outputs differ; nothing is written then.
    """
    plan(config)
    folder = Path(config.out)
    if not (folder / FILE).exists():
        runs.check_new(folder, FILE)
    names = (*(TABLE_A1 if config.table else config.models), *config.against)
    found = [at_resolution(load(name), config.resolution) for name in names]
    with runs.locked(folder):
        result = measure(found, config, on_progress)
        runs.write_jsonl(folder / FILE, [result.protocol, *result.rows])
    return result


def measure(found: Sequence[Model], config: BenchmarkConfig, on_progress: OnProgress) -> Result:
    """Time models in the runtimes of the config; nothing is written.

    Args:
        found: The models, in evaluation mode on the CPU.
        config: How; its models are not looked at.
        on_progress: Called after each contender that is ready and after each round.

    Raises:
        UserError: A runtime cannot be had, or outputs differ from eager torch's.
    """
    chosen, left_out = plan(config)
    machine = examine()
    with _settings(config), tempfile.TemporaryDirectory() as folder:
        contenders = _contenders(found, chosen, config, Path(folder), on_progress)
        calls = {str(number): one.call for number, one in enumerate(contenders)}
        estimate = Estimate()

        def show(done: int, total: int) -> None:
            left = estimate.seconds_left(done, total - done)
            words = f"{done}/{total} rounds timed, {time_left(left)}"
            on_progress(Progress(share=(1 + done / total) / 2, words=words, seconds_left=left))

        before = usage.read()
        timings = list(take_turns(calls, config.rounds, show).values())
        others = usage.of_others(before, usage.read())
        protocol = _protocol(config, machine, left_out, others)
    pairs = zip(contenders, timings, strict=True)
    return Result(
        protocol=protocol, rows=[_row(one, timing, timings[0], protocol) for one, timing in pairs]
    )


def plan(config: BenchmarkConfig) -> tuple[tuple[Runtime, ...], dict[str, str]]:
    """Return the runtimes of the config, and those it leaves out by default with the reason.

    Raises:
        UserError: There is no GPU, or a runtime that is asked for cannot be had.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device cuda: torch {torch.__version__} finds no GPU here")
    chosen: list[Runtime] = []
    left_out = {}
    for runtime in config.runtimes or get_args(Runtime):
        try:
            _check(runtime, config)
        except UserError as error:
            if config.runtimes is not None:
                raise
            left_out[runtime] = str(error)
            continue
        if runtime != "torch-compile" or config.runtimes is not None:
            chosen.append(runtime)
    return tuple(chosen), left_out


def difference(found: Sequence[Any], wanted: Sequence[Any]) -> float:
    """Return the largest difference of outputs as a share of the largest output wanted.

    Args:
        found: Arrays, one an output.
        wanted: The same of eager torch.
    """
    shares = [
        float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        for ours, theirs in zip(found, wanted, strict=True)
    ]
    worst = max(shares)
    return worst if all(np.isfinite(shares)) else float("inf")


def _check(runtime: Runtime, config: BenchmarkConfig) -> None:
    """Check that a runtime can do what the config asks for."""
    if runtime not in LIBRARIES:
        return
    if config.device != "cpu":
        raise UserError(f"{runtime} is timed on a CPU; leave it out of --runtimes")
    if config.precision != "float32" and runtime != "openvino":
        raise UserError(
            f"{runtime} computes in float32, not {config.precision}; leave it out of --runtimes"
        )
    if runtime == "executorch" and config.num_images > formats.MAX_BATCH:
        raise UserError(
            f"executorch takes at most {formats.MAX_BATCH} images, not {config.num_images}"
        )
    formats.need(*LIBRARIES[runtime])


@contextmanager
def _settings(config: BenchmarkConfig) -> Iterator[None]:
    """Set the threads of torch and what makes float32 what it says; both are restored."""
    before = torch.get_num_threads()
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, before)
        torch.set_num_threads(config.threads or before)
        # By itself cuDNN rounds float32 to ten bits of its fraction.
        stack.enter_context(
            torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)
        )
        if "torch-compile" in (config.runtimes or ()):
            from torch._dynamo import config as dynamo

            stack.enter_context(dynamo.patch(recompile_limit=GRAPHS))
        yield


def _contenders(
    found: Sequence[Model],
    chosen: Sequence[Runtime],
    config: BenchmarkConfig,
    folder: Path,
    on_progress: OnProgress,
) -> list[Contender]:
    """Return every model in every runtime, its outputs compared with eager torch's."""
    ready: list[Contender] = []
    jobs = [(model, _runtimes_of(model, chosen)) for model in found]
    total = sum(len(names) for _, names in jobs)
    for number, (given, names) in enumerate(jobs):
        model, images, wanted = _ready(given, config)
        macs = model.macs
        place = folder / str(number)
        for runtime in names:
            call = _call(model, runtime, images, place, config)
            share = _agreement(model, runtime, call, wanted, config.precision)
            ready.append(
                Contender(model=model, runtime=runtime, call=call, difference=share, macs=macs)
            )
            words = f"{len(ready)}/{total} ready: {model.name} in {runtime}"
            on_progress(Progress(share=len(ready) / total / 2, words=words))
    return ready


def _runtimes_of(model: Model, chosen: Sequence[Runtime]) -> list[Runtime]:
    """Return the runtimes in which a model is timed: those of others are not fused."""
    ours = isinstance(model.module, Network | Detector)
    names = [runtime for runtime in chosen if ours or runtime != "torch-fused"]
    if not names:
        raise UserError(f"{model.name} cannot be fused; add torch to --runtimes")
    return names


def _ready(
    given: Model, config: BenchmarkConfig
) -> tuple[Model, runtimes.Images, list[runtimes.Images]]:
    """Return a model, its images and what eager torch makes of them in float32."""
    try:
        model = given if given.trained else _settled(given)
        images = _images(config.num_images, model.size)
        # A copy: the model itself stays on the CPU.
        run = runtimes.torch_run(copy.deepcopy(model.module), config.device)
        return model, images, run(images)
    except (AssertionError, RuntimeError) as error:
        side = given.preprocessing.resolution
        raise UserError(
            f"{given.name} cannot compute a batch of {config.num_images} at {side} pixels: "
            f"{str(error).partition(chr(10))[0]}"
        ) from None


def _images(count: int, size: tuple[int, int, int]) -> runtimes.Images:
    """Return the same random images for all models that take their size."""
    return np.random.default_rng(0).standard_normal((count, *size), dtype=np.float32)


def _settled(model: Model) -> Model:
    """Return a copy whose batch norms have the statistics of random images.

    With random weights and none, signals fade from layer to layer and all outputs are alike
    whatever is computed, so that comparing them would say nothing.
    """
    return replace(model, module=settled(model.module, _images(SETTLING, model.size)))


def _call(
    model: Model,
    runtime: Runtime,
    images: runtimes.Images,
    folder: Path,
    config: BenchmarkConfig,
) -> Callable[[], Any]:
    """Return a function without arguments that computes the outputs of the images."""
    if runtime not in LIBRARIES:
        module = _torch_module(model, runtime, config)
        if config.device == "cpu":
            run = runtimes.torch_run(module, "cpu", config.precision)
            return lambda: run(images)
        return runtimes.torch_call(module, images, config.device, config.precision)
    threads = config.threads or torch.get_num_threads()
    if runtime == "executorch":
        run = runtimes.executorch_run(_file("executorch", model, folder), threads)
    elif runtime == "onnxruntime":
        run = runtimes.onnxruntime_run(_file("onnx", model, folder), threads)
    else:
        path = _file("openvino", model, folder)
        run = runtimes.openvino_run(path, threads, HINTS[config.precision])
    return lambda: run(images)


def _torch_module(model: Model, runtime: Runtime, config: BenchmarkConfig) -> nn.Module:
    if runtime == "torch-fused":
        return fuse(fold(model.module).to(config.device, getattr(torch, config.precision)))
    module = model.module.to(config.device)
    if runtime == "torch-compile":
        # In one graph, or torch would compute what it cannot compile eagerly and say nothing.
        module = copy.copy(module)
        module.compile(fullgraph=True)
    return module


def _file(kind: formats.Format, model: Model, folder: Path) -> Path:
    """Return the model's file, written when it is first asked for; others' as they are."""
    path = folder / f"model{formats.SUFFIXES[kind]}"
    if not path.exists():
        ours = isinstance(model.module, Network | Detector)
        module = exportable(model, kind) if ours else model.module
        formats.write(kind, module, path, size=model.size, outputs=model.outputs)
    return path


def _agreement(
    model: Model,
    runtime: Runtime,
    call: Callable[[], Any],
    wanted: Sequence[runtimes.Images],
    precision: str,
) -> float:
    """Return how far the outputs are from those wanted, or refuse them."""
    outputs = _compiled(model, call) if runtime == "torch-compile" else call()
    found = [y.float().cpu().numpy() if isinstance(y, torch.Tensor) else y for y in outputs]
    share, limit = difference(found, wanted), LIMITS[precision]
    if share > limit:
        raise UserError(
            f"{model.name} in {runtime} differs from eager torch by {share:.1e} of the largest "
            f"output, more than {limit:g}; leave {runtime} out of --runtimes"
        )
    return share


def _compiled(model: Model, call: Callable[[], Any]) -> Any:
    """Return the outputs of the first call, which compiles."""
    from torch._dynamo.exc import TorchDynamoException

    try:
        return call()
    except TorchDynamoException as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"torch cannot compile {model.name}: {reason}") from None


def _protocol(
    config: BenchmarkConfig, machine: Machine, left_out: dict[str, str], others: float | None
) -> dict[str, Any]:
    """Return the first line of the file."""
    found = [finding.what for finding in findings(machine)]
    if business(others):
        found.insert(0, f"{business(others)} while all was timed")
    gpu = machine.gpus[0].name if config.device == "cuda" else None
    return {
        "rounds": config.rounds,
        "warm_calls": WARM_CALLS,
        "warm_seconds": WARM_SECONDS,
        "pause_seconds": PAUSE_SECONDS,
        "batch": config.num_images,
        "threads": torch.get_num_threads(),
        "device": gpu or machine.processor,
        "precision": config.precision,
        "limit": LIMITS[config.precision],
        "system": machine.system,
        "versions": {name: machine.versions[name] for name in VERSIONS if machine.versions[name]},
        "left_out": left_out,
        "others": others,
        "findings": found,
    }


def _row(one: Contender, timing: Timing, first: Timing, protocol: dict[str, Any]) -> dict[str, Any]:
    """Return the line of a contender."""
    against = ratio(timing, first)
    return {
        "model": one.model.name,
        "runtime": one.runtime,
        "trained": one.model.trained,
        "params": one.model.params,
        "macs": one.macs,
        "resolution": one.model.preprocessing.resolution,
        "milliseconds": timing.median,
        "quartiles": list(timing.quartiles),
        "images_per_second": 1000 * protocol["batch"] / timing.median,
        "ratio": against.value,
        "ratio_quartiles": list(against.quartiles),
        "difference": one.difference,
        **{
            name: protocol[name] for name in ("batch", "threads", "device", "precision", "versions")
        },
    }
