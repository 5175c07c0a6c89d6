import dataclasses

import pytest
import safetensors.torch
import timm
import torch
from model_folders import CLASSES, ODD, trained
from model_folders import SMALL as TRAINED
from official_models import NAMES, official_tensors
from strategies import randomise

import rexnet
from rexnet import BlockSpec, NetSpec, UserError, families
from rexnet.nn.create import create_model
from rexnet.nn.fast.padded import fill
from rexnet.nn.hub import load_model, save_pretrained
from rexnet.nn.network import Network
from rexnet.preprocessing import Preprocessing
from rexnet.train.validate import trained as trained_model

SMALL = NetSpec(
    name="small",
    blocks=(BlockSpec(width=8, stride=2, expansion=1), BlockSpec(width=12, se_divisor=4)),
    stem_width=8,
    penultimate_width=16,
    num_classes=5,
)
HIDDEN = dataclasses.replace(SMALL, hidden_width=8)


def same_state(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_create_model_takes_a_name_a_spec_and_a_file(tmp_path):
    path = tmp_path / "spec.json"
    path.write_text(SMALL.to_json(), encoding="utf-8")
    assert create_model(SMALL).spec == SMALL
    assert create_model(str(path)).spec == SMALL
    with torch.device("meta"):
        assert create_model("rexnet_1.3").spec == families.get("rexnet_1.3")


def test_every_name_builds():
    for name in families.names():
        with torch.device("meta"):
            model = create_model(name)
        assert model.classifier.out_features == families.get(name).num_classes


def test_resolve_refuses_what_it_does_not_know(tmp_path):
    with pytest.raises(UserError, match=r"unknown model 'rexnet_plan' \(did you mean"):
        families.resolve("rexnet_plan")
    with pytest.raises(UserError, match=r"cannot read the spec .*missing\.json"):
        families.resolve(str(tmp_path / "missing.json"))


def test_num_classes_and_in_channels_change_the_spec():
    model = create_model(SMALL, num_classes=7, in_channels=2)
    assert model.spec == dataclasses.replace(SMALL, num_classes=7, in_channels=2)
    assert model(torch.zeros(2, 2, 32, 32)).shape == (2, 7)


def test_a_new_network_has_the_default_preprocessing_of_its_spec():
    model = create_model(dataclasses.replace(SMALL, resolution=96), in_channels=4)
    assert model.preprocessing == Preprocessing(resolution=96).with_channels(4)
    assert model.classes == ()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"num_classes": -1}, "small: num_classes -1 must be from 0 to 1000000"),
        ({"num_classes": "10"}, "small: num_classes '10' must be int"),
        ({"in_channels": 1025}, "small: in_channels 1025 must be from 1 to 1024"),
        ({"drop_path": 1}, "drop_path 1 must be at least 0 and below 1"),
        ({"drop_path": -0.1}, r"drop_path -0\.1 must be at least 0 and below 1"),
        ({"drop_rate": 1.5}, r"small: dropout 1\.5 must be at least 0 and below 1"),
        ({"in_chans": 0}, "small: in_channels 0 must be from 1"),
        ({"in_channels": 3, "in_chans": 1}, "in_channels 3 and in_chans 1 are the same thing"),
        ({"drop_path": 0.1, "drop_path_rate": 0.2}, r"drop_path 0\.1 and drop_path_rate 0\.2 are"),
        ({"pretrained": True}, r"timm has no weights for small, only for rexnet_1\.0, .*; pass a"),
        (
            {"pretrained": True, "weights": "a.pth"},
            r"pretrained=True takes timm's weights, weights a\.pth; give one",
        ),
        ({"out_indices": (0,)}, "out_indices chooses feature maps; give features_only=True"),
    ],
)
def test_options_out_of_range_are_named(options, reason):
    with pytest.raises(UserError, match=reason):
        create_model(SMALL, **options)


def test_a_run_folder_with_a_spec_gives_the_architecture(tmp_path):
    (tmp_path / "spec.json").write_text(SMALL.to_json(), encoding="utf-8")
    assert create_model(tmp_path).spec == create_model(str(tmp_path)).spec == SMALL


def test_a_name_wins_over_a_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rexnet_0.7").mkdir()
    assert create_model("rexnet_0.7").spec == families.get("rexnet_0.7")


def test_a_folder_without_a_network_is_refused(tmp_path):
    with pytest.raises(UserError, match=rf"{tmp_path} holds no model: neither config\.json nor"):
        create_model(tmp_path)


def test_a_run_folder_names_a_network_and_its_weights(tmp_path):
    model = trained()
    save_pretrained(model, tmp_path / "model")
    assert create_model(tmp_path).spec == create_model(tmp_path / "model").spec == TRAINED
    again = create_model(tmp_path, tmp_path)
    assert same_state(again.state_dict(), model.state_dict())
    assert (again.preprocessing, again.classes) == (ODD, CLASSES)
    assert again.training


@pytest.mark.parametrize(
    ("options", "classes", "mean"),
    [
        ({"num_classes": 3}, CLASSES, (0.1, 0.2)),
        ({"num_classes": 4}, (), (0.1, 0.2)),
        ({"in_channels": 2}, CLASSES, (0.1, 0.2)),
    ],
)
def test_a_new_classifier_has_no_class_names(tmp_path, options, classes, mean):
    save_pretrained(trained(), tmp_path)
    model = create_model(TRAINED, tmp_path, **options)
    assert model.classes == classes
    assert model.preprocessing.mean == mean


