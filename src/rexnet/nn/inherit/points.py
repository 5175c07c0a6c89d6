"""The points of a network at which channels can be kept or left out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from rexnet.spec import NetSpec

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")


@dataclass(frozen=True, kw_only=True)
class Points(Generic[T]):
    """Something for every point of a network where channels have a number of their own.

    Attributes:
        streams: The input of every block, then the output of the last: one more than blocks.
        expanded: What the projection of every block reads.
        squeezed: Between the two convolutions of SE; None in a block without it.
        penultimate: What the penultimate convolution gives; None without one.
        hidden: What the hidden layer gives; None without one.
    """

    streams: tuple[T, ...]
    expanded: tuple[T, ...]
    squeezed: tuple[T | None, ...]
    penultimate: T | None
    hidden: T | None

    @property
    def features(self) -> T:
        """What stands at the input of the classifier."""
        if self.hidden is not None:
            return self.hidden
        return self.streams[-1] if self.penultimate is None else self.penultimate

    def joined(self, other: "Points[U]", function: Callable[[T, U], V]) -> "Points[V]":
        """Return ``function`` of what stands here and there, at every point."""

        def maybe(here: T | None, there: U | None) -> V | None:
            return None if here is None or there is None else function(here, there)

        return Points(
            streams=tuple(map(function, self.streams, other.streams)),
            expanded=tuple(map(function, self.expanded, other.expanded)),
            squeezed=tuple(map(maybe, self.squeezed, other.squeezed)),
            penultimate=maybe(self.penultimate, other.penultimate),
            hidden=maybe(self.hidden, other.hidden),
        )


def widths(spec: NetSpec) -> Points[int]:
    """Return the number of channels at every point."""
    expanded = [
        width * block.expansion for width, block in zip(spec.widths_in, spec.blocks, strict=True)
    ]
    return Points(
        streams=(spec.stem_width, *spec.widths),
        expanded=tuple(expanded),
        squeezed=tuple(
            block.squeeze_width(count) if block.se_divisor else None
            for block, count in zip(spec.blocks, expanded, strict=True)
        ),
        penultimate=spec.penultimate_width or None,
        hidden=spec.hidden_width or None,
    )
