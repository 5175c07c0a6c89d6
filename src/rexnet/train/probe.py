"""A linear probe: how far the features of trained weights go with nothing but a linear classifier.

The classifier is scikit-learn's logistic regression on standardised features. Its strength ``C`` is
the one of ``STRENGTHS`` with the lowest loss in cross-validation on the training images alone.
"""

import dataclasses
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rexnet import runs
from rexnet.data.image_sets import FileImages, Images
from rexnet.data.sources import check_apart, open_images
from rexnet.data.survey import OnSurvey, ignore
from rexnet.errors import not_lost
from rexnet.nn.network import Network
from rexnet.nn.weights import digest
from rexnet.runs.progress import OnProgress, counting
from rexnet.train.config import ProbeConfig, num_readers
from rexnet.train.distributed import World, on_gpu
from rexnet.train.features import Extractor, Features, extractor_of, features_of
from rexnet.train.images import Data, sound
from rexnet.train.run_folder import PACKAGES

STRENGTHS = (0.001, 0.01, 0.1)
"""Values of ``C`` that are tried: the inverse of the weight decay."""

PLAIN = 0.01
"""``C`` where a class has a single training image, which leaves nothing to validate on."""

FOLDS = 5

MOST_FITTED = 5000
"""Images that the probe before a training is fitted to, at most, so that it stays a small part."""

MOST_TRAIN, MOST_VAL = 600, 400
"""Images that resolutions are ranked on, at most, so that it takes less than a minute."""


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """What a linear probe reached at one resolution.

    Attributes:
        resolution: Side of the input in pixels.
        top1: Share of images whose likeliest class is right, from 0 to 1.
        top5: Share of images whose class is among the five likeliest.
        num_images: Images that it was validated on.
        num_train: Images that it was fitted to.
        strength: ``C`` of the logistic regression.
        macs: Multiply-accumulates of an image, a classifier of the images' classes included.
        seconds: What features and fit took, reading of the images left out.
    """

    resolution: int
    top1: float
    top5: float
    num_images: int
    num_train: int
    strength: float
    macs: int
    seconds: float

    @property
    def standard_error(self) -> float:
        """Standard error of ``top1`` by the number of images alone."""
        return float(np.sqrt(self.top1 * (1 - self.top1) / self.num_images))

    def row(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "resolution": self.resolution,
            "top1": self.top1,
            "top1_stderr": self.standard_error,
            "top5": self.top5,
            "num_images": self.num_images,
            "num_train": self.num_train,
            "c": self.strength,
            "macs": self.macs,
            "seconds": round(self.seconds, 1),
        }


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
    train, val = (part.limited(config.max_megapixels) for part in open_images(config.data))
    for part in (train, val):
        if isinstance(part, FileImages):
            check_apart(config.out, part.folder)
    identity = _identity(extractor, (train, val), resolutions)
    runs.check(folder, "probe.json", identity)
    device = torch.device("cuda" if on_gpu(config.device) else "cpu")
    world = World(rank=0, size=1, device=device)
    data = sound((train, val), folder, world, config.skip_corrupt, on_progress, on_survey)
    options = dataclasses.asdict(config)
    options["resolution"] = list(resolutions)
    packages = (*PACKAGES, "scikit-learn")
    with runs.opened(folder, "probe.json", identity, config=options, packages=packages):
        rows = probe(
            extractor,
            (data.train, data.val),
            resolutions,
            batch_size=config.batch_size,
            device=device,
            num_workers=num_readers(
                config.workers, device.type, 1, from_files=isinstance(train, FileImages)
            ),
            on_progress=counting(on_progress, "images", line=False),
        )
        with not_lost(rows):
            _write(folder, rows, data)
    return rows


