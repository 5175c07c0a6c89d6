import pytest
import timm
import torch

from rexnet import UserError, create_model
from rexnet.detect.backbone import create_backbone
from rexnet.nn import download


@pytest.mark.parametrize("name", ["efficientnet_b0", "tf_efficientnet_b1"])
def test_an_efficientnet_of_timm_computes_what_timm_does(name):
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    images = torch.randn(2, 3, 64, 64)
    expected = {}
    model.blocks[5][0].bn1.register_forward_hook(lambda m, i, y: expected.update(first=y))
    with torch.no_grad():
        last = model.forward_features(images)
        torch.manual_seed(0)
        first, second = create_backbone(f"timm:{name}").eval()(images)
    torch.testing.assert_close(second, last)
    torch.testing.assert_close(first, expected["first"])


@pytest.mark.parametrize("name", ["rexnet_1.0", "mobilenet_v1", "rexnet_plain", "mobilenet_v2"])
def test_a_network_gives_what_it_computes_on_its_way(name):
    torch.manual_seed(0)
    backbone = create_backbone(name).eval()
    torch.manual_seed(0)
    model = create_model(name, num_classes=1).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        first, last = backbone(images)
        assert first.shape == (2, backbone.widths[0], 4, 4)
        assert last.shape == (2, backbone.widths[1], 2, 2)
        torch.testing.assert_close(model.classifier(last.mean((2, 3))), model(images))
        spec = model.spec.blocks[backbone.tapped]
        if spec.expansion != 1:
            x = model.stem_act(model.stem(images))
            for block in model.blocks[: backbone.tapped]:
                x = block(x)
            block = model.blocks[backbone.tapped]
            torch.testing.assert_close(first, block.expand_act(block.expand(x)))


def test_another_model_of_timm_gives_the_features_it_lists():
    backbone = create_backbone("timm:resnet18").eval()
    assert backbone.widths == (256, 512)
    with torch.no_grad():
        assert [x.shape[-1] for x in backbone(torch.randn(1, 3, 64, 64))] == [4, 2]


@pytest.mark.parametrize(
    ("source", "weights", "wanted"),
    [
        ("timm:efficientnet_z9", None, "timm knows no model 'efficientnet_z9'"),
        ("timm:efficientnet_b0", "nowhere.pth", "cannot read the weights nowhere.pth"),
        ("timm:efficientnet_b0", "damaged.pth", "damaged.pth does not fit timm's efficientnet_b0"),
        ("timm:vit_tiny_patch16_224", None, "lists no features at strides 16 and 32"),
        ("rexnet_1.O", None, "unknown model"),
    ],
)
def test_what_is_no_backbone_is_told_in_one_line(source, weights, wanted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged.pth").write_bytes(b"nothing")
    with pytest.raises(UserError) as error:
        create_backbone(source, weights)
    assert wanted in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_of_any_number_of_classes_start_a_backbone(tmp_path):
    from rexnet import save_pretrained

    model = create_model("rexnet_0.6", num_classes=7)
    save_pretrained(model, tmp_path)
    backbone = create_backbone("rexnet_0.6", str(tmp_path))
    assert torch.equal(backbone.stem.conv.weight, model.stem.conv.weight)


def test_weights_of_timm_start_its_model(tmp_path):
    from safetensors.torch import save_file

    torch.manual_seed(1)
    model = timm.create_model("efficientnet_b0")
    save_file(model.state_dict(), tmp_path / "b0.safetensors")
    backbone = create_backbone("timm:efficientnet_b0", str(tmp_path / "b0.safetensors"))
    assert torch.equal(backbone.features[0][0].weight, model.conv_stem.weight)


def test_weights_that_cannot_be_downloaded_are_told_in_one_line(monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    monkeypatch.setattr(download, "unreachable", lambda url: f"{url} cannot be reached (no route)")

    def fail(*args, **options):
        raise LocalEntryNotFoundError("a long story")

    monkeypatch.setattr(timm, "create_model", fail)
    words = "cannot download efficientnet_b0 from the hub: .* cannot be reached .no route., and the"
    with pytest.raises(UserError, match=f"{words} cache .*give --weights FILE"):
        create_backbone("timm:efficientnet_b0", "timm")
