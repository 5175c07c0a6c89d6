"""A trial of a search, as its study keeps it."""

from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["running", "complete", "pruned", "diverged", "died", "killed", "rejected", "lost"]
Parameters = dict[str, float]

ENDED: tuple[State, ...] = ("complete", "pruned", "diverged", "died", "killed")
"""The states of networks that were trained, or failed to be."""

VOID: tuple[State, ...] = ("rejected", "lost", "killed")
"""The states that say nothing of a network: it may be trained yet."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial of the study.

    Attributes:
        number: Its number, from 0.
        parameters: Values of the space's knots and slopes.
        state: What became of it; ``lost`` if its search was counted out, ``killed`` if it was
            ended from outside or for want of memory.
        accuracy: Held-out accuracy; None where there is none.
        scores: Held-out accuracies after epochs on the way, if networks may be pruned.
        record: All that the search noted of it.
        owner: The search that trains it.
    """

    number: int
    parameters: Parameters
    state: State
    accuracy: float | None = None
    scores: dict[int, float] = field(default_factory=dict)
    record: dict[str, Any]
    owner: str
