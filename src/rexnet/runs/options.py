"""Options read by jsonargparse, with its errors turned into one line for people."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from rexnet.errors import UserError, closest

T = TypeVar("T")


def read(kind: type[T], arguments: Sequence[str]) -> T:
    """Return the dataclass ``kind`` from ``--FIELD=VALUE`` arguments and ``--config=YAML``.

    Raises:
        UserError: A field is unknown or its value is of another type or out of range.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(kind)
    try:
        parsed = parser.parse_args(list(arguments))
    except ArgumentError as error:
        raise UserError(explained(str(error), options_of(parser))) from None
    return kind(**{name: value for name, value in vars(parsed).items() if name != "config"})


def options_of(parser: Any) -> list[str]:
    """Return all options of a jsonargparse parser, such as ``--lr``."""
    return [option for action in parser._actions for option in action.option_strings]


def explained(message: str, options: Iterable[str], hint: str = "") -> str:
    """Return jsonargparse's ``message`` as one line that names the value, the limit and the fix.

    Args:
        message: What its ArgumentError says.
        options: The known options, for the nearest to a mistyped one.
        hint: What is said after an unknown option.
    """
    in_config = re.search(r"does not accept option '(\S+)'", message)
    if match := in_config or re.match(r"unrecognized arguments: (\S+)", message):
        given = f"--{match[1]}" if in_config else match[1].split("=")[0]
        if not given.startswith("-"):
            return f"unexpected argument {given!r}{hint}"
        return f"unknown option {given}{closest(given, options)}{hint}"
    key = re.search(r'[Kk]ey "(\S+?)"', message)
    value = re.search(r"(?:Given|Got) value: (.*)", message)
    where = f"--{key[1]}: " if key else ""
    if match := re.search(r"Not of type \w+: (.*)", message):
        given = f"{value[1]} " if value and value[1] not in match[1] else ""
        return where + given + match[1]
    if value and (match := re.search(r"Literal\[(.*?)\]", message)):
        return f"{where}{value[1]!r} is not one of {match[1]}"
    if value and (match := re.search(r"Expected an? <class '(\w+)'>", message)):
        kinds = {"int": "a whole number", "float": "a number", "bool": "true or false"}
        return f"{where}{value[1]!r} must be {kinds.get(match[1], match[1])}"
    return " ".join(message.split())
