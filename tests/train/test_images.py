import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from photographs import write_splits
from PIL import Image
from resuming import together
from runs_of_toys import QUICK, config

from rexnet import UserError, runs
from rexnet.data.in_memory import load
from rexnet.data.sources import open_images
from rexnet.train import job
from rexnet.train.config import ValidateConfig
from rexnet.train.distributed import World, joined
from rexnet.train.images import examined, sound
from rexnet.train.validate import validate

ONE = (*QUICK, "epochs=1")

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


@pytest.fixture
def photos(here):
    """Return a folder of two classes of ten images; of each class one is held out."""
    with np.load("toys.npz") as arrays:
        for label, name in enumerate(["cat", "dog"]):
            (here / "photos" / name).mkdir(parents=True)
            for number, pixels in enumerate(arrays["images"][arrays["labels"] == label][:10]):
                Image.fromarray(pixels).save(here / "photos" / name / f"{number}.png")
    return here / "photos"


def spoil(images, index):
    """Cut a file short and return its path."""
    path = images.where(index)
    with open(path, "r+b") as file:
        file.truncate(100)
    return path


def trained(photos, **changes):
    seen = []
    result = job.run(config(data=str(photos), set=ONE, **changes), seen.append)
    return result, any("looked at" in progress.words for progress in seen)


def test_another_is_held_out_in_the_place_of_a_corrupt_image(photos, here):
    place = spoil(open_images(str(photos))[1], 0)
    with pytest.raises(UserError, match=rf"^1 of 20 images are corrupt: {place} \("):
        trained(photos)
    result, _ = trained(photos, skip_corrupt=True)
    assert (result["num_images"], result["num_train"], result["num_corrupt"]) == (2, 17, 1)
    rows = [
        json_row["num_images"] for json_row in runs.read_jsonl(here / "T/validation/classes.jsonl")
    ]
    assert rows == [1, 1]
    (here / "T" / "result.json").unlink()
    again, looked = trained(photos, skip_corrupt=True)
    assert again["top1"] == result["top1"]
    assert not looked
    for data in (None, str(photos) + "/", shutil.copytree(photos, here / "moved")):
        own = ValidateConfig(model="T", data=data and str(data), device="cpu", skip_corrupt=True)
        found = validate(own, lambda progress: None)
        assert found.evaluation.num_images == 2
        assert found.evaluation.loss == pytest.approx(result["loss"], rel=1e-5)
        assert str(found.folder) == "T/validation"
    train = dataclasses.replace(own, part="train", data=None, out="elsewhere")
    assert validate(train, lambda progress: None).evaluation.num_images == 17


def test_a_search_holds_out_what_a_training_does(photos):
    spoil(open_images(str(photos))[1], 1)
    spoil(open_images(str(photos))[0], 4)
    with pytest.raises(
        UserError, match=r"^2 of 20 images are corrupt: .*; repair or remove them, or pass"
    ):
        load(str(photos))
    whole = load(str(photos), skip_corrupt=True)
    assert len(whole.images) == 18
    assert len(whole.corrupt) == 2
    data = sound(open_images(str(photos)), photos / "T", ALONE, True, lambda progress: None)
    for images, part in ((data.train, ~whole.held_out), (data.val, whole.held_out)):
        read = sorted(np.asarray(images.read(i)).tobytes() for i in range(len(images)))
        assert read == sorted(image.tobytes() for image in whole.images[part])


def test_a_training_of_an_earlier_version_holds_out_what_it_did(photos, here):
    spoil(open_images(str(photos))[1], 0)
    trained(photos, skip_corrupt=True)
    # It left the corrupt image out and had no other in its place.
    path = here / "T" / "train.json"
    mark = runs.read_json(path)
    mark["data"] |= {"num_train": 18, "num_val": 1}
    runs.write_json(path, mark)
    for name in ("result.json", "last.pt", "best.pt"):
        (here / "T" / name).unlink()
    result, _ = trained(photos, skip_corrupt=True)
    assert (result["num_images"], result["num_train"]) == (1, 18)
    own = ValidateConfig(model="T", device="cpu", skip_corrupt=True)
    assert validate(own, lambda progress: None).evaluation.num_images == 1


