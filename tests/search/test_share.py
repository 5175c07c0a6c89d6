"""Several searches on one study."""

import json
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import sqlalchemy
import toys
from postgres import server
from toys import SPACE, Toy

from rexnet import UserError, runs
from rexnet.budget import Count
from rexnet.search import job
from rexnet.search.config import BudgetConfig, SearchConfig
from rexnet.search.job import Share
from rexnet.search.study import Study

HELPERS = Path(__file__).parents[1] / "helpers"

SEARCH = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import toys
from rexnet.search.job import Share
share = Share(url=sys.argv[2], study="shared", owner=sys.argv[4])
toys.search(Path(sys.argv[3]), toys.Toy(), 24, num_workers=2, share=share)
"""


@pytest.fixture(scope="module")
def postgres():
    with server() as url:
        yield url


@pytest.fixture
def inline(monkeypatch):
    monkeypatch.setattr(job, "LocalExecutor", toys.inline)


@pytest.fixture
def sqlite(tmp_path):
    return f"sqlite:///{tmp_path / 'shared.db'}"


def share(url, owner):
    return Share(url=url, study="shared", owner=owner)


def rows_of(folder):
    return sorted(runs.read_jsonl(folder / "trials.jsonl"), key=lambda row: row["number"])


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


def running(study, record):
    """Start a proposal of ``study``; return its number."""
    return study.start({"spec_id": record, "widths": []}, 99)


def grow_old(url):
    """Set back the heartbeats of all trials by an hour."""
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            sqlalchemy.text("update trial_heartbeats set heartbeat = '2020-01-01 00:00:00'")
        )
    engine.dispose()


def test_the_same_network_asked_by_two_searches_is_trained_by_the_first(sqlite):
    one = Study(sqlite, SPACE, 0, name="shared", owner="one")
    other = Study(sqlite, SPACE, 0, name="shared", owner="other")
    one.ask(lambda proposal: True)
    other.ask(lambda proposal: True)
    number = running(one, "same")
    assert running(other, "same") is None
    assert [trial.outcome for trial in other.trials()] == ["running", "rejected"]
    one.settle(number, "complete", 0.5)
    (ended,) = [trial for trial in other.sync() if trial.outcome == "complete"]
    assert (ended.number, ended.accuracy) == (number, 0.5)
    one.close()
    other.close()


def test_searches_of_the_same_seed_propose_different_networks(sqlite):
    one = Study(sqlite, SPACE, 0, name="shared", owner="one")
    other = Study(sqlite, SPACE, 0, name="shared", owner="other")
    assert one.ask(lambda proposal: True) != other.ask(lambda proposal: True)
    one.close()
    other.close()


@pytest.mark.usefixtures("inline")
def test_what_a_dead_search_was_training_is_trained_by_another(tmp_path, sqlite):
    dead = Study(sqlite, SPACE, 0, name="shared", owner="dead")
    proposal = dead.ask(lambda proposal: True)
    record = {"spec_id": proposal.spec.spec_id, "widths": list(proposal.spec.widths)}
    number = dead.start(record, 99)
    grow_old(sqlite)
    alive = Study(sqlite, SPACE, 0, name="shared", owner="alive")
    alive.show_life()
    assert [(trial.number, trial.outcome) for trial in alive.sync()] == [(number, "lost")]
    alive.close()
    toys.search(tmp_path / "alive", Toy(), 3, share=share(sqlite, "alive"))
    rows = rows_of(tmp_path / "alive")
    assert len(rows) == 3
    assert proposal.spec.spec_id in [row["spec_id"] for row in rows]
    # Should it come back after all, its result comes too late and harms nothing.
    assert not dead.settle(number, "complete", 0.5)
    dead.close()
    trials = optuna.load_study(study_name="shared", storage=sqlite).trials
    assert [trial.state.name for trial in trials].count("COMPLETE") == 3


@pytest.mark.usefixtures("inline")
def test_a_search_that_lives_is_not_counted_out(sqlite):
    one = Study(sqlite, SPACE, 0, name="shared", owner="one")
    one.ask(lambda proposal: True)
    running(one, "a")
    grow_old(sqlite)
    one.show_life()
    other = Study(sqlite, SPACE, 0, name="shared", owner="other")
    other.show_life()
    assert other.sync() == []
    assert [trial.outcome for trial in other.trials()] == ["running"]
    one.close()
    other.close()


@pytest.mark.usefixtures("inline")
def test_a_search_takes_up_its_own_trials_again_and_adds_to_those_of_others(tmp_path, sqlite):
    toys.search(tmp_path / "a", Toy(), 4, share=share(sqlite, "a"))
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
    assert toys.search(tmp_path / "b", Toy(), 6, share=share(sqlite, "b")) == 2
    rows = rows_of(tmp_path / "b")
    assert [row["number"] for row in rows] == list(range(6))
    assert rows[4]["spec_id"] == proposal.spec.spec_id
    assert rows[:4] == rows_of(tmp_path / "a")


def prepared(folder, storage):
    config = SearchConfig(
        budget=BudgetConfig(params=Count("0.2M"), macs=Count("30M")),
        storage=storage,
        out=str(folder),
    ).resolved()
    return job.prepare(folder, config, {"data": "toys", "seed": 0})


def test_folders_of_the_same_search_share_a_study_under_names_of_their_own(tmp_path):
    one, other = (prepared(tmp_path / name, "sqlite:///x.db") for name in "ab")
    assert one.study == other.study
    assert one.owner != other.owner
    assert prepared(tmp_path / "a", "sqlite:///x.db") == one


def test_a_folder_keeps_to_the_kind_of_study_it_began_with(tmp_path):
    assert prepared(tmp_path / "own", None) is None
    with pytest.raises(UserError, match="its own study"):
        prepared(tmp_path / "own", "sqlite:///x.db")
    prepared(tmp_path / "shared", "sqlite:///x.db")
    with pytest.raises(UserError, match="a shared study; give its --storage"):
        prepared(tmp_path / "shared", None)


def test_a_password_is_neither_written_nor_shown(tmp_path):
    url = "postgresql://me:hunter2@127.0.0.1:1/nowhere"
    prepared(tmp_path / "S", url)
    for path in (tmp_path / "S").iterdir():
        assert "hunter2" not in path.read_text()
    with pytest.raises(UserError, match=r"me:\*\*\*@127\.0\.0\.1") as error:
        Study(url, SPACE, 0, name="shared", owner="me")
    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("url", ["nonsense", "mongodb://here/there", "mysql://me@here/there"])
def test_what_is_no_database_is_refused(url):
    with pytest.raises(UserError, match="cannot be used"):
        Study(url, SPACE, 0, name="shared", owner="me")
