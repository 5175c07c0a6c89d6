"""Draw the house: every package on its floor, with its files, above what it imports.

python tools/house.py docs/images/house.png
"""

import ast
import sys
from pathlib import Path
from textwrap import fill

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from trainings import run

from rexnet import UserError
from rexnet.report.figures import render
from rexnet.runs import write_bytes

ROOT = Path(__file__).parents[1] / "src/rexnet"

FLOORS = (
    ("cli",),
    ("report",),
    ("studies",),
    ("deploy",),
    ("search", "detect"),
    ("train",),
    ("nn", "data"),
    ("runs",),
    ("core",),
)
"""From the top down; packages side by side do not import each other."""

COLORS = ("#fde0dd", "#fee8c8", "#edf8b1", "#ccebc5", "#deebf7", "#e0ecf4", "#efedf5", "#f0f0f0")


def main() -> None:
    """Draw the packages into the file that is named."""
    if len(sys.argv) != 2:
        raise UserError("give the file of the picture, such as docs/images/house.png")
    write_bytes(Path(sys.argv[1]), render(house(), "png"))


def house() -> Figure:
    """Return the picture of the floors."""
    texts = {
        name: fill(", ".join(rooms(name)), 118 // len(floor)) for floor in FLOORS for name in floor
    }
    heights = [max(texts[name].count("\n") + 2.6 for name in floor) * 0.19 for floor in FLOORS]
    figure = Figure(figsize=(9, sum(heights) + 0.14 * len(FLOORS)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    total = figure.get_figheight()
    axes.set_xlim(0, 9)
    axes.set_ylim(0, total)
    top = total
    for number, (floor, height) in enumerate(zip(FLOORS, heights, strict=True)):
        width = 8.8 / len(floor)
        for place, name in enumerate(floor):
            corner = (0.1 + place * width, top - height - 0.05)
            box = FancyBboxPatch(
                corner,
                width - 0.1,
                height,
                boxstyle="round,pad=0,rounding_size=0.06",
                facecolor=COLORS[number % len(COLORS)],
                edgecolor="#555555",
            )
            axes.add_patch(box)
            x, y = corner[0] + 0.1, corner[1] + height - 0.08
            axes.text(x, y, name, fontsize=9.5, weight="bold", va="top")
            axes.text(x + 0.65, y - 0.01, purpose(name), fontsize=7.5, va="top", color="#444444")
            axes.text(x, y - 0.2, texts[name], fontsize=7.5, va="top", linespacing=1.35)
        top -= height + 0.14
    return figure


def purpose(package: str) -> str:
    """Return what the face of a package says that it is for."""
    if package == "core":
        return "The network as data, on the standard library and numpy."
    docstring = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text())) or ""
    return docstring.splitlines()[0].replace("``", "")


def rooms(package: str) -> list[str]:
    """Return the files of a package, those of a package in it in brackets."""
    folder = ROOT if package == "core" else ROOT / package
    files = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("__"))
    inner = (
        sorted(path.parent for path in folder.glob("*/__init__.py")) if package != "core" else []
    )
    below = [f"{p.name} ({', '.join(sorted(f.stem for f in p.glob('[a-z]*.py')))})" for p in inner]
    return files + below


if __name__ == "__main__":
    run(main)
