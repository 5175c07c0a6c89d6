import json

import numpy as np
import pytest
from clocks import ToyClock, made_up
from searches import MIDDLE, run, timed
from toys import BUDGET, SPACE, made_up_rows, write_run

from rexnet import NetSpec, UserError, runs
from rexnet.design import largest_inside, priced
from rexnet.search.fit import fit


def on_a_line(count, start, slope):
    """Return rows of networks whose widths lie on a line, two wider from row to row."""
    rows = made_up_rows(count)
    for number, row in enumerate(rows):
        row["widths"] = [start + 2 * number + slope * index for index in range(5)]
    return rows


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_networks_on_a_line_give_that_line_and_its_network(tmp_path):
    # The best tenth of twenty are the last two: they start at 9 and 11.
    rows = on_a_line(20, 9 - 2 * 18, 3)
    for row in rows[:-2]:
        row["widths"] = [20] * 5
    found = fit(write_run(tmp_path, rows))
    assert found.line.slope == pytest.approx(3)
    assert found.line.intercept == pytest.approx(10)
    assert found.line.num_networks == 2
    assert found.line.r2 == pytest.approx(1)
    assert found.line.slope_stderr == pytest.approx(0, abs=1e-9)
    assert found.line.intercept_stderr == pytest.approx(1)
    assert found.proposal.spec.widths == (10, 13, 16, 19, 22)
    assert found.proposal.inside(BUDGET)


def test_a_line_too_wide_for_the_budget_is_shrunk_by_one_factor(tmp_path):
    found = fit(write_run(tmp_path, on_a_line(1, 100, 100)))
    proposal = largest_inside(SPACE.template, [100, 200, 300, 400, 500], BUDGET)
    assert found.proposal.spec.widths == proposal.spec.widths
    assert found.proposal.inside(BUDGET)
    np.testing.assert_allclose(
        np.array(found.proposal.spec.widths) / found.proposal.spec.widths[0], range(1, 6), rtol=0.1
    )


def test_a_falling_line_becomes_a_flat_network(tmp_path):
    rows = made_up_rows(1)
    rows[0]["widths"] = [30, 20, 20, 10, 10]
    found = fit(write_run(tmp_path, rows))
    assert found.line.slope < 0
    assert len(set(found.proposal.spec.widths)) == 1


def test_spec_and_fit_are_written_and_agree(tmp_path):
    found = fit(write_run(tmp_path, made_up_rows(30)))
    spec = NetSpec.load(tmp_path / "spec.json")
    assert spec == found.proposal.spec
    assert spec.name == "search_5b_line"
    written = json.loads((tmp_path / "fit.json").read_text(encoding="utf-8"))
    assert written["widths"] == list(spec.widths)
    assert written["spec_id"] == spec.spec_id
    cost = priced(spec, BUDGET)
    assert (written["params"], written["macs"]) == (cost.params, cost.macs)
    assert (written["slope"], written["intercept"]) == (found.line.slope, found.line.intercept)
    assert {"r2", "slope_stderr", "intercept_stderr", "num_networks"} <= set(written)
    assert list(written["groups"]) == ["top 10 %", "middle 50-60 %", "bottom 10 %"]
    assert written["groups"]["top 10 %"]["slope"] == written["slope"]


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_searches_of_any_size_are_fitted(tmp_path, count):
    found = fit(write_run(tmp_path, made_up_rows(count)))
    assert (found.line.slope_stderr is None) == (count < 15)


def test_a_flat_search_is_fitted(tmp_path):
    rows = [row | {"widths": [17] * 5} for row in made_up_rows(3)]
    found = fit(write_run(tmp_path, rows))
    assert found.line.slope == pytest.approx(0, abs=1e-9)
    assert found.line.r2 == 1
    assert found.proposal.spec.widths == (17,) * 5


def test_fitting_again_changes_nothing(tmp_path):
    write_run(tmp_path, made_up_rows(20))
    fit(tmp_path)
    before = contents(tmp_path)
    fit(tmp_path)
    assert contents(tmp_path) == before


def test_a_folder_without_a_search_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no run folder of a search: it has no search\.json"):
        fit(tmp_path)
    assert contents(tmp_path) == {}


def test_a_damaged_search_is_refused_and_nothing_is_written(tmp_path):
    path = write_run(tmp_path, made_up_rows(3)) / "trials.jsonl"
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    before = contents(tmp_path)
    with pytest.raises(UserError, match=f"{path} is damaged at line 3 of 3"):
        fit(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("content", ["{}", "[]"])
def test_a_search_json_without_its_fields_is_refused(tmp_path, content):
    path = write_run(tmp_path, made_up_rows(3)) / "search.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=str(path)):
        fit(tmp_path)
    assert not (tmp_path / "spec.json").exists()


def test_a_spec_that_cannot_be_written_is_named(tmp_path):
    write_run(tmp_path, made_up_rows(3))
    (tmp_path / "spec.json").mkdir()
    with pytest.raises(UserError, match=rf"cannot write {tmp_path / 'spec.json'}: "):
        fit(tmp_path)


def test_the_fit_keeps_the_time_too(tmp_path):
    limit = 0.97 * MIDDLE
    run(timed(tmp_path, limit), ToyClock())
    found = fit(tmp_path / "S")
    written = runs.read_json(tmp_path / "S" / "fit.json")
    assert written["latency_ms"] <= limit
    assert made_up(found.proposal.spec) <= 1.03 * limit
