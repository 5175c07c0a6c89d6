import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState
from postgres import server
from searches import (
    STARTUP,
    assert_best_is_kept,
    contents,
    read,
    result_of_search,
    search,
)
from toys import BUDGET, PICKY, SPACE, TINY, Learns, Toy, score

from rexnet import UserError, runs
from rexnet.budget import Budget
from rexnet.design import priced
from rexnet.families import search_network
from rexnet.search.candidates.protocol import Protocol
from rexnet.search.leader import MAX_ASKS, Task
from rexnet.search.run_folder import Share
from rexnet.search.sampler import TPE
from rexnet.search.study import Study

HELPERS = Path(__file__).parents[1] / "helpers"

SEARCH = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import toys
from searches import search
from rexnet.search.run_folder import Share
share = Share(url=sys.argv[2], study="shared", owner=sys.argv[4])
search(Path(sys.argv[3]), toys.Toy(), 24, num_processes=2, share=share)
"""


@pytest.fixture(scope="module")
def postgres():
    with server() as url:
        yield url


@pytest.fixture
def sqlite(tmp_path):
    return f"sqlite:///{tmp_path / 'shared.db'}"


def share(url, owner):
    return Share(url=url, study="shared", owner=owner)


def rows_of(folder):
    return sorted(runs.read_jsonl(folder / "trials.jsonl"), key=lambda row: row["number"])


def grow_old(url):
    """Set back the heartbeats of all trials by an hour."""
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            sqlalchemy.text("update trial_heartbeats set heartbeat = '2020-01-01 00:00:00'")
        )
    engine.dispose()


def test_shapes_that_cannot_fill_the_budget_are_counted_and_not_trained(tmp_path):
    seen = []
    search(tmp_path, Toy(), 5, space=PICKY, on_progress=seen.append)
    rows = read(tmp_path)
    assert len(rows) == 5
    for row in rows:
        assert 0.9 * PICKY.budget.params <= row["params"] <= PICKY.budget.params
        assert 0.9 * PICKY.budget.macs <= row["macs"] <= PICKY.budget.macs
    url = f"sqlite:///{tmp_path / 'study.db'}"
    trials = optuna.load_study(study_name="search", storage=url).trials
    rejected = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert len(trials) == 5 + len(rejected)
    assert len(rejected) == result_of_search(tmp_path)["num_rejected"] > 0
    assert f", {len(rejected)} rejected, " in seen[-1].words
    assert all(trial.constraints["budget"] > 0 for trial in rejected)


def test_a_network_that_loses_a_shortcut_of_what_it_inherits_from_is_rejected():
    network = search_network([20] * 5, 10)
    space = dataclasses.replace(SPACE, network=network, budget=Budget(macs=13_000_000))
    narrow = priced(space.of([12, 30, 30, 30, 43]), space.budget)
    assert narrow.fills(space.budget)
    inherits = Task(space=space, protocol=Protocol(init="0123456789abcdef"))
    assert inherits.shortfall(narrow) == pytest.approx(0.25)
    assert Task(space=space, protocol=Protocol()).shortfall(narrow) is None


def test_tpe_finds_better_networks_than_its_random_start(tmp_path):
    search(tmp_path, Toy(), 25)
    scores = [row["accuracy"] for row in read(tmp_path)]
    assert np.mean(scores[15:]) > np.mean(scores[:STARTUP]) + 0.02


def test_workers_side_by_side_train_each_network_once(tmp_path):
    assert search(tmp_path, Toy(), 7, num_processes=2) == 7
    rows = read(tmp_path)
    assert len({tuple(row["widths"]) for row in rows}) == len(rows) == 7
    assert_best_is_kept(tmp_path)


def test_candidates_that_diverge_or_die_are_recorded_as_what_they_were_and_the_search_goes_on(
    tmp_path, numbers
):
    toy = Toy(diverges=numbers[:1], kills_itself=numbers[2:3], raises=numbers[3:4])
    search(tmp_path, toy, 6, num_processes=1)
    rows = read(tmp_path)
    states = [row["state"] for row in rows]
    assert states == ["diverged", "complete", "killed", "died", "complete", "complete"]
    reasons = [row["reason"] for row in rows]
    assert reasons == [
        "loss nan at step 3 of 7",
        "",
        "exit code -9: killed from outside, maybe for want of memory",
        "ZeroDivisionError: nothing to divide by",
        "",
        "",
    ]
    for row in rows:
        assert (row["accuracy"] is None) == (row["state"] != "complete")
        assert bool(row["accuracies"]) == (row["state"] == "complete")
    result = result_of_search(tmp_path)
    assert [result[f"num_{state}"] for state in ("complete", "diverged", "died")] == [3, 1, 2]
    assert_best_is_kept(tmp_path)


def test_what_was_killed_is_trained_by_the_next_call_once(tmp_path, numbers):
    search(tmp_path, Toy(starves=numbers[1:2], raises=numbers[2:3]), 4)
    first = read(tmp_path)
    assert [row["state"] for row in first] == ["complete", "killed", "died", "complete"]
    assert first[1]["reason"] == "MemoryError: Unable to allocate 9 GiB"
    # None of the others is trained anew, nor is this one when it has been trained.
    assert [search(tmp_path, Toy(), 4) for _ in range(2)] == [1, 0]
    *others, again = read(tmp_path)
    assert others == [first[0], first[2], first[3]]
    assert (again["state"], again["widths"]) == ("complete", first[1]["widths"])
    assert result_of_search(tmp_path)["num_died"] == 1


def test_a_mistake_of_the_machine_ends_the_search_and_counts_as_no_network(tmp_path, numbers):
    with pytest.raises(UserError, match=r"cannot be trained here: ImportError: no libgomp.*again$"):
        search(tmp_path, Toy(misses_library=numbers[1:2]), 3)
    assert [row["state"] for row in read(tmp_path)] == ["complete"]
    assert search(tmp_path, Toy(), 3) == 2
    assert [row["state"] for row in read(tmp_path)] == 3 * ["complete"]


def test_a_search_gives_up_when_five_candidates_in_a_row_died_and_can_go_on(tmp_path, numbers):
    toy = Toy(raises=[number for number in range(99) if number != numbers[1]])
    with pytest.raises(UserError, match=r"^5 candidates in a row died, the last: ZeroDivision"):
        search(tmp_path, toy, 9)
    assert [row["state"] for row in read(tmp_path)] == ["died", "complete", *5 * ["died"]]
    assert search(tmp_path, Toy(), 9) == 2
    assert len(read(tmp_path)) == 9


def test_diverged_candidates_in_a_row_do_not_end_a_search(tmp_path, numbers):
    toy = Toy(diverges=[number for number in range(99) if number != numbers[0]])
    search(tmp_path, toy, 7)
    assert result_of_search(tmp_path)["num_diverged"] == 6
    assert_best_is_kept(tmp_path)


def test_an_error_of_the_users_in_a_worker_ends_the_search_which_then_goes_on_the_same(
    tmp_path, numbers
):
    search(tmp_path / "whole", Toy(), 4)
    with pytest.raises(UserError, match="No space left"):
        search(tmp_path / "cut", Toy(user_error=numbers[2:3]), 4)
    assert search(tmp_path / "cut", Toy(), 4) == 2
    assert read(tmp_path / "cut") == read(tmp_path / "whole")


def test_a_space_without_more_networks_stops_the_search_with_its_reason(tmp_path):
    num_new = search(tmp_path, Toy(), 50, space=TINY)
    result = result_of_search(tmp_path)
    assert result["state"] == "stopped"
    assert result["reason"] == "no draw gave a network that is new"
    assert result["num_complete"] == num_new == len(read(tmp_path)) < 50
    before = contents(tmp_path)
    assert search(tmp_path, Toy(), 50, space=TINY) == 0
    assert contents(tmp_path) == before


def test_a_search_that_only_rejects_stops_with_its_reason(tmp_path):
    budget = dataclasses.replace(BUDGET, params=10_000_000)
    space = dataclasses.replace(SPACE, budget=budget)
    assert search(tmp_path, Toy(), 1, space=space) == 0
    result = result_of_search(tmp_path)
    assert (result["state"], result["num_rejected"]) == ("stopped", MAX_ASKS)
    assert f"{MAX_ASKS} proposals were made" in result["reason"]


@pytest.mark.parametrize("pruner", ["halving", "median"])
def test_a_pruner_ends_trainings_that_fall_behind_and_never_the_best(tmp_path, pruner):
    # At random some fall behind; what TPE proposes may not.
    sampler = TPE(n_startup_trials=99)
    search(tmp_path, Learns(), 30, num_processes=2, pruner=pruner, sampler=sampler)
    rows = read(tmp_path)
    assert len(rows) == 30
    pruned = [row for row in rows if row["state"] == "pruned"]
    complete = [row for row in rows if row["state"] == "complete"]
    assert len(pruned) + len(complete) == 30
    assert 1 <= len(pruned) < 30
    for row in pruned:
        assert row["accuracy"] is None
        assert row["accuracies"] == []
        match = re.fullmatch(r"pruned after epoch ([123]) at (0\.\d{4})", row["reason"])
        spec = SPACE.template.with_widths(row["widths"])
        assert float(match[2]) == pytest.approx(score(spec) * int(match[1]) / 4, abs=1e-4)
    # What Learns tells on the way ranks as the end does.
    scores = {row["spec_id"]: score(SPACE.template.with_widths(row["widths"])) for row in rows}
    assert max(scores, key=scores.get) in {row["spec_id"] for row in complete}
    assert result_of_search(tmp_path)["num_pruned"] == len(pruned)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    for trial in optuna.load_study(study_name="search", storage=url).trials:
        told = trial.intermediate_values
        if trial.state == TrialState.COMPLETE:
            assert list(told) == [1, 2, 3]
            assert told[2] == pytest.approx(trial.value / 2)


def test_without_a_pruner_nothing_is_pruned(tmp_path):
    search(tmp_path, Learns(), 12)
    assert {row["state"] for row in read(tmp_path)} == {"complete"}


def test_two_searches_at_once_train_every_network_of_one_study_once(tmp_path, postgres):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SEARCH, str(HELPERS), postgres, str(tmp_path / owner), owner],
            stderr=subprocess.PIPE,
            text=True,
        )
        for owner in "ab"
    ]
    try:
        endings = [(process.communicate()[1], process.returncode) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert endings == [("", 0)] * 2
    first, second = rows_of(tmp_path / "a"), rows_of(tmp_path / "b")
    assert first == second
    assert len(first) == 24
    assert len({row["spec_id"] for row in first}) == len(first)
    trained = {owner: json.loads((tmp_path / owner / "best.json").read_text()) for owner in "ab"}
    accuracies = {tuple(row["widths"]): row["accuracy"] for row in first}
    widths = [tuple(block["width"] for block in spec["blocks"]) for spec in trained.values()]
    assert max(accuracies[one] for one in widths) == max(accuracies.values())


def test_what_a_dead_search_was_training_is_trained_by_another(tmp_path, sqlite):
    dead = Study(sqlite, SPACE, 0, name="shared", owner="dead")
    proposal = dead.ask(lambda proposal: True)
    record = {"spec_id": proposal.spec.spec_id, "widths": list(proposal.spec.widths)}
    number = dead.start(record, 99)
    grow_old(sqlite)
    alive = Study(sqlite, SPACE, 0, name="shared", owner="alive")
    alive.heartbeat()
    assert [(trial.number, trial.state) for trial in alive.sync()] == [(number, "lost")]
    alive.close()
    search(tmp_path / "alive", Toy(), 3, share=share(sqlite, "alive"))
    rows = rows_of(tmp_path / "alive")
    assert len(rows) == 3
    assert proposal.spec.spec_id in [row["spec_id"] for row in rows]
    # Should it come back after all, its result comes too late and harms nothing.
    assert not dead.tell(number, "complete", 0.5)
    dead.close()
    trials = optuna.load_study(study_name="shared", storage=sqlite).trials
    assert [trial.state.name for trial in trials].count("COMPLETE") == 3


def test_a_search_takes_up_its_own_trials_again_and_adds_to_those_of_others(tmp_path, sqlite):
    search(tmp_path / "a", Toy(), 4, share=share(sqlite, "a"))
    killed = Study(sqlite, SPACE, 0, name="shared", owner="b")
    proposal = killed.ask(lambda proposal: True)
    killed.start(
        {
            "spec_id": proposal.spec.spec_id,
            "widths": list(proposal.spec.widths),
            **dict.fromkeys(("params", "macs", "total_params", "seed"), 1),
            "protocol_id": "x",
        },
        99,
    )
    killed.close()
    assert search(tmp_path / "b", Toy(), 6, share=share(sqlite, "b")) == 2
    rows = rows_of(tmp_path / "b")
    assert [row["number"] for row in rows] == list(range(6))
    assert rows[4]["spec_id"] == proposal.spec.spec_id
    assert rows[:4] == rows_of(tmp_path / "a")
