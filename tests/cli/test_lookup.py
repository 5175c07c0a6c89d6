"""What the command line names is looked up before torch is loaded."""

import dataclasses
import json
import subprocess
import sys

import pytest
from huggingface_hub import constants

from rexnet import UserError, families
from rexnet.cli import lookup
from rexnet.detect.config import DetectTrainConfig
from rexnet.nn.sources import check_model
from rexnet.preprocessing import Preprocessing
from rexnet.studies import STUDIES
from rexnet.studies.config import ActivationStudy, DetectionStudy, FactorStudy
from rexnet.train.config import TrainConfig

MISTAKES = {
    "summary nonsense": "unknown model 'nonsense'",
    "summary --detector ssdlite --backbone nonsense": "unknown model 'nonsense'",
    "train --model nonsense --data sample --recipe cifar": "unknown model 'nonsense'",
    "train --model timm:resnet81 --data sample --recipe cifar": "(did you mean resnet18?)",
    "train --model timm:resnet18.a --data sample --recipe cifar": "timm knows no weights",
    "train --model timm:resnet18 --data sample --recipe finetune": "finetune starts from trained",
    "train --model rexnet_1.0 --data sample --recipe cifar --set teacher=x": "x is no run",
    "train --model rexnet_1.0 --data nonsense --recipe cifar": "no images at 'nonsense'",
    "train --model rexnet_1.0 --data sample --recipe nonsense": "no recipe 'nonsense'",
    "train --model rexnet_1.0 --data sample --recipe finetune": "finetune starts from trained",
    "train --model mobilenet_v1 --data sample --recipe cifar --weights timm": "timm has no weights",
    "train --model rexnet_1.0 --data sample --recipe cifar --weights no.pth": "the weights no.pth",
    "validate nonsense": "nonsense is no run folder",
    "validate nonsense --weights timm": "unknown model 'nonsense'",
    "validate rexnet_1.0 --weights nonsense": "cannot read the weights nonsense",
    "validate timm:nonsense --weights timm": "timm knows no model 'nonsense'",
    "predict nonsense a.png": "nonsense is no run folder",
    "predict rexnet_1.0 a.png --weights nonsense": "cannot read the weights nonsense",
    "benchmark rexnet_1.0 --against nonsense": "unknown model 'nonsense'",
    "export timm:resnet81 --format onnx": "(did you mean resnet18?)",
    "export nonsense --format onnx": "unknown model 'nonsense'",
    "export rexnet_1.0 --format onnx --weights nonsense": "cannot read the weights nonsense",
    "redesign nonsense": "unknown model 'nonsense'",
    "search --data nonsense": "a search needs a limit: --budget.params and --budget.macs",
    "search --network nonsense --budget.macs 9M": "unknown model 'nonsense'",
    "search --data sample --budget like:nonsense": "unknown model 'nonsense'",
    "search --preset a --data sample --epochs 0": "epochs 0 must be at least 1",
    "search --preset a --data nonsense": "no images at 'nonsense'",
    "detect train --backbone nonsense --data D --weights timm": "unknown model 'nonsense'",
    "detect train --backbone rexnet_1.0 --data nonsense": "nonsense is no folder",
    "detect train --backbone rexnet_1.0 --data D --recipe nonsense": "no recipe 'nonsense'",
    "detect train --backbone rexnet_1.0 --data D --set head=ssdlit": "did you mean ssdlite?",
    "detect train --backbone rexnet_1.0 --data D": "ssdlite_coco starts from a trained backbone",
    "detect validate nonsense": "nonsense holds no detector",
    "detect predict nonsense a.png": "nonsense holds no detector",
    "study activations --model nonsense": "unknown model 'nonsense'",
    "study activations --recipe nonsense": "no recipe 'nonsense'",
    "study factors --data nonsense": "no images at 'nonsense'",
    "study detection --backbones nonsense --data D": "unknown model 'nonsense'",
    "study rank --model nonsense --data sample": "unknown model 'nonsense'",
    "study rank --model rexnet_1.0 --data nonsense": "no images at 'nonsense'",
}

HEAVY = ("torch", "torchvision", "timm", "numba", "optuna", "onnxruntime", "openvino")

