import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import safetensors.torch
import timm
import torch
from model_folders import CLASSES, ODD, SMALL, into_cache, timm_folder, timm_model, trained
from strategies import randomise
from timm.models import save_for_hf

import rexnet
from rexnet import UserError, families
from rexnet.nn.create import create_model
from rexnet.nn.hub import imagenet_classes, imagenet_ids, load_into, load_model, save_pretrained
from rexnet.nn.network import Network
from rexnet.nn.sources import TIMM_REPOSITORIES, find_weights
from rexnet.nn.weights import save_weights
from rexnet.preprocessing import Preprocessing

REPOSITORY = "timm/rexnet_100.nav_in1k"


def logits_of(model, num_channels=3):
    images = torch.randn(2, num_channels, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return model.eval()(images)


def same_state(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Return an empty cache of the hub, which is offline."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_saved_model_comes_back_exactly(tmp_path):
    model = trained()
    save_pretrained(model, tmp_path / "out" / "model")
    assert {file.name for file in (tmp_path / "out" / "model").iterdir()} == {
        "config.json",
        "model.safetensors",
    }
    for source in (tmp_path / "out" / "model", tmp_path / "out", str(tmp_path / "out")):
        again = load_model(source)
        assert again.spec == model.spec
        assert again.preprocessing == ODD
        assert again.classes == CLASSES
        assert not again.training
        assert same_state(again, model)


@pytest.mark.parametrize("name", ["rexnet_0.6", "rexnet_plain", "rexnet_lite_1.0"])
def test_a_saved_family_gives_the_same_logits(tmp_path, name):
    model = create_model(name)
    randomise(model)
    save_pretrained(model, tmp_path)
    again = load_model(tmp_path)
    assert (again.spec, again.classes) == (model.spec, ())
    assert again.preprocessing == model.preprocessing
    assert torch.equal(logits_of(again), logits_of(model))


def test_saving_twice_gives_the_same_files(tmp_path):
    for name in ("one", "two"):
        save_pretrained(trained(), tmp_path / name)
    save_pretrained(load_model(tmp_path / "one"), tmp_path / "one")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_file_of_a_model_folder_brings_what_lies_beside_it(tmp_path):
    save_pretrained(trained(), tmp_path)
    for model in (
        load_model(tmp_path / "model.safetensors"),
        create_model(SMALL, tmp_path / "model.safetensors"),
    ):
        assert (model.preprocessing, model.classes) == (ODD, CLASSES)


def test_a_file_that_lies_alone_brings_its_spec(tmp_path):
    model = trained()
    save_weights(model, tmp_path / "alone.safetensors")
    again = load_model(tmp_path / "alone.safetensors")
    assert again.spec == SMALL
    assert same_state(again, model)
    assert (again.preprocessing, again.classes) == (Network(SMALL).preprocessing, ())


def test_timm_takes_the_weights_that_timm_keeps_on_the_hub(tmp_path, cache):
    reference = timm_folder(tmp_path / "files")
    into_cache(cache, REPOSITORY, tmp_path / "files")
    model = create_model("rexnet_1.0", "timm")
    expected = logits_of(reference)
    assert (logits_of(model) - expected).abs().max() < 1e-4 * expected.abs().mean()
    assert model.preprocessing == Preprocessing()
    assert model.classes == imagenet_classes()
    other = dataclasses.replace(model.spec, name="mine", dropout=0.0, resolution=160)
    tuned = create_model(other, "timm", num_classes=7, in_channels=1)
    assert tuned.classes == ()
    assert tuned.preprocessing == Preprocessing().with_channels(1)
    assert torch.equal(tuned.blocks[5].project.conv.weight, model.blocks[5].project.conv.weight)


def test_timm_names_the_repositories_that_timm_lists():
    listed = timm.list_pretrained(["rexnet_*", "tf_efficientnet_lite*"])
    listed = [name for name in listed if name.startswith(("rexnet_", "tf_"))]
    assert sorted(listed) == sorted(TIMM_REPOSITORIES.values())
    for name in listed:
        assert timm.get_pretrained_cfg(name).hf_hub_id == f"timm/{name}"


@pytest.mark.parametrize("name", ["rexnet_1.1", "rexnet_lite_1.0", "mobilenet_v2"])
def test_networks_that_timm_has_no_weights_for_are_refused(name):
    known = ", ".join(TIMM_REPOSITORIES)
    with pytest.raises(UserError, match=f"timm has no weights for {name}, only for {known}; pass"):
        create_model(name, "timm")


@pytest.mark.parametrize("name", TIMM_REPOSITORIES)
def test_weights_of_timm_that_are_not_in_the_cache_are_named(cache, name):
    repository = f"timm/{re.escape(TIMM_REPOSITORIES[name])}"
    reason = f"and the cache {cache} does not hold it; download its config.json and model.safet"
    with torch.device("meta"), pytest.raises(UserError, match=f"{repository} from .*, {reason}"):
        create_model(name, "timm")


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_a_repository_without_its_config_or_weights_is_named(tmp_path, cache, weights):
    timm_folder(tmp_path / "files", width_mult=0.3)
    (tmp_path / "files" / "model.safetensors").unlink()
    into_cache(cache, "me/bare", tmp_path / "files")
    with pytest.raises(UserError, match="cannot download me/bare from the hub: offline mode"):
        load_model("hf:me/bare")
    other = tmp_path / "other"
    other.mkdir()
    (other / weights).write_bytes(b"weights")
    into_cache(cache, "me/weights", other)
    with pytest.raises(UserError, match="cannot download me/weights from the hub: offline mode"):
        load_model("hf:me/weights")


def test_a_name_that_is_no_repository_is_refused(cache):
    with pytest.raises(
        UserError, match=r"cannot download a b from the hub: HFValidationError: "
    ) as e:
        create_model("rexnet_1.0", "hf:a b")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({"width_mult": 0.3}, {}),
        ({"width_mult": 0.7, "num_classes": 10}, {"num_classes": 10}),
        ({"width_mult": 0.3, "in_chans": 1}, {"in_channels": 1}),
        ({"width_mult": 0.3, "in_chans": 4}, {"in_channels": 4}),
        ({"width_mult": 0.3, "drop_path_rate": 0.1, "num_classes": 5}, {"num_classes": 5}),
    ],
)
def test_a_repository_of_timm_gives_the_model_of_timm(tmp_path, cache, options, changes):
    reference = timm_folder(tmp_path / "files", **options)
    into_cache(cache, "me/mine", tmp_path / "files")
    model = load_model("hf:me/mine")
    assert model.spec == dataclasses.replace(families.rexnet(options["width_mult"]), **changes)
    expected = logits_of(reference, model.spec.in_channels)
    ours = logits_of(model, model.spec.in_channels)
    assert (ours - expected).abs().max() < 1e-4 * expected.abs().mean()
    assert len(model.classes) == (1000 if model.spec.num_classes == 1000 else 0)
    assert model.preprocessing.num_channels == model.spec.in_channels


