"""The answer of a search by surface: a shape that is shown to beat the line, or the line."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95

LINE = "line"

FILE, SPEC = "answer.json", "recommended.json"
"""What a search by surface leaves: its answer, and the network to use."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """By how much a network is ahead of the line, in accuracy from 0 to 1.

    Attributes:
        mean: The estimate.
        low: The lower end of its interval.
        high: The upper end.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a search says to use.

    Attributes:
        sentence: In words.
        network: The name of the network to use: ``line``, ``stage-wise``, ``best 1``, ...
        is_confirmed: Whether new trainings say so, and not the surface alone.
        gain: Its gain over the line, or where that is the line, the largest gain of another.
    """

    sentence: str
    network: str
    is_confirmed: bool
    gain: Gain | None


def gains(accuracies: Mapping[str, Sequence[float]]) -> dict[str, Gain]:
    """Return by how much networks are ahead of the line, trained with the same seeds.

    The intervals hold together, at 95 %, for all networks (Bonferroni). The noise is that of all
    networks' trainings after the means of networks and of seeds are taken off.

    Args:
        accuracies: By name, the line among them, one for each of at least two seeds.
    """
    from scipy.stats import t

    table = np.array([accuracies[name] for name in accuracies], dtype=np.float64)
    networks, seeds = table.shape
    assert seeds >= 2
    rest = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    freedom = (networks - 1) * (seeds - 1)
    noise = math.sqrt(float((rest**2).sum()) / freedom)
    compared = networks - 1
    quantile = float(t.ppf(1 - (1 - CONFIDENCE) / 2 / compared, freedom))
    margin = quantile * noise * math.sqrt(2 / seeds)
    means = dict(zip(accuracies, table.mean(1).tolist(), strict=True))
    return {
        name: Gain(
            mean=mean - means[LINE],
            low=mean - means[LINE] - margin,
            high=mean - means[LINE] + margin,
        )
        for name, mean in means.items()
        if name != LINE
    }


def answer(
    found: Mapping[str, Gain], widths: Mapping[str, Sequence[int]], *, is_confirmed: bool
) -> Answer:
    """Return what to use.

    Args:
        found: By name, gains over the line; at least one.
        widths: Block widths by name.
        is_confirmed: Whether gains are of new trainings, and not of the surface alone.
    """
    best = max(found, key=lambda name: found[name].mean)
    gain, shown = found[best], dashed(widths[best])
    if best == "stage-wise":
        shown = f"the stage-wise {shown}"
    how = "is" if is_confirmed else "is predicted to be"
    if gain.low > 0:
        sentence = f"{shown} {how} {points(gain)} ahead of the line"
        return Answer(sentence=sentence, network=best, is_confirmed=is_confirmed, gain=gain)
    sentence = (
        f"no shape is shown to be better than the line: use the line, {dashed(widths[LINE])} "
        f"(the best other, {shown}, {how} at {points(gain, '+')})"
    )
    return Answer(sentence=sentence, network=LINE, is_confirmed=is_confirmed, gain=gain)


def dashed(widths: Sequence[int]) -> str:
    """Return widths as people read them: 42-44-47."""
    return "-".join(map(str, widths))


def points(gain: Gain, sign: str = "-") -> str:
    """Return a gain with its interval in percentage points; a ``sign`` of + shows it always."""
    mean, low, high = (100 * value + 0.0 for value in (gain.mean, gain.low, gain.high))
    return f"{mean:{sign}.1f} points ({low:.1f} to {high:.1f})"
