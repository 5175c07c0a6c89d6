import re

import pytest
import timm
import torch
from timm.models.rexnet import RexNet

from rexnet import UserError, cost, count, families, list_models
from rexnet.paper import TABLE_3
from rexnet.spec import MAX_BLOCKS

WIDTHS_1_0 = (16, 27, 38, 50, 61, 72, 84, 95, 106, 117, 128, 140, 151, 162, 174, 185)

# Name, parameters, and the printed billions of MACs (appendix, Table A1, computed from the code).
PUBLISHED = (
    ("rexnet_0.9", 4_091_257, "0.3477"),
    ("rexnet_1.0", 4_796_873, "0.3984"),
    ("rexnet_1.1", 5_642_328, "0.4806"),
    ("rexnet_1.2", 6_568_698, "0.5670"),
    ("rexnet_1.3", 7_557_091, "0.6622"),
    ("rexnet_1.4", 8_606_611, "0.7623"),
    ("rexnet_1.5", 9_728_593, "0.8758"),
    ("rexnet_2.0", 16_366_620, "1.529"),
    ("rexnet_2.2", 19_485_308, "1.843"),
    ("rexnet_3.0", 34_708_792, "3.396"),
    ("rexnet_lite_1.0", 4_740_056, "0.4068"),
    ("rexnet_lite_1.3", 6_747_960, "0.6464"),
    ("rexnet_lite_1.5", 8_332_296, "0.8364"),
    ("rexnet_lite_2.0", 12_966_200, "1.498"),
    ("mobilenet_v1", 4_231_976, "0.5687"),
    ("mobilenet_v2", 3_504_872, "0.3008"),
)


def num_params(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [
        ("rexnet_1.0", 4_796_873, 398_370_392),
        ("rexnet_1.5", 9_728_593, 875_828_154),
        ("rexnet_3.0", 34_708_792, 3_395_980_620),
        ("rexnet_plain", 3_399_240, 564_669_040),
        ("rexnet_lite_1.0", 4_740_056, 406_806_592),
    ],
)
def test_costs_are_those_of_the_official_files(name, params, macs):
    total = count(families.get(name), 224)
    assert (total.params, total.macs) == (params, macs)


@pytest.mark.parametrize(("name", "params", "billions"), PUBLISHED)
def test_costs_are_those_of_table_a1(name, params, billions):
    total = count(families.get(name), 224)
    decimals = len(billions.partition(".")[2])
    assert total.params == params
    assert f"{total.macs / 1e9:.{decimals}f}" == billions


def test_rexnet_has_the_widths_of_figure_a2():
    spec = families.get("rexnet_1.0")
    assert spec.widths == WIDTHS_1_0
    assert (spec.stem_width, spec.penultimate_width) == (32, 1280)


def test_rexnet_has_the_blocks_of_figure_a2():
    blocks = families.get("rexnet_1.0").blocks
    strides = [block.stride for block in blocks]
    assert strides == [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    assert [block.expansion for block in blocks] == [1] + [6] * 15
    assert [block.se_divisor for block in blocks] == [0] * 3 + [12] * 13
    activations = {(b.expand_act, b.depthwise_act, b.project_act) for b in blocks}
    assert activations == {("silu", "relu6", "identity")}


def test_below_one_the_stem_and_the_first_block_keep_their_widths():
    spec = families.get("rexnet_0.5")
    assert (spec.stem_width, spec.widths[0], spec.penultimate_width) == (32, 16, 640)
    assert spec.widths[-1] == round(16 + 0.5 * 11.25 * 15)


@pytest.mark.parametrize(
    ("width", "block", "exact", "rounded"),
    [
        (1.0, 3, 38.5, 38),
        (1.0, 7, 83.5, 84),
        (1.0, 11, 128.5, 128),
        (1.0, 15, 173.5, 174),
        (2.0, 2, 54.5, 54),
    ],
)
def test_ties_round_to_the_even_channel(width, block, exact, rounded):
    assert width * (16 + 11.25 * (block - 1)) == exact
    assert families.rexnet(width).widths[block - 1] == rounded


def test_every_name_gives_its_network():
    assert list_models() == families.names()
    assert len(set(families.names())) == len(families.names())
    for name in families.names():
        spec = families.get(name)
        assert spec.name == name
        small = name.startswith(("rexnet_cifar", "factors"))
        larger = families.EFFICIENTNET_LITE[name[-1]][2] if name.startswith("eff") else 224
        assert (spec.num_classes, spec.resolution) == ((100, 32) if small else (1000, larger))


@pytest.mark.parametrize("name", ["rexnet_1.7", "rexnet_0.85", "rexnet_lite_0.75", "rexnet_lite_3"])
def test_any_width_multiplier_has_a_network(name):
    assert float(families.get(name).name.rpartition("_")[2]) == float(name.rpartition("_")[2])


@pytest.mark.parametrize("width", ["1", "1.0", "1.00"])
def test_spellings_of_a_width_are_one_network(width):
    assert families.get(f"rexnet_{width}") == families.get("rexnet_1.0")
    assert families.get(f"rexnet_lite_{width}") == families.get("rexnet_lite_1.0")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("rexnet-1.0", "rexnet_1.0"),
        ("rexnet_plane", "rexnet_plain"),
        ("rexnet_lite1.5", "rexnet_lite_1.5"),
        ("mobilenetv2", "mobilenet_v2"),
        ("MobileNet_v1", "mobilenet_v1"),
    ],
)
def test_an_unknown_name_gets_the_closest_one(name, hint):
    with pytest.raises(UserError, match=rf"unknown model '{name}' \(did you mean {hint}\?\)"):
        families.get(name)


