"""Random networks for property tests."""

from typing import get_args

from hypothesis import strategies as st

from rexnet import BlockSpec, NetSpec
from rexnet.spec import Activation, Shortcut

ACTIVATIONS = st.sampled_from(get_args(Activation))


@st.composite
def specs(draw, max_blocks=5, max_width=24):
    """Draw any small network: every field of NetSpec and BlockSpec varies."""
    widths = draw(st.lists(st.integers(1, max_width), min_size=1, max_size=max_blocks))
    return NetSpec(
        name=draw(st.text(max_size=8)),
        blocks=tuple(draw(blocks(width)) for width in sorted(widths)),
        stem_width=draw(st.integers(1, max_width)),
        stem_stride=draw(st.integers(1, 2)),
        stem_act=draw(ACTIVATIONS),
        penultimate_width=draw(st.just(0) | st.integers(1, 3 * max_width)),
        penultimate_act=draw(ACTIVATIONS),
        hidden_width=draw(st.just(0) | st.integers(1, 2 * max_width)),
        hidden_act=draw(ACTIVATIONS),
        num_classes=draw(st.integers(1, 20)),
        dropout=draw(st.floats(0, 1, exclude_max=True)),
        resolution=draw(st.integers(8, 40)),
    )


def blocks(width):
    """Return a strategy for any block of ``width`` output channels."""
    return st.builds(
        BlockSpec,
        width=st.just(width),
        stride=st.integers(1, 2),
        expansion=st.integers(1, 7),
        kernel=st.sampled_from((3, 5, 7)),
        se_divisor=st.just(0) | st.integers(1, 24),
        expand_act=ACTIVATIONS,
        depthwise_act=ACTIVATIONS,
        project_act=ACTIVATIONS,
        shortcut=st.sampled_from(get_args(Shortcut)),
    )
