import dataclasses
import subprocess
import sys

import pytest
from scenes import write_scenes

from rexnet import UserError
from rexnet.paper import TABLE_2, TABLE_A2, TABLE_A4
from rexnet.studies import STUDIES, activations, detection, factors
from rexnet.studies.config import DetectionStudy
from rexnet.studies.study import or_dash, with_error

COSTS = {"seed": 0, "macs": 5_000_000, "params": 7_000_000}


def rows_of(study):
    """Return the lines of a table of a seed each."""
    if study is STUDIES["detection"]:
        metrics = COSTS | dict.fromkeys(detection.METRICS, 0.5)
        rows = [{"backbone": name, **metrics} for name in ("rexnet_1.0", "mine")]
        return detection.summarise(rows, TABLE_A4)
    if study is STUDIES["factors"]:
        metrics = COSTS | {"top1": 0.5, "nuclear_norm": 3.0}
        return factors.summarise([{"network": name, **metrics} for name in TABLE_2])
    metrics = COSTS | {"top1": 0.5, "top5": 0.75}
    return activations.summarise([{"activation": name, **metrics} for name in TABLE_A2])


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_says_what_the_command_line_needs(name):
    study = STUDIES[name]
    fields = {field.name for field in dataclasses.fields(study.config)}
    assert {"out", "set", *study.values, *study.flags} <= fields
    for row in rows_of(study):
        assert len(study.cells(row)) == len(study.header)
        assert all(isinstance(cell, str) for cell in study.cells(row))


def test_cells_are_percent_counts_and_the_papers_numbers():
    first = {name: study.cells(rows_of(study)[0]) for name, study in STUDIES.items()}
    assert first == {
        "activations": ("relu6", "1", "50.00", "75.00", "5,000,000", "7,000,000", "77.3"),
        "detection": ("rexnet_1.0", "1", "50.0", "50.0", "50.0", "7.0M", "0.01B", "25.9"),
        "factors": (
            *("baseline", "1", "50.00", "3.00", "1.000", "5,000,000", "7,000,000"),
            *("48.0", "5997.5", "1.000"),
        ),
    }
    assert "Best first: relu6" in STUDIES["activations"].conclusion(rows_of(STUDIES["activations"]))


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("activations", {"model": "nonsense"}, "unknown model 'nonsense'"),
        ("activations", {"data": "sample", "recipe": "nonsense"}, "no recipe 'nonsense'"),
        ("factors", {"data": "nonsense"}, "no images at 'nonsense'"),
        ("detection", {"data": "nonsense", "backbones": ("rexnet_1.0",)}, "nonsense is no folder"),
    ],
)
def test_what_is_not_there_is_told_before_a_study_starts(name, options, wanted):
    study = STUDIES[name]
    with pytest.raises(UserError, match=wanted):
        study.check(study.config(**options))


def test_backbones_are_looked_up_with_their_weights(tmp_path, monkeypatch):
    write_scenes(tmp_path)
    monkeypatch.chdir(tmp_path)

    def check(*backbones, **options):
        config = DetectionStudy(data="scenes", backbones=backbones, out="S", **options)
        STUDIES["detection"].check(config)

    check("toy.json", "timm:resnet18")
    with pytest.raises(UserError, match="unknown model 'nonsense'"):
        check("toy.json", "nonsense")
    with pytest.raises(UserError, match="timm has no weights"):
        check("rexnet_1.1", weights="timm")
    (tmp_path / "S").mkdir()
    check("rexnet_1.1", weights="timm")


def test_the_table_of_studies_loads_no_heavy_library():
    code = "import sys, rexnet.studies\nprint({'torch', 'scipy', 'timm'} & {*sys.modules})"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "set()\n"


def test_a_mean_is_printed_with_its_error_where_there_is_one():
    assert with_error({"top1": 61.234, "top1_stderr": 0.5}, "top1", ".2f") == "61.23 ± 0.50"
    assert with_error({"top1": 61.234, "top1_stderr": None}, "top1", ".1f") == "61.2"
    assert (or_dash(None, ".1f"), or_dash(2.0, ".1f")) == ("-", "2.0")
