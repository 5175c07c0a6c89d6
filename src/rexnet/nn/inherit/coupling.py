"""Which channel of a trained network every channel of another spec is: from the specs alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rexnet.nn.inherit.points import Points, widths
from rexnet.spec import NetSpec

NEW = -1
"""In the place of a source channel: there is none."""

Slots = tuple[int, ...]
"""For every channel the source's that it is, or ``NEW``.

In a stream a slot may name a channel that the source has only further on, where its width has
grown: until there the channel is zero, so that the shortcuts hand on nothing.
"""


def couple(source: NetSpec, spec: NetSpec, scores: Points[Tensor]) -> Points[Slots]:
    """Return the source's channel of every channel of ``spec``, of the same structure.

    A shortcut adds its input to the first channels of its output, so these are the same, in the
    same order: what one block of a run keeps, all later ones keep. The channels of a run are
    therefore chosen by what all of its readers make of them. Where ``spec`` is wider, every channel
    is kept and others are new.

    Args:
        source: The spec of the trained network.
        spec: The spec of the network to make.
        scores: How much every channel of the source matters to what reads it.
    """
    have, want = widths(source), widths(spec)
    streams = _streams(source, want.streams, _stream_scores(source, scores))
    expanded = [
        # What is not yet there is zero, and its map one like any new one.
        tuple(slot if slot < width_in else NEW for slot in stream)
        if block.expansion == 1
        else _slots(score, width)
        for block, stream, width_in, score, width in zip(
            source.blocks, streams, source.widths_in, scores.expanded, want.expanded, strict=False
        )
    ]
    assert [len(slots) for slots in streams] == list(want.streams)
    assert [score.numel() for score in scores.expanded] == list(have.expanded)
    return Points(
        streams=tuple(streams),
        expanded=tuple(expanded),
        squeezed=tuple(
            None if score is None or width is None else _slots(score, width)
            for score, width in zip(scores.squeezed, want.squeezed, strict=True)
        ),
        penultimate=_end(scores.penultimate, want.penultimate),
        hidden=_end(scores.hidden, want.hidden),
    )


def _end(score: Tensor | None, width: int | None) -> Slots | None:
    return None if score is None or width is None else _slots(score, width)


def _slots(score: Tensor, width: int) -> Slots:
    kept = sorted(_best(score, range(score.numel()), width))
    return (*kept, *[NEW] * (width - len(kept)))


def _best(score: Tensor, candidates: Sequence[int], count: int) -> list[int]:
    """Return the ``count`` candidates of the highest score, the best first, ties in order."""
    values = score.tolist()
    return sorted(candidates, key=lambda channel: (-values[channel], channel))[:count]


def _stream_scores(source: NetSpec, scores: Points[Tensor]) -> list[Tensor]:
    """Return what each stream's channels mean to its own reader, of sum 1 wherever it is not 0."""
    own = list(scores.streams)
    for number, block in enumerate(source.blocks):
        if block.expansion == 1:
            own[number] = own[number] + scores.expanded[number]
    return [score / score.sum().clamp(min=torch.finfo(score.dtype).tiny) for score in own]


def _runs(spec: NetSpec) -> list[range]:
    """Return the streams that shortcuts link, in order."""
    starts = [0]
    for number, (width_in, block) in enumerate(zip(spec.widths_in, spec.blocks, strict=True), 1):
        if not block.has_shortcut(width_in):
            starts.append(number)
    ends = [*starts[1:], len(spec.blocks) + 1]
    return [range(start, end) for start, end in zip(starts, ends, strict=True)]


def _streams(source: NetSpec, want: Sequence[int], own: Sequence[Tensor]) -> list[Slots]:
    streams: list[Slots] = []
    for run in _runs(source):
        kept: list[int] = []
        for number in run:
            later = torch.zeros_like(own[run[-1]])
            for score in own[number : run[-1] + 1]:
                later[: score.numel()] += score
            room = want[number] - len(kept)
            here = [slot for slot in range(own[number].numel()) if slot not in kept]
            best = sorted(_best(later, here, room))
            to_come = range(own[number].numel(), own[run[-1]].numel())
            coming = [slot for slot in to_come if slot not in kept]
            waiting = _best(later, coming, room - len(best))
            kept += [*best, *waiting]
            kept += [NEW] * (want[number] - len(kept))
            streams.append(tuple(kept))
    return streams
