import json
from pathlib import Path

import pytest
from commands import mistaken, refused, write_photos

from rexnet import families
from rexnet.cli import main as cli

TRAIN = ["--model", "rexnet_1.0", "--data", "sample", "--recipe", "cifar"]

MISTAKES = {
    "nothing to train": (["train"], ["give --model and --data and --recipe"]),
    "no data to train on": (["train", *TRAIN, "--data", "nowhere"], ["no images at 'nowhere'"]),
    "recipe": (["train", *TRAIN, "--recipe", "imagnet"], ["did you mean imagenet?"]),
    "field of a recipe": (
        ["train", *TRAIN, "--set", "epoch=5"],
        ["recipe cifar: unknown option epoch (did you mean epochs?)"],
    ),
    "value in a recipe": (
        ["train", *TRAIN, "--set", "epochs=5", "lr=fast"],
        ["recipe cifar: lr: 'fast' must be a number"],
    ),
    "option of train": (
        ["train", *TRAIN, "--epochs", "5"],
        ["unknown option --epochs", "belongs to the recipe", "--set epochs=..."],
    ),
    "option of search to train": (["train", *TRAIN, "--weigths", "timm"], ["--weights?"]),
    "weights to start from": (["train", *TRAIN, "--recipe", "finetune"], ["give --weights timm"]),
    "device to train on": (["train", *TRAIN, "--device", "tpu"], ["'auto', 'cpu', 'cuda'"]),
    "nothing to validate": (["validate"], ["give a run folder or another trained model"]),
    "model to validate": (
        ["validate", "rexnet_1.0"],
        ["needs --weights timm, pypi, official:PATH"],
    ),
    "part": (["validate", "T", "--part", "some"], ["'some'", "'val', 'train', 'all'"]),
    "nothing to predict": (["predict", "T"], ["give images"]),
    "model to predict": (["predict", "nowhere", "a.png"], ["nowhere is no run folder"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line_that_names_it_and_the_fix(mistake, capsys):
    mistaken(capsys, *MISTAKES[mistake])


def test_a_network_goes_from_a_search_to_training_validation_and_prediction(here, capsys):
    Path("spec.json").write_text(families.search_network([6, 8, 10], 10).to_json(), "utf-8")
    paths = write_photos(here / "mine")
    recipe = ["--recipe", "cifar", "--set", "epochs=2", "batch_size=8", "resolution=16"]
    train = ["train", "--model", "spec.json", "--data", "mine", *recipe, "--out", "T"]
    assert cli.main([*train, "--set", "lr=0.01", "--checkpoint-seconds", "0"]) == 0
    out = capsys.readouterr().out
    assert "Ctrl-C stops the training" in out
    assert "after epoch 2: train loss" in out
    assert "rexnet validate T" in out
    for name in ("curves.png", "validation/confusion.png", "model/config.json"):
        assert (here / "T" / name).exists()
        assert name.partition("/")[0] in out
    assert cli.main(["validate", "T", "--part", "train", "--out", "V"]) == 0
    out = capsys.readouterr().out
    assert "mine (train): top-1" in out
    assert "33 images" in out
    assert (here / "V" / "confusion.png").exists()
    assert cli.main(["predict", "T", *paths[:2], "--json", "--top", "2"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["image"] for row in rows] == paths[:2]
    assert all(len(row["classes"]) == 2 for row in rows)
    assert cli.main(["predict", "T", paths[0], "--top", "1"]) == 0
    best = rows[0]["classes"][0]
    wanted = f"{paths[0]}: {best['class']} {100 * best['probability']:.1f} %\n"
    assert capsys.readouterr().out == wanted
    assert "recipe.epochs is 2, not 1" in refused(capsys, *train, "--set", "lr=0.01", "epochs=1")
    assert cli.main([*train, "--set", "lr=0.01", "epochs=3"]) == 0
    out = capsys.readouterr().out
    assert "It was one of 2 epochs; from its last checkpoint on" in out
    assert "after epoch 3: train loss" in out
    assert "after epoch 1: train loss" not in out


def test_corrupt_files_are_left_out_when_asked(here, capsys):
    Path("spec.json").write_text(families.search_network([6, 8, 10], 10).to_json(), "utf-8")
    paths = write_photos(here / "mine")
    Path(paths[3]).write_bytes(b"no picture")
    recipe = ["--recipe", "cifar", "--set", "epochs=1", "batch_size=8", "resolution=16"]
    train = ["train", "--model", "spec.json", "--data", "mine", *recipe, "--out", "T"]
    message = refused(capsys, *train)
    assert "1 of " in message
    assert f"{Path(paths[3]).name} " in message
    assert "--skip-corrupt" in message
    assert cli.main([*train, "--skip-corrupt"]) == 0
    assert f"Left out: {Path(paths[3]).relative_to(here)}" in capsys.readouterr().out
