"""What the trials of a search say: groups by accuracy, their lines, and the noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rexnet.channels import LineFit, fit_line

Row = Mapping[str, Any]

GROUPS = (("top 10 %", 0.0, 0.1), ("middle 50-60 %", 0.5, 0.6), ("bottom 10 %", 0.9, 1.0))
"""Names and ranges of the groups in the ranking by accuracy (appendix A, Figure A1)."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Networks that are neighbours in the ranking by accuracy.

    Attributes:
        name: Which part of the ranking.
        rows: The trials.
        widths: Shape (num_networks, num_blocks).
        line: The line through the widths.
    """

    name: str
    rows: tuple[Row, ...]
    widths: NDArray[np.int64]
    line: LineFit

    def mean(self, key: str) -> float:
        """Return the mean of a field of the trials, such as ``accuracy``."""
        return float(np.mean([row[key] for row in self.rows]))

    def stderr(self, key: str) -> float | None:
        """Return the standard error of that mean; None for a single trial and for predictions."""
        if len(self.rows) < 2 or any(row.get("is_predicted") for row in self.rows):
            return None
        return float(np.std([row[key] for row in self.rows], ddof=1) / len(self.rows) ** 0.5)


def complete(rows: Sequence[Row]) -> list[Row]:
    """Return the trials that were trained to the end, best first; ties in order of number."""
    done = [row for row in rows if row["state"] == "complete"]
    return sorted(done, key=lambda row: (-row["accuracy"], row["number"]))


def groups(rows: Sequence[Row]) -> list[Group]:
    """Return the top, middle and bottom group of the trials, at least one network in each."""
    ranked = complete(rows)
    found = []
    for name, start, stop in GROUPS if ranked else ():
        first = min(round(start * len(ranked)), len(ranked) - 1)
        last = max(round(stop * len(ranked)), first + 1)
        chosen = tuple(ranked[first:last])
        widths = np.array([row["widths"] for row in chosen])
        found.append(Group(name=name, rows=chosen, widths=widths, line=fit_line(widths.tolist())))
    return found


def noise(rows: Sequence[Row]) -> float | None:
    """Return the pooled standard deviation between trainings of the same network.

    None if no network was trained more than once.
    """
    repeated = [row["accuracies"] for row in complete(rows) if len(row["accuracies"]) > 1]
    if not repeated:
        return None
    return float(np.sqrt(np.mean([np.var(values, ddof=1) for values in repeated])))
