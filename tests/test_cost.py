import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import ANY_CHANNELS, specs
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rexnet import BlockSpec, Cost, NetSpec, UserError, channels, cost, count, families
from rexnet.nn.network import Network

SMALL = NetSpec(
    name="small",
    blocks=(BlockSpec(width=8, stride=2), BlockSpec(width=12, se_divisor=4)),
    stem_width=8,
    resolution=32,
)
NAMES = ("rexnet_1.0", "rexnet_plain", "rexnet_lite_1.0", "mobilenet_v2")


def measured(spec, resolution):
    """Return the cost of the module of ``spec``, counted while it runs without data."""
    sizes = []
    with torch.device("meta"):
        model = Network(spec).eval()
        images = torch.empty(1, spec.in_channels, resolution, resolution)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda _module, _given, y: sizes.append(y.numel()))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    return Cost(
        params=sum(parameter.numel() for parameter in model.parameters()),
        macs=counter.get_total_flops() // 2,
        activations=sum(sizes),
    )


@settings(deadline=None, max_examples=100)
@given(specs(in_channels=ANY_CHANNELS), st.integers(8, 40))
def test_closed_form_equals_the_built_module(spec, resolution):
    assert count(spec, resolution) == measured(spec, resolution)


@pytest.mark.parametrize("name", NAMES)
def test_closed_form_equals_the_built_module_of_a_family(name):
    spec = families.get(name)
    assert count(spec) == measured(spec, spec.resolution)


def test_closed_form_equals_the_built_search_network():
    spec = families.search_network((24, 33, 42, 50, 59, 68, 77, 85, 94), 100)
    assert count(spec) == measured(spec, 32)


@settings(deadline=None, max_examples=100)
@given(specs())
def test_resolution_is_the_specs_own_by_default(spec):
    assert count(spec) == count(spec, spec.resolution)
    assert count(spec, 64).params == count(spec).params


def test_channels_of_the_image_cost_in_the_stem_alone():
    rows, grey = (cost.layers(dataclasses.replace(SMALL, in_channels=n), 32) for n in (3, 1))
    assert rows[1:] == grey[1:]
    assert rows[0].params - grey[0].params == 2 * 9 * 8
    assert rows[0].macs == 3 * grey[0].macs


def test_layers_stand_in_order_with_their_sizes():
    rows = cost.layers(dataclasses.replace(SMALL, hidden_width=16), 32)
    assert [(row.name, row.width, row.size) for row in rows] == [
        ("stem", 8, 16),
        ("block 1 expand", 48, 16),
        ("block 1 depthwise", 48, 8),
        ("block 1 project", 8, 8),
        ("block 2 expand", 48, 8),
        ("block 2 depthwise", 48, 8),
        ("block 2 squeeze", 12, 1),
        ("block 2 excite", 48, 1),
        ("block 2 project", 12, 8),
        ("penultimate", 1280, 8),
        ("hidden", 16, 1),
        ("classifier", 1000, 1),
    ]


def test_a_layer_costs_what_its_weights_do():
    stem = cost.layers(SMALL, 32)[0]
    assert (stem.params, stem.macs, stem.activations) == (8 * 27 + 16, 8 * 27 * 256, 8 * 256)


@settings(deadline=None, max_examples=50)
@given(specs())
def test_layers_sum_to_the_count(spec):
    rows = cost.layers(spec)
    for field in ("params", "macs", "activations"):
        assert sum(getattr(row, field) for row in rows) == getattr(count(spec), field)


@settings(deadline=None, max_examples=50)
@given(specs())
def test_classifier_params_are_those_of_the_last_layer(spec):
    assert cost.classifier_params(spec) == cost.layers(spec)[-1].params


@settings(deadline=None, max_examples=150)
@given(st.data(), specs(), st.sampled_from((np.int64, np.int32, np.uint16)))
def test_count_many_counts_every_row_as_count_does(data, spec, kind):
    num_blocks = len(spec.blocks)
    row = st.lists(st.integers(1, 400), min_size=num_blocks, max_size=num_blocks).map(sorted)
    widths = np.array(data.draw(st.lists(row, min_size=1, max_size=8)), dtype=kind)
    resolution = data.draw(st.none() | st.integers(8, 256))
    params, macs = cost.count_many(spec, widths, resolution)
    assert params.dtype == macs.dtype == np.int64
    for index, row_widths in enumerate(widths.tolist()):
        total = count(spec.with_widths(row_widths), resolution)
        assert (params[index], macs[index]) == (total.params, total.macs)


