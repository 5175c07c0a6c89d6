import dataclasses

import pytest
import timm
import torch
from strategies import randomise
from timm.optim import create_optimizer_v2
from torch import nn

import rexnet
from rexnet import BlockSpec, NetSpec, UserError, families
from rexnet.nn.blocks import Block
from rexnet.nn.create import create_model
from rexnet.nn.layers import SqueezeExcite, activation
from rexnet.nn.network import Feature, Network
from rexnet.nn.weights import save_weights

SMALL = NetSpec(
    name="small",
    blocks=(BlockSpec(width=8, stride=2, expansion=1), BlockSpec(width=12, se_divisor=4)),
    stem_width=8,
    penultimate_width=16,
    num_classes=5,
)

KINDS = {
    "rexnet": families.rexnet(0.5, 8, num_classes=10),
    "rexnet_lite": families.rexnet_lite(0.5),
    "rexnet_plain": families.rexnet_plain(),
    "mobilenet_v1": families.mobilenet_v1(),
    "mobilenet_v2": families.mobilenet_v2(),
    "search": families.search_network((8, 12, 16, 20, 24), 10),
    "searched_with_se": SMALL,
    "without_head": dataclasses.replace(SMALL, penultimate_width=0),
}


def images(batch_size=2, resolution=64):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch_size, 3, resolution, resolution, generator=generator)


def built(spec):
    """Return the network of ``spec`` with the same random weights at every call."""
    torch.manual_seed(0)
    return Network(spec)


def shifts(name):
    """Tell whether a parameter is a bias that the batch norm after it takes out again."""
    return name.endswith("se.reduce.bias") or name == "hidden.bias"


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_gets_a_gradient(kind):
    model = built(KINDS[kind]).train()
    model(images()).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert shifts(name) or parameter.grad.any(), name


@pytest.mark.parametrize("kind", KINDS)
def test_logits_have_a_row_an_image(kind):
    spec = KINDS[kind]
    model = built(spec).eval()
    with torch.no_grad():
        logits = model(images(3, 40))
        alone = model(images(3, 40)[1:2])
    assert logits.shape == (3, spec.num_classes)
    assert logits.isfinite().all()
    torch.testing.assert_close(alone, logits[1:2], atol=1e-5, rtol=1e-4)


def test_the_features_of_rexnet_are_the_last_blocks_of_its_strides():
    assert built(families.get("rexnet_1.0")).features == (
        Feature(stride=4, width=38, block=3),
        Feature(stride=8, width=61, block=5),
        Feature(stride=16, width=128, block=11),
        Feature(stride=32, width=185, block=16),
    )


@pytest.mark.parametrize("name", ["rexnet_0.9", "rexnet_plain", "rexnet_lite_1.0", "mobilenet_v2"])
def test_forward_features_gives_what_features_lists_and_forward_computes(name):
    model = built(families.get(name)).eval()
    outputs = {}
    for number, block in enumerate(model.blocks, 1):
        block.register_forward_hook(lambda _m, _x, y, number=number: outputs.update({number: y}))
    with torch.no_grad():
        logits = model(images(1, 96))
        during_forward = dict(outputs)
        maps = model.forward_features(images(1, 96))
        from_maps = model.forward_head(maps[32])
        from_all = model.forward_head(maps)
    assert [feature.stride for feature in model.features] == list(maps) == [4, 8, 16, 32]
    for feature in model.features:
        side = 96 // feature.stride
        assert maps[feature.stride].shape == (1, feature.width, side, side)
        assert torch.equal(maps[feature.stride], during_forward[feature.block])
    assert torch.equal(from_maps, logits)
    assert torch.equal(from_all, logits)


def test_features_begin_at_stride_four():
    model = built(families.search_network((8, 12, 16, 20, 24), 10))
    assert model.features == (Feature(stride=4, width=24, block=5),)
    assert list(model.forward_features(images(1, 32))) == [4]


def test_features_need_a_stride_of_four():
    spec = NetSpec(name="flat", blocks=(BlockSpec(width=8),), stem_width=8)
    model = built(spec).eval()
    assert model.features == ()
    # The head needs one in any case.
    assert torch.equal(model.forward_head(model.forward_features(images())), model(images()))


