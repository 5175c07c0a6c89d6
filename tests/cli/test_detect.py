import json
from pathlib import Path

import pytest
from commands import mistaken, refused
from scenes import SETTINGS, write_scenes

from rexnet.cli import main as cli

MISTAKES = {
    "recipe's option to a verb without one": (
        ["detect", "validate", "--epochs", "3"],
        ["unknown option --epochs", "see `rexnet detect validate --help`"],
    ),
    "no job of detect": (["detect"], ["give one of: train, validate, predict"]),
    "job of detect": (["detect", "predcit"], ["unknown detect 'predcit' (did you mean predict?)"]),
    "backbone": (["detect", "train", "--data", "sample"], ["give --backbone"]),
    "data to detect on": (
        ["detect", "train", "--backbone", "rexnet_1.0", "--set", "epochs=2"],
        ["give --data FOLDER, or --annotations"],
    ),
    "detector": (["detect", "validate", "nowhere"], ["nowhere holds no detector"]),
    "score": (["detect", "predict", "D", "a.png", "--score", "2"], ["score 2.0 must be from 0"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line_that_names_it_and_the_fix(mistake, capsys):
    mistaken(capsys, *MISTAKES[mistake])


def test_a_detector_goes_from_training_to_validation_and_prediction(here, capsys):
    write_scenes(here)
    recipe = ["--set", *SETTINGS, "epochs=2"]
    train = ["detect", "train", "--backbone", "toy.json", "--data", "scenes", "--out", "D", *recipe]
    assert cli.main([*train, "--workers", "0"]) == 0
    out = capsys.readouterr().out
    for words in (
        "after epoch 2: train loss",
        "AP50",
        "3 categories, with their ids: car 3, cat 7, ship 90",
        "rexnet detect validate D",
    ):
        assert words in out
    for name in ("curves.png", "validation/report.html", "model/config.json"):
        assert (here / "D" / name).exists()
    assert cli.main(["detect", "validate", "D", "--workers", "0", "--out", "V"]) == 0
    out = capsys.readouterr().out
    assert "scenes/val/instances.json: AP " in out
    assert (here / "V" / "report.html").exists()
    images = ["scenes/val/images/00.png", "scenes/val/images/01.png"]
    predict = ["detect", "predict", "D", *images, "--score", "0.01"]
    assert cli.main([*predict, "--json", "--out", "P"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["image"] for row in rows] == images
    assert [row["picture"] for row in rows] == ["P/00.png", "P/01.png"]
    assert {path.name for path in (here / "P").iterdir()} == {"00.png", "01.png"}
    # A folder of images that holds the pictures of an earlier call.
    again = ["detect", "predict", "D", "scenes/val/images", "--json", "--out", "scenes/val/images"]
    for _ in range(2):
        assert cli.main(again) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [row["image"] for row in rows][:2] == images
        assert rows[0]["picture"] == "scenes/val/images/00-2.png"
        assert len(rows) == len(json.loads(Path("scenes/val/instances.json").read_text())["images"])
    assert cli.main([*predict[:-1], "1"]) == 0
    assert f"{images[0]}: nothing found" in capsys.readouterr().out
    assert "recipe.epochs is 2, not 1" in refused(capsys, *train, "epochs=1")
    assert cli.main([*train, "--workers", "0", "--set", "epochs=3"]) == 0
    assert "It was one of 2 epochs" in capsys.readouterr().out
    assert json.loads(Path("D/result.json").read_text())["epochs"] == 3
