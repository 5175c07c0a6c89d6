from pathlib import Path

import pytest
import training_results
from runs_of_toys import QUICK, config, write_toys
from tables import markdown

from rexnet import runs
from rexnet.train import job

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/results/training.md"


def test_a_run_folder_becomes_a_line(tmp_path, monkeypatch):
    write_toys(tmp_path)
    monkeypatch.chdir(tmp_path)
    settings = config(out="elu-4", seed=4, set=(*QUICK, "epochs=2"))
    result = job.run(settings, lambda progress: None)
    line = training_results.line(tmp_path / "elu-4")
    assert line["name"] == "elu-4"
    assert line["seed"] == 4
    assert line["activation"] == "relu6"
    assert line["top1"] == result["top1"]
    assert len(line["metrics"]) == 2
    assert line["recipe"]["epochs"] == 2
    assert str(tmp_path) not in str(line)


def test_the_page_holds_what_its_files_say():
    page = PAGE.read_text(encoding="utf-8")
    for title, header, rows in training_results.tables(ROOT / "results"):
        assert rows, title
        assert markdown(header, rows) in page, title
    _, *studied = runs.read_jsonl(ROOT / "results" / "activations.jsonl")
    assert training_results.words(studied) in " ".join(page.split())


@pytest.mark.parametrize("name", ["activations", "training-curves", "training-confusion"])
def test_every_figure_of_the_page_can_be_drawn(name):
    figures = dict(training_results.drawn(ROOT / "results"))
    assert figures[name].axes
    assert f"images/{name}.png" in PAGE.read_text(encoding="utf-8")
