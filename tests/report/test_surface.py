import numpy as np
import pytest
from toys import SPACE, made_up_rows, write_run

from rexnet import runs
from rexnet.report.search import page, write_report
from rexnet.report.surface import curvature, slope
from rexnet.search.results import read_search
from rexnet.search.surface.judgement import is_by_surface, judge
from rexnet.search.surface.plan import plan


def surface_run(folder, count=16, noise=0.0, rise=0.02):
    """Write the run folder of a search by surface, in which steep networks are better."""
    generator = np.random.default_rng(0)
    rows = []
    for shape, row in zip(plan(SPACE, 0, count), made_up_rows(count), strict=True):
        accuracy = 0.5 + rise * np.log(shape.widths[-1] / shape.widths[0])
        accuracy = float(accuracy + noise * generator.standard_normal())
        cost = {"params": shape.proposal.params, "macs": shape.proposal.macs}
        rows.append(
            row | cost | {"widths": list(shape.widths), "accuracy": accuracy, "state": "complete"}
        )
    write_run(folder, rows)
    identity = runs.read_json(folder / "search.json")
    identity["sampler"] = {"name": "surface", "batch": 0, "num_shapes": 400}
    runs.write_json(folder / "search.json", identity)
    return read_search(folder)


def text_of(search, judgement):
    return " ".join(page(search, "<svg></svg>", judgement, "<svg></svg>").split())


def test_groups_are_of_predictions_and_the_page_says_so(tmp_path):
    search = surface_run(tmp_path)
    judgement = judge(search)
    told = text_of(search, judgement)
    assert "networks, predicted by the surface through" in told
    assert "Groups by predicted accuracy" in told
    assert "not of trainings" in told
    top, *_, bottom = sorted(judgement.as_rows(), key=lambda row: -row["accuracy"])
    assert slope(np.array([top["widths"]])) > slope(np.array([bottom["widths"]]))


def test_the_figures_of_a_surface_are_files(tmp_path):
    surface_run(tmp_path)
    assert {path.name for path in write_report(tmp_path)} == {
        "report.html",
        "profile.png",
        "profile.svg",
        "surface.png",
    }
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count("<svg") == 2


def test_a_search_of_few_trainings_is_read_as_its_trainings(tmp_path):
    search = surface_run(tmp_path, count=7)
    assert not is_by_surface(search)
    write_report(tmp_path)
    assert not (tmp_path / "surface.png").exists()


def test_where_shapes_do_not_matter_the_page_says_so(tmp_path):
    noisy = surface_run(tmp_path / "noise", noise=0.01, rise=0.0)
    assert "do not show that the shape matters" in text_of(noisy, judge(noisy))
    clear = surface_run(tmp_path / "clear", noise=0.001)
    told = text_of(clear, judge(clear))
    assert "do not show that the shape matters" not in told
    assert "p = 0.01 by 99 permutations" in told


def test_the_answer_comes_first(tmp_path):
    search = surface_run(tmp_path)
    gain = {"mean": 0.004, "low": 0.001, "high": 0.007}
    network = {
        "widths": [10, 20, 30, 40, 50],
        "params": 1000,
        "macs": 2000,
        "predicted_gain": gain,
        "gain": gain,
        "accuracies": [0.61, 0.62],
    }
    answer = {
        "sentence": "10-20-30-40-50 is 0.4 points (0.1 to 0.7) ahead of the line",
        "network": "best 1",
        "is_confirmed": True,
        "gain": gain,
        "stopped": "",
        "noise": {"training": 0.0021, "images": 0.0043},
        "networks": {"best 1": network, "line": network | {"predicted_gain": None, "gain": None}},
    }
    runs.write_json(tmp_path / "answer.json", answer)
    told = text_of(search, judge(search))
    assert told.index("is 0.4 points (0.1 to 0.7) ahead of the line.") < told.index("<svg")
    assert "best 1 (recommended)" in told
    assert "+0.4 (0.1 to 0.7)" in told
    assert "61.0, 62.0" in told
    assert "differ by 0.21 points" in told


def test_slope_counts_doublings_and_curvature_is_above_the_chord():
    widths = np.array([[10, 20, 40], [10, 40, 40], [10, 10, 40]])
    assert slope(widths) == pytest.approx([2, 2, 2])
    line = curvature(np.array([[10, 20, 30]]))
    assert line == pytest.approx([0])
    assert curvature(widths)[1] > 0 > curvature(widths)[2]