def difference(shortcut, width_in=4, width=7, stride=1):
    """Return the block's input, and what its shortcut adds to its output."""
    spec = BlockSpec(width=width, stride=stride, se_divisor=4, shortcut=shortcut)
    torch.manual_seed(0)
    block = Block(width_in, spec).eval()
    bare = Block(width_in, dataclasses.replace(spec, shortcut="none")).eval()
    bare.load_state_dict(block.state_dict())
    x = torch.randn(2, width_in, 6, 6)
    with torch.no_grad():
        return x, block(x) - bare(x)


def test_a_padded_shortcut_adds_to_the_first_channels_only():
    x, added = difference("pad")
    torch.testing.assert_close(added[:, :4], x)
    assert not added[:, 4:].any()


@pytest.mark.parametrize("shortcut", ["pad", "equal"])
def test_a_shortcut_between_equal_widths_adds_the_input(shortcut):
    x, added = difference(shortcut, width=4)
    torch.testing.assert_close(added, x)


@pytest.mark.parametrize(
    ("shortcut", "changes"),
    [
        ("none", {"width": 4}),
        ("equal", {"width": 7}),
        ("equal", {"width": 4, "stride": 2}),
        ("pad", {"width": 7, "stride": 2}),
        ("pad", {"width": 3}),
    ],
)
def test_a_block_without_a_shortcut_adds_nothing(shortcut, changes):
    _, added = difference(shortcut, **changes)
    assert not added.any()


def test_the_order_in_a_block_is_expand_depthwise_se_project():
    spec = BlockSpec(width=6, kernel=5, se_divisor=12, project_act="elu", shortcut="none")
    torch.manual_seed(0)
    block = Block(4, spec).eval()
    x = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        y = nn.functional.silu(block.expand(x))
        y = nn.functional.relu6(block.se(block.depthwise(y)))
        y = nn.functional.elu(block.project(y))
        torch.testing.assert_close(block(x), y)
    assert block.depthwise.conv.kernel_size == (5, 5)
    assert block.se.reduce.weight.shape == (2, 24, 1, 1)


def test_a_block_of_expansion_one_begins_with_the_depthwise_convolution():
    spec = BlockSpec(width=6, expansion=1, depthwise_act="relu", project_act="silu")
    torch.manual_seed(0)
    block = Block(4, dataclasses.replace(spec, shortcut="none")).eval()
    x = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        y = nn.functional.relu(block.depthwise(x))
        torch.testing.assert_close(block(x), nn.functional.silu(block.project(y)))
    assert block.expand is None


def test_se_scales_every_channel_by_a_gate_between_0_and_1():
    torch.manual_seed(0)
    x = torch.rand(2, 6, 5, 5) + 0.1
    with torch.no_grad():
        gates = SqueezeExcite(6, 2).eval()(x) / x
    torch.testing.assert_close(gates, gates[..., :1, :1].expand_as(gates))
    assert 0 < gates.min() <= gates.max() < 1


def test_activations_are_their_functions():
    x = torch.linspace(-8, 8, 33)
    functions = {
        "identity": lambda x: x,
        "relu": nn.functional.relu,
        "relu6": nn.functional.relu6,
        "leaky_relu": nn.functional.leaky_relu,
        "elu": nn.functional.elu,
        "softplus": nn.functional.softplus,
        "hardswish": nn.functional.hardswish,
        "silu": nn.functional.silu,
    }
    for name, function in functions.items():
        torch.testing.assert_close(activation(name)(x), function(x))


def test_every_activation_of_a_spec_has_a_place():
    spec = NetSpec(
        name="acts",
        blocks=(
            BlockSpec(width=8, expand_act="elu", depthwise_act="relu", project_act="softplus"),
        ),
        stem_width=8,
        stem_act="leaky_relu",
        penultimate_width=8,
        penultimate_act="hardswish",
        hidden_width=8,
        hidden_act="identity",
    )
    model = built(spec)
    block = model.blocks[0]
    places = (block.expand_act, block.depthwise_act, block.project_act)
    assert [type(place) for place in places] == [nn.ELU, nn.ReLU, nn.Softplus]
    assert isinstance(model.stem_act, nn.LeakyReLU)
    assert isinstance(model.penultimate_act, nn.Hardswish)
    assert isinstance(model.hidden_act, nn.Identity)


def test_dropout_is_that_of_the_spec_and_off_in_evaluation():
    spec = dataclasses.replace(SMALL, dropout=0.7)
    model = built(spec)
    assert model.dropout.p == 0.7
    x = images()
    assert torch.equal(model.eval()(x), model(x))


