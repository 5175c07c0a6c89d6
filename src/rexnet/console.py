"""What the terminal shows: tables and the progress of a search."""

from collections.abc import Iterable, Sequence
from types import TracebackType

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from rexnet.report.text import duration, percent
from rexnet.search.job import Progress as SearchProgress


def plain_console() -> Console:
    """Return a console that prints every name as it is, whatever brackets and colons it has."""
    return Console(markup=False, emoji=False, highlight=False)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> Table:
    """Return a table with its first column to the left and the others to the right."""
    result = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left")
    for index, name in enumerate(header):
        result.add_column(name, justify="left" if index == 0 else "right")
    for row in rows:
        result.add_row(*row)
    return result


class SearchBar:
    """Shows a search's progress: a bar on a terminal, now and then a line in a file.

    Nothing is shown before the first progress, so that a refused search prints its error alone.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("searching"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[status]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("search", total=1.0, status="")
        self._lines = 0
        self._begun = False

    def __enter__(self) -> "SearchBar":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def update(self, progress: SearchProgress) -> None:
        """Show ``progress``."""
        if not self._begun:
            self._begun = True
            self._bar.start()
            self._console.print("Ctrl-C stops the search; the same command goes on with it.")
        best = "-" if progress.best is None else f"{percent(progress.best)} %"
        left = "-" if progress.seconds_left is None else duration(progress.seconds_left)
        status = (
            f"{progress.trained}/{progress.total} candidates trained, "
            f"{progress.rejected} rejected, best {best}, time left {left}"
        )
        self._bar.update(self._task, completed=progress.share, status=status)
        tenths = 10 * progress.trained // progress.total
        if not self._console.is_terminal and tenths > self._lines:
            self._lines = tenths
            self._console.print(status, soft_wrap=True)
