"""How the command line is declared and read: verbs, options from dataclasses, errors in a line."""

import dataclasses
import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import register_type

from rexnet import runs
from rexnet.budget import Count, LatencyBudget
from rexnet.data.decode import MAX_MEGAPIXELS
from rexnet.detect.recipe import DetectionRecipe
from rexnet.errors import closest
from rexnet.runs.options import explained, options_of
from rexnet.train.recipe import Recipe

T = TypeVar("T")

RECIPE_FIELDS = {
    field.name for kind in (Recipe, DetectionRecipe) for field in dataclasses.fields(kind)
}

LIKE = "like:"
"""What stands before a network whose cost is the budget."""

POSITIONAL = {
    "folder": "a run folder",
    "network": "a name or the path of a spec",
    "model": "a run folder or another trained model",
    "detector": "a run folder of a detector",
    "images": "images",
    "backbone": "a name or the path of a spec",
}
"""What an argument without a name is, for one who left it out."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A verb of the command line, or a word that one of several verbs follows.

    Attributes:
        name: What is typed.
        help: What it does, in a line.
        add: Declares the arguments of a verb.
        run: Does what a verb is for, with its parsed arguments; returns the exit code, None for 0.
        commands: The verbs that may follow; a verb itself has none, and a word nothing else.
        writes: What its ``--out`` names.
        beside: The argument that names the folder which a verb writes to without ``--out``.
    """

    name: str
    help: str
    add: Callable[[ArgumentParser], None] | None = None
    run: Callable[[Namespace], int | None] | None = None
    commands: "tuple[Command, ...]" = ()
    writes: Literal["folder", "file"] = "folder"
    beside: str = ""


def declare(parser: ArgumentParser, commands: Sequence[Command]) -> dict[str, ArgumentParser]:
    """Declare the verbs of a parser and return a parser each, by all words that lead to it."""
    register_type(Count, serializer=int, deserializer=Count, fail_already_registered=False)
    register_type(
        LatencyBudget, serializer=str, deserializer=LatencyBudget, fail_already_registered=False
    )
    subcommands = parser.add_subcommands(dest="verb", required=True)
    parsers = {}
    for command in commands:
        mine = ArgumentParser(exit_on_error=False, allow_abbrev=False)
        if command.add:
            command.add(mine)
        # jsonargparse adds subcommands level by level.
        subcommands.add_subcommand(command.name, mine, help=command.help)
        parsers[command.name] = mine
        if command.commands:
            following = declare(mine, command.commands)
            parsers |= {f"{command.name} {name}": found for name, found in following.items()}
    return parsers


def run(commands: Sequence[Command], arguments: Namespace) -> int:
    """Run the verb among ``commands`` that was asked for, if its results can be kept.

    Returns:
        The exit code.

    Raises:
        UserError: There is nowhere to write to.
    """
    command = next(command for command in commands if command.name == arguments.verb)
    given = arguments[command.name]
    if command.run is None:
        return run(command.commands, given)
    # Of several processes one writes, and others may be on machines without the folder.
    if os.environ.get("RANK", "0") == "0":
        out = given.get("out")
        if out is None and command.beside:
            out = given[command.beside] if Path(given[command.beside]).is_dir() else "runs"
        if out is not None:
            runs.check_writable(Path(out), is_file=command.writes == "file")
    return command.run(given) or 0


def words_of(arguments: Sequence[str]) -> list[str]:
    """Return arguments as the parsers know them: ``--batch-size``, ``--budget like:NAME``."""
    words = [underscored(word) for word in arguments]
    for place, word in enumerate(words[1:], 1):
        if words[place - 1] == "--budget" and word.startswith(LIKE):
            words[place - 1 : place + 1] = [f"--budget={word}"]
    start = f"--budget={LIKE}"
    return [f"--budget.like={w.removeprefix(start)}" if w.startswith(start) else w for w in words]


def underscored(word: str) -> str:
    """Return an option with underscores, however it is written: --batch-size, --batch_size."""
    name, equals, value = word.partition("=")
    if not name.startswith("--"):
        return word
    return f"--{name[2:].replace('-', '_')}{equals}{value}"


