"""``rexnet check``."""

import json

from jsonargparse import ArgumentParser, Namespace

from rexnet.cli.arguments import Command, add_megapixels
from rexnet.cli.made import print_survey
from rexnet.data.decode import check_megapixels


def add_check(parser: ArgumentParser) -> None:
    """Declare the arguments of a check."""
    words = "What --data takes in a training or a search, or a folder with COCO annotations"
    parser.add_argument("data", type=str, help=words)
    add_megapixels(parser)
    parser.add_argument("--json", action="store_true", help="Print a JSON object")


def check(arguments: Namespace) -> int:
    """Print what a set of images is, and return 1 if something looks wrong."""
    check_megapixels(arguments.max_megapixels)
    from rexnet.cli.console import Bar, plain_console
    from rexnet.data.check import run

    with Bar(plain_console(stderr=True), "checking") as bar:
        found = run(arguments.data, bar.update, arguments.max_megapixels)
    if arguments.json:
        print(json.dumps(found.to_json()))  # noqa: T201
    else:
        print_survey(plain_console(), found)
    return int(bool(found.wrong))


COMMANDS = (
    Command(
        name="check",
        help="Tell what images are, and what looks wrong with them",
        add=add_check,
        run=check,
    ),
)
