"""The export job: a model as a file of a runtime, compared with the model and timed."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rexnet import runs
from rexnet.data.image_sets import Images
from rexnet.deploy import decode, parity, quantise, runtimes, timing, usage
from rexnet.deploy.config import ExportConfig
from rexnet.deploy.models import Model, at_resolution, load
from rexnet.deploy.runtimes import RUNTIMES, Array, Run, Runtime, onnx
from rexnet.deploy.runtimes.forms import padded
from rexnet.deploy.runtimes.onnxruntime import ONNXRUNTIME
from rexnet.deploy.runtimes.torch import module_run
from rexnet.detect.detector import Detector
from rexnet.errors import UserError
from rexnet.nn.network import Network
from rexnet.nn.sources import FILES
from rexnet.runs.progress import OnProgress, Progress, counting
from rexnet.spec import NetSpec

RECORD = "export.json"

DECODABLE = ("logits", "offsets")
"""The outputs of a detector that ``decode`` makes boxes of."""

INT8 = "model-int8"
"""The stem of the file in 8 bits."""

SCRATCH = "scratch"
"""The folder of files that are not kept."""

ROUNDS = 20
"""Timed calls of each contender."""


def run(
    config: ExportConfig,
    on_progress: OnProgress = lambda progress: None,
    available: Mapping[str, Runtime] = RUNTIMES,
) -> dict[str, Any]:
    """Write a model into the folder, verified, and return what ``export.json`` says of it.

    Files are made and verified in a hidden folder and moved into place when all is well; until then
    an earlier export stays as it was.

    Args:
        config: What to export.
        on_progress: Called now and then.
        available: The runtimes, one of which has the format.

    Raises:
        UserError: The model or the images cannot be had or do not belong together, a library is not
            installed, the folder cannot be written to or holds another export, or what was written
            does not give what the model gives or, in 8 bits, classifies too much worse.
    """
    runtime, libraries = _runtime(config, available)
    model = at_resolution(load(config.model, config.weights), config.resolution)
    if config.free and isinstance(model.module, Detector):
        raise UserError(
            f"--dynamic is for classifiers: {model.name} is a detector, whose anchors are those of "
            f"{model.preprocessing.resolution} pixels"
        )
    parts = quantise.open_parts(config.calibration, model.module) if config.calibration else None
    folder, identity = out(config), _identity(config, model)
    _check_out(folder, identity)
    with runs.locked(folder), _hidden(folder) as place, _threads(config.threads) as threads:
        path = place / f"model{runtime.suffix}"
        result = identity | _facts(model) | {"threads": threads}
        result["parity"] = _write_verified(config, runtime, model, path, threads, on_progress)
        contenders = {"torch": module_run(model.module)}
        contenders[runtime.name] = runtimes.run(runtime, path, threads)
        if parts is not None:
            made = _write_int8(config, runtime, model, parts[0], place, on_progress)
            contenders["int8"] = runtimes.run(runtime, made, threads)
            files = {"top1_float": contenders[runtime.name], "top1": contenders["int8"]}
            result["int8"] = _accuracy(model, parts[1], files, on_progress)
            quantise.check_fall(made.name, config.accept, **result["int8"])
        before = usage.read()
        result["milliseconds"] = _timed(model, contenders, on_progress)
        result["others"] = usage.of_others(before, usage.read())
        result["environment"] = runs.environment("torch", *libraries)
        if isinstance(model.module, Detector):
            for name, tensor in model.module.constants.items():
                np.save(place / f"{name}.npy", tensor.numpy())
            if model.outputs == DECODABLE:
                shutil.copyfile(decode.__file__, place / "decode.py")
        result["files"] = _move(place, folder, result)
    return result


def _runtime(
    config: ExportConfig, available: Mapping[str, Runtime]
) -> tuple[Runtime, tuple[str, ...]]:
    """Return the runtime of a format, and the libraries that the export needs.

    Raises:
        UserError: There is none, it has no files in 8 bits, or a library is not installed.
    """
    formats = runtimes.by_format(available)
    if config.format not in formats:
        raise UserError(f"format {config.format!r} is not one of {', '.join(formats)}")
    runtime = formats[config.format]
    if config.int8 and runtime.from_onnx is None:
        able = " and ".join(name for name, one in formats.items() if one.from_onnx)
        raise UserError(f"--int8 is for {able}, not for {config.format}")
    needed = (runtime, ONNXRUNTIME) if config.int8 else (runtime,)
    for one in needed:
        runtimes.check(one)
    if config.opset or config.free or config.half:
        writer = onnx.Writer(opset=config.opset, free=config.free, half=config.half)
        runtime = replace(runtime, write=writer)
    return runtime, tuple(dict.fromkeys(name for one in needed for name in one.libraries))


def out(config: ExportConfig) -> Path:
    """Return the folder that an export is written into."""
    if config.out is not None:
        return Path(config.out)
    source = Path(config.model)
    if source.is_dir():
        return source / "export" / config.format
    name = source.name
    while (place := Path(name)).suffix in (".json", *FILES):
        name = place.stem
    name = re.sub(r"[^0-9A-Za-z._-]+", "-", name)
    return Path("runs") / f"{name}-export" / config.format


def metadata(model: Model) -> dict[str, str]:
    """Return what a file is to say of itself; what is no name or word is JSON."""
    module = model.module
    found: dict[str, Any] = {
        "preprocessing": model.preprocessing.to_config(),
        "classes": model.classes,
        "outputs": model.outputs,
    }
    if isinstance(module, Detector):
        found["category_ids"] = module.category_ids
        found |= {name: tensor.shape for name, tensor in module.constants.items()}
    words = {"model": model.name, "weights": _weights(model)}
    if isinstance(module, Detector):
        words["loss"] = module.criterion
    if (spec := _spec(model)) is not None:
        words |= {"spec": spec.to_json(indent=None), "spec_id": spec.spec_id}
    return words | {name: json.dumps(value) for name, value in found.items()}


def _spec(model: Model) -> NetSpec | None:
    """Return the spec of a network, or of a detector's backbone."""
    if isinstance(model.module, Detector):
        return model.module.backbone.spec
    return model.module.spec if isinstance(model.module, Network) else None


