"""A linear probe: how far the features of trained weights go with nothing but a linear classifier.

The classifier is scikit-learn's logistic regression on standardised features. Its strength ``C`` is
the one of ``STRENGTHS`` with the lowest loss in cross-validation on the training images alone.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rexnet.data.image_sets import Images
from rexnet.train.features import Extractor, Features, features_of

STRENGTHS = (0.001, 0.01, 0.1)
"""Values of ``C`` that are tried: the inverse of the weight decay."""

PLAIN = 0.01
"""``C`` where a class has a single training image, which leaves nothing to validate on."""

FOLDS = 5

MOST_TRAIN, MOST_VAL = 600, 400
"""Images that resolutions are ranked on, at most, so that it takes less than a minute."""


@dataclass(frozen=True, kw_only=True, eq=False)
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
        weight: Shape (num_classes, num_features): the probe as a linear layer.
        bias: Shape (num_classes,).
    """

    resolution: int
    top1: float
    top5: float
    num_images: int
    num_train: int
    strength: float
    macs: int
    seconds: float
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

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
    total, found = sum(map(len, parts)), []
    for images, before in zip(parts, (0, len(parts[0])), strict=True):
        found.append(
            features_of(
                extractor,
                images,
                resolutions,
                batch_size=batch_size,
                device=device or torch.device("cpu"),
                num_workers=num_workers,
                on_progress=partial(_tell_of_all, on_progress, before, total),
            )
        )
    rows = zip(resolutions, macs, *found, strict=True)
    return [
        _result(resolution, cost, train, val, num_classes) for resolution, cost, train, val in rows
    ]


def _tell_of_all(
    tell: Callable[[int, int], None], before: int, total: int, done: int, _: int
) -> None:
    tell(before + done, total)


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


def _result(
    resolution: int, macs: int, train: Features, val: Features, num_classes: int
) -> ProbeResult:
    started = time.monotonic()
    classifier, strength = fitted(train.values, train.labels)
    scores = classifier.predict_log_proba(val.values)
    best = classifier.classes_[np.argsort(-scores, axis=1, kind="stable")[:, :5]]
    hits = best == val.labels[:, None]
    weight, bias = as_layer(classifier, num_classes)
    return ProbeResult(
        resolution=resolution,
        top1=float(hits[:, 0].mean()),
        top5=float(hits.any(1).mean()),
        num_images=len(val.labels),
        num_train=len(train.labels),
        strength=strength,
        macs=macs,
        seconds=train.seconds + val.seconds + time.monotonic() - started,
        weight=weight,
        bias=bias,
    )


def as_layer(classifier: Any, num_classes: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a pipeline of scaling and logistic regression as one linear layer.

    Args:
        classifier: What ``fitted`` gives.
        num_classes: Rows of the layer; a class without images is the least likely.

    Returns:
        ``weight``, shape (num_classes, num_features), and ``bias``, shape (num_classes,).
    """
    scaler, regression = (step for _, step in classifier.steps)
    rows, offsets = regression.coef_, regression.intercept_
    if len(rows) == 1:
        # Of two classes scikit-learn keeps the difference.
        rows, offsets = np.concatenate([-rows, rows]) / 2, np.concatenate([-offsets, offsets]) / 2
    rows = rows / scaler.scale_
    offsets = offsets - rows @ scaler.mean_
    weight = np.zeros((num_classes, rows.shape[1]), np.float32)
    # A class without images to fit to is the least likely.
    bias = np.full(num_classes, offsets.min() if len(offsets) < num_classes else 0, np.float32)
    weight[regression.classes_], bias[regression.classes_] = rows, offsets
    return weight, bias


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
