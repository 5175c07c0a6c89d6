import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from importlib.resources import files

import numpy as np
import pytest
import torch
from clocks import compute_beside
from PIL import Image
from small_models import SPEC, read_plainly, write_detector, write_network
from torch import nn

from rexnet import NetSpec, UserError, load_model, save_pretrained
from rexnet.cli import main as cli
from rexnet.data.sample import read_sheet
from rexnet.data.transforms import evaluation_transform
from rexnet.deploy import export, parity, quantise, runtimes, timing
from rexnet.deploy.config import ExportConfig
from rexnet.deploy.runtimes import RUNTIMES
from rexnet.detect.hub import load_detector
from rexnet.preprocessing import Preprocessing

BESIDE = """
import sys
sys.modules.update(rexnet=None, torch=None)
sys.path.insert(0, sys.argv[1])
import json
import numpy as np
import onnxruntime
from decode import decode
session = onnxruntime.InferenceSession(sys.argv[1] + "/model.onnx")
words = session.get_modelmeta().custom_metadata_map
anchors = np.load(sys.argv[1] + "/anchors.npy")
assert list(anchors.shape) == json.loads(words["anchors"])
logits, offsets = session.run(None, {"images": np.load(sys.argv[2])})
boxes, scores, labels = decode(logits[0], offsets[0], anchors, words["loss"], score=0.01)
print([json.loads(words["category_ids"])[label] for label in labels], len(boxes))
"""

NAMES = ("airplane", "automobile")

FORMATS = runtimes.by_format(RUNTIMES)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Run every test in an empty folder, on one thread, without pauses between timed calls."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(timing, "WARM_SECONDS", 0)
    return tmp_path


def config(**changes):
    return ExportConfig(**{"model": "M", "format": "onnx", "threads": 1} | changes)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def real_images():
    """Return 40 images (40, 32, 32, 3) of the sample."""
    with (files("rexnet.data") / "sample" / "00.webp").open("rb") as file:
        return read_sheet(file)[:40]