def test_feature_maps_keep_the_preprocessing(tmp_path):
    save_pretrained(trained(), tmp_path)
    assert create_model(tmp_path, tmp_path, features_only=True).preprocessing == ODD


@pytest.mark.parametrize("key", ["v1:1.0", "lite:1.0"])
def test_another_number_of_classes_takes_a_new_classifier_and_all_else(tmp_path, key):
    path = tmp_path / "official.pth"
    torch.save(official_tensors(key), path)
    whole = create_model(NAMES[key], path).state_dict()
    torch.manual_seed(3)
    model = create_model(NAMES[key], f"official:{path}", num_classes=10)
    torch.manual_seed(3)
    fresh = create_model(NAMES[key], num_classes=10)
    assert model.spec == fresh.spec
    assert model.classes == ()
    for name, tensor in model.state_dict().items():
        source = fresh.state_dict() if name.startswith("classifier.") else whole
        assert torch.equal(tensor, source[name]), name


def test_the_same_number_of_classes_keeps_the_classifier(tmp_path):
    path = tmp_path / "small.pth"
    torch.save(Network(HIDDEN).state_dict(), path)
    kept = create_model(dataclasses.replace(HIDDEN, num_classes=9), path, num_classes=5)
    assert same_state(kept.state_dict(), torch.load(path))


def test_weights_without_a_classifier_load_beside_a_new_one(tmp_path):
    tensors = Network(HIDDEN).state_dict()
    body = {name: value for name, value in tensors.items() if not name.startswith("classifier.")}
    torch.save(body, tmp_path / "body.pth")
    with pytest.raises(UserError, match=r"2 tensors missing \(such as classifier\.weight"):
        create_model(HIDDEN, tmp_path / "body.pth")
    model = create_model(HIDDEN, tmp_path / "body.pth", num_classes=7)
    assert model.classifier.out_features == 7
    assert torch.equal(model.stem.conv.weight, tensors["stem.conv.weight"])


def test_official_weights_bring_the_preprocessing_and_the_classes_of_imagenet(tmp_path):
    path = tmp_path / "official.pth"
    torch.save(official_tensors("v1:1.0"), path)
    spec = dataclasses.replace(families.get("rexnet_1.0"), resolution=160)
    model = create_model(spec, f"official:{path}")
    assert model.preprocessing == Preprocessing()
    assert model.preprocessing.resolution == 224
    assert len(model.classes) == 1000
    assert [model.classes[place] for place in (0, 281, 999)] == ["tench", "tabby", "toilet tissue"]
    alone = create_model(spec, path)
    assert (alone.preprocessing, alone.classes) == (Preprocessing(resolution=160), ())


def test_the_package_offers_it():
    assert rexnet.create_model is create_model


def reference_and_ours(tmp_path, **options):
    """Return a network of timm's with random weights, and ours with the same."""
    reference = timm.create_model("rexnet_100", **options).eval()
    randomise(reference)
    safetensors.torch.save_file(reference.state_dict(), tmp_path / "timm.safetensors")
    return reference, create_model("rexnet_1.0", tmp_path / "timm.safetensors", **options).eval()


def test_what_users_of_timm_write_gives_what_timm_gives(tmp_path):
    options = {"num_classes": 7, "in_chans": 1, "drop_rate": 0.4, "drop_path_rate": 0.3}
    reference, model = reference_and_ours(tmp_path, **options)
    assert model.dropout.p == reference.head.drop.p == reference.drop_rate == 0.4
    assert model.blocks[-1].drop_path.p == 0.3
    assert (model.num_classes, model.num_features) == (7, reference.num_features)
    sizes = ("num_chs", "reduction")
    infos = ([[info[k] for k in sizes] for info in m.feature_info] for m in (model, reference))
    assert next(infos) == next(infos)
    x = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for pre_logits in (False, True):
            ours, theirs = (
                m.forward_head(m.forward_features(x), pre_logits=pre_logits)
                for m in (model, reference)
            )
            assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().mean()
        for m in (model, reference):
            m.reset_classifier(0)
        ours, theirs = model(x), reference(x)
        assert isinstance(model.get_classifier(), type(reference.get_classifier()))
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().mean()


def test_timm_reads_what_images_need():
    model = create_model("rexnet_1.0", in_channels=1)
    config = timm.data.resolve_model_data_config(model)
    assert Preprocessing.from_config(config) == model.preprocessing
    assert timm.data.create_transform(**config) is not None


def test_a_network_without_classes_has_no_classifier_and_comes_back(tmp_path):
    body = Network(HIDDEN).state_dict()
    torch.save(body, tmp_path / "small.pth")
    model = create_model(HIDDEN, tmp_path / "small.pth", num_classes=0).eval()
    body = {name: value for name, value in body.items() if not name.startswith("classifier.")}
    assert same_state(model.state_dict(), body)
    images = torch.zeros(2, 3, 32, 32)
    assert model(images).shape == (2, 8)
    save_pretrained(model, tmp_path / "M")
    again = load_model(tmp_path / "M")
    assert torch.equal(again(images), model(images))
    with pytest.raises(UserError, match=r"M has no classifier: it gives features, and cannot"):
        trained_model(str(tmp_path / "M"), None)


@pytest.mark.parametrize("penultimate", [0, 16])
def test_the_exported_form_of_a_network_without_classes_gives_its_features(penultimate):
    torch.manual_seed(0)
    spec = dataclasses.replace(SMALL, num_classes=0, penultimate_width=penultimate)
    model = Network(spec).eval()
    randomise(model)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(fill(model)(images), model(images), atol=1e-4, rtol=1e-4)