def test_a_revision_is_a_state_of_the_repository(tmp_path, cache):
    for commit, revision in (("1" * 40, "main"), ("2" * 40, "v2")):
        model = trained()
        model.classes = (revision, "b", "c")
        save_pretrained(model, tmp_path / revision)
        into_cache(cache, "me/mine", tmp_path / revision, commit, revision)
    assert load_model("hf:me/mine").classes[0] == "main"
    assert load_model("hf:me/mine@v2").classes[0] == "v2"
    assert create_model(SMALL, "hf:me/mine@" + "2" * 40).classes[0] == "v2"


def test_a_folder_with_a_file_of_torch_save_is_read_without_its_code(tmp_path, cache):
    reference = timm_model(width_mult=0.3)
    save_for_hf(reference, tmp_path / "files", safe_serialization=False)
    into_cache(cache, "me/bin", tmp_path / "files")
    expected = logits_of(reference)
    for source in (tmp_path / "files", "hf:me/bin"):
        logits = logits_of(load_model(source))
        assert (logits - expected).abs().max() < 1e-4 * expected.abs().mean()
    torch.save({"stem.conv.weight": subprocess.Popen}, tmp_path / "files" / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"cannot read the weights .*pytorch_model\.bin"):
        load_model(tmp_path / "files")


