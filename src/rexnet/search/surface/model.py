"""The surface: a ridge quadratic in log widths, fitted to single trainings.

Inside a budget accuracy is a smooth function of the logs of the widths, so that networks say
something of each other: a surface through 20 single trainings ranks networks that it has never seen
better than a training of their own does (docs/results/ranking.md).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

PENALTIES = np.geomspace(1e-3, 1e4, 29)
"""Ridge penalties; features are scaled to a mean square of 1 over all directions together."""

CURVATURES = (0.0, 0.5, 1.0)
"""Weights of the quadratic terms; 0 is a plane."""

LEAST_WEIGHT = 1e-4
"""Ridges that count for less are left out."""

LEAST_FREEDOM = 1.0
"""Degrees of freedom that a ridge must leave to the noise."""

LEAST_VARIANCE = 1e-18
"""In place of none, where all scores are equal."""

Reals = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Predictions with standard errors, each of shape (num_networks,)."""

    mean: Reals
    error: Reals


@dataclass(frozen=True, kw_only=True)
class Ridge:
    """A surface under one penalty and one curvature, in the principal axes of its terms.

    Attributes:
        curvature: Weight of the quadratic terms.
        centre: Mean of the terms.
        axes: Shape (num_axes, num_terms).
        coefficients: Shape (num_axes,).
        spread: Shape (num_axes,): variances of the coefficients over that of the noise.
        variance: Variance of a single training around the surface.
        freedom: Degrees of freedom of that.
        left_out: Shape (num_networks,): predictions of every training from all others.
        evidence: Log likelihood of the trainings, each left out in turn.
        weight: Share in the average.
    """

    curvature: float
    centre: Reals
    axes: Reals
    coefficients: Reals
    spread: Reals
    variance: float
    freedom: float
    left_out: Reals
    evidence: float
    weight: float = 0.0

    def along_axes(self, scaled: Reals) -> Reals:
        """Return the terms of networks (num_networks, num_features) along the axes."""
        return (_terms(scaled, self.curvature) - self.centre) @ self.axes.T


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A quadratic in log widths, averaged over penalties by how well each leaves one out.

    The best penalty alone is now and then one under which all networks are alike, and then sure of
    it; the average keeps intervals honest where trainings are few (docs/results/ranking.md).

    Attributes:
        level: Mean score of the trainings.
        centre: Mean features of the trainings.
        scale: What features are divided by.
        ridges: What is averaged.
    """

    level: float
    centre: Reals
    scale: float
    ridges: tuple[Ridge, ...]

    def predict(self, features: Reals) -> Estimate:
        """Return what networks are predicted to score.

        Args:
            features: Shape (num_networks, num_features), as those of the fit.
        """
        num_trained = len(self.left_out)
        parts = [ridge.along_axes(self._scaled(features)) for ridge in self.ridges]
        found = self._averaged(parts)
        level_error = self.noise / math.sqrt(num_trained)
        return Estimate(mean=self.level + found.mean, error=np.hypot(found.error, level_error))

    def gain(self, features: Reals, over: Reals) -> Estimate:
        """Return by how much networks are predicted to be better than another one.

        Args:
            features: Shape (num_networks, num_features).
            over: Features of the other, shape (num_features,).
        """
        return self._averaged(
            [
                ridge.along_axes(self._scaled(features))
                - ridge.along_axes(self._scaled(over[None]))
                for ridge in self.ridges
            ]
        )

    @property
    def left_out(self) -> Reals:
        """The prediction of every training from all others, shape (num_networks,)."""
        found: Reals = self.level + self._weights @ np.array([r.left_out for r in self.ridges])
        return found

    @property
    def noise(self) -> float:
        """Standard deviation of a single training around the surface."""
        return math.sqrt(self._weights @ np.array([ridge.variance for ridge in self.ridges]))

    @property
    def freedom(self) -> float:
        """Degrees of freedom of ``noise``."""
        return float(self._weights @ np.array([ridge.freedom for ridge in self.ridges]))

    @property
    def _weights(self) -> Reals:
        return np.array([ridge.weight for ridge in self.ridges])

    def _scaled(self, features: Reals) -> Reals:
        return (features - self.centre) / self.scale

    def _averaged(self, parts: Sequence[Reals]) -> Estimate:
        """Average over all ridges; what they disagree on is part of the error."""
        pairs = list(zip(self.ridges, parts, strict=True))
        means = np.array([part @ ridge.coefficients for ridge, part in pairs])
        variances = np.array([ridge.variance * (part**2 @ ridge.spread) for ridge, part in pairs])
        mean = self._weights @ means
        variance = self._weights @ (variances + (means - mean) ** 2)
        return Estimate(mean=mean, error=np.sqrt(variance))


def fit_surface(features: Reals, scores: Reals) -> Surface:
    """Fit a surface to single trainings.

    Args:
        features: Shape (num_networks, num_features): log widths; at least 3 networks.
        scores: Shape (num_networks,): accuracies, or whatever is to be predicted.
    """
    assert len(features) == len(scores) >= 3
    centre, level = features.mean(0), float(scores.mean())
    scale = math.sqrt(((features - centre) ** 2).sum(1).mean()) or 1.0
    found = list(_ridges((features - centre) / scale, scores - level))
    evidence = np.array([ridge.evidence for ridge in found])
    weights = np.exp(evidence - evidence.max())
    weights[weights < LEAST_WEIGHT * weights.sum()] = 0.0
    weights /= weights.sum()
    kept = [replace(r, weight=float(w)) for r, w in zip(found, weights, strict=True) if w]
    return Surface(level=level, centre=centre, scale=scale, ridges=tuple(kept))


def _ridges(scaled: Reals, scores: Reals) -> Iterator[Ridge]:
    """Yield the surface of every curvature and penalty that leaves freedom to the noise.

    All penalties of a curvature follow from one decomposition, and so do predictions of what is
    left out: leaving out a training changes its residual by ``1 / (1 - leverage)``.
    """
    for curvature in CURVATURES:
        terms = _terms(scaled, curvature)
        centre = terms.mean(0)
        left, sizes, axes = np.linalg.svd(terms - centre, full_matrices=False)
        real = sizes > 1e-9 * max(sizes[0], 1e-9)
        left, sizes, axes = left[:, real], sizes[real], axes[real]
        along = left.T @ scores
        for penalty in PENALTIES:
            shrunk = sizes**2 / (sizes**2 + penalty)
            freedom = len(scores) - 1 - float(shrunk.sum())
            if freedom < LEAST_FREEDOM:
                continue
            residuals = scores - left @ (shrunk * along)
            kept = 1 - 1 / len(scores) - left**2 @ shrunk
            variance = max(float(residuals @ residuals) / freedom, LEAST_VARIANCE)
            yield Ridge(
                curvature=curvature,
                centre=centre,
                axes=axes,
                coefficients=shrunk / sizes * along,
                spread=1 / (sizes**2 + penalty),
                variance=variance,
                freedom=freedom,
                left_out=scores - residuals / kept,
                evidence=_evidence(residuals / kept, variance / kept, freedom),
            )


def _evidence(errors: Reals, variances: Reals, freedom: float) -> float:
    """Return the log likelihood of errors under Student's t, but for what all ridges share."""
    constant = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(freedom) / 2
    tails = (freedom + 1) / 2 * np.log1p(errors**2 / (freedom * variances))
    return float((constant - np.log(variances) / 2 - tails).sum())


def _terms(scaled: Reals, curvature: float) -> Reals:
    """Return linear and quadratic terms, the latter as ``(x . y)^2 / 2`` has them as a kernel."""
    if not curvature:
        return scaled
    row, column = np.triu_indices(scaled.shape[1])
    products = scaled[:, row] * scaled[:, column] * np.where(row == column, math.sqrt(0.5), 1.0)
    return np.concatenate([scaled, curvature * products], axis=1)
