"""The one exception that a user's mistake raises."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """A mistake of the user's: one line that names the value, the limit and the fix.

    The command line prints it without a traceback and exits with code 2.
    """


class NotKept(UserError):
    """What was computed could not be written.

    Args:
        reason: Why, in a line.
        result: What was computed; also an attribute.
    """

    def __init__(self, reason: str, result: object) -> None:
        super().__init__(reason)
        self.result = result


@contextmanager
def not_lost(result: object) -> Iterator[None]:
    """Hand on what was computed where it cannot be written.

    Raises:
        NotKept: A file could not be written, or the like.
    """
    try:
        yield
    except UserError as error:
        raise NotKept(str(error), result) from None


def closest(word: str, choices: Iterable[str]) -> str:
    """Return `` (did you mean X?)`` for the choice nearest to ``word``, or an empty string."""
    match = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" (did you mean {match[0]}?)" if match else ""


def check_range(name: str, value: float | None, low: float, high: float, told: str = "") -> None:
    """Check that an option is in its range, or is not given.

    Args:
        name: The option.
        value: Its value; None passes, and what is not a number does not.
        low: The lowest value.
        high: The highest value.
        told: How the highest value is written, maybe with a unit; as it is by default.

    Raises:
        UserError: It is out of range.
    """
    # Comparisons with NaN are false, so the range says what is allowed.
    if value is not None and not low <= value <= high:
        raise UserError(f"{name} {value} must be from {low} to {told or high}")


def check_ranges(config: object, **ranges: tuple[float, float] | tuple[float, float, str]) -> None:
    """Check fields of a config.

    Args:
        config: Has the fields.
        ranges: By field, what ``check_range`` takes after the value.

    Raises:
        UserError: A field is out of range, the first of them.
    """
    for name, limits in ranges.items():
        check_range(name, getattr(config, name), *limits)
