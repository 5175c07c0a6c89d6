"""What the terminal shows: tables and the progress of jobs."""

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from rexnet.report.text import duration, percent

if TYPE_CHECKING:
    from rexnet.runs.parallel import StudyProgress
    from rexnet.search.job import Progress as SearchProgress
    from rexnet.train.loop import Progress as TrainProgress


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
        result.add_row(*row)
    return result


def with_error(row: Mapping[str, Any], key: str, form: str) -> str:
    """Return a mean of a row and its standard error, if there is one, both in a format."""
    error = row[f"{key}_stderr"]
    return f"{row[key]:{form}}" + ("" if error is None else f" ± {error:{form}}")


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
        self._bar = Progress(
            TextColumn(title),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[status]}"),
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

    def update(self, share: float, status: str, line: bool | None = None) -> None:
        """Show that ``share`` of the job is done.

        Args:
            share: From 0 to 1.
            status: What is written beside the bar.
            line: Whether a file gets a line of it; by default at every tenth of the job.
        """
        if not self._begun:
            self._begun = True
            self._bar.start()
            if self._opening:
                self._console.print(self._opening)
        self._bar.update(self._task, completed=share, status=status)
        tenths = int(10 * share)
        due = tenths > self._lines if line is None else line
        # It falls where another part of the job begins.
        self._lines = tenths
        if not self._console.is_terminal and due:
            self._console.print(status, soft_wrap=True)


def search_status(progress: "SearchProgress") -> str:
    """Return how far a search is, in words."""
    best = "-" if progress.best is None else f"{percent(progress.best)} %"
    return (
        f"{progress.trained}/{progress.total} candidates trained, {progress.rejected} rejected, "
        f"best {best}, time left {_left(progress.seconds_left)}"
    )


def train_status(progress: "TrainProgress") -> str:
    """Return how far a training is, in words."""
    words = [f"epoch {progress.epoch}/{progress.epochs}"]
    if progress.loss is not None:
        words.append(f"loss {progress.loss:.4g}")
    if progress.results:
        last = progress.results
        title, name = ("AP", "ap") if "ap" in last else ("top-1", "top1")
        words.append(
            f"after epoch {last['epoch']:.0f}: train loss {last['train_loss']:.4g}, {title} "
            f"{percent(last[name])} %"
        )
    words.append(f"time left {_left(progress.seconds_left)}")
    return ", ".join(words)


def study_status(progress: "StudyProgress", of: str = "trainings") -> str:
    """Return how far a study is, in words; ``of`` names what it is made of."""
    left = _left(progress.seconds_left)
    return f"{progress.trained}/{progress.total} {of}, time left {left}"


def _left(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)
