import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from PIL import ExifTags, Image
from resuming import apart, assert_same_end, end_of, together
from runs_of_toys import QUICK, write_toys
from scenes import SETTINGS, config, train, train_and_die, write_scenes
from small_models import write_search

from rexnet import UserError, runs
from rexnet.detect import job
from rexnet.detect.cost import count
from rexnet.detect.hub import load_detector
from rexnet.train import checkpoint


def trained(**changes):
    return job.run(config(**changes), lambda progress: None)


def visible(folder):
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_a_training_leaves_a_detector_and_its_numbers(here):
    result = trained()
    assert runs.read_json(here / "D" / "result.json") == result
    rows = runs.read_jsonl(here / "D" / "metrics.jsonl")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert result["ap"] == rows[-1]["ap"]
    model = load_detector(here / "D")
    assert model.classes == ("car", "cat", "ship")
    assert model.category_ids == (3, 7, 90)
    assert model.preprocessing.resolution == 64
    total = count(model)
    assert (result["params"], result["macs"]) == (total.params, total.macs)
    kept = checkpoint.load(here / "D" / "last.pt")["model"]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, kept[name])
    identity = runs.read_json(here / "D" / "train.json")
    assert identity["data"]["categories"] == {"car": 3, "cat": 7, "ship": 90}
    assert visible(here / "D" / "validation") == {
        "classes.jsonl",
        "curve.jsonl",
        "detections.json",
        "images.jsonl",
        "result.json",
    }


@pytest.mark.numeric
def test_it_learns_to_find_what_it_is_shown(here):
    shutil.rmtree(here / "scenes")
    write_scenes(here, num_images=8)
    shutil.rmtree(here / "scenes" / "val")
    shutil.copytree(here / "scenes" / "train", here / "scenes" / "val")
    # Every step sees all images: batch norm's running statistics are those of what is evaluated,
    # once the rate has fallen and the weights no longer run ahead of them.
    changes = ("epochs=45", "optimizer=adamw", "lr=0.006", "warmup_epochs=2", "augment=false")
    assert trained(set=(*SETTINGS, *changes))["ap50"] > 0.9


def test_a_training_killed_in_mid_epoch_ends_as_one_that_was_not(here):
    trained(out="whole")
    assert apart(train_and_die, 0.5, "killed") == -signal.SIGKILL
    assert not (here / "killed" / "result.json").exists()
    trained(out="killed", checkpoint_seconds=0)
    assert_same_end(here / "whole", here / "killed")


@pytest.mark.numeric
def test_two_processes_train_as_one_does_and_find_the_same(here):
    assert together(2, train, "two") == [0, 0]
    trained(out="one", set=(*SETTINGS, "accumulate=2"))
    (one, rows), (two, other_rows) = end_of(here / "one"), end_of(here / "two")
    for row, other in zip(rows, other_rows, strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
    for name in one:
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-4)
    model, images = (
        load_detector(here / "two"),
        json.loads(Path("scenes/val/instances.json").read_text()),
    )
    found = runs.read_json(here / "two" / "validation" / "detections.json")
    assert {row["image_id"] for row in found} <= {image["id"] for image in images["images"]}
    assert {row["category_id"] for row in found} <= set(model.category_ids)


def test_a_backbone_starts_from_a_run_and_a_detector_from_scratch_is_trained_twice_as_long(here):
    from rexnet.train import job as classify
    from rexnet.train.config import TrainConfig

    (here / "classes").mkdir()
    write_toys(here / "classes")
    settings = {"data": "classes/toys.npz", "recipe": "cifar", "set": QUICK, "out": "T"}
    classes = TrainConfig(model="toy.json", device="cpu", **settings)
    classify.run(classes, lambda progress: None)
    start = runs_weights(here)
    for number, changes in enumerate(({"backbone": "T"}, {"backbone": "T", "from_scratch": True})):
        told = []

        def stop(progress, told=told):
            if progress.share > 0:
                told.append(progress.words)
                raise KeyboardInterrupt

        settings = (
            *(s for s in SETTINGS if not s.startswith("pretrained")),
            "pretrained=true",
            "lr=0",
        )
        with pytest.raises(KeyboardInterrupt):
            job.run(
                config(out=f"D{number}", set=settings, checkpoint_seconds=0, **changes),
                stop,
            )
        own = checkpoint.load(here / f"D{number}" / "last.pt")["model"]["backbone.stem.conv.weight"]
        assert torch.equal(own, start) == (number == 0)
        assert told[0].startswith(f"epoch 1/{3 * (1 + number)}, ")


