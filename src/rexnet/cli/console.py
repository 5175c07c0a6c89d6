"""What the terminal shows: tables and the progress of jobs."""

from collections.abc import Iterable, Sequence
from types import TracebackType

from rich import box
from rich import progress as bars
from rich.console import Console
from rich.table import Table

from rexnet.data.survey import in_one_line
from rexnet.runs.progress import Progress

WIDE = 1000
"""Columns of what is no terminal: lines of a file are as long as they are."""


def plain_console(stderr: bool = False) -> Console:
    """Return a console that prints every name as it is, whatever brackets and colons it has.

    Args:
        stderr: Print to the standard error.
    """
    console = Console(markup=False, emoji=False, highlight=False, stderr=stderr)
    if not console.is_terminal:
        console.width = WIDE
    return console


def table(header: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> Table:
    """Return a table with its first column to the left and the others to the right."""
    result = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left")
    for index, name in enumerate(header):
        # A name that is cut off cannot be copied.
        result.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        result.add_row(*map(in_one_line, row))
    return result


class Bar:
    """Shows how far a job is: a bar on a terminal, now and then a line in a file.

    Nothing is shown before the first progress, so that a refused job prints its error alone.

    Args:
        console: Where to.
        title: What is done, such as searching.
        opening: A line printed before the first progress.
    """

    def __init__(self, console: Console, title: str, opening: str = "") -> None:
        self._console, self._opening = console, opening
        self._bar = bars.Progress(
            bars.TextColumn(title),
            bars.BarColumn(),
            bars.TextColumn("{task.percentage:>3.0f} %"),
            bars.TextColumn("{task.fields[status]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=1.0, status="")
        self._lines = 0
        self._begun = False

    def __enter__(self) -> "Bar":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def update(self, progress: Progress) -> None:
        """Show how far the job is."""
        if not self._begun:
            self._begun = True
            self._bar.start()
            if self._opening:
                self._console.print(self._opening)
        self._bar.update(self._task, completed=progress.share, status=progress.words)
        tenths = int(10 * progress.share)
        due = tenths > self._lines if progress.line is None else progress.line
        # It falls where another part of the job begins.
        self._lines = tenths
        if not self._console.is_terminal and due:
            self._console.print(progress.words, soft_wrap=True)
