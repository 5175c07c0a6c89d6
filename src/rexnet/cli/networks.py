"""``rexnet summary`` and ``list``: what is known of networks without training them."""

import dataclasses
import json

from jsonargparse import ArgumentParser, Namespace

from rexnet import cost, families
from rexnet.cli.arguments import Command
from rexnet.cli.made import print_notes
from rexnet.detect.heads import HEADS
from rexnet.errors import UserError
from rexnet.nn.sources import check_model


def add_summary(parser: ArgumentParser) -> None:
    """Declare the arguments of a summary."""
    parser.add_argument(
        "network", type=str | None, nargs="?", help="A name or the path of a spec in JSON"
    )
    parser.add_argument("--detector", choices=[*HEADS], help="Of a detector on it")
    parser.add_argument(
        "--backbone", type=str | None, help="With --detector: the network, or timm:NAME"
    )
    parser.add_argument("--classes", type=int, default=80, help="With --detector: classes to find")
    parser.add_argument("--resolution", type=int | None, help="Side in pixels")
    parser.add_argument("--json", action="store_true", help="Print one JSON object")


def summarise(arguments: Namespace) -> None:
    """Print the layers of a network, or the cost of a detector on it."""
    if arguments.detector is not None:
        _summarise_detector(arguments)
        return
    if arguments.network is None:
        raise UserError("give a name or the path of a spec")
    if arguments.backbone is not None:
        raise UserError("--backbone goes with --detector ssdlite")
    spec = families.resolve(arguments.network)
    resolution = spec.resolution if arguments.resolution is None else arguments.resolution
    total = cost.count(spec, resolution)
    if arguments.json:
        summary = {
            "name": spec.name,
            **dataclasses.asdict(total),
            "widths": list(spec.widths),
            "resolution": resolution,
            "spec_id": spec.spec_id,
        }
        print(json.dumps(summary))  # noqa: T201
        return
    from rexnet.cli.console import plain_console, table

    rows = [
        (
            row.name,
            f"{row.width} x {row.size} x {row.size}",
            f"{row.params:,}",
            f"{row.macs:,}",
            f"{row.activations:,}",
        )
        for row in cost.layers(spec, resolution)
    ]
    rows.append(("total", "", f"{total.params:,}", f"{total.macs:,}", f"{total.activations:,}"))
    header = ("layer", "output", "params", "MACs", "activations")
    plain_console().print(table(header, rows, f"{spec.name} at {resolution} x {resolution}"))
    print_notes(spec)


def _summarise_detector(arguments: Namespace) -> None:
    """Print the params and MACs of a detector (Table 6)."""
    source = arguments.backbone or arguments.network
    if not source:
        raise UserError("give --backbone: a name, the path of a spec, or timm:NAME")
    check_model(source)
    from rexnet.detect.backbone import create_backbone
    from rexnet.detect.cost import count
    from rexnet.detect.detector import of_detector

    backbone = create_backbone(source)
    preprocessing = of_detector(backbone.preprocessing, arguments.resolution or 320)
    names = [str(number) for number in range(arguments.classes)]
    total = count(HEADS[arguments.detector](backbone, names, preprocessing=preprocessing))
    summary = {
        "detector": arguments.detector,
        "backbone": backbone.name,
        "params": total.params,
        "macs": total.macs,
        "resolution": preprocessing.resolution,
        "num_classes": arguments.classes,
        "widths": [*backbone.widths],
    }
    if arguments.json:
        print(json.dumps(summary))  # noqa: T201
        return
    from rexnet.cli.console import plain_console, table

    rows = [
        (name, f"{value:,}" if isinstance(value, int) else str(value))
        for name, value in summary.items()
    ]
    plain_console().print(table(("detector", ""), rows))


def list_models(_: Namespace) -> None:
    """Name the known networks with their cost."""
    from rexnet.cli.console import plain_console, table

    rows = []
    for name in families.names():
        spec = families.get(name)
        total = cost.count(spec)
        rows.append((name, f"{total.params:,}", f"{total.macs:,}", str(spec.resolution)))
    console = plain_console()
    console.print(table(("network", "params", "MACs", "pixels"), rows))
    console.print("rexnet_W and rexnet_lite_W take any width multiplier W.")


COMMANDS = (
    Command(
        name="summary",
        help="Print the layers of a network with their params and MACs",
        add=add_summary,
        run=summarise,
    ),
    Command(name="list", help="Name the known networks", run=list_models),
)