@pytest.mark.parametrize("name", ["", "zzz", "rexnet_1.0\n", "rexnet_-1.0"])
def test_a_name_like_no_other_is_refused(name):
    with pytest.raises(UserError, match="unknown model"):
        families.get(name)


@pytest.mark.parametrize("name", ["rexnet_0.05", "rexnet_21", "rexnet_lite_0", "rexnet_lite_20.5"])
def test_a_width_multiplier_out_of_range_is_named(name):
    width = name.rpartition("_")[2]
    with pytest.raises(UserError, match=rf"width multiplier {width} of {name} must be from 0\.1"):
        families.get(name)


@pytest.mark.parametrize(
    ("name", "point"),
    [
        ("rexnet_13", r"rexnet_1\.3 or rexnet_13\.0"),
        ("rexnet_21", r"rexnet_2\.1"),
        ("rexnet_lite_130", r"rexnet_lite_1\.3"),
        ("rexnet_135", r"rexnet_1\.35"),
    ],
)
def test_a_width_of_two_digits_and_more_needs_a_point(name, point):
    with pytest.raises(UserError, match=rf"of {name} must .* and have a point: {point}$"):
        families.get(name)


@pytest.mark.parametrize("width", ["1", "2", "2.25", "13.0"])
def test_a_width_with_one_meaning_is_taken(width):
    assert families.get(f"rexnet_{width}") == families.rexnet(float(width))


TIMMS = [name for name in timm.list_models("rexnet*") if not name.startswith("rexnetr")]


@pytest.mark.parametrize("name", TIMMS)
@pytest.mark.parametrize("form", ["{}", "{}.nav_in1k", "timm/{}", "hf-hub:timm/{}.nav_in1k"])
def test_the_names_of_timm_are_explained(name, form):
    ours = f"rexnet_{int(name[-3:]) / 100}"
    assert ours in families.names()
    reason = f"unknown model '{form.format(name)}': timm's {name} is {ours} here; `rexnet list`"
    with pytest.raises(UserError, match=re.escape(reason)):
        families.get(form.format(name))


@pytest.mark.parametrize("name", timm.list_models("rexnetr*"))
def test_networks_that_timm_alone_has_are_told(name):
    with pytest.raises(UserError, match=f"timm's {name} is another network, .* as timm:NAME;"):
        families.get(name)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("ReXNetV1_1.0x", "rexnet_1.0"),
        ("rexnetv1_1.3x", "rexnet_1.3"),
        ("ReXNet-lite-2.0x", "rexnet_lite_2.0"),
    ],
)
def test_the_names_of_the_authors_are_explained(name, ours):
    with pytest.raises(UserError, match=rf"the authors' {name} is {ours} here; `rexnet list`"):
        families.get(name)


@pytest.mark.parametrize(
    "width", [0.3, 0.6, 0.7, 0.85, 0.9, 1.0, 1.15, 1.3, 1.5, 1.7, 2.0, 2.2, 2.6, 3.0, 4.4]
)
def test_params_equal_those_of_timm(width):
    with torch.device("meta"):
        reference = RexNet(width_mult=width)
    assert count(families.rexnet(width)).params == num_params(reference)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("mobilenet_v1", "mobilenetv1_100"), ("mobilenet_v2", "mobilenetv2_100")]
    + [(f"efficientnet_lite{n}", f"tf_efficientnet_lite{n}") for n in range(5)],
)
def test_baselines_have_the_params_of_timm(name, theirs):
    with torch.device("meta"):
        reference = timm.create_model(theirs)
    assert count(families.get(name)).params == num_params(reference)


