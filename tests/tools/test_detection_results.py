from pathlib import Path

import detection_results
import pytest
from scenes import config, write_scenes
from tables import markdown

from rexnet.detect import job

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/results/detection.md"


def test_a_run_folder_becomes_a_line(tmp_path, monkeypatch):
    write_scenes(tmp_path)
    monkeypatch.chdir(tmp_path)
    result = job.run(config(seed=4), lambda progress: None)
    line = detection_results.line(tmp_path / "D")
    assert (line["name"], line["seed"], line["ap"]) == ("D", 4, result["ap"])
    assert len(line["metrics"]) == 3
    assert len(line["curve"]) == 101
    assert str(tmp_path) not in str(line)


def test_the_page_holds_what_its_files_say():
    page = PAGE.read_text(encoding="utf-8")
    for title, header, rows in detection_results.tables(ROOT / "results"):
        assert rows, title
        assert markdown(header, rows) in page, title


@pytest.mark.parametrize("name", ["detection-curves", "detection-precision"])
def test_every_figure_of_the_page_can_be_drawn(name):
    figures = dict(detection_results.drawn(ROOT / "results"))
    assert figures[name].axes
    assert f"images/{name}.png" in PAGE.read_text(encoding="utf-8")