def test_the_package_offers_the_network():
    assert rexnet.Network is Network


def test_stochastic_depth_has_the_rates_of_timm_where_there_is_a_shortcut():
    reference = timm.create_model("rexnet_100", drop_path_rate=0.3)
    model = create_model("rexnet_1.0", drop_path=0.3)
    rates = [block.drop_path and block.drop_path.p for block in model.blocks]
    expected = [
        block.drop_path.drop_prob if block.use_shortcut and block.drop_path else None
        for block in reference.features[:16]
    ]
    assert rates == pytest.approx(expected)
    assert rates[-1] == 0.3
    assert [index for index, rate in enumerate(rates) if rate is None] == [0, 1, 3, 5, 11]


def test_stochastic_depth_leaves_evaluation_and_the_state_dict_alone(tmp_path):
    plain = built(families.rexnet(0.3, num_classes=5)).eval()
    randomise(plain)
    save_weights(plain, tmp_path / "plain.safetensors")
    model = create_model(plain.spec, tmp_path / "plain.safetensors", drop_path=0.9).eval()
    assert model.state_dict().keys() == plain.state_dict().keys()
    x = images()
    assert torch.equal(model(x), plain(x))


def test_stochastic_depth_drops_whole_outputs_and_keeps_the_expectation():
    torch.manual_seed(0)
    block = Block(4, BlockSpec(width=6), drop_path=0.25).eval()
    x = torch.randn(1, 4, 3, 3)
    with torch.no_grad():
        full = block(x)
        full[:, :4] -= x
        block.drop_path.train()
        y = block(x.repeat(4096, 1, 1, 1))
    y[:, :4] -= x
    dropped = (y.abs() < 1e-6).flatten(1).all(1)
    assert 0.2 < dropped.float().mean() < 0.3
    torch.testing.assert_close(y[~dropped], (full / 0.75).expand_as(y[~dropped]))
    torch.testing.assert_close(y.mean(0), full[0], atol=0, rtol=0.05)


def test_stochastic_depth_of_a_single_block_is_none():
    spec = NetSpec(name="one", blocks=(BlockSpec(width=8),), stem_width=8)
    assert Network(spec, drop_path=0.5).blocks[0].drop_path is None


def learning_rates(model):
    """Return the scale of the learning rate of every parameter of ``model``, in their order."""
    optimizer = create_optimizer_v2(model, opt="sgd", lr=1.0, weight_decay=0.1, layer_decay=0.5)
    scales = {
        parameter: (group["lr_scale"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    return [(tuple(parameter.shape), *scales[parameter]) for parameter in model.parameters()]


def test_layer_wise_learning_rates_are_those_of_timm():
    rates = learning_rates(create_model("rexnet_1.0"))
    assert rates == learning_rates(timm.create_model("rexnet_100"))
    assert [rates[place][1] for place in (0, -3, -1)] == [0.5**18, 0.5, 1.0]


def test_a_hidden_layer_learns_as_fast_as_the_classifier():
    model = built(dataclasses.replace(SMALL, hidden_width=8))
    names = [name for name, _ in model.named_parameters()]
    rates = dict(zip(names, learning_rates(model), strict=True))
    assert rates["hidden.weight"][1] == rates["classifier.weight"][1] == 1.0
    assert rates["penultimate.conv.weight"][1] == 0.5


def test_reset_classifier_puts_a_new_one_in_place():
    model = built(dataclasses.replace(SMALL, hidden_width=8)).double()
    model.classes = ("a", "b", "c", "d", "e")
    model.reset_classifier(7)
    assert model.spec == dataclasses.replace(SMALL, hidden_width=8, num_classes=7)
    assert model.classes == ()
    assert model.get_classifier() is model.classifier
    assert model(images().double()).shape == (2, 7)
    with pytest.raises(UserError, match="num_classes -1 must be from 0"):
        model.reset_classifier(-1)
    assert model.classifier.out_features == 7


def test_a_classifier_taken_away_leaves_features_as_in_timm():
    model = built(dataclasses.replace(SMALL, hidden_width=8)).eval()
    wanted = model.forward_head(model.forward_features(images()), pre_logits=True)
    model.reset_classifier(0)
    assert model.num_classes == 0
    assert model.num_features == 8
    assert torch.equal(model(images()), wanted)
    assert wanted.shape == (2, 8)
    model.reset_classifier(3)
    assert model(images()).shape == (2, 3)