def _weights(model: Model) -> str:
    return "trained" if model.trained else "random"


def _identity(config: ExportConfig, model: Model) -> dict[str, Any]:
    """Return what makes two exports the same."""
    spec = _spec(model)
    identity: dict[str, Any] = {
        "model": config.model,
        "spec_id": None if spec is None else spec.spec_id,
        "weights": config.weights,
        "format": config.format,
        "resolution": model.preprocessing.resolution,
        "calibration": config.calibration,
        "opset": config.opset,
        "dynamic": list(config.free),
        "half": config.half,
    }
    return identity | ({"num_calibration_images": config.images} if config.int8 else {})


def _facts(model: Model) -> dict[str, Any]:
    return {
        "trained": model.trained,
        "num_classes": len(model.classes) or None,
        "outputs": list(model.outputs),
        "params": model.params,
        "macs": model.macs,
    }


def _check_out(folder: Path, identity: dict[str, Any]) -> None:
    """Check that ``folder`` is new, or holds an earlier export of the same."""
    record = folder / RECORD
    if not record.exists():
        runs.check_new(folder, RECORD)
        return
    # The record has more, the results, and one of an earlier version lacks options at their
    # defaults.
    old = runs.read_json(record)
    fields = old if isinstance(old, dict) else {}
    known = {name: value for name, value in identity.items() if value or name in fields}
    runs.check_same(record, known, partly=True)


@contextmanager
def _hidden(folder: Path) -> Iterator[Path]:
    """Make a hidden folder in ``folder``, and take it away with what is left in it."""
    place = folder / ".export.tmp"
    # What a kill left here.
    shutil.rmtree(place, ignore_errors=True)
    (place / SCRATCH).mkdir(parents=True)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _threads(wanted: int | None) -> Iterator[int]:
    """Let torch compute on ``wanted`` threads, and say on how many it does."""
    before = torch.get_num_threads()
    torch.set_num_threads(wanted or before)
    try:
        yield wanted or before
    finally:
        torch.set_num_threads(before)


