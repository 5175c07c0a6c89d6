"""Random networks for property tests, and random weights."""

from typing import get_args

import torch
from hypothesis import strategies as st

from rexnet import BlockSpec, NetSpec
from rexnet.spec import Activation, Padding, Shortcut

ACTIVATIONS = st.sampled_from(get_args(Activation))
COLOUR = st.just(3)
ANY_CHANNELS = COLOUR | st.integers(1, 8)


@st.composite
def specs(draw, max_blocks=5, max_width=24, in_channels=COLOUR):
    """Draw any small network: every field varies, ``in_channels`` as the given strategy says."""
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
        in_channels=draw(in_channels),
        padding=draw(st.sampled_from(get_args(Padding))),
        norm_eps=draw(st.sampled_from((1e-5, 1e-3))),
    )


@st.composite
def stage_wise(draw):
    """Draw a small network whose widths are those of at most four stages."""
    spec = draw(specs(max_blocks=8))
    stages = draw(st.lists(st.integers(1, 48), min_size=1, max_size=4))
    count = len(spec.blocks)
    widths = draw(st.lists(st.sampled_from(stages), min_size=count, max_size=count))
    return spec.with_widths(sorted(widths))


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


def randomise(model):
    """Give every batch norm of ``model`` statistics and weights that show a mix-up."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 1 and tensor.is_floating_point():
            spread = torch.rand(tensor.shape, generator=generator)
            centre = 0.75 if name.endswith(("weight", "running_var")) else -0.25
            tensor.copy_(centre + 0.5 * spread)
