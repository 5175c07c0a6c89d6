import pytest
import torch
from small_models import FITTED, SPEC, write_detector, write_network, write_search

from rexnet import UserError, create_model
from rexnet.deploy import models
from rexnet.nn.weights import save_weights


def test_a_name_and_a_spec_have_random_weights(tmp_path):
    path = tmp_path / "net.json"
    path.write_text(SPEC.to_json(), encoding="utf-8")
    for source, side in (("rexnet_0.6", 224), (str(path), 32)):
        model = models.load(source)
        assert not model.trained
        assert not model.module.training
        assert model.size == (3, side, side)
        assert model.outputs == ("logits",)


def test_a_folder_of_a_search_without_weights_has_random_ones(tmp_path):
    (tmp_path / "spec.json").write_text(SPEC.to_json(), encoding="utf-8")
    model = models.load(str(tmp_path))
    assert model.module.spec == SPEC
    assert not model.trained


def test_a_search_is_its_best_network_and_with_weights_given_apart_that_on_its_line(tmp_path):
    best = write_search(tmp_path / "S")
    model = models.load(str(tmp_path / "S"))
    assert model.trained
    assert model.module.spec == best.spec
    assert model.preprocessing.mean == (0.5, 0.4, 0.3)
    fitted = tmp_path / "fitted.safetensors"
    save_weights(create_model(FITTED), fitted)
    assert models.load(str(tmp_path / "S"), str(fitted)).module.spec == FITTED
    (tmp_path / "S" / "best.safetensors").unlink()
    assert not models.load(str(tmp_path / "S")).trained


@pytest.mark.parametrize("place", ["M", "R"])
def test_a_model_folder_and_a_run_folder_have_their_weights(place, tmp_path):
    wanted = write_network(tmp_path / "M" if place == "M" else tmp_path / "R" / "model")
    model = models.load(str(tmp_path / place))
    assert model.trained
    assert model.classes == wanted.classes
    for ours, its in zip(model.module.parameters(), wanted.parameters(), strict=True):
        assert torch.equal(ours, its)


def test_weights_of_a_file_go_into_a_spec(tmp_path):
    write_network(tmp_path / "M")
    (tmp_path / "net.json").write_text(SPEC.to_json(), encoding="utf-8")
    weights = str(tmp_path / "M" / "model.safetensors")
    assert models.load(str(tmp_path / "net.json"), weights).trained
    assert models.load(weights).trained


def test_a_detector_has_two_outputs(tmp_path):
    write_detector(tmp_path / "D")
    model = models.load(str(tmp_path / "D"))
    assert model.outputs == ("logits", "offsets")
    assert model.classes == ("cat", "dog")
    assert models.at_resolution(model, 64) is model
    with pytest.raises(UserError, match="is a detector for 64 pixels"):
        models.at_resolution(model, 96)


def test_the_macs_are_those_of_torch():
    spec = models.load("rexnet_cifar_a")
    other = models.load("timm:mobilenetv3_small_050")
    assert not other.trained
    assert other.macs > 10**7
    assert spec.macs == models.replace(spec, module=torch.nn.Sequential(spec.module)).macs
    assert spec.params == sum(p.numel() for p in spec.module.parameters())


def test_another_resolution_is_taken_or_refused():
    model = models.load("rexnet_cifar_a")
    other = models.at_resolution(model, 48)
    assert other.size == (3, 48, 48)
    assert other.macs > model.macs
    with pytest.raises(UserError, match="resolution 7 must be from 8 to 4096"):
        models.at_resolution(model, 7)


@pytest.mark.parametrize("source", ["nothing", "timm:nothing", "nowhere.safetensors"])
def test_what_is_unknown_is_told_in_one_line(source):
    with pytest.raises(UserError) as error:
        models.load(source)
    assert "nothing" in str(error.value) or "nowhere" in str(error.value)
    assert "\n" not in str(error.value)
