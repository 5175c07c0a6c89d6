import dataclasses

from clocks import ToyClock
from searches import MIDDLE, run, timed

from rexnet import NetSpec, runs
from rexnet.search import short_list


def test_the_best_network_is_the_best_of_those_that_keep_the_time_when_measured(tmp_path):
    clock = ToyClock()
    run(timed(tmp_path), clock)
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
    run(timed(tmp_path, 2 * MIDDLE), ToyClock())
    first, second = runs.read_json(tmp_path / "S" / "short_list.json")["networks"][:2]
    rows = {row["number"]: row for row in runs.read_jsonl(tmp_path / "S" / "trials.jsonl")}
    (tmp_path / "again").mkdir()
    clock = slower({rows[first["number"]]["spec_id"]: 10})
    run(timed(tmp_path, 2 * MIDDLE, out=str(tmp_path / "again")), clock)
    found = runs.read_json(tmp_path / "again" / "short_list.json")
    assert found["best"] == second["number"]
    wanted = rows[second["number"]]["spec_id"]
    assert NetSpec.load(tmp_path / "again" / "best.json").spec_id == wanted
    assert (tmp_path / "again" / "best.safetensors").read_text(encoding="utf-8") == wanted


def test_where_none_keeps_the_time_the_most_accurate_stays_and_it_is_said(tmp_path):
    run(timed(tmp_path), ToyClock(factor=50))
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

    run(timed(tmp_path), Busy(factor=50))
    found = runs.read_json(tmp_path / "S" / "short_list.json")
    assert (found["best"], found["busy"]) == (None, "other work took 90 % of the cores' time")
    assert [row["others"] for row in found["networks"]] == [0.9] * 5
    quiet = ToyClock()
    assert run(timed(tmp_path), quiet) == 0
    found = runs.read_json(tmp_path / "S" / "short_list.json")
    assert found["best"] is not None
    assert (found["busy"], len(quiet.measured)) == ("", 1)


def test_the_short_list_is_the_most_accurate_of_the_complete():
    rows = [
        {"number": number, "state": "complete" if number % 3 else "pruned", "accuracy": accuracy}
        for number, accuracy in enumerate((0.9, 0.5, 0.7, 0.9, 0.7, 0.1, 0.9, 0.2, 0.3, 0.8, 0.4))
    ]
    assert [row["number"] for row in short_list.best(rows)] == [2, 4, 1, 10, 8]
