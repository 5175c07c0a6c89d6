import json

import pytest
import torch

from rexnet import UserError, load_model
from rexnet.detect.backbone import create_backbone
from rexnet.detect.detector import of_detector
from rexnet.detect.heads.ssdlite import SSDLite
from rexnet.detect.hub import load_detector, save_detector


def detector(source):
    backbone = create_backbone(source)
    preprocessing = of_detector(backbone.preprocessing, 64)
    return SSDLite(
        backbone, ("cat", "dog"), (17, 3), preprocessing=preprocessing, criterion="focal"
    )


@pytest.mark.parametrize("source", ["rexnet_0.6", "timm:efficientnet_b0"])
def test_a_detector_comes_back_as_it_was(source, tmp_path):
    model = detector(source).eval()
    save_detector(model, tmp_path / "model")
    for folder in (tmp_path, tmp_path / "model"):
        other = load_detector(folder)
        assert other.classes == ("cat", "dog")
        assert other.category_ids == (17, 3)
        assert other.preprocessing == model.preprocessing
        assert other.criterion == "focal"
        assert not other.training
        images = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            assert torch.equal(other(images).logits, model(images).logits)


def test_what_is_no_detector_is_told_in_one_line(tmp_path):
    save_detector(detector("rexnet_0.6"), tmp_path)
    config, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
    whole = json.loads(config.read_text())
    broken = {
        "describes no detector": {"architecture": "rexnet_1.0"},
        "KeyError 'loss'": {name: value for name, value in whole.items() if name != "loss"},
        "at least one class": whole | {"label_names": []},
        "cannot read": whole | {"label_names": ["a"] * 5},
    }
    for wanted, content in broken.items():
        config.write_text(json.dumps(content))
        with pytest.raises(UserError, match=wanted) as error:
            load_detector(tmp_path)
        assert "\n" not in str(error.value)
    config.write_text(json.dumps(whole))
    weights.write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot read"):
        load_detector(tmp_path)
    with pytest.raises(UserError, match="holds no detector"):
        load_detector(tmp_path / "nowhere")


def test_a_detector_is_no_classifier(tmp_path):
    save_detector(detector("rexnet_0.6"), tmp_path)
    with pytest.raises(UserError, match="describes a detector, no classifier; see `rexnet detect`"):
        load_model(tmp_path)
