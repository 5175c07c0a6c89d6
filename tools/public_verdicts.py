"""What the public tables say by themselves: of noise, of intervals, and of the paper's claim."""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from public_tables import Table
from scipy.stats import spearmanr

from rexnet.search.surface.model import fit_surface

Reals = NDArray[np.float64]
Windows = Sequence[tuple[Table, float, Table]]
Lines = tuple[Sequence[str], list[list[str]]]

TRAININGS, ADDED, REPETITIONS = (20, 40, 80), (0.0, 0.5), 50
RESAMPLES = 2000

JUMP = 0.75
"""The share of the rise that makes a step a jump."""

STRAIGHT = 0.12
"""How far a line's widths are from their least-squares line: root mean square over the mean."""

STEEP = 1.5
"""Last over first width, from which on steps count."""

NARROW = 0.5
"""The share of both neighbours below which the second width is a waist."""

NEAR = 0.05
"""Networks of a pair differ by at most this share in params and in MACs."""


def noise_table(windows: Windows) -> Lines:
    """Show what noise and cost alone do in whole spaces and in windows of equal cost."""
    parts = [(f"{table.name}, all", table) for table, *_ in windows[::2]]
    parts += [(f"{table.name}, {place:g}", window) for table, place, window in windows]
    lines = []
    for name, part in parts:
        mean = part.accuracy.mean(1)
        costs = [part.params, part.macs, part.features.sum(1)]
        alone = [f"{spearmanr(cost, mean).statistic:.2f}" for cost in costs]
        if part.accuracy.shape[1] > 1:
            noise = np.sqrt(part.accuracy.var(1, ddof=1).mean())
            between = np.sqrt(max(mean.var(ddof=1) - noise**2 / part.accuracy.shape[1], 0))
            pairs = itertools.combinations(part.accuracy.T, 2)
            agree = np.mean([spearmanr(one, other).statistic for one, other in pairs])
            cells = [f"{between:.2f}", f"{noise:.2f}", f"{agree:.2f}"]
        else:
            cells = [f"{mean.std(ddof=1):.2f} with noise", "-", "-"]
        lines.append([name, str(len(part)), *cells, *alone])
    header = (
        *("space or window", "networks", "sd between networks", "sd of a seed", "two seeds"),
        *("params alone", "MACs alone", "sum of log widths"),
    )
    return header, lines


def coverage_table(windows: Windows) -> Lines:
    """Show how often intervals of 95 % hold the gain of one unseen network over another.

    What they are compared with, the mean of the two seeds that were not used, has noise of its own,
    which is added to the interval; tables of one seed cannot say.
    """
    lines = []
    for added in ADDED:
        for count in TRAININGS:
            held, rank, own = [], [], []
            for table, _, window in windows:
                if table.accuracy.shape[1] > 1:
                    each = [_one(window, added, count, seed) for seed in range(REPETITIONS)]
                    held += [one[0] for one in each]
                    rank += [one[1] for one in each]
                    own += [one[2] for one in each]
            cells = [f"{100 * np.mean(held):.1f}", f"{np.mean(rank):.2f}", f"{np.mean(own):.2f}"]
            lines.append([f"+{added:g}", str(count), *cells, str(len(held))])
    header = (
        *("noise", "trainings", "gains inside the interval (%)", "Spearman, unseen"),
        *("Spearman, own training", "fits"),
    )
    return header, lines


def _one(window: Table, added: float, count: int, seed: int) -> tuple[float, float, float]:
    """Return coverage, and rank correlations with the truth of a fit and of single trainings."""
    generator = np.random.default_rng(seed)
    rows = np.arange(len(window))
    used = generator.integers(0, window.accuracy.shape[1], len(window))
    seen = window.accuracy[rows, used] + added * generator.standard_normal(len(window))
    others = window.accuracy.shape[1] - 1
    truth = (window.accuracy.sum(1) - window.accuracy[rows, used]) / others
    order = generator.permutation(len(window))
    trained, unseen, base = order[:count], order[count:], order[0]
    surface = fit_surface(window.features[trained], seen[trained])
    gain = surface.gain(window.features[unseen], window.features[base])
    spread = 2 * window.accuracy.var(1, ddof=1).mean() / others
    wanted = truth[unseen] - truth[base]
    held = np.abs(gain.mean - wanted) < 1.96 * np.sqrt(gain.error**2 + spread)
    predicted = surface.predict(window.features[unseen]).mean
    ranks = [spearmanr(found, truth[unseen]).statistic for found in (predicted, seen[unseen])]
    return float(held.mean()), *np.nan_to_num(ranks).tolist()