def probed_before(
    folder: Path,
    model: Network,
    parts: tuple[Images, Images],
    *,
    device: torch.device,
    num_workers: int,
    on_progress: OnProgress,
) -> dict[str, float]:
    """Return what a linear probe makes of the weights that a training starts from.

    It is fitted once, and written into the run folder as ``start.json``.

    Args:
        folder: The run folder.
        model: The network with these weights, and the preprocessing of the training.
        parts: The images to train on, of which ``MOST_FITTED`` are used at most, and to validate
            on.
        device: What computes.
        num_workers: Processes that read images.
        on_progress: Called while images are read.

    Returns:
        ``probe_top1``, ``probe_top1_stderr`` and ``probe_num_train``; nothing of a training from
        before there was a probe, whose first weights are gone.
    """
    path = folder / "start.json"
    if path.exists():
        return dict(runs.read_json(path))
    if (folder / "last.pt").exists():
        return {}
    preprocessing = model.preprocessing
    (row,) = probe(
        Extractor(name=model.spec.name, module=model, preprocessing=preprocessing),
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
    return found


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


def probe(
    extractor: Extractor,
    parts: tuple[Images, Images],
    resolutions: Sequence[int],
    *,
    batch_size: int = 64,
    device: torch.device | None = None,
    num_workers: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[ProbeResult]:
    """Probe a network's features at each resolution.

    Args:
        extractor: The network, with trained weights.
        parts: The images to train on and those to validate on; sound ones.
        resolutions: Sides of the input in pixels.
        batch_size: Images that are read at a time.
        device: What computes the features (default: the CPU).
        num_workers: Processes that read images.
        on_progress: Told how many images of how many were read.

    Raises:
        UserError: The network cannot take a resolution, or an image is corrupt.
    """
    num_classes = len(parts[0].classes)
    macs = [extractor.macs(resolution, num_classes) for resolution in resolutions]
    total, first, found = sum(map(len, parts)), 0, []
    for images in parts:
        found.append(
            features_of(
                extractor,
                images,
                resolutions,
                batch_size=batch_size,
                device=device or torch.device("cpu"),
                num_workers=num_workers,
                on_progress=lambda done, _, first=first: on_progress(first + done, total),
            )
        )
        first += len(images)
    rows = zip(resolutions, macs, *found, strict=True)
    return [_result(resolution, cost, train, val) for resolution, cost, train, val in rows]


def rank_resolutions(
    extractor: Extractor,
    parts: tuple[Images, Images],
    resolutions: Sequence[int],
    **options: Any,
) -> list[ProbeResult]:
    """Probe a network at each resolution on some of the images, and return the best first.

    There are at most ``MOST_TRAIN`` images to train on and ``MOST_VAL`` to validate on, drawn
    evenly from the classes, the same with every call.

    Args:
        extractor: The network, with trained weights.
        parts: The images to train on and those to validate on; sound ones.
        resolutions: Sides of the input in pixels.
        options: More arguments of ``probe``.

    Raises:
        UserError: The network cannot take a resolution, or an image is corrupt.
    """
    train, val = parts
    some = at_most(train, MOST_TRAIN), at_most(val, MOST_VAL)
    return sorted(probe(extractor, some, resolutions, **options), key=lambda row: -row.top1)


def recommended(rows: Sequence[ProbeResult]) -> ProbeResult:
    """Return the cheapest resolution within a standard error of the best one."""
    best = max(rows, key=lambda row: row.top1)
    near = [row for row in rows if row.top1 >= best.top1 - best.standard_error]
    return min(near, key=lambda row: row.macs)


def at_most(images: Images, most: int) -> Images:
    """Return at most so many of the images, drawn evenly from the classes, seeded.

    Of every class that has images at least one stays.
    """
    if len(images) <= most:
        return images
    order = np.random.default_rng(0).permutation(len(images))
    labels = images.labels[order]
    # The number that an image has within its class, in this order.
    by_label = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=len(images.classes))
    numbers = np.empty(len(images), np.int64)
    numbers[by_label] = np.arange(len(images)) - np.repeat(np.cumsum(counts) - counts, counts)
    ranked = order[np.argsort(numbers, kind="stable")]
    kept = max(most, int((counts > 0).sum()))
    return images.without(np.sort(ranked[kept:]))


def _result(resolution: int, macs: int, train: Features, val: Features) -> ProbeResult:
    started = time.monotonic()
    classifier, strength = fitted(train.values, train.labels)
    scores = classifier.predict_log_proba(val.values)
    best = classifier.classes_[np.argsort(-scores, axis=1, kind="stable")[:, :5]]
    hits = best == val.labels[:, None]
    return ProbeResult(
        resolution=resolution,
        top1=float(hits[:, 0].mean()),
        top5=float(hits.any(1).mean()),
        num_images=len(val.labels),
        num_train=len(train.labels),
        strength=strength,
        macs=macs,
        seconds=train.seconds + val.seconds + time.monotonic() - started,
    )


def fitted(values: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[Any, float]:
    """Return a logistic regression on standardised features, and its ``C``.

    Args:
        values: Shape (num_images, num_features).
        labels: Shape (num_images,); of two classes at least.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=PLAIN, max_iter=1000))
    counts = np.bincount(labels)
    folds = min(FOLDS, int(counts[counts > 0].min()))
    with warnings.catch_warnings():
        # Features that separate the classes have no best weights without decay.
        warnings.simplefilter("ignore", ConvergenceWarning)
        if folds < 2:
            return pipeline.fit(values, labels), PLAIN
        search = GridSearchCV(
            pipeline,
            {"logisticregression__C": STRENGTHS},
            scoring="neg_log_loss",
            cv=StratifiedKFold(folds, shuffle=True, random_state=0),
        ).fit(values, labels)
    return search.best_estimator_, float(search.best_params_["logisticregression__C"])
