import dataclasses
import unicodedata

import numpy as np
import pytest
import torch
from PIL import Image
from runs_of_toys import QUICK, config

from rexnet import NetSpec, UserError, create_model, load_model, runs, save_pretrained
from rexnet.budget import Count
from rexnet.data import in_memory
from rexnet.data.image_sets import ArrayImages
from rexnet.data.named import Unread
from rexnet.data.sources import open_folder, open_images
from rexnet.nn.hub import imagenet_classes, imagenet_ids
from rexnet.search import job as searches
from rexnet.search.config import BudgetConfig, SearchConfig
from rexnet.train import job
from rexnet.train.config import ValidateConfig
from rexnet.train.validate import predict, relabelled, trained, validate


@pytest.fixture
def run(here):
    job.run(config(set=(*QUICK, "epochs=2")), lambda progress: None)
    return here / "T"


def validated(**changes):
    seen = []
    settings = {"model": "T", "device": "cpu"} | changes
    found = validate(ValidateConfig(**settings), seen.append)
    count = f"{found.evaluation.num_images:,}"
    assert seen[-1].words == f"{count}/{count} images"
    return found


def as_files(folder, classes=None):
    """Write the toy images as PNG files in class folders, maybe of some classes alone."""
    with np.load("toys.npz") as arrays:
        for number, label in enumerate(arrays["labels"]):
            name = str(arrays["classes"][label])
            if classes is None or name in classes:
                (folder / name).mkdir(parents=True, exist_ok=True)
                Image.fromarray(arrays["images"][number]).save(folder / name / f"{number}.png")
    return str(folder)


def test_the_images_held_out_give_the_training_s_own_result(run):
    result = runs.read_json(run / "result.json")
    found = validated()
    assert found.evaluation.top1 == result["top1"]
    assert found.evaluation.loss == pytest.approx(result["loss"], rel=1e-5)
    assert found.folder.resolve() == run / "validation"
    assert runs.read_json(run / "validation" / "result.json")["num_images"] == 4


@pytest.fixture
def searched(here):
    """Search on a part of the bundled sample and return the line of the best network."""
    sample = in_memory.load("sample")
    images = sample.images[:1000, ::2, ::2]
    np.savez("part.npz", images=images, labels=sample.labels[:1000], classes=sample.classes)
    budget = BudgetConfig(params=Count("40k"), macs=Count("2M"), count_classifier=False)
    settings = {"blocks": 3, "strategy": "tpe", "trials": 2, "epochs": 2, "workers": 1}
    config = SearchConfig(data="part.npz", budget=budget, out="S", **settings)
    searches.run(config, lambda progress: None)
    spec = NetSpec.load(here / "S" / "best.json")
    rows = runs.read_jsonl(here / "S" / "trials.jsonl")
    return next(row for row in rows if row["spec_id"] == spec.spec_id)


def test_the_best_network_of_a_search_has_the_accuracy_that_the_search_found(searched, here):
    found = validated(model="S")
    held_out = runs.read_json(here / "S" / "search.json")["data"]["num_held_out"]
    assert found.evaluation.num_images == held_out
    assert found.evaluation.top1 == pytest.approx(searched["accuracy"], abs=1e-9)
    assert load_model("S").preprocessing.resolution == 16


@pytest.mark.parametrize("source", ["images", "images/", "../{}/images"])
def test_a_search_s_own_folder_of_images_is_known_however_it_is_written(source, here):
    save_pretrained(create_model("toy.json"), here / "S")
    as_files(here / "images")
    runs.write_text(here / "S" / "config.yaml", "data: images\n")
    assert validated(model="S", data=source.format(here.name)).evaluation.num_images == 4


def test_a_search_s_images_are_known_when_they_have_moved(here):
    as_files(here / "images")
    budget = BudgetConfig(params=Count("40k"), macs=Count("2M"), count_classifier=False)
    settings = {"blocks": 3, "strategy": "tpe", "trials": 1, "epochs": 1, "batch_size": 8}
    config = SearchConfig(
        data="images", resolution=16, budget=budget, out="S", workers=1, **settings
    )
    searches.run(config, lambda progress: None)
    (here / "images").rename(here / "moved")
    assert validated(model="S", data="moved").evaluation.num_images == 4
    (here / "moved" / "cat" / "36.png").write_bytes((here / "moved/cat/37.png").read_bytes())
    assert validated(model="S", data="moved", out="V").evaluation.num_images == 48


@pytest.mark.parametrize(("part", "count"), [("val", 4), ("train", 44)])
def test_a_part_of_the_data_can_be_chosen(part, count, run):
    assert validated(part=part).evaluation.num_images == count


