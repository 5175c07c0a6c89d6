import dataclasses
from pathlib import Path

from photographs import refusal, write_classes, write_splits
from runs_of_toys import config
from small_models import write_network

from rexnet import runs
from rexnet.data.sources import open_images
from rexnet.train import job, probe, probe_job
from rexnet.train.config import ProbeConfig
from rexnet.train.features import extractor_of


def test_resolutions_are_ranked_by_name_and_nothing_is_written():
    write_network(Path("model"))
    write_splits(Path("photos"))
    before = sorted(Path().rglob("*"))
    given = ProbeConfig(model="model", data="photos", out="P", workers=0)
    rows = probe_job.rank(given, lambda progress: None)
    assert sorted(row.resolution for row in rows) == [8, 16, 24, 32]
    assert sorted(Path().rglob("*")) == before
    assert probe_job.smaller(224) == (224, 160, 120, 96, 64)


def test_a_probe_leaves_its_result_and_knows_its_folder():
    write_network(Path("model"))
    write_splits(Path("photos"))
    given = ProbeConfig(model="model", data="photos", resolution=(32, 24), out="P", workers=0)
    seen = []
    rows = probe_job.run(given, lambda progress: None, seen.append)
    held = runs.read_json(Path("P/result.json"))["resolutions"]
    assert held == [row.row() for row in rows]
    assert [row["resolution"] for row in held] == [32, 24]
    assert {row["num_train"] for row in held} == {5}
    assert seen[0].classes == ("cat", "dog")
    again = probe_job.run(given, lambda progress: None)
    assert [row.top1 for row in again] == [row.top1 for row in rows]
    other = dataclasses.replace(given, resolution=(32,))
    words = refusal(probe_job.run, other, lambda progress: None)
    assert "P holds a linear probe of another configuration: resolutions" in words
    assert runs.read_json(Path("P/result.json"))["resolutions"] == [row.row() for row in again]


def test_corrupt_images_are_refused_or_left_out():
    write_network(Path("model"))
    write_splits(Path("photos"))
    Path("photos/train/cat/000.jpg").write_bytes(b"no picture")
    given = ProbeConfig(model="model", data="photos", out="P", workers=0)
    assert "corrupt" in refusal(probe_job.run, given, lambda progress: None)
    assert not Path("P").exists()
    skipping = dataclasses.replace(given, skip_corrupt=True)
    (row,) = probe_job.run(skipping, lambda progress: None)
    assert (row.num_train, row.resolution) == (4, 32)
    (train, _) = runs.read_json(Path("P/images.json")).values()
    assert train[0][0].endswith("000.jpg")


def test_a_folder_among_the_classes_is_refused():
    write_network(Path("model"))
    write_classes(Path("photos"), {"cat": 3, "dog": 3})
    given = ProbeConfig(model="model", data="photos", out="photos/P")
    assert "among the class folders" in refusal(probe_job.run, given, lambda progress: None)
    assert len(open_images("photos")[0].classes) == 2


def test_a_training_from_trained_weights_is_told_beside_the_probe_of_them():
    write_network(Path("model"))
    setting = ("epochs=1", "batch_size=8", "pretrained=true", "resolution=16", "eval_crop=1")
    given = config(model="model", set=setting, out="T")
    first = job.run(given, lambda progress: None)
    train, val = open_images("toys.npz")
    extractor = extractor_of("model")
    alike = dataclasses.replace(extractor.preprocessing, resolution=16, crop=1.0)
    extractor = dataclasses.replace(extractor, preprocessing=alike)
    (row,) = probe.probe(extractor, (train, val), (16,))
    assert first["probe_top1"] == row.top1
    assert first["probe_top1_stderr"] == row.standard_error
    assert first["probe_num_train"] == len(train)
    # It is that of the first weights, whatever became of them.
    longer = dataclasses.replace(given, set=("epochs=2", *setting[1:]))
    second = job.run(longer, lambda progress: None)
    assert second["epochs"] == 2
    assert second["probe_top1"] == row.top1
    Path("T/start.json").unlink()
    again = job.run(dataclasses.replace(given, set=("epochs=3", *setting[1:])), lambda p: None)
    assert "probe_top1" not in again
    fresh = job.run(config(set=("epochs=1", *setting[1:2], *setting[3:]), out="F"), lambda p: None)
    assert "probe_top1" not in fresh
