"""What verbs tell alike: what images are, what was made, the commands that go on from there."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from rexnet import runs
from rexnet.errors import NotKept, UserError
from rexnet.shape_advice import notes
from rexnet.spec import NetSpec

if TYPE_CHECKING:
    from rich.console import Console

    from rexnet.data.survey import Survey


T = TypeVar("T")


def outcome_of(job: Callable[[], T]) -> tuple[T, UserError | None]:
    """Return what a job found, and why it could not be kept, to be raised once it is printed."""
    try:
        return job(), None
    except NotKept as error:
        return cast("T", error.result), error


def print_paths(console: "Console", title: str, paths: Sequence[Path]) -> None:
    """Print a title, then a path a line."""
    console.print(title)
    for path in paths:
        console.print(f"  {path}", soft_wrap=True)


def print_survey(console: "Console", found: "Survey") -> None:
    """Say what images are, and what looks wrong with them."""
    console.print("\n".join(found.lines()), soft_wrap=True)


def print_next(console: "Console", commands: Sequence[Sequence[str | Path]]) -> None:
    """Print commands to go on with, each given as words without the name of the program."""
    console.print("\nNext:")
    for words in commands:
        console.print(f"  {pasteable((program(), *words))}", soft_wrap=True)


def pasteable(words: Sequence[str | Path]) -> str:
    """Return a command as a shell reads it back, whatever its words hold."""
    # A path that begins as an option does is no option.
    plain = [
        f"./{word}" if isinstance(word, Path) and str(word)[:1] == "-" else word for word in words
    ]
    return shlex.join(map(str, plain))


def print_spec(spec: NetSpec, params: int, macs: int, path: Path) -> None:
    """Print the widths and the cost of a network that was written to ``path``."""
    widths = "-".join(str(width) for width in spec.widths)
    print(f"{widths}: {params:,} params, {macs:,} MACs, written to {path}")  # noqa: T201
    print_notes(spec)


def print_notes(spec: NetSpec, of: str = "") -> None:
    """Print what is to be said of a network's shape, a line each.

    Args:
        spec: The network.
        of: What it is called, where several are printed.
    """
    for note in notes(spec):
        print(f"note: {of}{': ' if of else ''}{note}")  # noqa: T201


def print_shapes(folder: Path) -> None:
    """Print what is to be said of the shapes that a search found."""
    for name in ("recommended.json", "spec.json", "best.json"):
        # Not every search recommends, and of a shared study one alone has the best network.
        if (folder / name).exists():
            print_notes(NetSpec.load(folder / name), of=name)


def keep_spec(spec: NetSpec, params: int, macs: int, path: Path) -> None:
    """Write a network to ``path`` and print it; where it cannot be written, print it alone.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        runs.write_text(path, spec.to_json() + "\n")
    except UserError:
        print(spec.to_json(indent=None))  # noqa: T201
        raise
    print_spec(spec, params, macs, path)


def program() -> str:
    """Return how the command was called, so that printed commands can be pasted."""
    called = Path(sys.argv[0])
    if called.name != "rexnet":
        return "rexnet"
    near = os.path.relpath(called)
    on_path = any(Path(folder) == called.parent for folder in os.get_exec_path())
    return "rexnet" if on_path else min(near, str(called), key=len)