def claim_table(table: Table) -> Lines:
    """Show shapes of five widths that do not fall: residuals from cost, and pairs with the line.

    Intervals are by drawing networks again, since pairs share them.
    """
    rising = table.part(np.all(np.diff(table.widths, axis=1) >= 0, axis=1))
    residual = residuals(rising)
    kinds = shapes(rising.widths)
    generator = np.random.default_rng(0)
    lines = []
    for name, mine in kinds.items():
        cells = [f"{residual[mine].mean():+.2f} {_interval(residual[mine], generator)}"]
        matched = [] if name == "line" else pairs_of(rising, mine, kinds["line"])
        if matched:
            mean, low, high = _paired(rising.accuracy.mean(1), matched, generator)
            cells += [f"{mean:+.2f} ({low:+.2f} to {high:+.2f})", str(len(matched))]
        else:
            cells += ["-", "-"]
        lines.append([name, str(mine.sum()), *cells])
    header = ("shape", "networks", "residual from cost", "less the line, matched", "pairs")
    return header, lines


def waist_table(table: Table) -> Lines:
    """Show what a waist costs: a second width below half of its neighbours, else none that falls.

    The residual from cost depends on which networks the cubic is fitted to; both are shown.
    """
    widths = table.widths
    rising = np.all(np.diff(widths, axis=1) >= 0, axis=1)
    waist = np.all(np.diff(widths[:, 1:], axis=1) >= 0, axis=1)
    waist &= widths[:, 1] < NARROW * np.minimum(widths[:, 0], widths[:, 2])
    lines = []
    for name, fitted in (("all networks", rising | True), ("these alone", rising | waist)):
        residual, inside = residuals(table.part(fitted)), waist[fitted]
        less = residual[inside].mean() - residual[rising[fitted]].mean()
        error = residual[inside].std(ddof=1) / np.sqrt(inside.sum())
        lines.append([name, str(inside.sum()), str(rising.sum()), f"{less:+.2f} ± {error:.2f}"])
    return ("cost by a cubic through", "waists", "others", "waists less the others"), lines


def residuals(table: Table) -> Reals:
    """Return accuracies less those that a cubic in log params and log MACs gives to such costs."""
    params, macs = (_standard(np.log(cost)) for cost in (table.params, table.macs))
    terms = [params**i * macs**j for i in range(4) for j in range(4 - i)]
    design, accuracy = np.stack(terms, axis=1), table.accuracy.mean(1)
    solved, *_ = np.linalg.lstsq(design, accuracy)
    found: Reals = accuracy - design @ solved
    return found


