"""Linear probes of what is named: as a job, as a ranking of resolutions, before a training."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rexnet import runs
from rexnet.data.image_sets import FileImages, Images
from rexnet.data.sources import check_apart, open_images
from rexnet.data.survey import OnSurvey, ignore
from rexnet.errors import not_lost
from rexnet.nn.classifiers import Classifier, body_of
from rexnet.nn.network import Network
from rexnet.nn.weights import digest
from rexnet.runs.progress import OnProgress, counting
from rexnet.train.config import ProbeConfig, num_readers
from rexnet.train.distributed import World, on_gpu
from rexnet.train.features import Extractor, extractor_of
from rexnet.train.images import Data, sound
from rexnet.train.probe import ProbeResult, at_most, probe, rank_resolutions
from rexnet.train.run_folder import PACKAGES

SHARES = (5 / 7, 15 / 28, 3 / 7, 2 / 7)
"""Of a resolution, those that are ranked beside it."""

MOST_FITTED = 5000
"""Images that the probe before a training is fitted to, at most, so that it stays a small part."""


def run(
    config: ProbeConfig, on_progress: OnProgress, on_survey: OnSurvey = ignore
) -> list[ProbeResult]:
    """Probe a network at each resolution and write ``result.json``.

    Args:
        config: What to probe.
        on_progress: Called while images are checked, and again while they are read.
        on_survey: Called with what the images are, before they are read.

    Raises:
        UserError: The model, the weights or the data cannot be had, or the folder holds something
            else.
    """
    extractor, folder = extractor_of(config.model, config.weights), Path(config.out)
    resolutions = config.resolution or (extractor.preprocessing.resolution,)
    parts = _parts(config)
    for resolution in resolutions:
        # What the network cannot take is said before images are examined.
        extractor.macs(resolution, len(parts[0].classes))
    identity = _identity(extractor, parts, resolutions)
    runs.check(folder, "probe.json", identity)
    data = _sound(config, parts, on_progress, on_survey)
    settings = dataclasses.asdict(config) | {"resolution": list(resolutions)}
    packages = (*PACKAGES, "scikit-learn")
    with runs.opened(folder, "probe.json", identity, config=settings, packages=packages):
        rows = probe(
            extractor, (data.train, data.val), resolutions, **_options(config, parts, on_progress)
        )
        with not_lost(rows):
            _write(folder, rows, data)
    return rows


def rank(
    config: ProbeConfig, on_progress: OnProgress, on_survey: OnSurvey = ignore
) -> list[ProbeResult]:
    """Return what ``rank_resolutions`` finds; nothing is written.

    Args:
        config: What to probe; ``out`` is not used. Without resolutions they are the weights' own
            and those at which a network has 51, 29, 18 and 8 % of its MACs.
        on_progress: Called while images are checked, and again while they are read.
        on_survey: Called with what the images are, before they are read.

    Raises:
        UserError: The model, the weights or the data cannot be had.
    """
    extractor = extractor_of(config.model, config.weights)
    resolutions = config.resolution or smaller(extractor.preprocessing.resolution)
    parts = _parts(config)
    data = _sound(config, parts, on_progress, on_survey)
    options = _options(config, parts, on_progress)
    return rank_resolutions(extractor, (data.train, data.val), resolutions, **options)


def smaller(resolution: int) -> tuple[int, ...]:
    """Return a resolution and four smaller ones, multiples of 8: of 224 also 160, 120, 96, 64."""
    sides = (max(8, 8 * round(resolution * share / 8)) for share in SHARES)
    return tuple(dict.fromkeys((resolution, *sides)))


def _parts(config: ProbeConfig) -> tuple[Images, Images]:
    train, val = (part.limited(config.max_megapixels) for part in open_images(config.data))
    for part in (train, val):
        if isinstance(part, FileImages):
            check_apart(config.out, part.folder)
    return train, val


def _sound(
    config: ProbeConfig,
    parts: tuple[Images, Images],
    on_progress: OnProgress,
    on_survey: OnSurvey,
) -> Data[Images]:
    world = World(rank=0, size=1, device=_device(config))
    return sound(parts, Path(config.out), world, config.skip_corrupt, on_progress, on_survey)


def _device(config: ProbeConfig) -> torch.device:
    return torch.device("cuda" if on_gpu(config.device) else "cpu")


def _options(
    config: ProbeConfig, parts: tuple[Images, Images], on_progress: OnProgress
) -> dict[str, Any]:
    """Return what a config says of how features are computed."""
    device, from_files = _device(config), isinstance(parts[0], FileImages)
    return {
        "batch_size": config.batch_size,
        "device": device,
        "num_workers": num_readers(config.workers, device.type, 1, from_files=from_files),
        "on_progress": counting(on_progress, "images", line=False),
    }


def probed_before(
    folder: Path,
    model: Classifier,
    parts: tuple[Images, Images],
    *,
    device: torch.device,
    num_workers: int,
    on_progress: OnProgress,
) -> tuple[dict[str, float], ProbeResult | None]:
    """Return what a linear probe makes of the weights that a training starts from.

    What it reaches is written into the run folder as ``start.json``.

    Args:
        folder: The run folder.
        model: The network with these weights, and the preprocessing of the training.
        parts: The images to train on, of which ``MOST_FITTED`` are used at most, and to validate
            on.
        device: What computes.
        num_workers: Processes that read images.
        on_progress: Called while images are read.

    Returns:
        ``probe_top1``, ``probe_top1_stderr`` and ``probe_num_train``, and the probe itself; of a
        training with a checkpoint, whose first weights are gone, what is written there alone.
    """
    path = folder / "start.json"
    if (folder / "last.pt").exists():
        return (dict(runs.read_json(path)) if path.exists() else {}), None
    preprocessing = model.preprocessing
    (row,) = probe(
        Extractor(name="start", module=body_of(model), preprocessing=preprocessing),
        (at_most(parts[0], MOST_FITTED), parts[1]),
        (preprocessing.resolution,),
        device=device,
        num_workers=num_workers,
        on_progress=counting(on_progress, "images probed", last=0.0, line=False),
    )
    found = {
        "probe_top1": row.top1,
        "probe_top1_stderr": row.standard_error,
        "probe_num_train": row.num_train,
    }
    runs.write_json(path, found)
    return found, row


def _identity(
    extractor: Extractor, parts: tuple[Images, Images], resolutions: Sequence[int]
) -> dict[str, Any]:
    """Return what makes two probes the same."""
    module = extractor.module
    own = {"spec_id": module.spec.spec_id} if isinstance(module, Network) else {}
    return {
        "model": {"name": extractor.name, **own},
        "weights": digest(module),
        "data": {"name": parts[0].name, "fingerprints": [part.fingerprint() for part in parts]},
        "resolutions": list(resolutions),
    }


def _write(folder: Path, rows: Sequence[ProbeResult], data: Data[Images]) -> None:
    runs.write_json(folder / "images.json", dict(zip(data.fingerprints, data.corrupt, strict=True)))
    if data.survey is not None:
        runs.write_json(folder / "survey.json", data.survey.to_json())
    runs.write_json(folder / "result.json", {"resolutions": [row.row() for row in rows]})
