import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from rexnet import UserError, load_model
from rexnet.nn.classifiers import load_classifier, params_and_macs, quick
from rexnet.nn.fast.inference import fuse
from rexnet.nn.model_folder import TimmModel
from rexnet.nn.sources import check_trained, find, resolve
from rexnet.nn.timm_models import create_timm, save_timm

SMALL = TimmModel(name="test_efficientnet")


def images(side=64):
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def outputs(model, side=64):
    return model.eval()(images(side))


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Return a classifier of timm of three classes, which is in the folder M, too."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = create_timm(SMALL, num_classes=3).eval()
    model.classes = ("cat", "dog", "pig")
    save_timm(model, "M")
    return model


def test_a_model_folder_gives_the_same_classifier_here_and_in_timm(small):
    again = load_classifier("M")
    assert (again.name, again.spec, again.num_classes) == ("timm:test_efficientnet", None, 3)
    assert (again.classes, again.preprocessing) == (small.classes, small.preprocessing)
    wanted = outputs(small)
    assert torch.equal(outputs(again), wanted)
    theirs = timm.create_model("local-dir:M", pretrained=True)
    assert torch.equal(outputs(theirs), wanted)
    assert theirs.pretrained_cfg["num_classes"] == 3
    assert tuple(theirs.pretrained_cfg["label_names"]) == small.classes


def test_a_folder_that_timm_wrote_is_read(tmp_path):
    model = timm.create_model("test_resnet", num_classes=4)
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    found = find(tmp_path)
    assert (found.kind, found.timm.name, found.timm.num_classes) == ("timm", "test_resnet", 4)
    assert torch.equal(outputs(load_classifier(str(tmp_path))), outputs(model))


def test_a_model_built_for_one_resolution_is_built_for_another(tmp_path):
    model = create_timm(TimmModel(name="test_vit"), num_classes=3, resolution=64)
    assert (model.preprocessing.resolution, model.known.arguments) == (64, {"img_size": 64})
    save_timm(model, tmp_path)
    again = load_classifier(str(tmp_path))
    assert again.preprocessing.resolution == 64
    assert torch.equal(outputs(again), outputs(model))


def test_weights_of_other_classes_leave_the_classifier_new(small):
    model = create_timm(SMALL, "M", num_classes=5)
    assert (model.num_classes, model.classes) == (5, ())
    body, source = model.body.state_dict(), small.body.state_dict()
    same = [name for name in body if not name.startswith("classifier.")]
    assert all(torch.equal(body[name], source[name]) for name in same)
    assert body["classifier.weight"].shape == (5, 256)
    kept = create_timm(SMALL, "M", num_classes=3)
    assert torch.equal(kept.body.classifier.weight, small.body.classifier.weight)


def test_a_file_of_weights_fills_a_model(small, tmp_path):
    torch.save({"state_dict": small.body.state_dict()}, tmp_path / "w.pth")
    model = create_timm(SMALL, "w.pth", num_classes=3)
    assert torch.equal(outputs(model), outputs(small))
    with pytest.raises(UserError, match=r"w\.pth does not fit timm's test_efficientnet: classifie"):
        create_timm(SMALL, "w.pth")
    with pytest.raises(UserError, match=r"w\.pth does not fit timm's test_resnet: .* missing"):
        create_timm(TimmModel(name="test_resnet"), "w.pth", num_classes=3)


def test_rates_are_passed_where_timm_takes_them():
    model = create_timm(SMALL, num_classes=3, dropout=0.3, drop_path=0.2)
    assert model.body.drop_rate == 0.3
    assert any(getattr(part, "drop_prob", 0) > 0.15 for part in model.modules())
    without = TimmModel(name="dla46_c")
    assert create_timm(without, num_classes=3, dropout=0.3).num_classes == 3
    with pytest.raises(UserError, match="timm's dla46_c has no stochastic depth; set drop_path=0"):
        create_timm(without, num_classes=3, drop_path=0.2)


