import dataclasses
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from official_models import GOLDEN, NAMES, official_tensors
from strategies import randomise

from rexnet import BlockSpec, NetSpec, UserError, families
from rexnet.nn.create import create_model
from rexnet.nn.network import Network
from rexnet.nn.weights import load_weights, read_spec, save_weights

SMALL = NetSpec(
    name="small",
    blocks=(BlockSpec(width=8, stride=2, expansion=1), BlockSpec(width=12, se_divisor=4)),
    stem_width=8,
    penultimate_width=16,
    hidden_width=8,
    num_classes=5,
)

ADAPTED_MEAN = (0.485, 0.456, 0.406, 0.485)
ADAPTED_STD = (0.229, 0.224, 0.225, 0.229)

LAYOUTS = {
    "bare": dict,
    "module.": lambda tensors: {f"module.{name}": value for name, value in tensors.items()},
    "state_dict": lambda tensors: {"epoch": 3, "state_dict": tensors},
    "model": lambda tensors: {"model": tensors},
}


def official_images():
    count = 2 * 3 * 224 * 224
    return torch.sin(0.01 * torch.arange(count, dtype=torch.float64)).float().view(2, 3, 224, 224)


def logits_of(model, images):
    with torch.no_grad():
        return model.eval()(images)


def small_file(tmp_path, spec=SMALL, name="small.pth"):
    """Write the weights of ``spec`` as a pickle of torch and return its path."""
    torch.save(Network(spec).state_dict(), tmp_path / name)
    return tmp_path / name


def same_state(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("key", "layout", "suffix"),
    [
        ("v1:1.0", "bare", ".pth"),
        ("v1:1.0", "module.", ".pth"),
        ("v1:1.0", "state_dict", ".pth"),
        ("v1:1.0", "model", ".pth"),
        ("v1:1.0", "bare", ".safetensors"),
        ("v1:1.5", "bare", ".pth"),
        ("lite:1.0", "bare", ".pth"),
        ("lite:1.0", "module.", ".safetensors"),
    ],
)
def test_official_weights_give_the_official_logits(tmp_path, key, layout, suffix):
    golden = GOLDEN[key]
    path = tmp_path / f"weights{suffix}"
    save = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    save(LAYOUTS[layout](official_tensors(key)), path)
    model = create_model(NAMES[key], path)
    logits = logits_of(model, official_images())
    limit = 1e-4 * golden["logits_abs_mean"]
    assert (logits[:, :10] - torch.tensor(golden["logits_first10"])).abs().max() < limit
    assert logits.double().abs().mean().item() == pytest.approx(
        golden["logits_abs_mean"], abs=limit
    )
    means = logits.double().mean(1) - torch.tensor(golden["logits_sum"]).double() / 1000
    assert means.abs().max() < limit
    assert logits.argmax(1).tolist() == golden["argmax"]
    assert sum(parameter.numel() for parameter in model.parameters()) == golden["params"]


@pytest.mark.parametrize("width", [1.0, 1.3, 1.5, 2.0, 3.0])
def test_weights_of_timm_give_the_logits_of_timm(tmp_path, width):
    torch.manual_seed(0)
    reference = timm.create_model(f"rexnet_{round(100 * width)}")
    check_against(reference, families.get(f"rexnet_{width}"), tmp_path / "timm.safetensors")


@pytest.mark.parametrize("version", range(5))
def test_weights_of_timms_efficientnets_give_its_logits(tmp_path, version):
    torch.manual_seed(0)
    reference = timm.create_model(f"tf_efficientnet_lite{version}")
    spec = families.get(f"efficientnet_lite{version}")
    check_against(reference, spec, tmp_path / "timm.safetensors")


@pytest.mark.parametrize("width", [0.7, 1.1, 2.2])
def test_weights_of_timm_load_at_a_width_that_has_no_name(tmp_path, width):
    torch.manual_seed(0)
    reference = timm.create_model("rexnet_100", width_mult=width, num_classes=10)
    check_against(reference, families.rexnet(width, num_classes=10), tmp_path / "timm.safetensors")


