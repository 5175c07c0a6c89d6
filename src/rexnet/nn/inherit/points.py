"""The points of a network at which channels can be kept or left out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from rexnet.spec import NetSpec

T = TypeVar("T")


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

    def __iter__(self) -> Iterator[T]:
        """Give what stands at every point there is."""
        ends = (*self.squeezed, self.penultimate, self.hidden)
        yield from self.streams
        yield from self.expanded
        yield from (value for value in ends if value is not None)

    @property
    def features(self) -> T:
        """What stands at the input of the classifier."""
        if self.hidden is not None:
            return self.hidden
        return self.streams[-1] if self.penultimate is None else self.penultimate


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
