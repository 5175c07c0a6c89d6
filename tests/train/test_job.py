import dataclasses
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from resuming import apart, assert_same_end, end_of, together
from runs_of_toys import QUICK, config, train, train_and_die
from small_models import FITTED, write_search

from rexnet import UserError, load_model, runs
from rexnet.cost import count
from rexnet.spec import NetSpec
from rexnet.train import checkpoint, job

MADE = {
    "best.pt",
    "config.yaml",
    "environment.json",
    "images.json",
    "last.pt",
    "metrics.jsonl",
    "model",
    "result.json",
    "spec.json",
    "survey.json",
    "train.json",
    "validation",
}


def trained(**changes):
    return job.run(config(**changes), lambda progress: None)


def weights_of(model):
    """Return all tensors but the step counters of batch norms, which weight files leave out."""
    return [pair for pair in model.state_dict().items() if "num_batches" not in pair[0]]


def visible(folder):
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def as_files(folder, source="toys.npz"):
    """Write the images of an npz as PNG files in class folders."""
    with np.load(source) as arrays:
        for number, (image, label) in enumerate(
            zip(arrays["images"], arrays["labels"], strict=True)
        ):
            place = folder / str(arrays["classes"][label])
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{number:03}.png")
    return folder


def test_a_training_leaves_a_model_and_its_numbers(here):
    result = trained()
    assert visible(here / "T") == MADE
    assert runs.read_json(here / "T" / "result.json") == result
    rows = runs.read_jsonl(here / "T" / "metrics.jsonl")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert result["top1"] == rows[-1]["top1"]
    assert result["best_top1"] == max(row["top1"] for row in rows)
    spec = NetSpec.load(here / "T" / "spec.json")
    assert (result["params"], result["macs"]) == (count(spec).params, count(spec, 16).macs)
    model = load_model(here / "T")
    assert model.spec == spec
    assert model.classes == ("airplane", "automobile", "bird", "cat")
    assert (model.preprocessing.resolution, model.preprocessing.crop) == (16, 1.0)
    kept = checkpoint.load(here / "T" / "last.pt")["model"]
    for name, tensor in weights_of(model):
        assert torch.equal(tensor, kept[name])


@pytest.mark.numeric
def test_a_toy_learns_its_images(here):
    plain = ("crop=none", "flip=0", "dropout=0", "label_smoothing=0")
    # Every step sees all images, and no rate at the edge makes the first losses large.
    steps = ("epochs=30", "batch_size=48", "lr_batch_size=48", "optimizer=adamw", "lr=0.01")
    trained(set=(*QUICK, *plain, *steps))
    rows = runs.read_jsonl(here / "T" / "metrics.jsonl")
    assert rows[-1]["train_loss"] < 0.1 * rows[0]["train_loss"]


def test_a_complete_training_is_left_as_it_is(here):
    result = trained()
    before = (here / "T" / "last.pt").stat().st_mtime_ns
    assert trained() == result
    assert (here / "T" / "last.pt").stat().st_mtime_ns == before


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_a_training_killed_in_mid_epoch_ends_as_one_that_was_not(share, here):
    trained(out="whole")
    assert apart(train_and_die, share, "killed") == -signal.SIGKILL
    assert not (here / "killed" / "result.json").exists()
    assert 0 < checkpoint.load(here / "killed" / "last.pt")["step"] < 15
    trained(out="killed", checkpoint_seconds=0)
    assert_same_end(here / "whole", here / "killed")


