import argparse
import collections
import os
import pathlib

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from strategies import randomise
from timm.models import load_checkpoint
from timm.utils import CheckpointSaver, ModelEmaV3

from rexnet import UserError, create_model, families
from rexnet.nn.sources import find
from rexnet.nn.weight_files import read_tensors

NAME, WIDTH = "rexnet_0.3", {"width_mult": 0.3, "num_classes": 5}

HARMLESS = {
    "namespace": argparse.Namespace(lr=0.1, output=pathlib.Path("out"), device=torch.device("cpu")),
    "windows": pathlib.PureWindowsPath("c:/out"),
    "numpy": {
        "top1": np.float64(71.5),
        "best": np.float32(1),
        "epoch": np.int64(3),
        "ok": np.True_,
    },
    "array": np.arange(3.0),
    "ordered": collections.OrderedDict(top1=1.0),
    "default": collections.defaultdict(list, {"top1": [1.0, 2.0]}),
    "deque": collections.deque([1.0], maxlen=5),
    "counter": collections.Counter("aab"),
    "others": {1, 2, frozenset([3]), 1j, None},
}


def a_network():
    """Return a network of timm's with random weights, as its train.py has it."""
    torch.manual_seed(0)
    model = timm.create_model("rexnet_100", **WIDTH)
    randomise(model)
    return model.eval()


def logits_of(model):
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.eval()(images)


def assert_gives(path, reference):
    model = create_model(NAME, path, num_classes=5)
    expected = logits_of(reference)
    assert (logits_of(model) - expected).abs().max() < 1e-4 * expected.abs().mean()


