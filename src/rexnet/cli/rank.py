"""``rexnet study rank``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from rexnet.cli.arguments import Command, add_config, config_of
from rexnet.cli.made import print_paths
from rexnet.data.sources import check_source
from rexnet.errors import UserError
from rexnet.nn.sources import check_model
from rexnet.studies.rank.config import NetworkStudy, RankStudy

if TYPE_CHECKING:
    from rich.console import Console

OF_NETWORKS = ("model", "data", "weights", "images")


def add_rank(parser: ArgumentParser) -> None:
    """Declare the options of the study of random layers, and those of a look into a network."""
    words = "pointwise (a), conv (b), bottleneck (c), depthwise (d)"
    changes: dict[str, dict[str, Any]] = {
        "architectures": {"help": words},
        "functions": {},
        "ratios": {"help": "Input channels by output channels"},
        "widths": {"metavar": ("LEAST", "MOST")},
    }
    add_config(parser, RankStudy, changes=changes)
    words = "Look at a network instead: a run folder, a name or a spec in JSON"
    parser.add_argument("--model", type=str | None, help=words)
    parser.add_argument("--data", type=str | None, help="With --model: images, as in training")
    parser.add_argument("--weights", type=str | None, help="With --model: as in training")
    words = "With --model: how many (default: 128)"
    parser.add_argument("--images", type=int | None, help=words)


def study(arguments: Namespace) -> None:
    """Count the ranks of random layers and draw Figure 1, or look into a network."""
    given = vars(arguments)
    asked = {name: given[name] for name in OF_NETWORKS if given[name] is not None}
    if "model" in asked:
        if "data" not in asked:
            raise UserError("--model needs --data: the images that it is to see")
        _look_into(NetworkStudy(**asked, out=given["out"]))
        return
    if asked:
        raise UserError(f"--{next(iter(asked))} goes with --model")
    _count(config_of(RankStudy, arguments))


def _count(config: RankStudy) -> None:
    """Count the ranks of random layers, draw Figure 1 and print how far it is from the paper's."""
    from rexnet.cli.console import Bar, plain_console
    from rexnet.report.rank import rank_figure, write_figure
    from rexnet.studies.rank import points as job

    console = plain_console()
    opening = "Ctrl-C stops the study; the same command goes on with it."
    with Bar(console, "counting", opening) as bar:
        rows = job.run(config, bar.update)
    for architecture in config.architectures:
        mine = [row for row in rows if row["architecture"] == architecture]
        _print_panel(console, architecture, mine)
    folder = Path(config.out)
    made = [folder / job.POINTS, *write_figure(folder, "rank", rank_figure(rows))]
    print_paths(console, "\nMade:", made)


def _print_panel(console: "Console", architecture: str, rows: list[dict[str, Any]]) -> None:
    """Print the rank ratios of one architecture, and how far they are from those read off."""
    from rexnet.cli.console import table
    from rexnet.report.rank import PANELS
    from rexnet.studies.rank.distance import GOALS, distance, order

    ratios = list(dict.fromkeys(row["ratio"] for row in rows))
    cells = {(row["function"], row["ratio"]): row["mean"] for row in rows}
    lines = [
        (name, *(f"{cells[name, ratio]:.3f}" for ratio in ratios))
        for name in dict.fromkeys(row["function"] for row in rows)
    ]
    console.print(f"{PANELS[architecture]}, {rows[0]['networks']} networks a point")
    console.print(table(("ratio of widths", *(f"{r:g}" for r in ratios)), lines))
    errors = [row["stderr"] for row in rows if row["stderr"] is not None]
    spread = f"Standard errors are at most {max(errors):.4f}. " if errors else ""
    far = distance(rows)
    if far is None:
        console.print(f"{spread}None of these points was read off Figure 1.", soft_wrap=True)
        return
    right, pairs = order(rows)
    console.print(
        f"{spread}{far:.3f} (root mean square) from what was read off Figure 1, where the aim is "
        f"{GOALS[rows[0]['architecture']]}; {right} of {pairs} pairs of functions in its order.",
        soft_wrap=True,
    )


def _look_into(config: NetworkStudy) -> None:
    """Print and draw the ranks of the outputs of a network's blocks."""
    check_model(config.model, config.weights)
    check_source(config.data)
    from rexnet.cli.console import Bar, plain_console, table
    from rexnet.report.rank import network_figure, write_figure
    from rexnet.studies.rank import network as job

    console = plain_console()
    with Bar(console, "looking") as bar:
        rows, is_trained = job.run(config, bar.update)
    lines = [
        (
            f"block {row['block']}" if row["block"] else "final feature",
            f"{row['width_in']} to {row['width']}" if row["block"] else str(row["width"]),
            f"{row['ratio']:.2f}" if row["block"] else "-",
            str(row["stride"]) if row["block"] else "-",
            f"{row['nuclear_norm']:.4g}",
            f"{row['effective_rank']:.1f}",
            f"{row['effective_rank_ratio']:.3f}",
            f"{row['rank_ratio']:.3f}",
        )
        for row in rows
    ]
    header = ("output", "channels", "ratio", "stride", "nuclear norm", "effective rank")
    console.print(table((*header, "by channels", "rank by channels"), lines))
    blocks = [row for row in rows if row["block"]]
    lowest = min(blocks, key=lambda row: row["effective_rank_ratio"])
    console.print(
        f"The lowest effective rank by its channels has block {lowest['block']}.", soft_wrap=True
    )
    if not is_trained:
        console.print("The weights are random.")
    folder = Path(config.out)
    title = f"{config.model}, {rows[0]['images']:,} images of {config.data}"
    made = [folder / job.BLOCKS, *write_figure(folder, "network", network_figure(rows, title))]
    print_paths(console, "\nMade:", made)


COMMAND = Command(
    name="rank",
    help="The rank of random layers (Figure 1), or of a network's blocks",
    add=add_rank,
    run=study,
)
