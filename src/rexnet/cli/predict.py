"""What ``rexnet predict`` and ``rexnet detect predict`` share: their images, and how they tell."""

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jsonargparse import ArgumentParser, Namespace

from rexnet.data.decode import check_megapixels
from rexnet.data.named import Unread, files_of, names_in
from rexnet.data.survey import in_one_line
from rexnet.errors import UserError
from rexnet.runs.progress import Estimate, Progress, time_left

if TYPE_CHECKING:
    from rexnet.cli.console import Bar

R = TypeVar("R")

SLOW = 5.0
"""Seconds after which a prediction shows how far it is."""


def add_images(parser: ArgumentParser) -> None:
    """Declare which images are meant."""
    words = "Files of images, or folders: all images in them and below"
    images = parser.add_argument("images", type=str, nargs="+", metavar="IMAGE", help=words)
    # With "*" argparse finds no images behind an option.
    images.required = False
    words = "A file with the path of an image or a folder a line; - is the standard input"
    parser.add_argument("--list", type=str | None, help=words)


def check_images(arguments: Namespace) -> None:
    """Check that images are named at all, and how large they may be.

    Raises:
        UserError: They are not, or the limit is out of range.
    """
    if not arguments.images and arguments.list is None:
        raise UserError("give images: files, folders, or --list with a file of their paths")
    check_megapixels(arguments.max_megapixels)


def images_of(
    arguments: Namespace, leave_out: Callable[[str], bool] = lambda path: False
) -> list[str]:
    """Return the files that are meant, in their order.

    Args:
        arguments: With ``images`` and ``list``.
        leave_out: As that of ``files_of``.

    Raises:
        UserError: There are none, or the list or a folder cannot be read.
    """
    names = [*(arguments.images or [])]
    if arguments.list is not None:
        names += names_in(_content(arguments.list), arguments.list)
    files = files_of(names, leave_out)
    if not files:
        raise UserError(f"{arguments.list} names no image; give one path a line")
    return files


def _content(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {name}: {error.strerror or error}") from None


def tell(
    found: Iterator[tuple[str, R | Unread]],
    num_images: int,
    row: Callable[[str, R], dict[str, Any]],
    words: Callable[[dict[str, Any]], str] | None,
) -> int:
    """Print a line an image as they come, and return the exit code: 1 if some cannot be read.

    Images that cannot be read, how far it is and the end are told on the standard error.

    Args:
        found: Every image and what was found.
        num_images: How many there are.
        row: What is told of an image, as JSON has it.
        words: The same in words; None to print JSON.

    Raises:
        UserError: No image can be read.
    """
    from rexnet.cli.console import Bar, plain_console

    # The bar of a terminal takes the place of the standard output.
    out, console, unread = sys.stdout, plain_console(stderr=True), 0
    with Bar(console, "predicting") as bar, warnings.catch_warnings():
        # Of oddities that do no harm, such as EXIF it cannot read.
        warnings.filterwarnings("ignore", module="PIL")
        show = _show(bar, num_images, is_shown=not out.isatty())
        for number, (path, value) in enumerate(found, 1):
            if isinstance(value, Unread):
                unread += 1
                failure = in_one_line(f"cannot read {path}: {value.reason}")
                # Of a single image it is the error that the command ends with.
                if num_images > 1:
                    console.print(failure, soft_wrap=True)
                line = None if words else json.dumps({"image": path, "error": value.reason})
            else:
                told = row(path, value)
                line = in_one_line(words(told)) if words else json.dumps(told)
            if line is not None:
                print(line, file=out, flush=True)
            show(number)
    if unread == num_images:
        several = f"none of {num_images:,} images can be read"
        raise UserError(failure if num_images == 1 else several)
    if num_images > 1:
        read = num_images - unread
        console.print(f"{read:,} of {num_images:,} images read, {unread:,} failed", soft_wrap=True)
    return int(unread > 0)


def _show(bar: "Bar", num_images: int, is_shown: bool) -> Callable[[int], None]:
    """Return what takes how many images are done, and shows it when they take long."""
    estimate, due = Estimate(), time.monotonic() + SLOW

    def show(done: int) -> None:
        nonlocal due
        if not is_shown or time.monotonic() < due:
            return
        due = time.monotonic() + 0.2
        seconds = estimate.seconds_left(done, num_images - done)
        words = f"{done:,}/{num_images:,} images, {time_left(seconds)}"
        bar.update(Progress(share=done / num_images, words=words, seconds_left=seconds))

    return show
