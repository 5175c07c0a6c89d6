"""What the command line names is looked up before torch is loaded."""

import json
import subprocess
import sys

import pytest

from rexnet import UserError, families
from rexnet.cli import lookup
from rexnet.detect.config import DetectTrainConfig
from rexnet.nn import sources
from rexnet.studies.config import ActivationStudy, DetectionStudy, FactorStudy
from rexnet.train.config import TrainConfig

MISTAKES = {
    "summary nonsense": "unknown model 'nonsense'",
    "summary --detector ssdlite --backbone nonsense": "unknown model 'nonsense'",
    "train --model nonsense --data sample --recipe cifar": "unknown model 'nonsense'",
    "train --model rexnet_1.0 --data nonsense --recipe cifar": "no images at 'nonsense'",
    "train --model rexnet_1.0 --data sample --recipe nonsense": "no recipe 'nonsense'",
    "train --model rexnet_1.0 --data sample --recipe finetune": "finetune starts from trained",
    "train --model rexnet_1.1 --data sample --recipe cifar --weights timm": "timm has no weights",
    "train --model rexnet_1.0 --data sample --recipe cifar --weights no.pth": "the weights no.pth",
    "validate nonsense": "nonsense is no run folder",
    "validate nonsense --weights timm": "unknown model 'nonsense'",
    "validate rexnet_1.0 --weights nonsense": "cannot read the weights nonsense",
    "predict nonsense a.png": "nonsense is no run folder",
    "predict rexnet_1.0 a.png --weights nonsense": "cannot read the weights nonsense",
    "benchmark rexnet_1.0 --against nonsense": "unknown model 'nonsense'",
    "export nonsense --format onnx": "unknown model 'nonsense'",
    "export rexnet_1.0 --format onnx --weights nonsense": "cannot read the weights nonsense",
    "redesign nonsense": "unknown model 'nonsense'",
    "search --preset a --data nonsense": "no images at 'nonsense'",
    "detect train --backbone nonsense --data D --weights timm": "unknown model 'nonsense'",
    "detect train --backbone rexnet_1.0 --data nonsense": "nonsense is no folder",
    "detect train --backbone rexnet_1.0 --data D --recipe nonsense": "no recipe 'nonsense'",
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
    lookup.check_study(ActivationStudy(data="sample"))
    lookup.check_study(FactorStudy(data="sample"))
    lookup.check_detection(DetectTrainConfig(backbone="rexnet_1.0", data="D", from_scratch=True))
    study = DetectionStudy(backbones=("rexnet_1.0", "timm:anything"), data="D")
    lookup.check_detection_study(study)


def test_a_model_is_a_name_a_spec_a_folder_a_file_or_what_timm_may_know(folder):
    (folder / "spec.json").write_text(families.get("rexnet_1.0").to_json(), encoding="utf-8")
    (folder / "weights.pth").touch()
    (folder / "run" / "model").mkdir(parents=True)
    (folder / "run" / "model" / "config.json").touch()
    for source in ("rexnet_1.0", "spec.json", ".", "run", "weights.pth", "timm:anything"):
        lookup.check_model(source)
    for source in ("D", "D/train/instances.json", "no.pth"):
        with pytest.raises(UserError):
            lookup.check_model(source)


def test_weights_of_the_hub_are_in_its_cache_before_torch_is_loaded(folder, monkeypatch):
    asked = []
    monkeypatch.setattr(sources, "download", asked.append)
    monkeypatch.setattr(sources, "cached", lambda repository: None)
    lookup.check_training(training(weights="timm"))
    lookup.check_training(training(weights="hf:me/mine"))
    lookup.check_model("hf:me/mine")
    assert asked == ["timm/rexnet_100.nav_in1k", "me/mine", "me/mine"]
    monkeypatch.setattr(sources, "cached", lambda repository: folder)
    lookup.check_training(training(weights="timm"))
    # A training that goes on has its own weights.
    (folder / "run").mkdir()
    (folder / "run" / "last.pt").touch()
    lookup.check_training(training(weights="hf:gone/away", out="run"))
    assert len(asked) == 3