def shapes(widths: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    """Return which networks have which shape; widths (num_networks, 5) do not fall.

    The first and the third step are at a stride.
    """
    index = np.arange(widths.shape[1])
    slope, start = np.polyfit(index, widths.T, 1)
    away = widths - (start[:, None] + slope[:, None] * index)
    straight = np.sqrt((away**2).mean(1)) / widths.mean(1)
    rise = widths[:, -1] - widths[:, 0]
    share = np.diff(widths, axis=1) / np.maximum(rise, 1)[:, None]
    steep = widths[:, -1] >= STEEP * widths[:, 0]
    at_strides = share[:, [0, 2]]
    found = {
        "late jump": steep & (share[:, 3] >= JUMP),
        "early jump": steep & (share[:, 0] >= JUMP),
        "steps at the strides": steep & (at_strides.sum(1) >= 0.99) & (at_strides.min(1) >= 0.25),
        "flat": rise == 0,
    }
    others = np.any(list(found.values()), axis=0)
    return {"line": (straight <= STRAIGHT) & (rise > 0) & ~others, **found}


def pairs_of(
    table: Table, mine: NDArray[np.bool_], line: NDArray[np.bool_]
) -> list[tuple[int, int]]:
    """Return pairs of a network and a line of about the same params and MACs."""
    found = []
    for one in np.flatnonzero(mine):
        for other in np.flatnonzero(line):
            costs = [cost[one] / cost[other] for cost in (table.params, table.macs)]
            if all(abs(ratio - 1) <= NEAR for ratio in costs):
                found.append((int(one), int(other)))
    return found


def _paired(
    accuracy: Reals, pairs: Sequence[tuple[int, int]], generator: np.random.Generator
) -> tuple[float, float, float]:
    """Return the mean difference of pairs, with an interval by drawing networks again."""
    left, right = np.array(pairs).T
    differences = accuracy[left] - accuracy[right]
    names = np.unique(np.concatenate([left, right]))
    place = {int(name): index for index, name in enumerate(names)}
    one, other = (np.array([place[int(i)] for i in side]) for side in (left, right))
    means = []
    for _ in range(RESAMPLES):
        drawn = np.bincount(generator.integers(0, len(names), len(names)), minlength=len(names))
        weights = drawn[one] * drawn[other]
        if weights.sum():
            means.append(np.average(differences, weights=weights))
    low, high = np.quantile(means, (0.025, 0.975))
    return float(differences.mean()), float(low), float(high)


def _interval(values: Reals, generator: np.random.Generator) -> str:
    drawn = generator.integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(1), (0.025, 0.975))
    return f"({low:+.2f} to {high:+.2f})"


def expansions_table(table: Table) -> Lines:
    """Show what is left at equal cost of inverted bottlenecks, and what explains it."""
    residual = residuals(table)
    logs = table.features
    expansions = np.stack([logs[:, b] - logs[:, i] for i, b in ((0, 1), (0, 2), (0, 3), (4, 5))], 1)
    ratio = logs[:, 4:5] - logs[:, 0:1]
    six = (table.levels[:, 1:4] == table.levels[:, :1]).all(1)
    six &= table.levels[:, 5] == table.levels[:, 4]
    best, low, high = _best_ratio(table.part(six), np.random.default_rng(0))
    lines = [
        [
            "four expansions",
            f"{explained(expansions, residual):.0%} of the variance",
            str(len(table)),
        ],
        ["last over first output width", f"{explained(ratio, residual):.0%}", str(len(table))],
        ["both", f"{explained(np.hstack([expansions, ratio]), residual):.0%}", str(len(table))],
        [
            "best last over first width at expansion 6",
            f"{best:.2f} ({low:.2f} to {high:.2f})",
            str(int(six.sum())),
        ],
    ]
    return ("what", "explains, or is", "networks"), lines


def explained(features: Reals, values: Reals) -> float:
    """Return the share of the variance of ``values`` that is linear in ``features``."""
    design = np.hstack([np.ones((len(values), 1)), features])
    solved, *_ = np.linalg.lstsq(design, values)
    return float(1 - np.var(values - design @ solved) / np.var(values))


def _best_ratio(table: Table, generator: np.random.Generator) -> tuple[float, float, float]:
    """Return the ratio of output widths that is best at equal cost, with an interval."""
    ratio = table.features[:, 4] - table.features[:, 0]
    found = []
    for number in range(RESAMPLES):
        drawn = (
            np.arange(len(table)) if number == 0 else generator.integers(0, len(table), len(table))
        )
        part = Table(
            name=table.name,
            **{
                field: getattr(table, field)[drawn]
                for field in ("widths", "levels", "accuracy", "params", "macs")
            },
        )
        mac = _standard(np.log(part.macs))
        design = np.stack(
            [np.ones_like(mac), mac, mac**2, mac**3, ratio[drawn], ratio[drawn] ** 2], 1
        )
        solved, *_ = np.linalg.lstsq(design, part.accuracy.mean(1))
        found.append(-solved[4] / (2 * solved[5]))
    low, high = np.quantile(found[1:], (0.025, 0.975))
    return float(np.exp(found[0])), float(np.exp(low)), float(np.exp(high))


def _standard(values: Reals) -> Reals:
    found: Reals = (values - values.mean()) / (values.std() or 1.0)
    return found
