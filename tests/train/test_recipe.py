import re
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from rexnet import UserError
from rexnet.detect import recipe as detection
from rexnet.train import recipe as recipes
from rexnet.train.recipe import Recipe

PAPER = {
    "optimizer": "sgd",
    "momentum": 0.9,
    "batch_size": 512,
    "lr": 0.5,
    "lr_batch_size": 512,
    "warmup_epochs": 5,
    "weight_decay": 1e-5,
    "epochs": 400,
    "label_smoothing": 0.1,
    "rand_augment": "rand-m9-mstd0.5",
    "random_erasing": 0.2,
    "dropout": 0.2,
    "crop": "resized",
    "scale": (0.08, 1.0),
    "drop_path": 0,
    "mixup": 0,
    "cutmix": 0,
    "resolution": None,
    "pretrained": False,
}
"""Section 5.1 of the paper and the command of the official repository."""

KNOWN = {
    "resolution": 320,
    "optimizer": "sgd",
    "momentum": 0.9,
    "weight_decay": 4e-5,
    "batch_size": 256,
    "lr": 0.08,
    "lr_batch_size": 256,
    "warmup_start": 0.333,
    "loss": "focal",
    "sync_bn": True,
    "pretrained": True,
}
"""Of the public code that gave almost the results of the paper."""

FOLDER = Path(str(files("rexnet"))) / "recipes"


def refusal(name, *overrides):
    with pytest.raises(UserError) as error:
        recipes.load(name, overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_recipe_of_imagenet_is_the_papers():
    recipe = recipes.load("imagenet")
    for field, value in PAPER.items():
        assert getattr(recipe, field) == value


@pytest.mark.parametrize("name", [*recipes.SHIPPED, *detection.SHIPPED])
def test_a_shipped_recipe_loads_as_it_is_written_and_opens_with_its_command(name):
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    recipe = (recipes if name in recipes.SHIPPED else detection).load(name)
    for field, value in yaml.safe_load(text).items():
        loaded = getattr(recipe, field)
        assert loaded == (tuple(value) if isinstance(value, list) else value)
    for word in (f"--recipe {name}", "Command:", "Hardware:", "Time:", "Result:"):
        assert word in re.split(r"\n\w", text)[0]


def test_every_file_is_a_recipe_of_some_job():
    names = {path.stem for path in FOLDER.glob("*.yaml")}
    assert names == {"demo", *recipes.SHIPPED, *detection.SHIPPED}


def test_the_recipe_of_detection_is_the_known_one():
    recipe = detection.load("ssdlite_coco")
    for field, value in KNOWN.items():
        assert getattr(recipe, field) == value
    # 200,000 steps of COCO's 117,266 images with boxes, 500 of them warm-up.
    assert recipe.epochs == 200_000 * 256 // 117_266
    assert recipe.warmup_epochs == pytest.approx(500 * 256 / 117_266, abs=0.01)
    scratch = recipe.from_scratch()
    assert (scratch.epochs, scratch.pretrained) == (2 * recipe.epochs, False)


def test_only_the_recipe_of_fine_tuning_needs_weights():
    assert {name for name in recipes.SHIPPED if recipes.load(name).pretrained} == {"finetune"}


def test_the_learning_rate_grows_with_the_batch():
    assert recipes.load("imagenet", ["batch_size=128"]).peak_lr == pytest.approx(0.125)
    assert recipes.load("imagenet", ["batch_size=2048"]).peak_lr == pytest.approx(2.0)


def test_overrides_are_stronger_than_the_file_and_the_last_one_wins(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("epochs: 7\nlr: 0.3\nscale: [0.2, 0.9]\n", encoding="utf-8")
    recipe = recipes.load(str(path), ["lr=1e-2", "epochs=9", "epochs=8", "resolution=96"])
    assert (recipe.epochs, recipe.lr, recipe.resolution) == (8, 0.01, 96)
    assert recipe.scale == (0.2, 0.9)
    assert recipe.momentum == Recipe.momentum


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("epochs=many", ["epochs", "'many'", "whole number"]),
        ("epoch=3", ["unknown option epoch", "did you mean epochs?"]),
        ("lr=-1", ["lr -1.0 must be from 0 to 1000.0"]),
        ("lr=.nan", ["lr"]),
        ("crop=middle", ["crop", "'middle'", "'resized', 'padded', 'none'"]),
        ("epochs", ["--set epochs: give FIELD=VALUE"]),
        ("epochs=0", ["epochs 0 must be from 1"]),
        ("batch_size=0", ["batch_size 0"]),
        ("momentum=1.5", ["momentum 1.5 must be from 0 to 1"]),
        ("warmup_epochs=500", ["warmup_epochs 500.0 must be from 0 to epochs, 400"]),
        ("precision=int8", ["'int8'", "bfloat16"]),
    ],
)
def test_a_wrong_override_is_told_in_one_line(override, wanted):
    message = refusal("imagenet", override)
    for part in wanted:
        assert part in message


def test_mixing_needs_pairs():
    assert "even batch_size" in refusal("imagenet", "mixup=0.2", "batch_size=7")


def test_a_recipe_that_is_not_there_is_told_with_those_that_are(tmp_path):
    message = refusal("imagnet")
    assert "did you mean imagenet?" in message
    assert "imagenet, cifar, finetune" in message
    assert "no recipe" in refusal(str(tmp_path))
    (tmp_path / "bad.yaml").write_text("a: [1\nb: {", encoding="utf-8")
    assert "bad.yaml" in refusal(str(tmp_path / "bad.yaml"))
