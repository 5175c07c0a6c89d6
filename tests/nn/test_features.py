import dataclasses

import pytest
import safetensors.torch
import timm
import torch
from strategies import randomise
from timm.models import FeatureListNet

from rexnet import BlockSpec, NetSpec, UserError, families
from rexnet.nn.create import create_model
from rexnet.nn.features import FeatureNetwork
from rexnet.nn.network import Network

SPEC = families.rexnet(0.3, num_classes=5)


def maps_of(model, images):
    with torch.no_grad():
        return model.eval()(images)


@pytest.mark.parametrize("out_indices", [None, (0, 2, 4), (-1,), (1, -2)])
def test_maps_are_those_of_timm_on_the_same_weights(tmp_path, out_indices):
    torch.manual_seed(0)
    source = timm.create_model("rexnet_100")
    randomise(source)
    path = tmp_path / "timm.safetensors"
    safetensors.torch.save_file(source.state_dict(), path)
    model = create_model("rexnet_1.0", path, features_only=True, out_indices=out_indices)
    indices = tuple(index % 5 for index in out_indices or range(5))
    reference = FeatureListNet(source, out_indices=indices, flatten_sequential=True)
    images = torch.randn(2, 3, 96, 96)
    maps, expected = maps_of(model, images), maps_of(reference, images)
    assert isinstance(maps, list)
    assert len(maps) == len(expected) == len(indices)
    for ours, theirs in zip(maps, expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().mean()
    assert model.feature_info.channels() == reference.feature_info.channels()
    assert model.feature_info.reduction() == reference.feature_info.reduction()


def test_feature_info_describes_the_maps_in_their_order():
    model = create_model(SPEC, features_only=True, out_indices=(-1, 0, 0, 2))
    maps = maps_of(model, torch.zeros(1, 3, 64, 64))
    assert model.feature_info.reduction() == [2, 8, 32]
    assert [64 // m.shape[-1] for m in maps] == model.feature_info.reduction()
    assert [m.shape[1] for m in maps] == model.feature_info.channels()
    assert len(model.feature_info) == 5


def test_a_stem_of_stride_one_gives_a_map_of_stride_one():
    blocks = (BlockSpec(width=8, stride=2), BlockSpec(width=9), BlockSpec(width=10, stride=2))
    spec = NetSpec(name="first", blocks=blocks, stem_width=6, stem_stride=1)
    model = create_model(spec, features_only=True)
    assert model.feature_info.reduction() == [1, 2, 4]
    assert model.feature_info.channels() == [6, 9, 10]
    assert [m.shape[1:] for m in maps_of(model, torch.zeros(1, 3, 32, 32))] == [
        (6, 32, 32),
        (9, 16, 16),
        (10, 8, 8),
    ]


def test_the_modules_of_feature_info_give_the_maps():
    model = create_model(families.search_network((8, 12, 16, 20, 24), 10), features_only=True)
    outputs = {}
    for name in model.feature_info.module_name():
        module = model.get_submodule(name)
        module.register_forward_hook(lambda _m, _x, y, name=name: outputs.update({name: y}))
    maps = maps_of(model, torch.randn(1, 3, 32, 32))
    assert all(torch.equal(a, b) for a, b in zip(maps, outputs.values(), strict=True))


def test_what_no_map_needs_is_left_out_and_all_that_is_left_learns():
    model = create_model(SPEC, features_only=True, out_indices=(0, 1))
    assert len(model.blocks) == 3
    names = {name for name, _ in model.named_parameters()}
    assert names < {name for name, _ in Network(SPEC).named_parameters()}
    sum(m.square().sum() for m in model.train()(torch.randn(2, 3, 32, 32))).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_head_of_the_weights_does_not_matter(tmp_path):
    torch.manual_seed(0)
    source = Network(SPEC)
    torch.save(source.state_dict(), tmp_path / "five.pth")
    spec = dataclasses.replace(SPEC, num_classes=9)
    model = create_model(spec, tmp_path / "five.pth", features_only=True)
    assert isinstance(model, FeatureNetwork)
    assert torch.equal(model.blocks[-1].project.conv.weight, source.blocks[-1].project.conv.weight)
    assert model.preprocessing == source.preprocessing


@pytest.mark.parametrize(
    ("out_indices", "reason"),
    [
        ((0, 5), "out_indices 5 must be from -5 to 4: .* has 5 maps, of strides 2, 4, 8, 16, 32"),
        ((-6,), "out_indices -6 must be from -5 to 4"),
        ((1.5,), r"out_indices 1\.5 must be from -5 to 4"),
        ((), "out_indices is empty; give one or more"),
    ],
)
def test_indices_out_of_range_are_named(out_indices, reason):
    with pytest.raises(UserError, match=reason):
        create_model(SPEC, features_only=True, out_indices=out_indices)