def test_corrupt_images_of_data_that_have_moved_are_left_out_again(photos, here):
    spoil(open_images(str(photos))[0], 3)
    trained(photos, skip_corrupt=True)
    photos.rename(here / "moved")
    (here / "T" / "result.json").unlink()
    result, _ = trained(here / "moved", skip_corrupt=True)
    assert result["num_corrupt"] == 1


def test_a_class_of_which_nothing_is_left_is_refused_with_the_number(photos, here):
    for part in open_images(str(photos)):
        for index in np.flatnonzero(part.labels == 0):
            spoil(part, index)
    with pytest.raises(UserError, match=r"^all 10 images of class 'cat' of \S+/photos are corrupt"):
        trained(photos, skip_corrupt=True)
    with pytest.raises(UserError, match=r"^all 10 images of class 'cat' of \S+/photos are corrupt"):
        load(str(photos), skip_corrupt=True)
    assert not (here / "T").exists()


def write_photographs(folder):
    """Write 130 photographs to train on, of which two are cut, and return both parts."""
    write_splits(folder, train={"cat": 66, "dog": 64})
    train, val = open_images(str(folder))
    for index in (4, 129):
        with open(train.where(index), "r+b") as file:
            file.truncate(100)
    return train, val


def look(folder, skip_corrupt):
    """Write down what each of several processes finds, and which images it read itself."""
    told = []
    with joined("cpu") as world:
        place = folder / f"{world.rank}.json"
        try:
            data = sound(open_images(str(folder)), folder / "out", world, skip_corrupt, told.append)
        except UserError as error:
            runs.write_json(place, str(error))
            return
        seen = examined(open_images(str(folder))[0], world, lambda done, total: None)
    found = [seen.damage, seen.digests.tolist(), data.corrupt[0], data.train.labels.tolist()]
    runs.write_json(place, [*found, len(told)])


def test_every_process_reads_a_share_and_knows_the_whole(tmp_path):
    train, val = write_photographs(tmp_path)
    assert together(2, look, tmp_path, True) == [0, 0]
    first, second = (runs.read_json(tmp_path / f"{rank}.json") for rank in range(2))
    whole = sound((train, val), tmp_path / "out", ALONE, True, lambda progress: None)
    facts = examined(train, ALONE, lambda done, total: None)
    expected = [
        facts.damage,
        facts.digests.tolist(),
        whole.corrupt[0],
        whole.train.labels.tolist(),
        # Two parts of a share of 65 to train on and one of 2 to validate on.
        3,
    ]
    assert first == second == json.loads(json.dumps(expected))
    assert sorted(facts.damage) == [4, 129]
    assert len(whole.train) == 128


def test_corrupt_images_end_all_processes_with_the_reason(tmp_path):
    train, _ = write_photographs(tmp_path)
    assert together(2, look, tmp_path, False) == [0, 0]
    first, second = (runs.read_json(tmp_path / f"{rank}.json") for rank in range(2))
    assert first == second
    assert first.startswith(f"2 of 133 images are corrupt: {train.where(4)} (")


def test_images_that_were_looked_at_before_are_not_read_again(tmp_path):
    train, val = write_photographs(tmp_path)
    found = sound((train, val), tmp_path, ALONE, True, lambda progress: None)
    pairs = dict(zip(found.fingerprints, found.corrupt, strict=True))
    runs.write_json(tmp_path / "images.json", pairs)
    told = []
    again = sound((train, val), tmp_path, ALONE, True, told.append)
    assert told == []
    assert again.corrupt == found.corrupt
    assert (found.survey is None, again.survey is None) == (False, True)
    np.testing.assert_array_equal(again.train.labels, found.train.labels)
