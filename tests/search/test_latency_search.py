"""Searches under a budget of time."""

import dataclasses
import statistics

import numpy as np
import pytest
import toys
from clocks import ToyClock, made_up
from toys import BUDGET, SPACE, Toy

from rexnet import NetSpec, UserError, runs
from rexnet.budget import Count, LatencyBudget
from rexnet.latency import Limit
from rexnet.search import job, short_list
from rexnet.search.config import BudgetConfig, SearchConfig
from rexnet.search.fit import fit
from rexnet.search.space import check_fast_enough, sample

MIDDLE = statistics.median(made_up(spec) for spec in sample(SPACE, 33))
"""A time that about half of the networks keep."""


@pytest.fixture(autouse=True)
def inline(monkeypatch):
    """Evaluate in this process, and train nothing."""
    monkeypatch.setattr(job, "LocalExecutor", toys.inline)
    monkeypatch.setattr(job, "Evaluator", lambda **arguments: Toy())
    with toys.no_sync():
        yield


def config_in(folder, milliseconds=MIDDLE, **changes):
    path = folder / "photos.npz"
    if not path.exists():
        images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
        np.savez(path, images=images, labels=np.arange(40) % 10)
    budget = BudgetConfig(
        params=Count(BUDGET.params),
        macs=Count(BUDGET.macs),
        count_classifier=False,
        latency=LatencyBudget(f"{milliseconds:.6f}ms@openvino"),
    )
    settings = {"data": str(path), "budget": budget, "trials": 8, "workers": 1}
    return SearchConfig(**(settings | {"out": str(folder / "S")} | changes))


def run(config, clock, trials=None):
    config = dataclasses.replace(config, trials=trials or config.trials)
    return job.run(config, lambda progress: None, clock)


def test_no_network_is_trained_that_is_predicted_to_pass_the_time(tmp_path):
    clock = ToyClock()
    assert run(config_in(tmp_path), clock) == 8
    folder = tmp_path / "S"
    limit = LatencyBudget(f"{MIDDLE:.6f}ms@openvino").milliseconds
    rows = runs.read_jsonl(folder / "trials.jsonl")
    for row in rows:
        assert row["latency_ms"] <= limit
        spec = SPACE.template.with_widths(row["widths"])
        assert made_up(spec) == pytest.approx(row["latency_ms"], rel=0.03)
    # About half of the shapes are too slow, and SPACE rejects none of them for its budget.
    assert runs.read_json(folder / "result.json")["num_rejected"] >= 1
    assert runs.read_json(folder / "search.json")["latency"]["budget"] == f"{limit:g}ms@openvino"
    assert not (folder / "candidates").exists()


def test_the_best_network_is_the_best_of_those_that_keep_the_time_when_measured(tmp_path):
    clock = ToyClock()
    run(config_in(tmp_path), clock)
    folder = tmp_path / "S"
    found = runs.read_json(folder / "short_list.json")
    rows = sorted(runs.read_jsonl(folder / "trials.jsonl"), key=lambda row: -row["accuracy"])
    assert [row["number"] for row in found["networks"]] == [row["number"] for row in rows[:5]]
    for row in found["networks"]:
        assert row["keeps"] == (row["fastest"] <= MIDDLE)
    best = next(row["number"] for row in found["networks"] if row["keeps"])
    assert found["best"] == best
    spec = NetSpec.load(folder / "best.json")
    assert [row["spec_id"] for row in rows if row["number"] == best] == [spec.spec_id]
    # The toy writes a network's id as its weights.
    assert (folder / "best.safetensors").read_text(encoding="utf-8") == spec.spec_id
    assert len(list((folder / "short_list").iterdir())) == 5


def slower(factors):
    """Return a clock for which networks take ``factors`` as long, by their ids."""

    class Slower(ToyClock):
        def measure(self, specs):
            return [
                dataclasses.replace(one, fastest=one.fastest * factors.get(spec.spec_id, 1))
                for spec, one in zip(specs, super().measure(specs), strict=True)
            ]

    return Slower()