def test_params_and_macs_are_counted():
    model = create_timm(TimmModel(name="test_resnet"), num_classes=3, resolution=64)
    params, macs = params_and_macs(model)
    assert params == sum(p.numel() for p in model.body.parameters())
    wanted = 0

    def count(module, inputs, output):
        nonlocal wanted
        weight = module.weight
        places = output.shape[2] * output.shape[3] if output.ndim == 4 else 1
        wanted += weight.numel() * places

    for part in model.modules():
        if isinstance(part, torch.nn.Conv2d | torch.nn.Linear):
            part.register_forward_hook(count)
    outputs(model, model.preprocessing.resolution)
    assert macs == wanted


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_vit", "test_coatnet"])
def test_the_fast_form_gives_the_same(name):
    torch.manual_seed(0)
    model = create_timm(TimmModel(name=name), num_classes=3).eval()
    side = model.preprocessing.resolution
    found = outputs(quick(model), side)
    assert (found - outputs(model, side)).abs().max() < 1e-3


def test_a_fast_form_that_does_not_agree_is_not_taken():
    class Swapped(torch.nn.Module):
        """A convolution whose norm, its neighbour, stands in front of it."""

        def __init__(self):
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(3, 3, 1), torch.nn.BatchNorm2d(3)
            self.norm.running_mean.fill_(2.0)
            self.norm.bias.data.fill_(3.0)

        def forward(self, x):
            return self.conv(self.norm(x)).mean((2, 3))

    model = create_timm(SMALL, num_classes=3)
    model.body = Swapped()
    wanted = outputs(model)
    assert (outputs(fuse(model)) - wanted).abs().max() > 0.1
    torch.testing.assert_close(outputs(quick(model)), wanted)


def test_what_holds_a_model_of_timm_says_so_where_ours_are_wanted(small):
    words = r"M holds timm's test_efficientnet, no network of this package"
    with pytest.raises(UserError, match=f"{words}; timm.create_model.'local-dir:M'"):
        load_model("M")
    with pytest.raises(UserError, match=words):
        resolve("M")


@pytest.mark.parametrize(
    ("model", "weights", "wanted"),
    [
        ("timm:test_efficientne", "timm", "did you mean test_efficientnet?"),
        ("timm:test_efficientnet", None, "timm:test_efficientnet needs --weights timm"),
        ("timm:test_efficientnet", "no.pth", "cannot read the weights no.pth"),
        ("M", "no.pth", "cannot read the weights no.pth"),
    ],
)
def test_a_trained_model_of_timm_is_looked_up(model, weights, wanted, small):
    check_trained("M")
    check_trained("M", "timm")
    check_trained("timm:test_efficientnet", "M")
    with pytest.raises(UserError) as error:
        check_trained(model, weights)
    assert wanted in str(error.value)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"model_args": {"pretrained": True}}, "model_args may not hold pretrained"),
        ({"model_args": {"checkpoint_path": "x"}}, "model_args may not hold checkpoint_path"),
        ({"model_args": {"bogus": 1}}, "timm cannot build test_efficientnet: TypeError"),
        ({"num_classes": "3"}, "num_classes '3' must be a whole number"),
        (
            {"num_classes": 4, "label_names": None},
            "does not fit timm's test_efficientnet: classifier.weight has shape",
        ),
        ({"architecture": "test_efficientne"}, "architecture 'test_efficientne' is unknown"),
    ],
)
def test_a_damaged_folder_is_told_in_one_line(change, wanted, small, tmp_path):
    path = tmp_path / "M" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError) as error:
        load_classifier("M")
    assert wanted in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_finite_is_refused(small, tmp_path):
    tensors = {name: t.clone() for name, t in small.body.state_dict().items()}
    tensors["conv_stem.weight"][0] = float("nan")
    save_file({n: t.contiguous() for n, t in tensors.items()}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="not finite"):
        create_timm(SMALL, "w.safetensors", num_classes=3)