def check_against(reference, spec, path, **options):
    randomise(reference)
    safetensors.torch.save_file(reference.state_dict(), path)
    model = create_model(spec, path, **options)
    images = torch.randn(2, model.spec.in_channels, 64, 64)
    expected = logits_of(reference, images)
    assert (logits_of(model, images) - expected).abs().max() < 1e-4 * expected.abs().mean()


@pytest.mark.parametrize("in_channels", [1, 4])
def test_images_of_other_channels_give_the_logits_of_timm(tmp_path, in_channels):
    reference = timm.create_model("rexnet_100", width_mult=0.5, in_chans=in_channels)
    check_against(
        reference, families.rexnet(0.5), tmp_path / "timm.safetensors", in_channels=in_channels
    )


@pytest.mark.parametrize("in_channels", [1, 4])
def test_the_first_convolution_is_adapted_as_timm_adapts_it(tmp_path, in_channels):
    source = timm.create_model("rexnet_100")
    randomise(source)
    path = tmp_path / "timm.safetensors"
    safetensors.torch.save_file(source.state_dict(), path)
    reference = timm.create_model(
        "rexnet_100",
        pretrained=True,
        pretrained_cfg_overlay={"file": str(path)},
        in_chans=in_channels,
    )
    model = create_model("rexnet_1.0", path, in_channels=in_channels)
    images = torch.randn(2, in_channels, 64, 64)
    expected = logits_of(reference, images)
    assert (logits_of(model, images) - expected).abs().max() < 1e-4 * expected.abs().mean()
    mean, std = ((0.449,), (0.226,)) if in_channels == 1 else (ADAPTED_MEAN, ADAPTED_STD)
    assert model.preprocessing.mean == pytest.approx(mean)
    assert model.preprocessing.std == pytest.approx(std)


@pytest.mark.parametrize("name", ["rexnet_0.6", "rexnet_plain", "rexnet_lite_1.0", "mobilenet_v2"])
def test_own_weights_come_back(tmp_path, name):
    path = tmp_path / "model.safetensors"
    model = create_model(name)
    randomise(model)
    save_weights(model, path)
    other = create_model(read_spec(path), path)
    assert other.spec == model.spec
    assert same_state(dict(model.named_parameters()), dict(other.named_parameters()))
    assert same_state(dict(model.named_buffers()), dict(other.named_buffers()))
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_own_names_load_from_any_layout(tmp_path, layout):
    model = Network(SMALL)
    torch.save(LAYOUTS[layout](model.state_dict()), tmp_path / "own.pth")
    assert same_state(create_model(SMALL, tmp_path / "own.pth").state_dict(), model.state_dict())


def test_half_precision_is_read_into_single(tmp_path):
    tensors = {name: tensor.half() for name, tensor in Network(SMALL).state_dict().items()}
    torch.save(tensors, tmp_path / "half.pth")
    model = create_model(SMALL, tmp_path / "half.pth")
    assert model.classifier.weight.dtype == torch.float32
    assert torch.equal(model.classifier.weight, tensors["classifier.weight"].float())


def test_a_file_that_does_not_fit_leaves_the_model_as_it_was(tmp_path):
    wider = small_file(tmp_path, SMALL.with_widths((8, 16)))
    model = Network(SMALL)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError, match="does not fit small"):
        load_weights(model, wider)
    assert same_state(model.state_dict(), before)


def test_weights_of_another_width_are_refused_by_name_and_shapes(tmp_path):
    path = tmp_path / "official.pth"
    torch.save(official_tensors("v1:1.5"), path)
    reason = r"stem\.conv\.weight has shape \(48, 3, 3, 3\), the network needs \(32, 3, 3, 3\)"
    with pytest.raises(UserError, match=rf"{path} does not fit rexnet_1\.0: {reason}"):
        create_model("rexnet_1.0", path)