def test_the_batch_size_changes_nothing(run):
    one, seven = (validated(part="train", batch_size=size).evaluation for size in (1, 7))
    assert one.top1 == seven.top1
    assert one.loss == pytest.approx(seven.loss, rel=1e-5)
    assert one.confusion.tolist() == seven.confusion.tolist()


def test_a_folder_that_was_not_trained_on_is_evaluated_whole(run, here):
    found = validated(data=as_files(here / "files"), out="elsewhere")
    assert found.evaluation.num_images == 48
    assert (here / "elsewhere" / "classes.jsonl").exists()


def test_another_validation_stands_beside_the_runs_own(run, here):
    own = (run / "validation" / "result.json").read_bytes()
    data = as_files(here / "files")
    found = validated(data=data)
    assert str(found.folder) == "T/validation-files"
    assert validated(data=f"{data}/", part="all").folder == found.folder
    before = (found.folder / "classes.jsonl").read_bytes()
    others = as_files(here / "other" / "files", {"bird", "cat"})
    for changes, wanted in (
        ({"data": others}, "validation-files holds a validation of another"),
        ({"data": data, "out": f"{run}/validation"}, "validation has files but no validation.json"),
        ({"data": data, "out": str(run)}, "holds a training, not a validation"),
        ({"data": data, "weights": str(run), "out": data}, "files has files but no validation"),
    ):
        with pytest.raises(UserError, match=f"{wanted}.*give another --out"):
            validated(**changes)
    assert (found.folder / "classes.jsonl").read_bytes() == before
    assert (run / "validation" / "result.json").read_bytes() == own


def test_images_held_out_in_training_are_known_however_their_folder_is_called(here):
    data = as_files(here / "files")
    settings = config(data=data, out="F", set=(*QUICK, "epochs=1"))
    job.run(settings, lambda progress: None)
    (here / "moved").mkdir()
    moved = (here / "files").rename(here / "moved" / "files")
    found = validated(model="F", data=f"{moved}/")
    assert found.evaluation.num_images == 4
    assert str(found.folder) == "F/validation"


def test_some_of_the_classes_are_found_by_their_names(run, here):
    data = as_files(here / "files", {"bird", "cat"})
    rows = validated(data=data).evaluation.per_class(load_model(run).classes)
    assert [row["num_images"] for row in rows] == [0, 0, 12, 12]


def test_classes_that_the_model_does_not_know_are_named(run, here):
    folder = here / "files"
    as_files(folder)
    (folder / "cat").rename(folder / "lynx")
    with pytest.raises(
        UserError, match=r"does not know: lynx \(1 of 4\); the model's are airplane"
    ):
        validated(data=str(folder))


def test_folders_of_wordnet_ids_fit_the_classes_of_imagenet(here):
    model = create_model("toy.json", num_classes=1000)
    model.classes = imagenet_classes()
    for number in (7, 999):
        folder = here / "val" / imagenet_ids()[number]
        folder.mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(folder / "a.png")
    images = relabelled(open_folder(here / "val"), model)
    assert images.labels.tolist() == [7, 999]
    assert images.classes == model.classes


def test_classes_without_names_must_be_as_many():
    model = create_model("toy.json")
    train, _ = open_images("toys.npz")
    assert relabelled(train, model) is train
    with pytest.raises(UserError, match="the model's are 3 without names"):
        relabelled(train, create_model("toy.json", num_classes=3))


def named(*names, side=8):
    """Return one image of every class, whose label is its place among sorted names."""
    classes = tuple(sorted(names))
    images = np.zeros((len(classes), side, side, 3), np.uint8)
    labels = np.arange(len(classes))
    return ArrayImages(name="photos", classes=classes, labels=labels, images=images)


@pytest.mark.parametrize("num_classes", [12, 20])
def test_numbers_are_the_indices_of_classes_without_names(num_classes):
    images = relabelled(
        named(*map(str, range(12))), create_model("toy.json", num_classes=num_classes)
    )
    assert images.labels.tolist() == [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9]
    assert images.classes == tuple(map(str, range(num_classes)))


def test_numbers_are_names_if_the_model_has_names():
    model = create_model("toy.json", num_classes=12)
    model.classes = tuple(sorted(map(str, range(12))))
    assert relabelled(named(*map(str, range(12))), model).labels.tolist() == list(range(12))
    model.classes = tuple(map(str, range(12)))
    found = relabelled(named(*map(str, range(12))), model)
    assert [model.classes[label] for label in found.labels] == sorted(model.classes)