def test_a_network_that_passes_the_time_when_measured_gives_way_to_the_next(tmp_path):
    run(config_in(tmp_path, 2 * MIDDLE), ToyClock())
    first, second = runs.read_json(tmp_path / "S" / "short_list.json")["networks"][:2]
    rows = {row["number"]: row for row in runs.read_jsonl(tmp_path / "S" / "trials.jsonl")}
    (tmp_path / "again").mkdir()
    clock = slower({rows[first["number"]]["spec_id"]: 10})
    run(config_in(tmp_path, 2 * MIDDLE, out=str(tmp_path / "again")), clock)
    found = runs.read_json(tmp_path / "again" / "short_list.json")
    assert found["best"] == second["number"]
    wanted = rows[second["number"]]["spec_id"]
    assert NetSpec.load(tmp_path / "again" / "best.json").spec_id == wanted
    assert (tmp_path / "again" / "best.safetensors").read_text(encoding="utf-8") == wanted


def test_where_none_keeps_the_time_the_most_accurate_stays_and_it_is_said(tmp_path):
    run(config_in(tmp_path), ToyClock(factor=50))
    found = runs.read_json(tmp_path / "S" / "short_list.json")
    assert found["best"] is None
    assert not any(row["keeps"] for row in found["networks"])
    rows = runs.read_jsonl(tmp_path / "S" / "trials.jsonl")
    best = max(rows, key=lambda row: row["accuracy"])
    assert NetSpec.load(tmp_path / "S" / "best.json").spec_id == best["spec_id"]


def test_a_short_list_of_a_busy_machine_says_so_and_is_measured_again(tmp_path):
    class Busy(ToyClock):
        def measure(self, specs):
            return [dataclasses.replace(one, others=0.9) for one in super().measure(specs)]

    run(config_in(tmp_path), Busy(factor=50))
    found = runs.read_json(tmp_path / "S" / "short_list.json")
    assert (found["best"], found["busy"]) == (None, "other work took 90 % of the cores' time")
    assert [row["others"] for row in found["networks"]] == [0.9] * 5
    quiet = ToyClock()
    assert run(config_in(tmp_path), quiet) == 0
    found = runs.read_json(tmp_path / "S" / "short_list.json")
    assert found["best"] is not None
    assert (found["busy"], len(quiet.measured)) == ("", 1)


def test_a_resumed_search_rejects_the_same_networks_with_the_predictor_it_has(tmp_path):
    (tmp_path / "whole").mkdir()
    run(config_in(tmp_path, out=str(tmp_path / "whole")), ToyClock())
    clock = ToyClock()
    run(config_in(tmp_path), clock, trials=3)
    before = (tmp_path / "S" / "latency.json").read_bytes()
    assert run(config_in(tmp_path), clock, trials=8) == 5
    assert clock.num_calibrated == 1
    assert (tmp_path / "S" / "latency.json").read_bytes() == before
    whole, resumed = (runs.read_jsonl(tmp_path / name / "trials.jsonl") for name in ("whole", "S"))
    assert [(row["number"], row["spec_id"]) for row in whole] == [
        (row["number"], row["spec_id"]) for row in resumed
    ]
    whole, resumed = (
        runs.read_json(tmp_path / name / "short_list.json") for name in ("whole", "S")
    )
    assert whole == resumed
    assert len(clock.measured) == 2
    # What is done is not measured again.
    assert run(config_in(tmp_path), clock) == 0
    assert len(clock.measured) == 2