@pytest.mark.parametrize("key", ["v1:1.0", "lite:1.0"])
def test_weights_of_another_number_of_classes_are_refused(tmp_path, key):
    path = tmp_path / "official.pth"
    tensors = official_tensors(key)
    last = [name for name in tensors if name.startswith("output.")][-2:]
    torch.save(tensors | {name: tensors[name][:10] for name in last}, path)
    reason = r"classifier\.weight has shape \(10, 1\d+\), the network needs \(1000, 1\d+\), .*"
    mend = r"; pass num_classes=10, or num_classes=1000 for a new classifier$"
    with pytest.raises(UserError, match=rf"does not fit {NAMES[key]}: {reason}{mend}"):
        create_model(NAMES[key], path)
    assert create_model(NAMES[key], path, num_classes=10).spec.num_classes == 10


@pytest.mark.parametrize(
    ("given", "own", "mend"),
    [
        (3, 1, "pass in_channels=3, or in_channels=1 to adapt it"),
        (4, 3, "pass in_channels=4"),
    ],
)
def test_weights_for_images_of_other_channels_are_refused(tmp_path, given, own, mend):
    path = small_file(tmp_path, dataclasses.replace(SMALL, in_channels=given))
    reason = rf"stem\.conv\.weight has shape \(8, {given}, 3, 3\), the network needs"
    with pytest.raises(UserError, match=rf"{path} does not fit small: {reason} .*; {mend}$"):
        create_model(dataclasses.replace(SMALL, in_channels=own), path)


def test_a_first_convolution_of_other_than_three_channels_is_not_adapted(tmp_path):
    path = small_file(tmp_path, dataclasses.replace(SMALL, in_channels=4))
    with pytest.raises(UserError, match=r"stem\.conv\.weight has shape .*; pass in_channels=4$"):
        create_model(SMALL, path, in_channels=2)


def test_other_channels_and_other_classes_are_mended_together(tmp_path):
    path = small_file(tmp_path)
    other = dataclasses.replace(SMALL, in_channels=2, num_classes=7)
    mend = "pass in_channels=3, or in_channels=2 to adapt it; pass num_classes=5, or num_classes=7"
    with pytest.raises(UserError, match=f"; {mend} for a new classifier$"):
        create_model(other, path)
    assert create_model(other, path, in_channels=2, num_classes=7).spec == other


@pytest.mark.parametrize("shape", [(), (5,), (5, 8, 3, 3), (5, 9)])
def test_a_classifier_of_another_kind_is_refused_without_a_hint(tmp_path, shape):
    tensors = Network(SMALL).state_dict() | {"classifier.weight": torch.zeros(shape)}
    torch.save(tensors, tmp_path / "odd.pth")
    with pytest.raises(UserError, match=r"does not fit small: classifier\.weight .*\(5, 8\)$"):
        create_model(SMALL, tmp_path / "odd.pth")


@pytest.mark.parametrize("shape", [(), (8,), (8, 3), (9, 3, 3, 3)])
def test_a_first_convolution_of_another_kind_is_refused_without_a_hint(tmp_path, shape):
    tensors = Network(SMALL).state_dict() | {"stem.conv.weight": torch.zeros(shape)}
    torch.save(tensors, tmp_path / "odd.pth")
    with pytest.raises(UserError, match=r"does not fit small: stem\.conv\.weight .*3, 3, 3\)$"):
        create_model(SMALL, tmp_path / "odd.pth", in_channels=3)


@pytest.mark.parametrize("theirs", ["rexnet_1.0", "rexnet_lite_1.0"])
def test_weights_of_another_family_are_refused(tmp_path, theirs):
    keys = {name: key for key, name in NAMES.items()}
    path = tmp_path / "official.pth"
    torch.save(official_tensors(keys[theirs]), path)
    with pytest.raises(UserError, match=r"\d+ tensors missing.*, \d+ left over"):
        create_model("mobilenet_v1", path)


def test_missing_and_left_over_tensors_are_counted_and_named(tmp_path):
    tensors = Network(SMALL).state_dict()
    tensors["extra.weight"] = tensors.pop("hidden.bias")
    torch.save(tensors, tmp_path / "wrong.pth")
    reason = r"1 tensors missing \(such as hidden\.bias\), 1 left over \(such as extra\.weight\)"
    with pytest.raises(UserError, match=reason):
        create_model(SMALL, tmp_path / "wrong.pth")


