"""What all executors share: how a candidate is evaluated, and what becomes of it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from rexnet.errors import UserError
from rexnet.search.candidates.protocol import Diverged, Evaluation, OnProgress, Pruned
from rexnet.spec import NetSpec

Evaluate = Callable[[NetSpec, Path, OnProgress], Evaluation]
"""An evaluator of candidates; it is handed a network, and where its weights go if it has any."""

ShouldContinue = Callable[[int, int, float], bool]
"""Whether to go on with a candidate's training: its number, an epoch, the accuracy after it."""

Outcome = Literal["complete", "pruned", "diverged", "died", "killed"]

AGAIN = "mend that and give the same command again"

NO_MEMORY = re.compile("out of memory|can't allocate memory|Cannot allocate memory", re.IGNORECASE)
"""What errors say that are of no type of their own."""

Ending = tuple[Outcome | Literal["user error"], Evaluation | str]
"""How an attempt to evaluate a candidate ended: its evaluation, or else the reason."""


@dataclass(frozen=True, kw_only=True)
class CandidateResult:
    """What became of a submitted candidate.

    Attributes:
        number: The number it was submitted under.
        outcome: ``complete``, ``pruned``, ``diverged``, ``died`` with its process or by an
            exception, or ``killed``: by others, or for want of memory, which the next call of the
            search tries again.
        evaluation: What training gave; None unless complete.
        reason: Why it is not complete; empty if it is.
        seconds: Wall time since it was submitted, the start of its process included.
    """

    number: int
    outcome: Outcome
    evaluation: Evaluation | None
    reason: str
    seconds: float


class Executor(Protocol):
    """Evaluates candidates somewhere; a context manager, which ends with all that it started.

    Attributes:
        should_continue: Asked where the evaluator tells an accuracy on the way.
    """

    should_continue: ShouldContinue

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    @property
    def has_room(self) -> bool:
        """Whether another candidate can start at once."""

    @property
    def num_busy(self) -> int:
        """How many candidates are being evaluated."""

    @property
    def progress(self) -> float:
        """How many candidates' worth of work is done in those being evaluated."""

    def submit(self, number: int, spec: NetSpec) -> None:
        """Start to evaluate ``spec`` under ``number``; call only while ``has_room``."""

    def weights(self, number: int) -> Path:
        """Return where the candidate's weights are written."""

    def wait(self, seconds: float) -> list[CandidateResult]:
        """Return candidates that finished, after ``seconds`` at the latest.

        Raises:
            UserError: A candidate met an error of the user's, such as a full disk.
        """


def attempt(evaluate: Evaluate, spec: NetSpec, weights: Path, on_progress: OnProgress) -> Ending:
    """Evaluate a candidate in a worker, where nothing may be raised; return how it ended."""
    try:
        return "complete", evaluate(spec, weights, on_progress)
    except Diverged as error:
        return "diverged", str(error)
    except Pruned as error:
        return "pruned", str(error)
    except UserError as error:
        return "user error", str(error)
    except (OSError, ImportError) as error:
        return "user error", f"networks cannot be trained here: {line(error)}; {AGAIN}"
    except MemoryError as error:
        return "killed", line(error)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is this candidate's outcome)
        return "killed" if NO_MEMORY.search(line(error)) else "died", line(error)


def line(error: BaseException) -> str:
    """Return the type of an error and the first line of what it says."""
    first, *_ = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {first}"


def result_of(number: int, ending: Ending, seconds: float) -> CandidateResult:
    """Return what a candidate's ending means for the search.

    Raises:
        UserError: It was an error of the user's.
    """
    outcome, value = ending
    if outcome == "user error":
        raise UserError(str(value))
    return CandidateResult(
        number=number,
        outcome=outcome,
        evaluation=None if isinstance(value, str) else value,
        reason=value if isinstance(value, str) else "",
        seconds=seconds,
    )


def always(number: int, epoch: int, accuracy: float) -> bool:
    """Let every candidate be trained to the end."""
    return True