@pytest.mark.parametrize(
    "names", [[str(n) for n in range(1, 13)], [f"class_{n}" for n in range(12)]]
)
def test_an_order_that_is_not_known_is_not_assumed(names):
    with pytest.raises(UserError, match=r"no names of classes.*name the folders 0 to 11") as error:
        relabelled(named(*names), create_model("toy.json", num_classes=12))
    assert "\n" not in str(error.value)
    padded = named(*(f"{int(name.strip('clas_')):02}" for name in names))
    model = create_model("toy.json", num_classes=12)
    assert relabelled(padded, model).labels.tolist() == list(range(12))


def test_classes_are_the_same_in_both_forms_of_unicode():
    model = create_model("toy.json", num_classes=2)
    model.classes = ("tea", unicodedata.normalize("NFC", "café"))
    images = relabelled(named("tea", unicodedata.normalize("NFD", "café")), model)
    assert images.labels.tolist() == [1, 0]
    assert images.classes == model.classes


def test_weights_of_a_named_network_are_validated(here):
    model = create_model("toy.json")
    save_pretrained(model, here / "saved")
    settings = {"model": "toy.json", "weights": "saved", "data": "toys.npz"}
    found = validated(**settings, part="train")
    assert found.evaluation.num_images == 44
    assert str(found.folder) == "runs/toy-validation"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"model": "rexnet_1.0"}, "rexnet_1.0 is no run folder; a network needs --weights timm"),
        ({"model": "nowhere"}, "nowhere is no run folder"),
        ({"model": "saved"}, "give --data"),
        ({"model": "saved", "data": "nowhere.npz"}, "nowhere.npz"),
        ({"model": "saved", "data": "toys.npz", "part": "all"}, "no folder of class folders"),
    ],
)
def test_a_mistake_is_told_in_one_line(changes, wanted, here):
    save_pretrained(create_model("toy.json"), here / "saved")
    with pytest.raises(UserError) as error:
        validated(**changes)
    assert wanted in str(error.value)
    assert "\n" not in str(error.value)
    assert not (here / "runs").exists()


def test_the_numbers_of_a_validation_have_ranges():
    for changes in ({"batch_size": 0}, {"workers": -1}):
        with pytest.raises(UserError, match=f"{next(iter(changes))} .* must be from"):
            ValidateConfig(model="T", **changes)


def test_predictions_are_probabilities_in_falling_order(run, here):
    as_files(here / "files", {"bird"})
    paths = sorted(str(path) for path in (here / "files").rglob("*.png"))
    found = list(predict(load_model(run), paths, 3))
    assert [path for path, _ in found] == paths
    for _, classes in found:
        values = [value for _, value in classes]
        assert values == sorted(values, reverse=True)
        assert len(classes) == 3
        assert {name for name, _ in classes} <= {"airplane", "automobile", "bird", "cat"}
    everything = next(predict(load_model(run), paths, 99))[1]
    assert sum(value for _, value in everything) == pytest.approx(1, abs=1e-5)


def test_predictions_are_those_of_the_network(run, here):
    model = load_model(run)
    with np.load("toys.npz") as arrays:
        Image.fromarray(arrays["images"][0]).resize((16, 16), Image.Resampling.BICUBIC).save(
            "a.png"
        )
        pixels = np.asarray(Image.open("a.png"))
    mean, std = (np.array(v, np.float32) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = torch.from_numpy(((pixels / np.float32(255)) - mean) / std).permute(2, 0, 1)[None]
    wanted = model(x).softmax(1)[0].max().item()
    assert next(predict(model, ["a.png"], 1))[1][0][1] == pytest.approx(wanted, abs=1e-6)


def test_classes_without_names_are_numbered():
    Image.new("RGB", (32, 32)).save("a.png")
    names = {name for name, _ in next(predict(create_model("toy.json"), ["a.png"], 4))[1]}
    assert names == {"0", "1", "2", "3"}


def test_a_corrupt_image_takes_no_place_of_others(run, here):
    as_files(here / "files", {"bird"})
    paths = sorted(str(path) for path in (here / "files").rglob("*.png"))
    alone = [next(predict(load_model(run), [path], 4))[1] for path in paths[:3]]
    (here / "bad.png").write_bytes(b"no picture")
    found = list(predict(load_model(run), [paths[0], "bad.png", *paths[1:3]], 4))
    assert found.pop(1) == ("bad.png", Unread(reason="cannot identify image file"))
    for (_, classes), wanted in zip(found, alone, strict=True):
        assert [name for name, _ in classes] == [name for name, _ in wanted]
        for (_, value), (_, other) in zip(classes, wanted, strict=True):
            assert value == pytest.approx(other, abs=1e-5)


def test_a_trained_model_is_in_evaluation_mode(run):
    assert not trained(str(run), None).training
    assert not trained("toy.json", str(run)).training
    assert dataclasses.is_dataclass(trained(str(run), None).preprocessing)
