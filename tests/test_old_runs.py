"""Run folders that were made by an earlier version, one a job: the same command goes on with them.

``golden/runs`` holds them as they were left: the search after two of three networks, the training
in its second epoch, the detector before its first step, the study of activations after one of two
seeds, the rank study after two of four points.
"""

import json
import shutil
from pathlib import Path

import pytest
import toys

from rexnet import runs
from rexnet.cli.main import main as rexnet

FOLDERS = Path(__file__).parent / "golden" / "runs"
COMMANDS = json.loads((FOLDERS / "commands.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Run every test in a copy of the folders."""
    shutil.copytree(FOLDERS, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    with toys.quick():
        yield tmp_path


def lines(folder, name):
    """Return the lines of a file as they were left, and as they are now."""
    return runs.read_jsonl(FOLDERS / folder / name), runs.read_jsonl(Path(folder) / name)


def test_a_search_goes_on(here):
    assert rexnet(COMMANDS["search"]) == 0
    left, now = lines("search", "trials.jsonl")
    assert now[: len(left)] == left
    assert len(now) == 3
    assert (here / "search" / "report.html").exists()


def test_a_training_goes_on(here):
    assert rexnet(COMMANDS["train"]) == 0
    left, now = lines("training", "metrics.jsonl")
    assert [row["epoch"] for row in left] == [1]
    assert now[:1] == left
    assert [row["epoch"] for row in now] == [1, 2, 3]
    assert (here / "training" / "model" / "model.safetensors").exists()


def test_a_training_that_has_ended_is_not_repeated(here):
    command = ["trained" if word == "training" else word for word in COMMANDS["train"]]
    files = {path: path.read_bytes() for path in (here / "trained").glob("*.jsonl")}
    assert rexnet([*command, "epochs=1"]) == 0
    assert {path: path.read_bytes() for path in files} == files


def test_a_detector_is_trained():
    assert rexnet(COMMANDS["detect"]) == 0
    assert len(runs.read_jsonl(Path("detector") / "metrics.jsonl")) == 3


def test_a_study_of_activations_goes_on():
    assert rexnet(COMMANDS["activations"]) == 0
    left, now = lines("activations", "trainings.jsonl")
    assert len(left) == 2
    assert len(now) == 4
    assert all(row in now for row in left)


def test_a_rank_study_goes_on():
    assert rexnet(COMMANDS["rank"]) == 0
    left, now = lines("rank", "points.jsonl")
    assert len(left) == 2
    assert len(now) == 4
    assert all(row in now for row in left)


@pytest.mark.parametrize(
    ("job", "file"),
    [
        ("validate", "validation/result.json"),
        ("rank_network", "rank_network/blocks.jsonl"),
        ("export", "export/export.json"),
        ("benchmark", "benchmark/benchmark.jsonl"),
    ],
)
def test_what_is_made_anew_takes_its_old_folder(job, file):
    made = Path(file).stat().st_mtime_ns
    assert rexnet(COMMANDS[job]) == 0
    assert Path(file).stat().st_mtime_ns > made


@pytest.mark.parametrize("job", ["search", "train", "detect", "activations", "rank", "validate"])
def test_another_job_is_refused_with_one_line(job, capsys):
    other = {"search": "training", "train": "search"}.get(job, "search")
    command = [*COMMANDS[job]]
    command[command.index("--out") + 1] = other
    # Where none has begun it, a search is not by TPE.
    command += ["--strategy", "tpe"] if job == "search" else []
    assert rexnet(command) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "give another --out" in error
