"""The command ``rexnet``: one verb a job; a job is imported when it is asked for."""

import io
import logging
import os
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from rexnet import __version__
from rexnet.cli import check, deploy, design, detect, networks, probe, search, studies, train
from rexnet.cli.arguments import declare, explain, run, words_of
from rexnet.cli.made import program
from rexnet.errors import UserError

COMMANDS = tuple(
    command
    for job in (check, search, design, train, probe, detect, studies, networks, deploy)
    for command in job.COMMANDS
)

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 2 for a user's mistake, in one line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    _print_anything()
    # It warns of a HOME that it may not write to, and of fonts that it makes a list of.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # Of oddities in images that do no harm, such as EXIF it cannot read.
    warnings.filterwarnings("ignore", module="PIL")
    try:
        with _terminated_as_by_ctrl_c():
            code = run(COMMANDS, parse(arguments))
            sys.stdout.flush()
    except UserError as error:
        rank = int(os.environ.get("RANK", 0))
        process = f"process {rank + 1}: " if rank else ""
        _print_error(f"{process}{error}")
        return 2
    except KeyboardInterrupt:
        command = shlex.join([program(), *arguments])
        print(f"\nStopped. To go on: {command}", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe, such as head, has had enough.
        _silence_stdout()
        return 1
    except OSError as error:
        _silence_stdout()
        _print_error(str(error))
        return 2
    return code


def parse(arguments: Sequence[str]) -> Namespace:
    """Return the parsed command line: ``verb``, and under its name the arguments of the verb.

    Raises:
        UserError: The command line is mistaken.
    """
    parser = ArgumentParser(
        prog="rexnet",
        description="Find the channel dimensions that fit your data and your budget.",
        exit_on_error=False,
        allow_abbrev=False,
        version=__version__,
    )
    parsers = declare(parser, COMMANDS)
    try:
        return parser.parse_args(words_of(arguments))
    except ArgumentError as error:
        raise UserError(explain(str(error), arguments, COMMANDS, parsers)) from None
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read {' '.join(arguments)}: no text: {error}") from None


def _print_error(message: str) -> None:
    # A path may hold an end of line.
    print(f"rexnet: error: {' '.join(message.splitlines())}", file=sys.stderr)  # noqa: T201


@contextmanager
def _terminated_as_by_ctrl_c() -> Iterator[None]:
    """End a job in the same way when a machine shuts down: folders are left, not half files."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _print_anything() -> None:
    """Print a replacement for what a terminal has no sign for: names are in any language."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _silence_stdout() -> None:
    """Keep what is left in the buffer from failing once more when Python ends."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