def test_weights_of_a_model_folder_that_do_not_fit_are_refused(tmp_path):
    save_pretrained(trained(), tmp_path)
    model = create_model(SMALL)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(
        Network(SMALL.with_widths((9, 12))).state_dict(), tmp_path / "model.safetensors"
    )
    with pytest.raises(UserError, match=r"model\.safetensors does not fit small: blocks\.0"):
        load_model(tmp_path)
    with pytest.raises(UserError, match=r"model\.safetensors does not fit small: blocks\.0"):
        load_into(model, find_weights(tmp_path))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert (model.preprocessing, model.classes) == (Network(SMALL).preprocessing, ())


@pytest.mark.parametrize("source", ["missing", "missing.pth", "rexnet_1.0", "official:missing"])
def test_a_source_that_is_not_there_is_named(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    reason = f"^cannot read the weights {source.removeprefix('official:')}: no such file or folder"
    with pytest.raises(UserError, match=reason):
        load_model(source)
    with pytest.raises(UserError, match=reason):
        create_model("rexnet_0.6", source)


def test_files_without_a_spec_are_refused(tmp_path):
    torch.save(Network(SMALL).state_dict(), tmp_path / "bare.pth")
    safetensors.torch.save_file(Network(SMALL).state_dict(), tmp_path / "bare.safetensors")
    for name in ("bare.pth", "bare.safetensors"):
        with pytest.raises(UserError, match=f"{name} carries no spec; give the network to create"):
            load_model(tmp_path / name)


def test_folders_without_a_model_are_refused(tmp_path):
    with pytest.raises(UserError, match=rf"{tmp_path} holds no model: neither config\.json nor"):
        load_model(tmp_path)
    save_pretrained(trained(), tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=rf"{tmp_path}/model holds no weights: neither model\.saf"):
        load_model(tmp_path)
    assert create_model(tmp_path).spec == SMALL


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=rf"cannot write {tmp_path}/file/model\.safetensors"):
        save_pretrained(trained(), tmp_path / "file")


def test_the_classes_of_imagenet_are_short_and_in_order():
    classes = imagenet_classes()
    assert len(classes) == 1000
    assert [classes[place] for place in (0, 134, 517, 999)] == [
        "tench",
        "crane",
        "crane",
        "toilet tissue",
    ]
    assert not any("," in name or not name for name in classes)
    assert imagenet_ids() == tuple(sorted(set(imagenet_ids())))
    assert (len(imagenet_ids()), imagenet_ids()[0]) == (1000, "n01440764")


def test_the_environment_of_the_hub_is_respected_and_nothing_heavy_is_loaded(tmp_path):
    save_pretrained(trained(), tmp_path / "files")
    into_cache(tmp_path / "hub", "me/mine", tmp_path / "files")
    code = (
        "import sys, rexnet\n"
        "rexnet.create_model('rexnet_0.6')\n"
        f"rexnet.load_model({str(tmp_path / 'files')!r})\n"
        "print({'timm', 'torchvision', 'huggingface_hub'} & sys.modules.keys())\n"
        "print(rexnet.load_model('hf:me/mine').classes)\n"
    )
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    output = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    ).stdout
    assert output.splitlines() == ["set()", str(CLASSES)]


def test_the_examples_of_the_docs_work(tmp_path, cache, monkeypatch):
    timm_folder(tmp_path / "files")
    into_cache(cache, REPOSITORY, tmp_path / "files")
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")
    names = {}
    for example in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(example, names)
    assert same_state(names["again"], names["model"])


def test_the_package_offers_both():
    assert rexnet.load_model is load_model
    assert rexnet.save_pretrained is save_pretrained