def test_what_was_damaged_of_a_complete_training_is_written_anew(here):
    result = trained()
    for name in ("metrics.jsonl", "result.json", "images.json"):
        path = here / "T" / name
        whole = path.read_bytes()
        for content in (b"", whole[: len(whole) // 2]):
            path.write_bytes(content)
            assert {**trained(), "seconds": 0} == {**result, "seconds": 0}
            assert len(path.read_bytes().splitlines()) == len(whole.splitlines())


def test_a_training_killed_before_its_result_has_only_that_left_to_write(here):
    result = trained()
    (here / "T" / "result.json").unlink()
    shutil.rmtree(here / "T" / "model")
    again = trained()
    assert {**again, "seconds": 0} == {**result, "seconds": 0}
    assert load_model(here / "T").spec.num_classes == 4


def test_a_search_is_trained_anew_as_its_line_and_on_as_its_best_network(here):
    best = write_search(here / "S")
    quick = (*QUICK, "epochs=1", "warmup_epochs=0")
    trained(model="S", set=quick, out="anew")
    assert NetSpec.load(here / "anew" / "spec.json").widths == FITTED.widths
    trained(model="S", set=(*quick, "pretrained=true", "lr=0"), out="on")
    assert NetSpec.load(here / "on" / "spec.json").widths == best.spec.widths
    model = load_model(here / "on")
    assert torch.equal(model.stem.conv.weight, best.stem.conv.weight)
    assert model.preprocessing.mean == (0.5, 0.4, 0.3)


def test_epochs_can_be_added_and_a_kill_among_them_harms_nothing(here):
    one = (*QUICK, "epochs=1")
    for out in ("more", "killed"):
        assert trained(out=out, set=one)["epochs"] == 1
    assert trained(out="more")["epochs"] == 3
    assert apart(train_and_die, 0.7, "killed") == -signal.SIGKILL
    assert runs.read_json(here / "killed" / "result.json")["epochs"] == 1
    assert runs.read_json(here / "killed" / "train.json")["recipe"]["epochs"] == 3
    with pytest.raises(UserError, match=r"recipe\.epochs is 3, not 1"):
        trained(out="killed", set=one)
    assert trained(out="killed")["epochs"] == 3
    assert_same_end(here / "more", here / "killed")
    # The rate of an epoch that was added is that of a training that was to have as many.
    trained(out="whole")
    more, whole = (end_of(here / name)[1] for name in ("more", "whole"))
    assert [row["epoch"] for row in more] == [1, 2, 3]
    assert [row["lr"] for row in more[1:]] == [row["lr"] for row in whole[1:]]


def test_epochs_are_all_that_can_be_added(here):
    trained(set=(*QUICK, "epochs=1"))
    with pytest.raises(UserError, match=r"configuration: recipe\.lr is 0\.05, not 0\.06; give"):
        trained(set=(*QUICK, "lr=0.06"))
    assert runs.read_json(here / "T" / "train.json")["recipe"]["epochs"] == 1


@pytest.mark.numeric
def test_two_processes_train_as_one_does_and_survive_a_kill(here):
    assert together(2, train, "two") == [0, 0]
    assert any(code != 0 for code in together(2, train_and_die, 0.5, "killed"))
    assert not (here / "killed" / "result.json").exists()
    assert together(2, train, "killed") == [0, 0]
    assert_same_end(here / "two", here / "killed")
    # Two micro-batches are normalised apart, as the parts of two processes are.
    trained(out="one", set=(*QUICK, "accumulate=2"))
    (one, rows), (two, other_rows) = end_of(here / "one"), end_of(here / "two")
    for row, other in zip(rows, other_rows, strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-5)
    for name in one:
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-5)


def test_other_settings_are_refused_and_harm_nothing(here):
    trained()
    before = {path: path.read_bytes() for path in (here / "T").rglob("*") if path.is_file()}
    changed = {
        "recipe.lr is 0.05, not 0.06": {"set": (*QUICK, "lr=0.06")},
        "seed is 0, not 1": {"seed": 1},
    }
    for wanted, changes in changed.items():
        with pytest.raises(UserError, match=wanted) as error:
            trained(**changes)
        assert "give another --out" in str(error.value)
    assert {p: p.read_bytes() for p in (here / "T").rglob("*") if p.is_file()} == before


def test_a_validation_takes_no_more_images_at_a_time_than_a_step(here):
    sizes = set()

    def count(module, arguments):
        if not module.training:
            sizes.add(len(arguments[0]))

    hook = torch.nn.modules.module.register_module_forward_pre_hook(count)
    trained(set=(*QUICK, "epochs=1", "accumulate=2"))
    hook.remove()
    assert max(sizes) == 4


def test_a_run_folder_among_its_class_folders_is_refused(here):
    data = as_files(here / "files")
    with pytest.raises(UserError, match="--out files/bird/run lies among the class folders of"):
        trained(data=str(data), out="files/bird/run")
    assert sorted(path.name for path in data.iterdir()) == ["airplane", "automobile", "bird", "cat"]
    assert not (data / "bird" / "run").exists()


def test_another_seed_is_another_training():
    losses = []
    for seed in (0, 1):
        trained(out=str(seed), seed=seed, set=(*QUICK, "epochs=1"))
        losses.append(runs.read_jsonl(Path(str(seed)) / "metrics.jsonl")[0]["train_loss"])
    assert losses[0] != losses[1]


MISTAKES = {
    "model": ({"model": "rexnet_1.O"}, "unknown model"),
    "recipe": ({"recipe": "imagnet"}, "did you mean imagenet"),
    "override": ({"set": ("epoch=1",)}, "unknown option epoch"),
    "augmentation": ({"set": ("rand_augment=much",)}, "rand_augment 'much'"),
    "data": ({"data": "nowhere"}, "nowhere"),
    "weights": ({"weights": "nowhere.pth"}, "nowhere.pth"),
    "no weights": ({"recipe": "finetune"}, "recipe finetune starts from trained weights"),
    "precision": ({"set": (*QUICK, "precision=float16")}, "float16 is for GPUs"),
    "accumulate": ({"set": (*QUICK, "accumulate=3")}, "batch of 8 images"),
    "single images": ({"set": (*QUICK, "accumulate=8")}, "a single image at a time"),
    "optimizer": ({"set": (*QUICK, "optimizer=sdg")}, "optimizer 'sdg'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line_and_leaves_nothing_behind(mistake, here):
    changes, wanted = MISTAKES[mistake]
    with pytest.raises(UserError) as error:
        trained(**changes)
    assert wanted in str(error.value)
    assert "\n" not in str(error.value)
    assert not (here / "T").exists()


def test_a_folder_of_something_else_is_refused(here):
    (here / "T").mkdir()
    (here / "T" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=r"has files but no train\.json; give another --out"):
        trained()
    assert visible(here / "T") == {"notes.txt"}


@pytest.mark.parametrize("parts", ["classes alone", "train and val"])
def test_folders_of_files_train_with_and_without_reading_processes(parts, here):
    folder = as_files(here / "files" / "train")
    data = folder
    if parts == "train and val":
        as_files(here / "files" / "val")
        data = here / "files"
    results = [
        trained(data=str(data), out=f"w{workers}", workers=workers, set=(*QUICK, "epochs=1"))
        for workers in (0, 1)
    ]
    assert results[0]["num_images"] == (48 if parts == "train and val" else 4)
    assert_same_end(here / "w0", here / "w1")


def test_corrupt_files_are_named_and_left_out_when_asked(here):
    folder = as_files(here / "files")
    for name in ("bird/024.png", "cat/036.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:300])
    with pytest.raises(UserError, match=r"corrupt: .*024\.png .*036\.png .*--skip-corrupt"):
        trained(data=str(folder))
    assert not (here / "T").exists()
    settings = {"data": str(folder), "skip_corrupt": True, "set": (*QUICK, "epochs=1")}
    assert trained(**settings)["num_corrupt"] == 2
    listed = [row for rows in runs.read_json(here / "T" / "images.json").values() for row in rows]
    assert sorted(place[-7:] for place, _ in listed) == ["024.png", "036.png"]
    (here / "T" / "result.json").unlink()
    seen = []
    job.run(config(**settings), seen.append)
    assert not any("looked at" in progress.words for progress in seen)


def test_fine_tuning_starts_from_the_weights_of_a_run_with_a_new_classifier(here):
    trained(out="first", set=(*QUICK, "epochs=1"))
    with np.load("toys.npz") as arrays:
        chosen = arrays["labels"] < 2
        np.savez("two.npz", images=arrays["images"][chosen], labels=arrays["labels"][chosen])
    quick = (*QUICK, "epochs=1", "lr=0", "layer_decay=0.8", "pretrained=true")
    trained(model="first", data="two.npz", out="second", set=quick)
    first, second = load_model(here / "first"), load_model(here / "second")
    assert second.spec == dataclasses.replace(first.spec, num_classes=2)
    assert torch.equal(first.stem.conv.weight, second.stem.conv.weight)
    assert second.classes == ("0", "1")


def test_every_part_of_a_recipe_trains(here):
    changes = ("ema=0.9", "mixup=0.2", "cutmix=1.0", "drop_path=0.2", "clip_grad=1", "epochs=1")
    noise = ("rand_augment=rand-m9-mstd0.5", "random_erasing=0.5", "crop=resized")
    result = trained(set=(*QUICK, *changes, *noise), tensorboard=False)
    assert 0 <= result["top1"] <= 1
    ema = checkpoint.load(here / "T" / "last.pt")["ema"]
    for name, tensor in weights_of(load_model(here / "T")):
        assert torch.equal(tensor, ema[name])


def test_tensorboard_gets_the_metrics_of_every_epoch(here):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trained(tensorboard=True)
    events = EventAccumulator(str(here / "T" / "tensorboard"))
    events.Reload()
    rows = runs.read_jsonl(here / "T" / "metrics.jsonl")
    for name in ("top1", "train_loss", "val_loss", "lr"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(row["epoch"], pytest.approx(row[name])) for row in rows]


def test_the_weights_to_start_from_are_needed_until_there_is_a_checkpoint(here):
    trained(out="first", set=(*QUICK, "epochs=1"))
    tune = {"model": "toy.json", "weights": "first", "set": (*QUICK, "eval_crop=0.9")}
    trained(**tune)
    (here / "T" / "result.json").unlink()
    shutil.rmtree(here / "first" / "model")
    trained(**tune)
    assert load_model(here / "T").preprocessing.crop == 0.9


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "try --set accumulate=2"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. \nx"), "(pid 7)"),
    ],
)
def test_what_the_machine_does_is_told_in_one_line(error, wanted, monkeypatch):
    def fail(*arguments, **settings):
        raise error

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", fail)
    with pytest.raises(UserError) as told:
        trained()
    assert wanted in str(told.value)
    assert "\n" not in str(told.value)
