import pytest
from one_by_one import train_here
from scenes import SETTINGS, write_scenes

from rexnet import NetSpec, UserError, runs
from rexnet.paper import TABLE_A4
from rexnet.studies import detection
from rexnet.studies.config import DetectionStudy


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Run a test in an empty folder with a toy network and scenes."""
    write_scenes(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config(**changes):
    settings = {"data": "scenes", "backbones": ("toy.json", "other.json"), "out": "S", "seeds": 2}
    quick = (*SETTINGS, "epochs=1")
    return DetectionStudy(**settings | {"set": quick, "device": "cpu"} | changes)


def row(backbone, ap, seed=0):
    return {"backbone": backbone, "seed": seed, "params": 7, "macs": 5} | dict.fromkeys(
        detection.METRICS, ap
    )


def test_the_table_has_means_and_standard_errors_beside_the_papers_numbers():
    rows = [row("rexnet_1.0", 0.2), row("toy", 0.5), row("rexnet_1.0", 0.24, seed=1)]
    first, second = detection.summarise(rows, TABLE_A4)
    assert first["ap"] == pytest.approx(22)
    assert first["ap_stderr"] == pytest.approx(2)
    assert (first["paper_ap"], first["paper_ap75"]) == (25.9, 26.3)
    assert (second["seeds"], second["ap_stderr"], second["paper_ap"]) == (1, None, None)


def test_a_study_trains_every_backbone_with_every_seed(here):
    (here / "other.json").write_bytes((here / "toy.json").read_bytes())
    (here / "swapped").mkdir()
    (here / "swapped" / "train").symlink_to(here / "scenes" / "val")
    (here / "swapped" / "val").symlink_to(here / "scenes" / "train")
    seen = []
    table = detection.run(config(parallel=1), seen.append, train_here)
    assert [line["backbone"] for line in table] == ["toy.json", "other.json"]
    assert [line["seeds"] for line in table] == [2, 2]
    assert seen[-1].words == "4/4 trainings, time left 0:00"
    assert len(runs.read_jsonl(here / "S" / "trainings.jsonl")) == 4
    assert runs.read_json(here / "S" / "table.json")["table"] == table
    paths = [path for path in (here / "S").rglob("*.json*") if path.is_file()]
    before = {path: path.read_bytes() for path in paths}
    for wanted, changes in {
        "recipe.epochs is 1, not 2": {"set": (*SETTINGS, "epochs=2")},
        "data.name is .*fingerprints": {"data": "swapped"},
    }.items():
        with pytest.raises(UserError, match=f"holds a .*of another configuration: .*{wanted}"):
            detection.run(config(**changes), seen.append)
    spec = NetSpec.load("toy.json")
    changed = spec.with_widths([width + 2 for width in spec.widths])
    (here / "other.json").write_text(changed.to_json(), encoding="utf-8")
    with pytest.raises(UserError, match=r"S/other\.json-0 holds a training .*backbone\.spec_id is"):
        detection.run(config(), seen.append)
    assert {path: path.read_bytes() for path in paths} == before


def test_backbones_of_one_folder_are_refused():
    with pytest.raises(UserError, match="two backbones have one name for their folder"):
        detection.run(config(backbones=("a/b.json", "a-b.json")), lambda progress: None)
