import signal

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from resuming import apart, assert_same_end
from runs_of_toys import QUICK, config
from small_models import read_plainly

from rexnet import UserError, runs
from rexnet.cli import main as cli
from rexnet.deploy import export, models, timing
from rexnet.deploy.config import ExportConfig
from rexnet.nn.classifiers import load_classifier
from rexnet.train import job
from rexnet.train.config import ValidateConfig
from rexnet.train.schedule import make_optimizer
from rexnet.train.validate import validate

NAME = "timm:test_efficientnet"
SHORT = (*QUICK, "epochs=1", "warmup_epochs=0", "resolution=32")


def trained(**changes):
    return job.run(config(**({"model": NAME, "set": SHORT} | changes)), lambda progress: None)


def train_and_die_in(out):
    """Train until half of the steps are done, with a checkpoint after each, and be killed."""
    import os

    def stop(progress):
        if progress.share >= 0.5:
            os.kill(os.getpid(), signal.SIGKILL)

    job.run(config(model=NAME, set=SHORT, out=out, checkpoint_seconds=0), stop)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_vit"])
def test_a_classifier_of_timm_is_trained_and_validated(name, here):
    result = trained(model=f"timm:{name}")
    model = load_classifier("T")
    assert model.classes == ("airplane", "automobile", "bird", "cat")
    assert (model.preprocessing.resolution, model.preprocessing.crop) == (32, 1.0)
    assert result["params"] == sum(p.numel() for p in model.parameters())
    assert result["macs"] == models.load("T").macs
    assert not (here / "T" / "spec.json").exists()
    held = runs.read_json(here / "T" / "train.json")["model"]
    size = {"img_size": 32} if name == "test_vit" else {}
    assert held == {"name": f"timm:{name}", "spec_id": None, "model_args": size}
    found = validate(ValidateConfig(model="T", device="cpu"), lambda progress: None).evaluation
    assert found.top1 == result["top1"]
    assert found.loss == pytest.approx(result["loss"], rel=1e-5)
    assert trained(model=f"timm:{name}") == result


def test_a_training_killed_in_mid_epoch_ends_as_one_that_was_not(here):
    trained(out="whole")
    assert apart(train_and_die_in, "killed") == -signal.SIGKILL
    trained(out="killed")
    assert_same_end(here / "whole", here / "killed")


def test_the_moving_average_is_kept(here):
    trained(set=(*SHORT, "ema=0.5", "cutmix=1"))
    kept = torch.load("T/last.pt", weights_only=True)["ema"]
    found = load_classifier("T").body.state_dict()
    for name in found:
        assert torch.equal(found[name], kept[name]) or name.endswith("num_batches_tracked")


def test_weights_are_trained_on_with_a_new_classifier(here):
    trained(out="first")
    with np.load("toys.npz") as arrays:
        two = arrays["labels"] < 2
        np.savez("two.npz", images=arrays["images"][two], labels=arrays["labels"][two])
    still = (*SHORT, "lr=0")
    ways = {
        "by name": {"model": NAME, "weights": "first"},
        "by file": {"model": NAME, "weights": "first/model/model.safetensors"},
        "by run": {"model": "first", "set": (*still, "pretrained=true")},
    }
    first = load_classifier("first").body.conv_stem.weight
    for out, way in ways.items():
        trained(**({"data": "two.npz", "out": out, "set": still} | way))
        model = load_classifier(out)
        assert model.classes == ("0", "1")
        assert torch.equal(model.body.conv_stem.weight, first)
    trained(model="first", out="anew", set=still)
    assert not torch.equal(load_classifier("anew").body.conv_stem.weight, first)


def test_layers_learn_at_the_rates_that_timm_gives_them(here):
    recipe = job.recipes.load("finetune", ("layer_decay=0.5",))
    model = timm.create_model("test_efficientnet", num_classes=4)
    rates = {group["lr_scale"] for group in make_optimizer(model, recipe).param_groups}
    assert len(rates) > 5
    trained(set=(*SHORT, "layer_decay=0.5"))
    state = torch.load("T/last.pt", weights_only=True)
    assert {group["lr_scale"] for group in state["optimizer"]["param_groups"]} == rates


def test_a_run_teaches_one_of_this_package(here):
    trained(out="large")
    taught = (*QUICK, "epochs=1", "warmup_epochs=0", "teacher=large")
    trained(model="toy.json", set=taught)
    assert len(runs.read_json(here / "T" / "train.json")["teacher"]) == 16


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit"])
def test_a_run_is_exported_and_gives_the_same_in_plain_onnx_runtime(name, here, monkeypatch):
    monkeypatch.setattr(timing, "WARM_SECONDS", 0)
    trained(model=f"timm:{name}", set=SHORT)
    record = export.run(ExportConfig(model="T", format="onnx"))
    assert record["trained"]
    assert record["parity"]["difference"] < 1e-4
    x = np.random.default_rng(0).random((3, 3, 32, 32), dtype=np.float32)
    path = here / "T" / "export" / "onnx" / "model.onnx"
    words, [[found]] = read_plainly("onnx", path, [x], (), here / "scratch.npz")
    with torch.no_grad():
        wanted = load_classifier("T")(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    assert "automobile" in words["classes"]


def test_the_command_trains_predicts_and_measures(here, capsys):
    settings = ["--data", "toys.npz", "--recipe", "cifar", "--device", "cpu"]
    command = ["train", "--model", NAME, *settings, "--set", *SHORT, "--out", "T"]
    assert cli.main(command) == 0
    assert "rexnet validate T" in capsys.readouterr().out
    with np.load("toys.npz") as arrays:
        Image.fromarray(arrays["images"][0]).save("a.png")
    assert cli.main(["predict", "T", "a.png", "--top", "4"]) == 0
    assert "automobile" in capsys.readouterr().out
    assert cli.main(["predict", NAME, "a.png", "--weights", "T"]) == 0
    assert "automobile" in capsys.readouterr().out
    assert cli.main(["benchmark", "T", "--runtimes", "torch", "--rounds", "1"]) == 0


MISTAKES = {
    "name": ({"model": "timm:test_efficientne"}, "did you mean test_efficientnet?"),
    "file": ({"weights": "nowhere.pth"}, "cannot read the weights nowhere.pth"),
    "no weights": ({"set": (*SHORT, "pretrained=true")}, "starts from trained weights: give"),
    "stochastic depth": (
        {"model": "timm:dla46_c", "set": (*SHORT, "drop_path=0.1")},
        "dla46_c has no stochastic depth; set drop_path=0",
    ),
    "too small": (
        {"model": "timm:test_vit", "set": (*SHORT, "resolution=8")},
        "timm:test_vit cannot compute 8 pixels: Input height (8) should be divisible by patch",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line_and_leaves_nothing_behind(mistake, here):
    changes, wanted = MISTAKES[mistake]
    with pytest.raises(UserError) as error:
        trained(**changes)
    assert wanted in str(error.value)
    assert "\n" not in str(error.value)
    assert not (here / "T").exists()