@pytest.mark.parametrize("num_blocks", [6, 7, 11, 16, 22, 33, 100])
@pytest.mark.parametrize("width", [0.5, 1.0, 1.5])
def test_rexnet_at_other_depths_keeps_its_shape(width, num_blocks):
    spec = families.rexnet(width, num_blocks, num_classes=10, resolution=96)
    assert len(spec.blocks) == num_blocks
    assert (spec.num_classes, spec.resolution) == (10, 96)
    strides = [block.stride for block in spec.blocks]
    assert strides.count(2) == 4
    assert strides[:2] == [1, 2]
    assert [block.expansion for block in spec.blocks] == [1] + [6] * (num_blocks - 1)
    assert spec.widths[0] == round(16 * max(width, 1))
    last = 16 * max(width, 1) + width * 180 * (num_blocks - 1) / num_blocks
    assert abs(spec.widths[-1] - last) <= 0.5
    se = [block.se_divisor for block in spec.blocks]
    assert se == sorted(se)
    assert set(se) == {0, 12}


def test_rexnet_at_its_own_depth_is_the_named_one():
    assert families.rexnet(1.3, 16) == families.get("rexnet_1.3")


@pytest.mark.parametrize("num_blocks", [0, 5, MAX_BLOCKS + 1])
def test_a_depth_out_of_range_is_named(num_blocks):
    with pytest.raises(UserError, match=f"{num_blocks} blocks; a ReXNet has 6 to {MAX_BLOCKS}"):
        families.rexnet(1.0, num_blocks)


def test_lite_has_neither_se_nor_silu_and_widths_of_eights():
    spec = families.get("rexnet_lite_1.0")
    assert all(width % 8 == 0 for width in (spec.stem_width, *spec.widths))
    assert {block.se_divisor for block in spec.blocks} == {0}
    assert {block.expand_act for block in spec.blocks} == {"relu6"}
    assert (spec.hidden_width, spec.penultimate_width) == (1024, 1280)


def test_plain_is_a_line_without_shortcuts_or_penultimate_layer():
    spec = families.get("rexnet_plain")
    assert spec.widths == (*range(96, 625, 48), 1024)
    assert spec.penultimate_width == 0
    for width_in, block in zip(spec.widths_in, spec.blocks, strict=True):
        assert (block.expansion, block.has_shortcut(width_in)) == (1, False)
        assert (block.depthwise_act, block.project_act) == ("relu", "silu")


def test_mobilenet_v2_adds_only_between_equal_widths():
    spec = families.get("mobilenet_v2")
    pairs = zip(spec.widths_in, spec.blocks, strict=True)
    shortcuts = [block.has_shortcut(width_in) for width_in, block in pairs]
    assert shortcuts == [False] + [False, True] + [False, True, True] + [False] + [True] * 3 + [
        False,
        True,
        True,
    ] * 2 + [False]


@pytest.mark.parametrize(("num_blocks", "reductions"), [(5, (2, 3)), (9, (4, 7)), (13, (5, 9))])
def test_the_search_network_reduces_at_its_second_and_third_stage(num_blocks, reductions):
    spec = families.search_network(range(1, num_blocks + 1), 100)
    strides = [block.stride for block in spec.blocks]
    assert [number for number, stride in enumerate(strides, 1) if stride == 2] == list(reductions)
    assert {block.expansion for block in spec.blocks} == {6}
    assert {block.expand_act for block in spec.blocks} == {"relu6"}
    assert (spec.stem_width, spec.stem_stride, spec.resolution) == (16, 1, 32)
    assert (spec.penultimate_width, spec.num_classes) == (1280, 100)


@pytest.mark.parametrize(
    ("widths", "millions"),
    [
        ((34, 34, 45, 55, 66), 0.204),
        ((24, 33, 42, 50, 59, 68, 77, 85, 94), 0.513),
        ((30, 45, 59, 74, 88, 103, 117, 132, 146), 1.04),
        ((34, 34, 34, 40, 64, 88, 112, 136, 160, 184, 208, 232, 256), 3.08),
    ],
)
def test_the_best_networks_of_table_3_keep_its_params(widths, millions):
    spec = families.search_network(widths, 100)
    params = count(spec).params - cost.classifier_params(spec)
    assert params / 1e6 == pytest.approx(millions, rel=0.006)


def test_the_search_network_needs_three_blocks():
    with pytest.raises(UserError, match="at least 3 blocks, not 2"):
        families.search_network((8, 8), 10)
    with pytest.raises(UserError, match="width 8 of block 3 falls below the 9"):
        families.search_network((8, 9, 8), 10)


@pytest.mark.parametrize("row", TABLE_3)
def test_the_networks_for_cifar_are_those_of_table_3_with_silu_and_se(row):
    spec = families.get(f"rexnet_cifar_{row}")
    plain = families.search_network(TABLE_3[row].best, 100)
    assert spec.widths == plain.widths
    assert {block.expand_act for block in spec.blocks} == {"silu"}
    assert {block.depthwise_act for block in spec.blocks} == {"relu6"}
    has_se = [block.se_divisor == 12 for block in spec.blocks]
    assert has_se == sorted(has_se)
    first_stage = [block.stride for block in spec.blocks].index(2)
    assert has_se.index(True) == first_stage
    # SE is less than a hundredth of the multiplications.
    assert 1 < count(spec).macs / count(plain).macs < 1.01
