"""Models in runtimes, timed in turns and compared with eager torch."""

import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rexnet import __version__, runs
from rexnet.deploy import contenders, runtimes, usage
from rexnet.deploy.config import BenchmarkConfig
from rexnet.deploy.contenders import Contender
from rexnet.deploy.doctor import findings
from rexnet.deploy.machine import Machine, examine, installed
from rexnet.deploy.models import Model, at_resolution, load
from rexnet.deploy.parity import LIMITS
from rexnet.deploy.runtimes import RUNTIMES, Runtime
from rexnet.deploy.timing import PAUSE_SECONDS, WARM_CALLS, WARM_SECONDS, Timing, ratio, take_turns
from rexnet.errors import UserError, closest, not_lost
from rexnet.latency import business
from rexnet.paper import TABLE_A1
from rexnet.runs.progress import Estimate, OnProgress, Progress, time_left

FILE = "benchmark.jsonl"

PACKAGES = ("torch", "timm", "numpy")
"""Packages whose versions are told beside those of the libraries of runtimes."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkResult:
    """What was measured: the lines of ``benchmark.jsonl``.

    Attributes:
        protocol: How, on what, and which default runtimes are left out for which reason.
        rows: One a contender, in the order asked for.
    """

    protocol: dict[str, Any]
    rows: list[dict[str, Any]]


def run(
    config: BenchmarkConfig,
    on_progress: OnProgress,
    available: Mapping[str, Runtime] = RUNTIMES,
) -> BenchmarkResult:
    """Time what the config names and write ``benchmark.jsonl``, the protocol in its first line.

    Args:
        config: What is timed, and how.
        on_progress: Called after each contender that is ready and after each round.
        available: The runtimes that the config chooses among.

    Raises:
        UserError: A model or a runtime cannot be had, or outputs differ; nothing is written then.
    """
    plan(config, available)
    folder = Path(config.out)
    if not (folder / FILE).exists():
        runs.check_new(folder, FILE)
    names = (*(TABLE_A1 if config.table else config.models), *config.against)
    found = [at_resolution(load(name), config.resolution) for name in names]
    with runs.locked(folder):
        result = measure(found, config, on_progress, available)
        with not_lost(result):
            runs.write_jsonl(folder / FILE, [result.protocol, *result.rows])
    return result


def measure(
    found: Sequence[Model],
    config: BenchmarkConfig,
    on_progress: OnProgress,
    available: Mapping[str, Runtime] = RUNTIMES,
) -> BenchmarkResult:
    """Time models in the runtimes of the config; nothing is written.

    Args:
        found: The models, in evaluation mode on the CPU.
        config: How; its models are not looked at.
        on_progress: As in ``run``.
        available: As in ``run``.

    Raises:
        UserError: A runtime cannot be had, or outputs differ from eager torch's.
    """
    chosen, left_out = plan(config, available)
    machine = examine()
    with _settings(config, chosen), tempfile.TemporaryDirectory() as folder:
        ready = _contenders(found, chosen, config, Path(folder), on_progress)
        calls = {str(number): one.call for number, one in enumerate(ready)}
        estimate = Estimate()

        def show(done: int, total: int) -> None:
            left = estimate.seconds_left(done, total - done)
            words = f"{done}/{total} rounds timed, {time_left(left)}"
            on_progress(Progress(share=(1 + done / total) / 2, words=words, seconds_left=left))

        before = usage.read()
        timings = list(take_turns(calls, config.rounds, show).values())
        others = usage.of_others(before, usage.read())
        protocol = _protocol(config, machine, _versions(available), left_out, others)
    pairs = zip(ready, timings, strict=True)
    return BenchmarkResult(
        protocol=protocol, rows=[_row(one, timing, timings[0], protocol) for one, timing in pairs]
    )


def plan(
    config: BenchmarkConfig, available: Mapping[str, Runtime] = RUNTIMES
) -> tuple[tuple[Runtime, ...], dict[str, str]]:
    """Return the runtimes of the config, and those it leaves out by default with the reason.

    Raises:
        UserError: There is no GPU, or a runtime that is asked for cannot be had.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device cuda: torch {torch.__version__} finds no GPU here")
    if config.runtimes is not None:
        for name in config.runtimes:
            if name not in available:
                raise UserError(f"unknown runtime {name!r}{closest(name, available)}")
            _check(available[name], config)
        return tuple(available[name] for name in config.runtimes), {}
    chosen, left_out = [], {}
    for name, runtime in available.items():
        if runtime.on_request:
            continue
        try:
            _check(runtime, config)
        except UserError as error:
            left_out[name] = str(error)
        else:
            chosen.append(runtime)
    return tuple(chosen), left_out


def _check(runtime: Runtime, config: BenchmarkConfig) -> None:
    """Check that a runtime can do what the config asks for."""
    name, images = runtime.name, config.num_images
    if config.device != "cpu" and runtime.on_gpu is None:
        raise UserError(f"{name} is timed on a CPU; leave it out of --runtimes")
    if config.precision not in runtime.precisions:
        raise UserError(
            f"{name} computes in {', '.join(runtime.precisions)}, not {config.precision}; leave it "
            "out of --runtimes"
        )
    if runtime.max_batch is not None and images > runtime.max_batch:
        raise UserError(f"{name} takes at most {runtime.max_batch} images, not {images}")
    runtimes.check(runtime)


@contextmanager
def _settings(config: BenchmarkConfig, chosen: Sequence[Runtime]) -> Iterator[None]:
    """Set the threads of torch and what makes float32 what it says; both are restored."""
    before = torch.get_num_threads()
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, before)
        torch.set_num_threads(config.threads or before)
        # By itself cuDNN rounds float32 to ten bits of its fraction.
        stack.enter_context(
            torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)
        )
        for runtime in chosen:
            stack.enter_context(runtime.session())
        yield


def _contenders(
    found: Sequence[Model],
    chosen: Sequence[Runtime],
    config: BenchmarkConfig,
    folder: Path,
    on_progress: OnProgress,
) -> list[Contender]:
    """Return every model in every runtime, ready to be timed."""
    jobs, done = contenders.pairs(found, chosen), []
    total = sum(len(fitting) for _, fitting in jobs)
    for number, (model, fitting) in enumerate(jobs):
        for one in contenders.ready(model, fitting, config, folder / str(number)):
            done.append(one)
            words = f"{len(done)}/{total} ready: {model.name} in {one.runtime.name}"
            on_progress(Progress(share=len(done) / total / 2, words=words))
    return done


def _protocol(
    config: BenchmarkConfig,
    machine: Machine,
    versions: dict[str, str],
    left_out: dict[str, str],
    others: float | None,
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
        "versions": versions,
        "left_out": left_out,
        "others": others,
        "findings": found,
    }


def _versions(available: Mapping[str, Runtime]) -> dict[str, str]:
    """Return the versions of what can compute."""
    libraries = (name for runtime in available.values() for name in runtime.libraries)
    found = {"python": platform.python_version(), "rexnet": __version__}
    versions = {name: installed(name) for name in (*PACKAGES, *libraries)}
    return found | {name: version for name, version in versions.items() if version}


def _row(one: Contender, timing: Timing, first: Timing, protocol: dict[str, Any]) -> dict[str, Any]:
    """Return the line of a contender."""
    against = ratio(timing, first)
    return {
        "model": one.model.name,
        "runtime": one.runtime.name,
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
