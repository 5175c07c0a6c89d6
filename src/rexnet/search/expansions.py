"""Expansions that a space varies beside the widths: their parameters, and what stands for each."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeVar

from rexnet.spec import NetSpec

T = TypeVar("T")

Vary = Literal["widths", "expansion", "expansions"]
"""What a space varies: block widths alone, or with one expansion for all blocks or one a block."""

BOUNDS = (2, 10)
"""Bounds of expansions.

A block of expansion 1 has no expanding convolution: another structure, between which no weights can
be inherited. Up to 10 is about as far above the search network's 6 as 3 or 4 is below it.
"""


def bounds_of(template: NetSpec, vary: Vary) -> dict[str, tuple[int, int]]:
    """Return names and bounds (both included) of the expansions that vary.

    They are ``expansion``, or ``expansion_2`` of the second block and so on. Expansions of 1 stay,
    and the template's own are always inside.
    """
    if vary == "widths":
        return {}
    own = [block.expansion for block in template.blocks]
    found = BOUNDS[0], max(BOUNDS[1], *own)
    return dict.fromkeys(dict.fromkeys(varied(template, _names(template, vary))), found)


def each_of(template: NetSpec, vary: Vary, parameters: Mapping[str, float]) -> list[int] | None:
    """Return the expansions that parameters name, one a block; None where none vary."""
    if vary == "widths":
        return None
    pairs = zip(_names(template, vary), template.blocks, strict=True)
    return [1 if block.expansion == 1 else int(parameters[name]) for name, block in pairs]


def parameters_of(
    template: NetSpec, vary: Vary, expansion: int | Sequence[int] | None
) -> dict[str, float]:
    """Return the parameters of expansions.

    Args:
        template: The network whose expansions vary.
        vary: Which do.
        expansion: One for all blocks that vary, or one a block; by default the template's. Their
            rounded mean counts where there is one for all.
    """
    names = list(bounds_of(template, vary))
    if not names:
        return {}
    own = [block.expansion for block in template.blocks] if expansion is None else expansion
    each = varied(template, [own] * len(template.blocks) if isinstance(own, int) else own)
    return dict(
        zip(names, [round(sum(each) / len(each))] if len(names) == 1 else each, strict=True)
    )


def varied(template: NetSpec, each: Iterable[T]) -> list[T]:
    """Return what stands for blocks whose expansions vary, of what stands for every block."""
    pairs = zip(each, template.blocks, strict=True)
    return [value for value, block in pairs if block.expansion > 1]


def _names(template: NetSpec, vary: Vary) -> list[str]:
    """Return the name of the parameter of every block, of those that do not vary as well."""
    count = len(template.blocks)
    if vary == "expansion":
        return ["expansion"] * count
    return [f"expansion_{number}" for number in range(1, count + 1)]
