import dataclasses

import numpy as np
import pytest
import timm
import torch
from photographs import picture, refusal
from small_models import network

from rexnet import cost
from rexnet.data.transforms import evaluation_transform
from rexnet.preprocessing import Preprocessing
from rexnet.train.features import Extractor, extractor_of, features_of


class Counted:
    """Pictures of two classes that count how often each is read."""

    classes = ("even", "odd")

    def __init__(self, count):
        self.labels, self.reads = np.arange(count) % 2, [0] * count

    def __len__(self):
        return len(self.labels)

    def read(self, index):
        self.reads[index] += 1
        return picture(index, 40)


def extracted(module, images, resolutions, batch_size=2):
    extractor = Extractor(name="toy", module=module, preprocessing=module.preprocessing)
    told = []
    found = features_of(
        extractor,
        images,
        resolutions,
        batch_size=batch_size,
        device=torch.device("cpu"),
        num_workers=0,
        on_progress=lambda done, total: told.append((done, total)),
    )
    return found, told


def test_features_are_those_of_the_network_at_each_resolution():
    model, images = network(), Counted(5)
    found, told = extracted(model, images, (32, 24))
    assert images.reads == [1] * 5
    assert told == [(2, 5), (4, 5), (5, 5)]
    for features, resolution in zip(found, (32, 24), strict=True):
        transform = evaluation_transform(
            dataclasses.replace(model.preprocessing, resolution=resolution)
        )
        x = torch.stack([transform(picture(index, 40)) for index in range(5)])
        with torch.no_grad():
            expected = model.forward_head(model.forward_features(x), pre_logits=True)
        torch.testing.assert_close(
            torch.from_numpy(features.values), expected, atol=1e-4, rtol=1e-4
        )
        assert features.labels.tolist() == [0, 1, 0, 1, 0]
    again, _ = extracted(model, Counted(5), (24,), batch_size=5)
    np.testing.assert_allclose(again[0].values, found[1].values, atol=1e-4)


def test_macs_are_those_with_a_classifier_of_the_images():
    model = network()
    own = Extractor(name="toy", module=model, preprocessing=model.preprocessing)
    expected = cost.count(dataclasses.replace(model.spec, num_classes=7), 48).macs
    assert own.macs(48, 7) == expected
    theirs = timm.create_model("test_efficientnet", num_classes=0)
    other = Extractor(name="timm:test", module=theirs, preprocessing=Preprocessing(resolution=32))
    assert other.macs(32, 8) - other.macs(32, 3) == 5 * theirs.num_features


def test_a_resolution_that_a_model_of_timm_cannot_take_is_told():
    module = timm.create_model("test_vit", num_classes=0)
    model = Extractor(name="timm:test_vit", module=module, preprocessing=Preprocessing())
    assert refusal(model.macs, 100, 10).startswith("timm:test_vit cannot take 100 pixels: ")


def test_a_model_of_timm_comes_with_its_weights_and_preprocessing(tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("test_efficientnet")
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    found = extractor_of("timm:test_efficientnet", str(tmp_path / "weights.pth"))
    assert found.preprocessing.resolution == 160
    torch.testing.assert_close(found.module.conv_stem.weight, model.conv_stem.weight)
    assert "--weights timm" in refusal(extractor_of, "timm:test_efficientnet")
    assert "no such file" in refusal(extractor_of, "timm:test_efficientnet", "nothing.pth")


def test_a_network_needs_weights(tmp_path):
    with pytest.raises(Exception, match="needs --weights"):
        extractor_of("rexnet_1.0")
