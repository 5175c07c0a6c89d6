"""Public tables of width trainings on CIFAR-10, which judge what a search does at no cost.

They are two archives of numbers: ``channel-bench-macro.npz`` (Channel-Bench-Macro, two spaces of
16,384 networks, each trained three times) and ``nats-bench-size-cifar10.npz`` (the size space of
NATS-Bench, 32,768 networks, each trained once).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rexnet.errors import UserError

FULL = {
    "mobilenet": (128, 768, 768, 768, 256, 1536, 1024),
    "resnet": (256, 256, 256, 512, 512, 512, 512),
}
"""Widths of Channel-Bench-Macro at level 4; levels are quarters of them."""

TABLES = (*FULL, "nats")

TOLERANCE = 0.06
"""Params and MACs of a window are within this share of its middle."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Networks of a space, all trained alike.

    Attributes:
        name: One of ``TABLES``.
        widths: Shape (num_networks, num_widths).
        levels: The same, from 0: what a sampler draws.
        accuracy: Shape (num_networks, num_seeds), percent.
        params: Shape (num_networks,).
        macs: Shape (num_networks,).
    """

    name: str
    widths: NDArray[np.int64]
    levels: NDArray[np.int64]
    accuracy: NDArray[np.float64]
    params: NDArray[np.int64]
    macs: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.params)

    @property
    def features(self) -> NDArray[np.float64]:
        """Logs of the widths."""
        return np.log(self.widths)

    def part(self, chosen: NDArray[np.bool_]) -> "Table":
        """Return some of the networks."""
        return Table(
            name=self.name,
            widths=self.widths[chosen],
            levels=self.levels[chosen],
            accuracy=self.accuracy[chosen],
            params=self.params[chosen],
            macs=self.macs[chosen],
        )

    def window(self, place: float) -> "Table":
        """Return networks of about the same params and MACs: those at a quantile of both."""
        middle = [np.quantile(cost, place) for cost in (self.params, self.macs)]
        near = [
            np.abs(cost / at - 1) <= TOLERANCE
            for cost, at in zip((self.params, self.macs), middle, strict=True)
        ]
        return self.part(near[0] & near[1])


def read_table(folder: Path, name: str) -> Table:
    """Read a table from the folder of the archives.

    Raises:
        UserError: Its archive is not there.
    """
    is_nats = name == "nats"
    path = folder / ("nats-bench-size-cifar10.npz" if is_nats else "channel-bench-macro.npz")
    if not path.exists():
        raise UserError(f"{path} is missing; give the folder of the public tables with --tables")
    with np.load(path) as stored:
        if is_nats:
            widths = stored["widths"].astype(np.int64)
            levels = widths // 8 - 1
            accuracy = stored["accuracy"][:, None]
            params, macs = stored["params"], stored["macs"]
        else:
            levels = stored[f"{name}_levels"].astype(np.int64) - 1
            widths = np.rint((levels + 1) * np.array(FULL[name]) / 4).astype(np.int64)
            accuracy = stored[f"{name}_accuracy"]
            params, macs = stored[f"{name}_params"], stored[f"{name}_macs"]
    return Table(
        name=name,
        widths=widths,
        levels=levels,
        accuracy=accuracy.astype(np.float64),
        params=params,
        macs=macs,
    )