@given(st.data(), specs())
def test_count_many_counts_ends_that_follow_as_those_of_the_built_spec(data, spec):
    widths = data.draw(st.lists(st.integers(1, 60), min_size=len(spec.blocks)).map(sorted))
    widths = np.array([widths[-len(spec.blocks) :]])
    params, macs = cost.count_many(spec, widths, scale_ends=True)
    whole = channels.with_block_widths(spec, widths[0].tolist(), scale_ends=True)
    total = count(whole)
    assert (params[0], macs[0]) == (total.params, total.macs)
    penultimate = channels.scaled_ends(spec, widths)[1]
    found = cost.classifier_params(spec, widths[:, -1], penultimate)
    assert np.max(found) == cost.classifier_params(whole)


def test_count_many_joins_its_chunks():
    num_networks = cost.CHUNK + 3
    widths = np.sort(np.random.default_rng(0).integers(1, 200, (num_networks, 2)), axis=1)
    params, macs = cost.count_many(SMALL, widths)
    assert params.shape == macs.shape == (num_networks,)
    for index in (0, cost.CHUNK - 1, cost.CHUNK, num_networks - 1):
        total = count(SMALL.with_widths(widths[index].tolist()))
        assert (params[index], macs[index]) == (total.params, total.macs)


def test_count_many_of_no_network_is_empty():
    params, macs = cost.count_many(SMALL, np.empty((0, 2), dtype=np.int64))
    assert params.shape == macs.shape == (0,)


@settings(deadline=None, max_examples=100)
@given(specs(max_width=200))
def test_real_widths_cost_what_whole_ones_do_without_se(spec):
    blocks = tuple(dataclasses.replace(block, se_divisor=0) for block in spec.blocks)
    spec = dataclasses.replace(spec, blocks=blocks)
    params, macs = cost.count_many(spec, np.array([spec.widths], dtype=np.float64))
    assert params.dtype == macs.dtype == np.float64
    assert (params[0], macs[0]) == (count(spec).params, count(spec).macs)


def test_real_widths_cost_what_whole_ones_do_where_the_squeeze_is_whole():
    spec = families.get("rexnet_1.0").with_widths(range(16, 47, 2))
    params, macs = cost.count_many(spec, np.array([spec.widths], dtype=np.float64))
    assert params[0] == pytest.approx(count(spec).params, rel=1e-12)
    assert macs[0] == pytest.approx(count(spec).macs, rel=1e-12)


def test_real_widths_between_whole_ones_cost_between_them():
    widths = np.array([[30.0, 40.0], [30.5, 40.5], [31.0, 41.0]])
    params, macs = cost.count_many(SMALL, widths)
    assert (np.diff(params) > 0).all()
    assert (np.diff(macs) > 0).all()


def test_the_cost_of_real_widths_is_smooth_where_that_of_whole_ones_is_not():
    widths = np.array([[width, width + 10] for width in range(30, 40)])
    for real, whole in zip(
        cost.count_many(SMALL, widths.astype(np.float64)),
        cost.count_many(SMALL, widths),
        strict=True,
    ):
        # A quadratic has no third differences.
        np.testing.assert_allclose(np.diff(real, n=3), 0, atol=1e-6)
        assert np.diff(whole, n=3).any()


@pytest.mark.parametrize("shape", [(2,), (4, 3), (1, 2, 1)])
def test_count_many_refuses_widths_of_another_depth(shape):
    with pytest.raises(UserError, match=rf"widths of shape \({shape[0]},.*for 2 blocks"):
        cost.count_many(SMALL, np.ones(shape, dtype=np.int64))


@pytest.mark.parametrize("resolution", [0, 7, 4097])
def test_a_resolution_out_of_range_is_named(resolution):
    with pytest.raises(UserError, match=f"resolution {resolution} must be from 8 to 4096"):
        count(SMALL, resolution)
    with pytest.raises(UserError, match=f"resolution {resolution} must be from 8 to 4096"):
        cost.count_many(SMALL, np.ones((1, 2), dtype=np.int64), resolution)
