"""What the command line needs to know of a study of trainings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from rexnet.runs.progress import OnProgress

C = TypeVar("C")

Row = Mapping[str, Any]
"""A line of ``table.json``."""


@dataclass(frozen=True, kw_only=True)
class TrainingStudy(Generic[C]):
    """A study: networks are trained alike, several times each, and make a table.

    Attributes:
        words: What it is, in a line of help.
        config: The dataclass of its options, with ``out`` and ``set``.
        values: Options that take several values, with their help.
        flags: Options that are switched on, with their help.
        check: Looks up what the options name, before anything slow is imported.
        run: Runs it in ``out``, and returns the lines of ``table.json``.
        header: The titles of the printed table's columns.
        cells: A line in these columns.
        conclusion: What the table tells, in a sentence; None where it speaks for itself.
    """

    words: str
    config: type[C]
    values: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[C], None]
    run: Callable[[C, OnProgress], Sequence[Row]]
    header: tuple[str, ...]
    cells: Callable[[Row], tuple[str, ...]]
    conclusion: Callable[[Sequence[Row]], str] | None = None


def with_error(row: Row, key: str, form: str) -> str:
    """Return a mean of a row and its standard error, if there is one, both in a format."""
    error = row[f"{key}_stderr"]
    return f"{row[key]:{form}}" + ("" if error is None else f" ± {error:{form}}")


def or_dash(value: float | None, form: str) -> str:
    """Return a number in a format; ``-`` for none."""
    return "-" if value is None else f"{value:{form}}"
