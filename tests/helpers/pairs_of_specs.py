"""Pairs of specs of one structure and other widths."""

import dataclasses

from hypothesis import strategies as st
from strategies import specs


@st.composite
def pairs(draw, max_width=16, wider=False):
    """Draw a small network and another of its structure, nowhere narrower if ``wider``."""
    source = draw(specs(max_blocks=6, max_width=max_width))

    def other(width):
        return width and draw(st.integers(width if wider else 1, 2 * width + 3))

    width_in = stem_width = other(source.stem_width)
    blocks, least = [], 1
    for block, width_there in zip(source.blocks, source.widths_in, strict=True):
        adds = block.has_shortcut(width_there)
        low = max(least, block.width if wider else 1, width_in if adds else 1)
        least = width_in = draw(st.integers(low, max(low, 2 * block.width + 3)))
        blocks.append(_block(draw, block, width_in, "pad" if adds else "none", wider))
    return source, dataclasses.replace(
        source,
        name="other",
        blocks=tuple(blocks),
        stem_width=stem_width,
        penultimate_width=other(source.penultimate_width),
        hidden_width=other(source.hidden_width),
    )


def _block(draw, block, width, shortcut, wider):
    expansion, divisor = block.expansion, block.se_divisor
    if expansion > 1:
        expansion = draw(st.integers(expansion if wider else 2, expansion + 2))
    if divisor:
        divisor = draw(st.integers(1, divisor if wider else 24))
    return dataclasses.replace(
        block, width=width, expansion=expansion, se_divisor=divisor, shortcut=shortcut
    )