def test_a_backbone_that_a_search_found_starts_from_its_weights_and_is_gone_on_with(here):
    best = write_search(here / "S")

    def stop(progress):
        raise KeyboardInterrupt

    kept = [s for s in SETTINGS if not s.startswith(("pretrained", "epochs"))]
    settings = {"backbone": "S", "set": (*kept, "epochs=1", "pretrained=true", "lr=0")}
    with pytest.raises(KeyboardInterrupt):
        job.run(config(checkpoint_seconds=0, **settings), stop)
    trained(**settings)
    backbone = load_detector(here / "D").backbone
    assert backbone.spec.widths == best.spec.widths
    assert torch.equal(backbone.stem.conv.weight, best.stem.conv.weight)
    assert job.backbone_id("S", "S")["spec_id"] == backbone.spec.spec_id
    assert job.backbone_id("S", None)["spec_id"] != backbone.spec.spec_id


def runs_weights(here):
    from rexnet import load_model

    return load_model(here / "T").stem.conv.weight


MISTAKES = {
    "backbone": ({"backbone": "rexnet_1.O"}, "unknown model"),
    "recipe": ({"recipe": "imagenet"}, "no recipe 'imagenet'"),
    "field": ({"set": (*SETTINGS, "mixup=0.2")}, "unknown option mixup"),
    "weights": ({"set": ("epochs=2",)}, "recipe ssdlite_coco starts from a trained backbone"),
    "data": ({"data": "nowhere"}, "nowhere is no folder"),
    "resolution": ({"set": (*SETTINGS, "resolution=32")}, "resolution 32 must be from 64"),
    "single images": ({"set": (*SETTINGS, "accumulate=8")}, "a single image at a time"),
    "optimizer": ({"set": (*SETTINGS, "optimizer=sdg")}, "optimizer 'sdg'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line_and_leaves_nothing_behind(mistake, here):
    changes, wanted = MISTAKES[mistake]
    with pytest.raises(UserError) as error:
        trained(**changes)
    assert wanted in str(error.value)
    assert "\n" not in str(error.value)
    assert not (here / "D").exists()


def test_options_that_do_not_belong_together_are_refused():
    for changes in (
        {"data": None},
        {"annotations": "a.json"},
        {"data": None, "annotations": "a.json", "images": "i"},
        {"from_scratch": True, "weights": "timm"},
    ):
        with pytest.raises(UserError, match="give"):
            config(**changes)


def test_files_may_be_named_one_by_one(here):
    names = {"annotations": "scenes/train/instances.json", "images": "scenes/train/images"}
    others = {"val_annotations": "scenes/val/instances.json", "val_images": "scenes/val/images"}
    result = trained(data=None, **names, **others)
    assert result["num_train"] == result["num_images"] == 16


def test_a_corrupt_image_is_named_or_left_out(here):
    (here / "scenes/train/images/05.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"1 of 32 images are corrupt: .*05\.png"):
        trained()
    result = trained(skip_corrupt=True)
    assert (result["num_train"], result["num_corrupt"]) == (15, 1)


def turn(path):
    """Store a square picture as a camera on its side does, 4 x 3 as it is shown."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (72, 96)).save(path, exif=exif)


def test_images_of_another_shape_than_their_entries_are_told_first_and_can_be_left_out(here):
    turn(here / "scenes/val/images/05.png")
    with pytest.raises(UserError, match=r"1 of 32 images have another shape .*05\.png") as error:
        trained()
    assert "--skip-corrupt" in str(error.value)
    assert not (here / "D").exists()
    result = trained(skip_corrupt=True)
    assert (result["num_images"], result["num_corrupt"]) == (15, 1)
    listed = [
        pair for pairs in runs.read_json(here / "D" / "images.json").values() for pair in pairs
    ]
    assert [place for place, _ in listed] == ["scenes/val/images/05.png"]
    for number in range(16):
        turn(here / f"scenes/train/images/{number:02}.png")
    with pytest.raises(UserError, match=r"no image of .* with boxes is left: 16 of 16 images"):
        trained(skip_corrupt=True, out="other")


def test_a_part_of_another_name_is_found_and_what_is_left_out_of_it_is_told(here):
    (here / "scenes/val").rename(here / "scenes/Valid")
    for part in ("train", "Valid"):
        path = here / "scenes" / part / "instances.json"
        document = json.loads(path.read_text())
        others = [row | {"supercategory": "things"} for row in document["categories"]]
        document["categories"] = [{"id": 0, "name": "things", "supercategory": "none"}, *others]
        path.write_text(json.dumps(document))

    def stop(found):
        assert found.notes[0].startswith("train: category 0 'things' is left out")
        assert found.notes[1] == "train: 1 of 16 images have no boxes"
        assert [part.place for part in found.parts] == [
            "scenes/train/instances.json",
            "scenes/Valid/instances.json",
        ]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.run(config(), lambda progress: None, stop)


def test_without_any_box_nothing_can_be_learnt(here):
    path = here / "scenes/train/instances.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"annotations": []}))
    with pytest.raises(UserError, match="has no boxes; nothing can be learnt"):
        trained()