def prefixed(front, tensors):
    return {f"{front}{name}": tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize(
    "front", ["", "module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."]
)
def test_a_checkpoint_of_timms_training_is_read_as_timm_reads_it(tmp_path, averaged, front):
    model, args = a_network(), argparse.Namespace(model="rexnet_100", lr=0.5, img_size=None)
    model.state_dict = lambda: prefixed(front, torch.nn.Module.state_dict(model))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    ema = ModelEmaV3(timm.create_model("rexnet_100", **WIDTH)) if averaged else None
    saver = CheckpointSaver(
        model, optimizer, args=args, model_ema=ema, checkpoint_dir=str(tmp_path)
    )
    saver.save_checkpoint(3, metric=71.5)
    path = tmp_path / "model_best.pth.tar"
    reference = timm.create_model("rexnet_100", **WIDTH)
    load_checkpoint(reference, str(path))
    assert_gives(path, reference)
    same = torch.equal(logits_of(reference), logits_of(a_network()))
    assert same is not averaged


@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pth.tar"])
def test_files_of_compiled_networks_are_known_by_any_ending(tmp_path, ending):
    path = tmp_path / f"model{ending}"
    save = safetensors.torch.save_file if ending == ".safetensors" else torch.save
    save(prefixed("_orig_mod.", a_network().state_dict()), path)
    assert_gives(path, a_network())
    assert find(path).kind == "file"


LAYOUTS = {
    "torchvision": lambda t: {
        "model": t,
        "epoch": 3,
        "model_ema": {"n_averaged": torch.tensor(9)} | prefixed("module.", t),
    },
    "net": lambda t: {"net": t, "acc": 93.1},
    "tutorial": lambda t: {
        "epoch": 1,
        "model_state_dict": t,
        "optimizer_state_dict": {"state": {}},
    },
    "no average": lambda t: {"state_dict": t, "state_dict_ema": None},
    "other name": lambda t: {"weights": t, "optimizer": {"state": {}, "param_groups": []}},
    "inside": lambda t: {"model": {"state_dict": t, "args": [1]}},
    "lightning": lambda t: {
        "pytorch-lightning_version": "2.5",
        "state_dict": prefixed("model.", t) | {"criterion.weight": torch.ones(5)},
        "hyper_parameters": {"lr": 0.1},
    },
    "compiled part": lambda t: {n.replace("features.3.", "features.3._orig_mod."): t[n] for n in t},
    "compiled in lightning": lambda t: {"state_dict": prefixed("net._orig_mod.", t)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_network_is_found_where_training_programs_keep_it(tmp_path, layout):
    torch.save(LAYOUTS[layout](a_network().state_dict()), tmp_path / "other.ckpt")
    assert_gives(tmp_path / "other.ckpt", a_network())


@pytest.mark.parametrize("kind", HARMLESS)
@pytest.mark.parametrize("is_new", [True, False])
def test_what_does_nothing_may_stand_beside_the_tensors(tmp_path, kind, is_new):
    path, tensors = tmp_path / "a.pth", {"stem.conv.weight": torch.arange(3.0)}
    content = {"state_dict": tensors, "args": HARMLESS[kind]}
    torch.save(content, path, _use_new_zipfile_serialization=is_new)
    assert torch.equal(read_tensors(path)["stem.conv.weight"], tensors["stem.conv.weight"])


class Settings:
    """Stands for what no program knows but the one that wrote the file."""


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (lambda t: {"state_dict": t, "cfg": Settings()}, "test_weight_files.Settings"),
        (lambda t: {"model": t, "run": os.getcwd}, "posix.getcwd"),
        (lambda t: torch.nn.Sequential(collections.OrderedDict(stem=Stem(t))), "torch.nn.modules"),
    ],
)
def test_what_could_do_something_is_named_with_the_line_that_converts(
    tmp_path, monkeypatch, content, kind, is_new
):
    monkeypatch.chdir(tmp_path)
    tensors = {"stem.conv.weight": torch.ones(1, 1, 1, 1)}
    torch.save(content(tensors), "odd.pth", _use_new_zipfile_serialization=is_new)
    with pytest.raises(UserError, match=rf"the weights odd\.pth: it holds .*{kind}") as error:
        read_tensors(pathlib.Path("odd.pth"))
    assert "\n" not in str(error.value)
    exec(str(error.value).rpartition("where it was made: ")[2], {})
    assert read_tensors(pathlib.Path("tensors.pth")) == tensors


class Stem(torch.nn.Module):
    def __init__(self, tensors):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 1, 1, bias=False)
        self.conv.weight = torch.nn.Parameter(tensors["stem.conv.weight"], requires_grad=False)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_a_network_of_torchscript_is_told_with_the_line_that_converts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = torch.jit.trace(torch.nn.Conv2d(1, 1, 1).eval(), torch.zeros(1, 1, 2, 2))
    torch.jit.save(module, "m.pt")
    with pytest.raises(
        UserError, match=r"m\.pt: it is a TorchScript archive; convert it: "
    ) as error:
        read_tensors(pathlib.Path("m.pt"))
    exec(str(error.value).rpartition("convert it: ")[2], {})
    assert set(torch.load("tensors.pth")) == {"weight", "bias"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            lambda t: {"student": t, "teacher": t},
            "holds several state dicts: student, teacher; save one of them alone",
        ),
        (
            lambda t: {"state_dict": prefixed("student.", t) | prefixed("teacher.", t)},
            "holds several networks: student, teacher; save one of them alone",
        ),
        (lambda t: {"state_dict": {}}, "holds no state dict"),
    ],
)
def test_a_file_with_none_or_several_networks_is_refused(tmp_path, content, reason):
    path = tmp_path / "two.pth"
    torch.save(content({"stem.conv.weight": torch.zeros(1)}), path)
    with pytest.raises(UserError, match=rf"{path} {reason}"):
        read_tensors(path)


def test_the_tensors_beside_a_network_do_not_hide_one_that_is_missing(tmp_path):
    tensors = prefixed("model.", a_network().state_dict())
    del tensors["model.stem.bn.bias"]
    torch.save({"state_dict": tensors | {"stem.bn.bias": torch.zeros(32)}}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"1 tensors missing \(such as stem\.norm\.bias\), 0 left"):
        create_model(families.rexnet(0.3, num_classes=5), tmp_path / "a.ckpt")


OTHERS = {
    "empty": (b"", "it is empty"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS; fetch"),
    "page": (b"\n<!DOCTYPE html>", "a page of the web"),
    "text": (b"hello", "it is damaged, or no file of tensors"),
}


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_checkpoint_is_named(kind, ending, tmp_path):
    content, wanted = OTHERS[kind]
    path = tmp_path / f"w.{ending}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=wanted):
        read_tensors(path)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_numbers_that_are_not_finite_are_refused(value, tmp_path):
    torch.save({"a": torch.ones(2), "b": torch.tensor([1, value])}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"in 1 of 2 tensors, such as b: the training .* diverged"):
        read_tensors(tmp_path / "w.pth")