def test_no_more_than_three_names_are_listed_in_one_line(tmp_path):
    tensors = Network(SMALL).state_dict()
    other = {f"a{place}.b": value for place, value in enumerate(tensors.values())}
    torch.save(other, tmp_path / "other.pth")
    missing = r"stem\.conv\.weight, stem\.norm\.weight, stem\.norm\.bias"
    extra = r"a0\.b, a1\.b, a2\.b"
    with pytest.raises(UserError, match=rf"\(such as {missing}\), .* \(such as {extra}\)$"):
        create_model(SMALL, tmp_path / "other.pth")
    wider = small_file(tmp_path, SMALL.with_widths((9, 12)))
    with pytest.raises(UserError, match=r", and \d+ more$") as caught:
        create_model(SMALL, wider)
    assert str(caught.value).count("has shape") == 3
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_missing_file_is_named(tmp_path, suffix):
    path = tmp_path / f"missing{suffix}"
    with pytest.raises(UserError, match=rf"cannot read the weights {path}"):
        create_model(SMALL, path)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_file_is_named(tmp_path, suffix, share):
    path = tmp_path / f"cut{suffix}"
    if suffix == ".pth":
        torch.save(Network(SMALL).state_dict(), path)
    else:
        save_weights(Network(SMALL), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=rf"cannot read the weights {path}"):
        create_model(SMALL, path)


def test_a_truncated_file_of_the_old_format_is_named(tmp_path):
    path = tmp_path / "cut.pth"
    torch.save(Network(SMALL).state_dict(), path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    for length in range(0, len(content), len(content) // 100):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match=rf"cannot read the weights {path}"):
            create_model(SMALL, path)


@pytest.mark.parametrize(
    "content", [b"<html>Not found</html>", b"hello\n", b'{"a": 1}', b"\x00" * 100]
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_another_kind_is_named(tmp_path, suffix, content):
    path = tmp_path / f"page{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"cannot read the weights {path}"):
        create_model(SMALL, path)


def touch(path):
    """Leave a trace of code that was run from a pickle."""
    Path(path).write_text("run", encoding="utf-8")


class Bomb:
    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return touch, (self.trace,)


@pytest.mark.parametrize(
    "save", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x, protocol=2))]
)
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, save):
    path, trace = tmp_path / "bomb.pth", tmp_path / "trace"
    save({"stem.conv.weight": Bomb(trace)}, path)
    with pytest.raises(UserError, match=rf"cannot read the weights {path}"):
        create_model(SMALL, path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content", [[1, 2], torch.zeros(3), {"epoch": 3}, {"state_dict": {"stem.conv.weight": 1.0}}]
)
def test_a_file_without_a_state_dict_is_refused(tmp_path, content):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(UserError, match=rf"{path} holds no state dict"):
        create_model(SMALL, path)


def test_tensors_without_names_are_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({0: torch.zeros(3)}, path)
    with pytest.raises(UserError, match=rf"{path} "):
        create_model(SMALL, path)


def test_read_spec_refuses_a_file_without_one(tmp_path):
    path = tmp_path / "bare.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=rf"{path} carries no spec"):
        read_spec(path)


@pytest.mark.parametrize("content", [None, b"", b"hello"])
def test_read_spec_names_a_file_that_it_cannot_read(tmp_path, content):
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"cannot read the weights {path}"):
        read_spec(path)


def test_read_spec_names_a_file_with_a_damaged_spec(tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(1)}, path, metadata={"spec": '{"name": "a"}'})
    with pytest.raises(UserError, match=rf"{path}: field 'blocks' of the NetSpec is missing"):
        read_spec(path)


def test_weights_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    path = tmp_path / "file" / "model.safetensors"
    with pytest.raises(UserError, match=rf"cannot write {path}"):
        save_weights(Network(SMALL), path)