def _write_verified(
    config: ExportConfig,
    runtime: Runtime,
    model: Model,
    path: Path,
    threads: int,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Write the file, compare it with the model and return how far it is from it.

    A model whose signal dies away is compared once more as ``parity.stirred``; in float16, whose
    rounding that would let grow, as ``parity.settled``.

    Raises:
        UserError: It is too far.
    """
    sizes = [model.size, *parity.other_sizes(model.size, config.free)]
    images = [parity.batches(size) for size in sizes]
    limit = parity.HALF_LIMIT if config.half else parity.LIMIT
    on_progress(Progress(share=0.0, words=f"writing {path.name}"))
    found = _agreement(runtime, model, path, threads, images, limit)
    result: dict[str, Any] = {
        "difference": found.difference,
        "limit": limit,
        "num_images": sum(len(batch) for batches in images for batch in batches),
    }
    if config.free:
        result["sizes"] = [list(size[1:]) for size in sizes]
    if found.is_faint:
        words = "the outputs hardly depend on the images: comparing other weights too"
        on_progress(Progress(share=0.2, words=words))
        change = parity.settled if config.half else parity.stirred
        twin = replace(model, module=change(model.module, images[0][-1]))
        other = path.parent / SCRATCH / path.name
        found = _agreement(runtime, twin, other, threads, images, limit)
        result["stirred_difference"] = found.difference
    return result


def _agreement(
    runtime: Runtime,
    model: Model,
    path: Path,
    threads: int,
    images: Sequence[Sequence[Array]],
    limit: float,
) -> parity.Parity:
    """Write a file and return how far it is from its model, for batches of the worst size."""
    runtimes.write(
        runtime,
        runtime.form(model.module),
        path,
        size=model.size,
        outputs=model.outputs,
        metadata=metadata(model),
    )
    theirs = runtimes.run(runtime, path, threads)
    each = [parity.compare(module_run(model.module), theirs, batches) for batches in images]
    found = max(each, key=lambda one: one.difference)
    if not found.difference <= limit:
        height, width = images[each.index(found)][0].shape[2:]
        raise UserError(
            f"{path.name} does not give what {model.name} gives: outputs for {height} x {width} "
            f"pixels differ by {found.difference:.2g} of their spread over images, above "
            f"{limit:g}; nothing was kept; try another --format"
            f"{', or without --half' if limit == parity.HALF_LIMIT else ''}"
        )
    return replace(found, is_faint=any(one.is_faint for one in each))


def _write_int8(
    config: ExportConfig,
    runtime: Runtime,
    model: Model,
    images: Images,
    place: Path,
    on_progress: OnProgress,
) -> Path:
    """Write the file in 8 bits into ``place``, with ranges seen on some of ``images``."""
    source = place / SCRATCH / "float.onnx"
    words = metadata(model)
    writer = onnx.Writer(opset=config.opset, free=config.free)
    writer(padded(model.module), source, model.size, metadata=words)
    told = counting(on_progress, "images for the ranges", first=0.4, last=0.5)
    batches = quantise.chosen(images, model.preprocessing, config.images, told)
    made, path = place / SCRATCH / f"{INT8}.onnx", place / f"{INT8}{runtime.suffix}"
    quantise.quantise(source, made, batches)
    assert runtime.from_onnx is not None
    runtime.from_onnx(made, path, words)
    return path


def _accuracy(
    model: Model, images: Images, files: Mapping[str, Run], on_progress: OnProgress
) -> dict[str, Any]:
    """Return the top-1 of each file on ``images``."""
    found: dict[str, Any] = {"num_images": len(images)}
    for number, (name, run) in enumerate(files.items()):
        low = 0.5 + 0.2 * number
        told = counting(on_progress, "images classified", first=low, last=low + 0.2)
        found[name] = quantise.top1(run, images, model.preprocessing, told)
    return found


def _timed(model: Model, contenders: dict[str, Run], on_progress: OnProgress) -> dict[str, float]:
    """Return the median of the milliseconds that each takes for one image, in turns."""
    image = parity.batches(model.size)[0]
    calls = {name: partial(contender, image) for name, contender in contenders.items()}
    told = counting(on_progress, "rounds timed", first=0.9)
    times = timing.take_turns(calls, ROUNDS, told)
    return {name: time.median for name, time in times.items()}


def _move(place: Path, folder: Path, result: dict[str, Any]) -> list[str]:
    """Move the files and their record into ``folder`` and return the names of the files."""
    files = sorted(path.name for path in place.iterdir() if path.is_file())
    runs.write_json(place / RECORD, result | {"files": files})
    # The record last; the weights of OpenVINO come before what refers to them.
    for name in (*files, RECORD):
        (place / name).replace(folder / name)
    return files