def write_toys(folder):
    """Write a folder of class folders with real images of 32 pixels."""
    for number, image in enumerate(real_images()):
        place = folder / NAMES[number // 20]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:02}.png")


def write_two_classes(folder):
    """Write a model folder of a network of the classes of ``write_toys``."""
    model = write_network(folder)
    model.reset_classifier(len(NAMES))
    model.classes = NAMES
    save_pretrained(model, folder)


@pytest.mark.numeric
@pytest.mark.parametrize("kind", ["onnx", "openvino", "executorch"])
def test_a_file_says_what_it_is_and_gives_what_its_model_gives(kind, here):
    model = write_network(here / "M")
    shares = []
    result = export.run(config(format=kind), lambda progress: shares.append(progress.share))
    assert shares == sorted(shares)
    assert shares[-1] == 1
    folder = here / "M" / "export" / kind
    assert export.out(config(format=kind)) == folder.relative_to(here)
    assert json.loads((folder / "export.json").read_text()) == result
    assert {path.name for path in folder.iterdir() if path.name[0] != "."} == {
        *result["files"],
        "export.json",
    }
    assert not (folder / ".export.tmp").exists()
    assert result["trained"]
    assert result["spec_id"] == SPEC.spec_id
    assert 0 < result["parity"]["difference"] < 1e-4
    assert "stirred_difference" not in result["parity"]
    assert set(result["milliseconds"]) == {"torch", FORMATS[kind].name}
    keys = ("preprocessing", "classes", "spec", "spec_id", "weights", "outputs")
    path = folder / f"model{FORMATS[kind].suffix}"
    batches = parity.batches((3, 32, 32))
    words, outputs = read_plainly(kind, path, batches, keys, here / "arrays.npz")
    assert Preprocessing.from_config(json.loads(words["preprocessing"])) == model.preprocessing
    assert tuple(json.loads(words["classes"])) == model.classes
    assert NetSpec.from_json(words["spec"]) == SPEC
    assert words["weights"] == "trained"
    with torch.no_grad():
        wanted = load_model("M")(torch.from_numpy(batches[2])).numpy()
    assert np.abs(outputs[2][0] - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_a_detector_is_exported_with_what_makes_boxes_of_its_outputs(here):
    write_detector(here / "D")
    result = export.run(config(model="D", out="E"))
    assert result["files"] == ["anchors.npy", "decode.py", "model.onnx"]
    np.save("images.npy", parity.batches((3, 64, 64))[0])
    arguments = [sys.executable, "-I", "-c", BESIDE, str(here / "E"), "images.npy"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ids, count = re.fullmatch(r"\[(.*)\] (\d+)\s*", done.stdout).groups()
    assert int(count) > 0
    assert set(ids.split(", ")) <= {"17", "3"}
    np.testing.assert_array_equal(np.load("E/anchors.npy"), load_detector("D").anchors.numpy())


def test_random_weights_are_said_and_compared_in_a_stirred_copy(here, capsys):
    (here / "S").mkdir()
    (here / "S" / "spec.json").write_text(SPEC.to_json(), encoding="utf-8")
    assert cli.main(["export", "S", "--format", "onnx", "--threads", "1", "--out", "E"]) == 0
    output = capsys.readouterr().out
    assert "The weights are random" in output
    assert "with other weights" in output
    assert "E/model.onnx" in output
    record = json.loads((here / "E" / "export.json").read_text())
    assert not record["trained"]
    assert record["parity"]["stirred_difference"] < 1e-4
    assert record["threads"] == 1


def test_a_name_goes_to_runs_at_the_resolution_that_was_asked_for(here):
    assert export.out(config(model="rexnet_1.0")).as_posix() == "runs/rexnet_1.0-export/onnx"
    for name in ("net.json", "net.pth.tar", "net.bin"):
        assert export.out(config(model=f"a/{name}")).as_posix() == "runs/net-export/onnx"
    timm = config(model="timm:mobilenetv3_small_050", resolution=64)
    assert export.run(timm)["spec_id"] is None
    folder = here / "runs" / "timm-mobilenetv3_small_050-export" / "onnx"
    record = json.loads((folder / "export.json").read_text())
    assert record["resolution"] == 64


def test_an_export_recorded_before_there_were_options_is_the_same(here):
    write_network(here / "M")
    export.run(config(out="E"))
    record = json.loads((here / "E" / "export.json").read_text())
    old = {k: v for k, v in record.items() if k not in ("opset", "dynamic", "half")}
    (here / "E" / "export.json").write_text(json.dumps(old))
    with pytest.raises(UserError, match=r"another configuration: .*half"):
        export.run(config(out="E", half=True))
    export.run(config(out="E"))
    assert json.loads((here / "E" / "export.json").read_text())["half"] is False


def a_wrong_weight(module):
    with torch.no_grad():
        weight = module.blocks[1].project.conv.weight
        weight[0, 0] += weight.abs().max()


def another_activation(module):
    module.blocks[0].depthwise_act = nn.ReLU()


def swapped_channels(module):
    with torch.no_grad():
        weight = module.stem.conv.weight
        weight.copy_(weight[:, [2, 1, 0]])


def broken(change):
    """Return a table whose runtime of ONNX changes every module that is exported on its way."""

    def form(module):
        made = FORMATS["onnx"].form(module)
        change(made)
        return made

    return runtimes.table(dataclasses.replace(FORMATS["onnx"], form=form))


@pytest.mark.parametrize("change", [a_wrong_weight, another_activation, swapped_channels])
def test_a_file_that_is_wrong_is_not_kept(change, here):
    write_network(here / "M")
    with pytest.raises(UserError, match=r"differ by \S+ of their spread.*above 0\.001"):
        export.run(config(out="E"), available=broken(change))
    assert [path.name for path in (here / "E").iterdir()] == [".lock"]


def test_a_file_of_random_weights_that_is_wrong_is_not_kept_nor_harms_an_earlier_one(here):
    (here / "net.json").write_text(SPEC.to_json(), encoding="utf-8")
    export.run(config(model="net.json", out="E"))
    before = content(here / "E")
    with pytest.raises(UserError, match="differ by"):
        export.run(config(model="net.json", out="E"), available=broken(another_activation))
    assert content(here / "E") == before
    assert not [path for path in (here / "E").iterdir() if path.is_dir()]


def test_the_same_export_again_takes_the_place_of_the_first(here):
    write_network(here / "M")
    export.run(config(out="E"))
    model = write_network(here / "M")
    with torch.no_grad():
        model.classifier.bias += 1
    save_pretrained(model, here / "M")
    before = content(here / "E")
    export.run(config(out="E"))
    assert content(here / "E")["model.onnx"] != before["model.onnx"]


def test_a_folder_of_something_else_is_left_alone(here):
    write_network(here / "M")
    export.run(config(out="E"))
    before = content(here / "E")
    with pytest.raises(
        UserError, match=r"E holds an export of another configuration: format is onnx, not openvino"
    ):
        export.run(config(out="E", format="openvino"))
    assert content(here / "E") == before
    with pytest.raises(UserError, match=r"M has files but no export\.json; give another --out"):
        export.run(config(out="M"))
    with pytest.raises(UserError, match="cannot write to"):
        export.run(config(out="M/config.json/E"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_told(here):
    write_network(here / "M")
    (here / "E").mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot write to E"):
        export.run(config(out="E"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["M"], "give --format"),
        (["M", "--format", "tflite"], "'tflite' is not one of"),
        (["--format", "onnx"], "give a run folder or another trained model"),
        (["nothing", "--format", "onnx"], "nothing"),
        (["M", "--format", "onnx", "--resolution", "7"], "resolution 7 must be from 8 to 4096"),
        (["M", "--format", "onnx", "--threads", "0"], "threads 0 must be from 1"),
        (["M", "--format", "onnx", "--int8"], "--int8 needs --calibration DATA"),
        (["M", "--format", "onnx", "--calibration", "T"], "--calibration goes with --int8"),
        (
            ["M", "--format", "executorch", "--int8", "--calibration", "T"],
            "for onnx and openvino, not for executorch",
        ),
        (["M", "--format", "onnx", "--opset", "17"], "opset 17 must be from 18 to 23"),
        (["M", "--format", "onnx", "--dynamic", "hight"], "'hight' is not one of batch, height, w"),
        (["M", "--format", "openvino", "--opset", "20"], "--opset is for --format onnx, not for o"),
        (["M", "--format", "openvino", "--dynamic", "width"], "--dynamic is for --format onnx"),
        (["M", "--format", "executorch", "--half"], "--half is for --format onnx, not for execut"),
        (
            ["M", "--format", "onnx", "--half", "--int8", "--calibration", "T"],
            "--half and --int8 are two files",
        ),
        (["D", "--format", "onnx", "--dynamic", "width"], "a detector, whose anchors are those of"),
        (["D", "--format", "onnx", "--int8", "--calibration", "T"], "not for detectors"),
        (["M", "--format", "onnx", "--int8", "--calibration", "T"], "classes that the model does"),
        (["M", "--format", "onnx", "--int8", "--calibration", "nowhere"], "nowhere"),
        (["D", "--format", "onnx", "--resolution", "96"], "is a detector for 64 pixels"),
    ],
)
def test_mistakes_are_told_in_one_line_before_anything_is_written(arguments, words, here, capsys):
    write_network(here / "M")
    write_detector(here / "D")
    write_toys(here / "T")
    before = sorted(here.rglob("*"))
    assert cli.main(["export", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert words in error
    assert sorted(here.rglob("*")) == before


def test_a_missing_runtime_is_told_with_the_command_that_installs_it(here, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "openvino" else find(name)
    )
    assert cli.main(["export", "rexnet_1.0", "--format", "openvino"]) == 2
    error = capsys.readouterr().err
    assert "openvino is not installed; install it with pip install 'rexnet[openvino]'" in error
    assert not list(here.iterdir())


@pytest.mark.numeric
@pytest.mark.parametrize(("kind", "others"), [("onnx", 0.9), ("openvino", None)])
def test_a_file_in_8_bits_is_made_beside_and_counted(kind, others, here, capsys, monkeypatch):
    compute_beside(monkeypatch, others)
    write_two_classes(here / "M")
    np.savez("T.npz", images=real_images(), labels=np.arange(40) // 20, classes=NAMES)
    command = f"export M --format {kind} --int8 --calibration T.npz --images 20".split()
    # Each of the four images that are classified is 25 points.
    assert cli.main([*command, "--accept", "100", "--out", "E", "--threads", "1"]) == 0
    record = json.loads((here / "E" / "export.json").read_text())
    assert f"model-int8{FORMATS[kind].suffix}" in record["files"]
    assert record["int8"]["num_images"] == 4
    assert set(record["milliseconds"]) == {"torch", FORMATS[kind].name, "int8"}
    times = record["milliseconds"]
    slower = times["int8"] >= times[FORMATS[kind].name]
    # What a busy machine times is no claim about the file.
    printed = capsys.readouterr().out
    assert record["others"] == others
    assert ("The machine was busy: other work took 90 %" in printed) == bool(others)
    assert ("int8 is slower here" in printed) == (slower and not others)
    runs = [
        runtimes.run(FORMATS[kind], here / "E" / f"{stem}{FORMATS[kind].suffix}", 1)
        for stem in ("model", "model-int8")
    ]
    model = load_model("M")
    train, _ = quantise.open_parts("T.npz", model)
    images = list(quantise.chosen(train, model.preprocessing, 20, lambda *p: None))
    found = parity.compare(*runs, images)
    # Rounding to 8 bits costs 0.17 of the spread here, sums that are cut off at 16 bits 1.2.
    assert 1e-3 < found.difference < 0.3
    if kind == "onnx":
        sizes = [(here / "E" / name).stat().st_size for name in ("model-int8.onnx", "model.onnx")]
        assert sizes[0] < sizes[1]
        words, _ = read_plainly(
            kind, here / "E" / "model-int8.onnx", parity.batches((3, 32, 32)), (), here / "a.npz"
        )
        assert json.loads(words["classes"]) == list(NAMES)


def write_far_off(path):
    """Write images in .npz: black ones to train on, real ones as the model M classifies them."""
    images, model = real_images(), load_model("M")
    transform = evaluation_transform(model.preprocessing)
    with torch.no_grad():
        batch = torch.stack([transform(Image.fromarray(image)) for image in images])
        labels = model(batch).argmax(1).numpy()
    black = {"images": np.zeros((8, 32, 32, 3), np.uint8), "labels": np.arange(8) % 2}
    np.savez(path, **black, classes=NAMES, val_images=images, val_labels=labels)


@pytest.mark.parametrize("points", [-1, 100.5, float("nan")])
def test_points_out_of_range_are_told(points):
    with pytest.raises(UserError, match=f"accept {points:g} must be from 0 to 100 points of top-1"):
        config(int8=True, calibration="sample", accept=points)


def test_a_file_in_8_bits_that_costs_too_much_is_not_kept(here, capsys):
    write_two_classes(here / "M")
    write_far_off(here / "far.npz")
    command = "export M --format onnx --int8 --calibration far.npz --out E --threads 1"
    assert cli.main(command.split()) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"% of 40 images right, .* float32 100\.00 %: .* above --accept 1;", error)
    assert [path.name for path in (here / "E").iterdir()] == [".lock"]