def add_config(
    parser: ArgumentParser,
    kind: type[Any],
    *,
    positional: Sequence[str] = (),
    changes: dict[str, dict[str, Any]] | None = None,
) -> None:
    """Declare every field of a dataclass as its docstring tells it.

    A field that is true or false becomes a flag and a tuple takes several words. The names in a
    tuple are left to the dataclass, which tells the nearest of those that it knows.

    Args:
        parser: Where to.
        kind: The dataclass; the words of an option are those under ``Attributes:``.
        positional: Fields that are given without their names.
        changes: What ``add_argument`` is told otherwise of flags, tuples and positional fields.
            The flags and tuples among them come first, in this order.
    """
    changes = changes or {}
    fields = {field.name: field for field in dataclasses.fields(kind)}
    words = _words(kind)
    apart = [
        name
        for name, field in fields.items()
        if name in positional or field.type is bool or _items(field.type)
    ]
    for name in positional:
        told: dict[str, Any] = {"type": str, "help": words[name].removesuffix(".")}
        parser.add_argument(name, **told | changes.get(name, {}))
    parser.add_class_arguments(kind, skip=set(apart))
    for name in dict.fromkeys([*changes, *apart]):
        if name in positional or name == "set":
            continue
        told = {"help": words[name].removesuffix("."), **_options(fields[name])}
        told |= changes.get(name, {})
        if told.get("required"):
            del told["default"]
        parser.add_argument(f"--{name}", **told)
    if "set" in fields:
        parser.add_argument(
            "--set",
            nargs="+",
            action="extend",
            default=[],
            metavar="FIELD=VALUE",
            help="Stronger than the recipe, such as epochs=5",
        )


def add_megapixels(parser: ArgumentParser) -> None:
    """Declare ``--max-megapixels`` of a verb without a dataclass."""
    words = "Most millions of pixels of an image file"
    parser.add_argument("--max_megapixels", type=int, default=MAX_MEGAPIXELS, help=words)


def _words(kind: type[Any]) -> dict[str, str]:
    """Return what the docstring of a dataclass says of each field."""
    attributes = (inspect.getdoc(kind) or "").partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", attributes, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _items(kind: Any) -> tuple[Any, ...]:
    """Return the types in a tuple or an optional tuple; none for another type."""
    for part in (kind, *get_args(kind)):
        if get_origin(part) is tuple:
            return get_args(part)
    return ()


def _options(field: "dataclasses.Field[Any]") -> dict[str, Any]:
    """Return how a flag or a list is declared."""
    if field.type is bool:
        return {"action": "store_true"}
    items = _items(field.type)
    options: dict[str, Any] = {"nargs": "+" if items[-1] is ... else len(items)}
    if get_origin(items[0]) is not Literal:
        options["type"] = items[0]
    if field.default is not dataclasses.MISSING:
        options["default"] = None if field.default is None else list(field.default)
    return options


def config_of(kind: type[T], arguments: Namespace) -> T:
    """Return the dataclass ``kind`` from its parsed fields, whatever else was parsed.

    Raises:
        UserError: A value is out of range.
    """
    assert dataclasses.is_dataclass(kind)
    settings = {}
    for field in dataclasses.fields(kind):
        value = arguments[field.name]
        if isinstance(value, Namespace):
            default: Any = field.default
            value = type(default)(**vars(value))
        settings[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**settings)


def explain(
    message: str,
    arguments: Sequence[str],
    commands: Sequence[Command],
    parsers: Mapping[str, ArgumentParser],
) -> str:
    """Turn the parser's message into one line that names the value, the limit and the fix."""
    verb, second, *_ = *arguments, "", ""
    known = {command.name: [inner.name for inner in command.commands] for command in commands}
    if verb not in known and not verb.startswith("-"):
        wanted = f"unknown command {verb!r}{closest(verb, known)}" if verb else "no command"
        return f"{wanted}; the commands are {', '.join(known)}"
    following = known.get(verb)
    if following and second not in following and not second.startswith("-"):
        wanted = f"unknown {verb} {second!r}{closest(second, following)}; " if second else ""
        return f"{wanted}give one of: {', '.join(following)}"
    verb = f"{verb} {second}" if following else verb
    options = options_of(parsers[verb]) if verb in parsers else []
    unknown = re.match(r"unrecognized arguments: --(\w+)", message)
    if "--set" in options and unknown and unknown[1] in RECIPE_FIELDS:
        return f"unknown option --{unknown[1]}: it belongs to the recipe, --set {unknown[1]}=..."
    if match := re.search(r"arguments are required: (.*)", message):
        names = [name.rpartition(".")[2] for name in match[1].split(", ")]
        told = [
            option if (option := f"--{name}") in options else POSITIONAL.get(name, option)
            for name in names
        ]
        return f"give {' and '.join(told)}"
    return explained(message, options, f"; see `rexnet {verb} --help`")
