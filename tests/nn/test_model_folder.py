import json

import pytest
import timm
from model_folders import CLASSES, SMALL, edit, timm_folder, trained

from rexnet import UserError, families
from rexnet.nn.create import create_model
from rexnet.nn.hub import load_model, save_pretrained
from rexnet.preprocessing import Preprocessing


def test_the_config_has_the_field_names_of_timm(tmp_path):
    save_pretrained(trained(), tmp_path / "ours")
    timm_folder(tmp_path / "theirs", width_mult=0.3)
    ours, theirs = (
        json.loads((tmp_path / name / "config.json").read_text(encoding="utf-8"))
        for name in ("ours", "theirs")
    )
    assert ours.keys() - theirs.keys() == {"spec", "label_names"}
    assert ours["pretrained_cfg"].keys() <= theirs["pretrained_cfg"].keys()
    assert ours["pretrained_cfg"]["input_size"] == [2, 40, 40]
    assert (ours["architecture"], ours["num_classes"], ours["num_features"]) == ("small", 3, 16)
    assert ours["label_names"] == list(CLASSES)


@pytest.mark.parametrize("code", [100, 130])
def test_the_architecture_of_timm_gives_the_width(tmp_path, code):
    config = timm.get_pretrained_cfg(f"rexnet_{code}").to_dict()
    text = json.dumps({"architecture": f"rexnet_{code}", "pretrained_cfg": config})
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    assert create_model(tmp_path).spec == families.get(f"rexnet_{code / 100}")


def test_the_architecture_of_timm_gives_the_efficientnet(tmp_path):
    config = timm.get_pretrained_cfg("tf_efficientnet_lite2").to_dict()
    text = json.dumps({"architecture": "tf_efficientnet_lite2", "pretrained_cfg": config})
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    assert create_model(tmp_path).spec == families.get("efficientnet_lite2")


def test_a_config_of_timm_brings_what_it_says(tmp_path):
    def change(config):
        config["label_names"] = list(CLASSES)
        config["model_args"]["drop_rate"] = 0.5
        config["pretrained_cfg"] |= {"crop_pct": 0.95, "input_size": [3, 288, 288]}

    timm_folder(tmp_path, change, width_mult=0.3, num_classes=3)
    model = load_model(tmp_path)
    assert model.spec.dropout == 0.5
    assert model.classes == CLASSES
    assert model.preprocessing == Preprocessing(resolution=288, crop=0.95)
    assert model.spec.resolution == 288


def delete(*names):
    def change(config):
        for name in names:
            del config[name]

    return change


def updated(**fields):
    return lambda config: config.update(fields)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (delete("pretrained_cfg"), ": pretrained_cfg, .*, is missing or no object"),
        (updated(pretrained_cfg=[]), ": pretrained_cfg, .*, is missing or no object"),
        (lambda c: c["pretrained_cfg"].pop("mean"), ": field 'mean' of the preprocessing is miss"),
        (lambda c: c["pretrained_cfg"].update(crop_pct=2), r": crop 2\.0 must be above 0"),
        (updated(label_names=["a"]), "has 1 label_names for 3 classes"),
        (delete("spec", "architecture"), "describes no model: it has no spec and no architecture"),
        (delete("spec"), ": architecture 'small' is unknown, here and to timm"),
        (updated(spec={"name": "a"}), ": field 'blocks' of the NetSpec is missing"),
        (updated(spec=None), ": a NetSpec must be a JSON object, not NoneType"),
    ],
)
def test_a_damaged_config_is_named(tmp_path, change, reason):
    save_pretrained(trained(), tmp_path)
    edit(tmp_path, change)
    with pytest.raises(UserError, match=rf"^{tmp_path}/config\.json ?{reason}"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"architecture": "rexnets_200"}, "architecture 'rexnets_200' is unknown"),
        ({"architecture": 5}, "architecture 5 is unknown"),
        ({"model_args": {"act_layer": "relu"}}, "model_args {.*'act_layer': 'relu'} build a"),
        ({"model_args": {"global_pool": "max"}}, "model_args {'global_pool': 'max'} build a"),
        ({"model_args": {"width_mult": "wide"}}, "unknown model 'rexnet_wide'"),
        ({"model_args": {"in_chans": "3"}}, "in_channels '3' must be int"),
        ({"num_classes": -1}, "num_classes -1 must be from 0"),
    ],
)
def test_a_config_of_timm_that_is_another_network_is_refused(tmp_path, fields, reason):
    timm_folder(tmp_path, updated(**fields), width_mult=0.3)
    with pytest.raises(UserError, match=rf"^{tmp_path}/config\.json: .*{reason}"):
        load_model(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "7"])
def test_a_config_that_is_no_object_is_named(tmp_path, text):
    save_pretrained(trained(), tmp_path)
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=rf"{tmp_path}/config\.json (is damaged|describes no)"):
        create_model(SMALL, tmp_path)
