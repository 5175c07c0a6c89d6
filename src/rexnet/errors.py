"""The one exception that a user's mistake raises."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake of the user's: one line that names the value, the limit and the fix.

    The command line prints it without a traceback and exits with code 2.
    """


def closest(word: str, choices: Iterable[str]) -> str:
    """Return `` (did you mean X?)`` for the choice nearest to ``word``, or an empty string."""
    match = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" (did you mean {match[0]}?)" if match else ""
