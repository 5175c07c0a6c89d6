"""How many networks a budget leaves to choose from, by how much of it they must use.

Of a fill below 0.9 there are two rows: of networks that use up what their shape lets them, and of
those that may leave one limit open on purpose, as ``rexnet search --fill`` has them. Run:

python tools/fills.py --preset a --fill 0.9 0.7
"""

import argparse
from dataclasses import dataclass, replace

import numpy as np

from rexnet.design import FILL
from rexnet.search.config import PRESETS, SearchConfig
from rexnet.search.space import Space
from rexnet.search.spaces import space_of


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What random shapes give: how many fill the budget, and the networks that these are."""

    num_filled: int
    widths: frozenset[tuple[int, ...]]

    def told(self) -> str:
        """Return the cells of a row: shapes, networks, ranges of the first and last block."""
        first, last = zip(*((each[0], each[-1]) for each in self.widths), strict=True)
        return (
            f"{self.num_filled:,} | {len(self.widths):,} | {min(first)} to {max(first)} | "
            f"{min(last)} to {max(last)}"
        )


def chosen(space: Space, fill: float, num_shapes: int) -> Choice:
    """Return what random shapes of a space give, the same every time; ``fill`` is to be used."""
    generator = np.random.default_rng(0)
    proposals = [space.propose(space.draw(generator)) for _ in range(num_shapes)]
    filled = [its for its in proposals if its.fills(space.budget, fill)]
    return Choice(num_filled=len(filled), widths=frozenset(its.spec.widths for its in filled))


def main() -> None:
    """Print a row for every preset and fill."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, nargs="+", default=["a"])
    parser.add_argument("--fill", type=float, nargs="+", default=[0.9, 0.7])
    parser.add_argument("--shapes", type=int, default=2000)
    arguments = parser.parse_args()
    print("| preset | fill | one limit open | shapes | networks | first block | last block |")
    for name in arguments.preset:
        for fill in arguments.fill:
            space = space_of(SearchConfig(preset=name).resolved(), 100, 32)
            print(f"| {name} | {fill} | no | {chosen(space, fill, arguments.shapes).told()} |")
            if fill < FILL:
                opened = replace(space, slack=1 - fill)
                told = chosen(opened, fill, arguments.shapes).told()
                print(f"| {name} | {fill} | yes | {told} |")


if __name__ == "__main__":
    main()
