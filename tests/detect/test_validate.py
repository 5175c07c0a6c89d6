import json
import shutil
from pathlib import Path

import pytest
from scenes import SETTINGS, config, write_scenes

from rexnet import UserError, runs
from rexnet.data.named import Unread
from rexnet.detect import job
from rexnet.detect.config import DetectValidateConfig
from rexnet.detect.hub import load_detector
from rexnet.detect.validate import predict, validate


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the run folder of a training, and its result."""
    folder = tmp_path_factory.mktemp("finished")
    write_scenes(folder)
    settings = (*SETTINGS, "epochs=12", "augment=false", "lr=0.1")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = job.run(config(set=settings), lambda progress: None)
    return folder / "D", result


@pytest.fixture
def trained(finished, here):
    """Put the training into the folder of the test, and return its result."""
    folder, result = finished
    shutil.copytree(folder, here / "D")
    return result


def run(**changes):
    settings = {"detector": "D", "device": "cpu", "workers": 0}
    return validate(DetectValidateConfig(**settings | changes), lambda progress: None)


def test_it_finds_what_the_training_found(trained, here):
    before = (here / "D/validation/detections.json").read_bytes()
    found = run()
    assert found.result["ap"] == pytest.approx(trained["ap"], abs=1e-6)
    assert (here / "D/validation/detections.json").read_bytes() == before
    result = runs.read_json(here / "D/validation/result.json")
    assert result["num_images"] == 16
    assert result["ap50"] == found.result["ap50"]


def test_other_images_are_told_where_they_are(trained, here):
    names = {"annotations": "scenes/train/instances.json", "images": "scenes/train/images"}
    assert run(**names, out="elsewhere").folder == run(**names, out="./elsewhere/").folder
    before = (here / "elsewhere/images.jsonl").read_bytes()
    with pytest.raises(UserError, match=r"elsewhere holds a validation .*data\.name is .*--out"):
        run(data="scenes", out="elsewhere")
    with pytest.raises(UserError, match=r"validation has files but no validation\.json"):
        run(**names, out="D/validation")
    assert (here / "elsewhere/images.jsonl").read_bytes() == before
    assert run(data="./scenes/").folder == Path("D/validation")
    assert run(**names).folder == Path("D/validation-instances")
    with pytest.raises(UserError, match="give --data FOLDER, or --annotations with --images"):
        run(annotations="a.json")


def test_other_categories_are_refused(trained, here):
    path = here / "scenes/val/instances.json"
    document = json.loads(path.read_text())
    document["categories"][0]["name"] = "dog"
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match="category 7 is 'dog', but in what is trained on"):
        run()


def test_images_that_are_of_no_part_are_validated_on_and_oddities_told(trained, here):
    (here / "scenes/val/images").rename(here / "scenes/images")
    shutil.copy(here / "scenes/val/instances.json", here / "scenes/result.json")
    shutil.rmtree(here / "scenes/val")
    told = []
    settings = DetectValidateConfig(detector="D", data="scenes", device="cpu", workers=0)
    found = validate(settings, lambda progress: None, told.append)
    assert found.result["ap"] == pytest.approx(trained["ap"], abs=1e-6)
    (survey,) = told
    assert survey.name == "scenes/result.json"
    assert "val: 1 of 16 images have no boxes" in survey.notes


def test_predictions_are_in_pixels_of_the_image(trained, here):
    model = load_detector("D")
    images = [f"scenes/val/images/{number:02}.png" for number in range(4)]
    for path, found in predict(model, images, 0.05):
        assert path in images
        scores = [row["score"] for row in found]
        assert scores == sorted(scores, reverse=True)
        for row in found:
            assert row["class"] in model.classes
            assert all(0 <= edge <= 96 for edge in row["box"])
    together = list(predict(model, [images[0], "nowhere.png", *images[1:]], 0.05))
    assert together.pop(1) == ("nowhere.png", Unread(reason="no such file"))
    for path, found in together:
        (alone,) = predict(model, [path], 0.05)
        assert [row["class"] for row in found] == [row["class"] for row in alone[1]]