PROGRAM = f"""
import json, sys
from rexnet.cli import main as cli
codes = [cli.main(words.split()) for words in json.loads(sys.argv[1])]
print(json.dumps([codes, [name for name in {HEAVY} if name in sys.modules]]))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Work in a folder that holds images with boxes in D, as far as their layout goes."""
    monkeypatch.chdir(tmp_path)
    for part in ("train", "val"):
        (tmp_path / "D" / part / "images").mkdir(parents=True)
        (tmp_path / "D" / part / "instances.json").write_text("{}", encoding="utf-8")
    return tmp_path


def test_a_wrong_name_is_told_in_one_line_by_every_verb_and_loads_no_torch(folder):
    arguments = [sys.executable, "-c", PROGRAM, json.dumps(list(MISTAKES))]
    found = subprocess.run(arguments, check=True, capture_output=True, text=True, cwd=folder)
    assert json.loads(found.stdout) == [[2] * len(MISTAKES), []]
    lines = found.stderr.splitlines()
    assert len(lines) == len(MISTAKES)
    for (command, reason), line in zip(MISTAKES.items(), lines, strict=True):
        assert reason in line, command
    assert [path.name for path in folder.iterdir()] == ["D"]


def training(**changes):
    settings = {"model": "rexnet_1.0", "data": "sample", "recipe": "cifar"}
    return TrainConfig(**(settings | changes))


@pytest.mark.usefixtures("folder")
def test_names_that_are_something_pass():
    lookup.check_training(training())
    STUDIES["activations"].check(ActivationStudy(data="sample"))
    STUDIES["factors"].check(FactorStudy(data="sample"))
    lookup.check_detection(DetectTrainConfig(backbone="rexnet_1.0", data="D", from_scratch=True))
    study = DetectionStudy(backbones=("rexnet_1.0", "timm:resnet18"), data="D")
    STUDIES["detection"].check(study)


def test_a_model_is_a_name_a_spec_a_folder_a_file_or_what_timm_knows(folder):
    spec = families.get("rexnet_1.0")
    (folder / "spec.json").write_text(spec.to_json(), encoding="utf-8")
    (folder / "weights.pth").touch()
    model_folder(folder / "run" / "model", spec)
    for source in ("rexnet_1.0", "spec.json", ".", "run", "weights.pth", "timm:resnet18"):
        check_model(source)
    check_model("timm:resnet18", "weights.pth")
    for source in ("D", "D/train/instances.json", "no.pth"):
        with pytest.raises(UserError):
            check_model(source)
    with pytest.raises(UserError, match=r"cannot read the weights no\.pth"):
        check_model("timm:resnet18", "no.pth")


def test_a_search_is_checked_for_the_network_that_is_meant(folder):
    run, fitted = folder / "S", families.search_network((8, 8, 8), 10)
    run.mkdir()
    data = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    (run / "search.json").write_text(json.dumps({"data": data}), encoding="utf-8")
    for name in ("best.json", "best.safetensors"):
        (run / name).write_text(fitted.to_json(), encoding="utf-8")
    check_model("S")
    lookup.check_training(training(model="S", recipe="finetune"))
    with pytest.raises(UserError, match="S is a search without a fitted line yet: run `rexnet fit"):
        lookup.check_training(training(model="S"))
    (run / "spec.json").write_text(fitted.to_json(), encoding="utf-8")
    lookup.check_training(training(model="S"))
    (run / "best.safetensors").unlink()
    with pytest.raises(UserError, match="finetune starts from trained weights"):
        lookup.check_training(training(model="S", recipe="finetune"))


def model_folder(place, spec):
    """Write a model folder of a network, its weights empty."""
    place.mkdir(parents=True)
    fields = {"spec": dataclasses.asdict(spec), "pretrained_cfg": Preprocessing().to_config()}
    (place / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    (place / "model.safetensors").touch()


def test_weights_of_the_hub_are_in_its_cache_before_torch_is_loaded(folder, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    spec, commit = families.get("rexnet_1.0"), "1" * 40
    for repository, weights in (("timm/rexnet_100.nav_in1k", "timm"), ("me/mine", "hf:me/mine")):
        with pytest.raises(UserError, match=f"cannot download {repository} from the hub"):
            lookup.check_training(training(weights=weights))
        place = folder / "hub" / f"models--{repository.replace('/', '--')}"
        model_folder(place / "snapshots" / commit, spec)
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text(commit, encoding="utf-8")
        lookup.check_training(training(weights=weights))
    check_model("hf:me/mine")
    # A training that goes on has its own weights.
    (folder / "run").mkdir()
    (folder / "run" / "last.pt").touch()
    lookup.check_training(training(weights="hf:gone/away", out="run"))
