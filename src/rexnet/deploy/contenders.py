"""Models made ready in runtimes, and compared with eager torch before they are timed."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rexnet.deploy import parity, runtimes
from rexnet.deploy.config import BenchmarkConfig
from rexnet.deploy.models import Model
from rexnet.deploy.runtimes import Array, Runtime
from rexnet.deploy.runtimes.torch import module_run
from rexnet.detect.detector import Detector
from rexnet.errors import UserError
from rexnet.nn.network import Network

SETTLING = 8
"""Images from which the batch norms of a model with random weights get their statistics."""


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


def pairs(found: Sequence[Model], chosen: Sequence[Runtime]) -> list[tuple[Model, list[Runtime]]]:
    """Return every model with the runtimes in which it is timed: those of others are not fused.

    Raises:
        UserError: There is none for a model.
    """
    jobs = []
    for model in found:
        fitting = [one for one in chosen if _is_own(model) or not one.own_only]
        if not fitting:
            raise UserError(f"{model.name} cannot be fused; add torch to --runtimes")
        jobs.append((model, fitting))
    return jobs


def ready(
    given: Model, fitting: Sequence[Runtime], config: BenchmarkConfig, folder: Path
) -> Iterator[Contender]:
    """Yield a model in each of its runtimes, its outputs compared with eager torch's.

    Args:
        given: The model, in evaluation mode on the CPU.
        fitting: The runtimes, those of ``pairs``.
        config: How it is computed.
        folder: A folder for its files.

    Raises:
        UserError: The model cannot compute such images, or outputs differ from eager torch's.
    """
    model, images, wanted = _reference(given, config)
    macs = model.macs
    for runtime in fitting:
        call = _call(model, runtime, images, folder, config)
        share = _agreement(model, runtime, call, wanted, config.precision)
        yield Contender(model=model, runtime=runtime, call=call, difference=share, macs=macs)


def random_images(count: int, size: runtimes.Size) -> Array:
    """Return the same random images for all models that take their size."""
    return np.random.default_rng(0).standard_normal((count, *size), dtype=np.float32)


def _is_own(model: Model) -> bool:
    return isinstance(model.module, Network | Detector)


def _reference(given: Model, config: BenchmarkConfig) -> tuple[Model, Array, list[Array]]:
    """Return a model, its images and what eager torch makes of them in float32."""
    try:
        model = given if given.trained else _settled(given)
        images = random_images(config.num_images, model.size)
        # A copy: the model itself stays on the CPU.
        run = module_run(copy.deepcopy(model.module), config.device)
        return model, images, run(images)
    except (AssertionError, RuntimeError) as error:
        side = given.preprocessing.resolution
        raise UserError(
            f"{given.name} cannot compute a batch of {config.num_images} at {side} pixels: "
            f"{str(error).partition(chr(10))[0]}"
        ) from None


def _settled(model: Model) -> Model:
    """Return a copy whose batch norms have the statistics of random images.

    With random weights and none, signals fade from layer to layer and all outputs are alike
    whatever is computed, so that comparing them would say nothing.
    """
    module = parity.settled(model.module, random_images(SETTLING, model.size))
    return replace(model, module=module)


def _call(
    model: Model, runtime: Runtime, images: Array, folder: Path, config: BenchmarkConfig
) -> Callable[[], Any]:
    """Return a function without arguments that computes the outputs of the images."""
    if config.device != "cpu":
        assert runtime.on_gpu is not None
        return runtime.on_gpu(model.module, images, config.precision)
    source = model.module if runtime.write is None else _file(runtime, model, folder)
    threads = config.threads or torch.get_num_threads()
    run = runtimes.run(runtime, source, threads, config.precision)
    return lambda: run(images)


def _file(runtime: Runtime, model: Model, folder: Path) -> Path:
    """Return the model's file; models of others are written as they are."""
    path = folder / f"{runtime.name}{runtime.suffix}"
    module = runtime.form(model.module) if _is_own(model) else model.module
    runtimes.write(runtime, module, path, size=model.size, outputs=model.outputs)
    return path


def _agreement(
    model: Model,
    runtime: Runtime,
    call: Callable[[], Any],
    wanted: Sequence[Array],
    precision: str,
) -> float:
    """Return how far the outputs are from those wanted, or refuse them."""
    try:
        outputs = call()
    except UserError as error:
        raise UserError(f"{model.name} in {runtime.name}: {error}") from None
    found = [y.float().cpu().numpy() if isinstance(y, torch.Tensor) else y for y in outputs]
    share, limit = parity.agreement(found, wanted).share, parity.LIMITS[precision]
    # Not more: what is no number is no agreement.
    if not share <= limit:
        raise UserError(
            f"{model.name} in {runtime.name} differs from eager torch by {share:.1e} of the "
            f"largest output, more than {limit:g}; leave {runtime.name} out of --runtimes"
        )
    return share
