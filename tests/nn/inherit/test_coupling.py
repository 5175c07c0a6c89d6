import dataclasses
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pairs_of_specs import pairs

from rexnet import BlockSpec, NetSpec, UserError, families
from rexnet.nn.inherit.coupling import NEW, couple
from rexnet.nn.inherit.points import Points, widths
from rexnet.structure import check_structure

SOURCE = families.get("mobilenet_v2")


def any_scores(spec, seed):
    """Return scores at random for every channel."""
    generator = torch.Generator().manual_seed(seed)
    counts = widths(spec)
    return counts.joined(counts, lambda count, _: torch.rand(count, generator=generator))


@given(pairs(), st.integers(0, 99))
def test_what_a_shortcut_adds_stands_first_and_in_order_in_what_it_is_added_to(pair, seed):
    source, spec = pair
    slots = couple(source, spec, any_scores(source, seed))
    assert slots.joined(slots, lambda here, _: len(here)) == widths(spec)
    for number, (width_in, block) in enumerate(zip(spec.widths_in, spec.blocks, strict=True)):
        stream, output = slots.streams[number : number + 2]
        if block.has_shortcut(width_in):
            assert output[: len(stream)] == stream
        if block.expansion == 1:
            there = source.widths_in[number]
            assert slots.expanded[number] == tuple(s if s < there else NEW for s in stream)


@given(pairs(), st.integers(0, 99))
def test_no_channel_stands_twice(pair, seed):
    source, spec = pair
    slots = couple(source, spec, any_scores(source, seed))
    for each in (*slots.streams, *slots.expanded):
        kept = [slot for slot in each if slot != NEW]
        assert len(kept) == len(set(kept))


@given(pairs(wider=True), st.integers(0, 99))
def test_a_wider_network_has_every_channel(pair, seed):
    source, spec = pair
    slots = couple(source, spec, any_scores(source, seed))
    have = widths(source)
    assert all(slots.joined(have, lambda here, count: set(range(count)) <= set(here)).streams)
    assert all(slots.joined(have, lambda here, count: set(range(count)) <= set(here)).expanded)


def run_of_two(*block_widths, stem_width=4):
    """Return two blocks that add their inputs, after a stem of 4 channels."""
    blocks = tuple(BlockSpec(width=width, expansion=2) for width in block_widths)
    return NetSpec(name="run", blocks=blocks, stem_width=stem_width, penultimate_width=8)


def scores_of(source, *streams):
    one = any_scores(source, 0)
    return dataclasses.replace(one, streams=tuple(torch.tensor(row) for row in streams))


def test_a_run_keeps_what_all_of_its_readers_need():
    source = run_of_two(4, 4)
    # Channel 2 means nothing to the first reader and most to the two others.
    scores = scores_of(source, [4.0, 3.0, 0.0, 1.0], [1.0, 1.0, 9.0, 1.0], [0.0, 1.0, 9.0, 1.0])
    slots = couple(source, run_of_two(2, 3, stem_width=1), scores)
    assert slots.streams == ((2,), (2, 1), (2, 1, 3))


def test_a_wide_stream_waits_for_channels_that_the_source_has_further_on():
    source = run_of_two(6, 6)
    flat = scores_of(source, [1.0] * 4, [1.0] * 6, [1.0] * 6)
    slots = couple(source, run_of_two(6, 6, stem_width=6), flat)
    assert slots.streams == ((0, 1, 2, 3, 4, 5),) * 3


def test_what_no_later_stream_has_is_new():
    source = run_of_two(5, 5)
    flat = scores_of(source, [1.0] * 4, [1.0] * 5, [1.0] * 5)
    slots = couple(source, run_of_two(7, 7, stem_width=7), flat)
    assert slots.streams == ((0, 1, 2, 3, 4, NEW, NEW),) * 3


def changed(number, **fields):
    """Return MobileNetV2 with other fields of a block, counted from 1."""
    blocks = list(SOURCE.blocks)
    blocks[number - 1] = dataclasses.replace(blocks[number - 1], **fields)
    return dataclasses.replace(SOURCE, name="other", blocks=tuple(blocks))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (changed(3, kernel=5), "block 3: its kernel is 5, that of the source 3; make them"),
        (changed(2, stride=1), "block 2: its stride is 1, that of the source 2"),
        (changed(4, depthwise_act="silu"), "block 4: its depthwise_act is silu"),
        (changed(4, expansion=1), "block 4: its expansion is 1, that of the source 6; both"),
        (changed(5, se_divisor=4), "block 5: its se_divisor is 4, that of the source 0; both"),
        (changed(6, shortcut="none"), "block 6 does not add its input, that of the source does"),
        (
            changed(17, shortcut="pad"),
            "block 17 adds its input, that of the source does not: set its shortcut to none",
        ),
        (dataclasses.replace(SOURCE, blocks=SOURCE.blocks[:5]), "5 blocks, the source 17"),
        (dataclasses.replace(SOURCE, penultimate_width=0), "penultimate_width is 0"),
        (dataclasses.replace(SOURCE, hidden_width=9), "its hidden_width is 9, that of the"),
        (dataclasses.replace(SOURCE, in_channels=1), "its in_channels is 1, that of the source 3"),
        (dataclasses.replace(SOURCE, stem_act="silu"), "its stem_act is silu"),
    ],
)
def test_the_first_difference_of_another_structure_is_named(spec, words):
    with pytest.raises(UserError, match=re.escape(words)):
        check_structure(SOURCE, spec)


def test_every_field_is_the_structure_or_free():
    free = dataclasses.replace(
        SOURCE.with_widths([24] * 17, name="free"),
        num_classes=3,
        dropout=0.5,
        resolution=64,
        stem_width=7,
        penultimate_width=9,
    )
    with pytest.raises(UserError, match="block 2"):
        check_structure(SOURCE, changed(2, width=24, shortcut="pad", stride=1))
    narrower = tuple(
        dataclasses.replace(block, width=width)
        for block, width in zip(free.blocks, SOURCE.widths, strict=True)
    )
    check_structure(SOURCE, dataclasses.replace(free, blocks=narrower))


def test_points_name_what_the_classifier_reads():
    parts = {"streams": (1, 2), "expanded": (3,), "squeezed": (None,)}
    assert Points(**parts, penultimate=None, hidden=None).features == 2
    assert Points(**parts, penultimate=4, hidden=None).features == 4
    assert Points(**parts, penultimate=4, hidden=5).features == 5