def test_a_search_killed_before_its_predictor_was_written_makes_the_same_one(tmp_path):
    clock = ToyClock()
    run(config_in(tmp_path), clock, trials=3)
    path = tmp_path / "S" / "latency.json"
    before = path.read_bytes()
    path.unlink()
    assert run(config_in(tmp_path), clock, trials=4) == 1
    assert clock.num_calibrated == 2
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"milliseconds": 1.01 * MIDDLE}, "latency.budget is .*ms@openvino, not .*ms@openvino"),
        ({"seed": 1}, "protocol.seed is 0, not 1"),
    ],
)
def test_another_search_is_refused_before_anything_is_measured(changes, reason, tmp_path):
    run(config_in(tmp_path), ToyClock(), trials=2)
    (tmp_path / "S" / "latency.json").unlink()
    clock = ToyClock()
    before = {path: path.read_bytes() for path in (tmp_path / "S").iterdir() if path.is_file()}
    with pytest.raises(UserError, match=reason):
        run(config_in(tmp_path, **changes), clock)
    assert clock.num_calibrated == 0
    assert {p: p.read_bytes() for p in (tmp_path / "S").iterdir() if p.is_file()} == before


def test_a_search_with_and_one_without_a_time_are_not_the_same(tmp_path):
    config = config_in(tmp_path)
    run(config, ToyClock(), trials=2)
    plain = dataclasses.replace(config, budget=dataclasses.replace(config.budget, latency=None))
    with pytest.raises(UserError, match=r"latency is .*, not None"):
        run(plain, None)
    plain = dataclasses.replace(plain, out=str(tmp_path / "plain"))
    run(plain, None, trials=2)
    assert "latency" not in runs.read_json(tmp_path / "plain" / "search.json")
    (row, _) = runs.read_jsonl(tmp_path / "plain" / "trials.jsonl")
    assert row["latency_ms"] is None
    with pytest.raises(UserError, match=r"latency is None, not {.budget.: .*ms@openvino.}; give"):
        run(dataclasses.replace(config, out=str(tmp_path / "plain")), ToyClock())


def test_another_device_is_refused(tmp_path):
    run(config_in(tmp_path), ToyClock(), trials=2)
    other = ToyClock(device={"processor": "toy", "threads": 2})
    with pytest.raises(UserError, match=r"latency\.json are of another device: threads is 1, not"):
        run(config_in(tmp_path), other)


def test_a_time_that_no_network_keeps_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(UserError, match=r"the fastest of .* takes .* ms; raise --budget\.latency"):
        run(config_in(tmp_path, 0.01), ToyClock())
    assert not (tmp_path / "S" / "search.json").exists()


def test_times_of_a_busy_machine_are_no_claim_about_the_networks(tmp_path):
    predictor = ToyClock().calibrate(sample(SPACE, 33))
    busy = dataclasses.replace(predictor, busy="other work took 90 % of the cores' time")
    # It predicts the same, so a search that was begun with either is the same.
    assert busy.digest == predictor.digest
    with pytest.raises(UserError, match=r"the machine was busy, so 0\.01ms.* not decided: other"):
        check_fast_enough(SPACE, Limit(budget=LatencyBudget("0.01ms@openvino"), predictor=busy))


def test_the_share_of_networks_that_are_fast_enough_is_told():
    predictor = ToyClock().calibrate(sample(SPACE, 33))
    limit = Limit(budget=LatencyBudget(f"{MIDDLE:.6f}ms@openvino"), predictor=predictor)
    assert 0.2 < check_fast_enough(SPACE, limit) < 0.8


def test_a_time_and_a_shared_study_do_not_go_together(tmp_path):
    with pytest.raises(UserError, match=r"leave out one of them"):
        config_in(tmp_path, storage="sqlite:///shared.db")


def test_the_fit_keeps_the_time_too(tmp_path):
    limit = 0.97 * MIDDLE
    run(config_in(tmp_path, limit), ToyClock())
    found = fit(tmp_path / "S")
    written = runs.read_json(tmp_path / "S" / "fit.json")
    assert written["latency_ms"] <= limit
    assert made_up(found.proposal.spec) <= 1.03 * limit


def test_the_short_list_is_the_most_accurate_of_the_complete():
    rows = [
        {"number": number, "state": "complete" if number % 3 else "pruned", "accuracy": accuracy}
        for number, accuracy in enumerate((0.9, 0.5, 0.7, 0.9, 0.7, 0.1, 0.9, 0.2, 0.3, 0.8, 0.4))
    ]
    assert [row["number"] for row in short_list.best(rows)] == [2, 4, 1, 10, 8]
