from pathlib import Path

import pytest
import toys
from commands import mistaken, write_photos
from scenes import SETTINGS, write_scenes

from rexnet import families, runs
from rexnet.cli import main as cli
from rexnet.runs import processes

MISTAKES = {
    "no study": (["study"], ["give one of: activations, detection, factors"]),
    "study": (["study", "activation"], ["did you mean activations?"]),
    "option of a study": (
        ["study", "activations", "--seed", "3"],
        ["unknown option --seed", "did you mean --seeds?"],
    ),
    "activation": (
        ["study", "activations", "--activations", "swish"],
        ["activation 'swish'", "relu6"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line_that_names_it_and_the_fix(mistake, capsys):
    mistaken(capsys, *MISTAKES[mistake])


def test_a_study_prints_table_a2_and_its_verdict(here, capsys):
    Path("spec.json").write_text(families.search_network([6, 8, 10], 10).to_json(), "utf-8")
    write_photos(here / "mine")
    recipe = ["--recipe", "cifar", "--set", "epochs=1", "batch_size=8", "resolution=16"]
    study = ["study", "activations", "--model", "spec.json", "--data", "mine", *recipe]
    choice = ["--activations", "relu6", "silu", "--seeds", "1", "--out", "S", "--device", "cpu"]
    assert cli.main([*study, *choice]) == 0
    out = capsys.readouterr().out
    for words in ("relu6", "77.3", "silu", "77.9", "Of 1 pairs that differ in Table A2"):
        assert words in out
    assert runs.read_json(here / "S" / "table.json")["pairs"] == 1


def test_a_study_prints_the_table_of_detectors(here, capsys, monkeypatch):
    monkeypatch.setattr(processes, "start", toys.start_here)
    write_scenes(here)
    study = ["study", "detection", "--data", "scenes", "--backbones", "toy.json", "--out", "S"]
    assert cli.main([*study, "--device", "cpu", "--set", *SETTINGS, "epochs=1"]) == 0
    assert "toy.json" in capsys.readouterr().out
    assert runs.read_json(here / "S" / "table.json")["table"][0]["seeds"] == 1
