import json
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState
from searches import EARLY, STARTUP
from toys import SPACE, TINY, score

from rexnet import UserError
from rexnet.design import FILL
from rexnet.search.run_folder import mend_of
from rexnet.search.sampler import Exhausted
from rexnet.search.study import Study

HELPERS = Path(__file__).parents[1] / "helpers"

PROPOSE = """
import json, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from test_study import advanced, study_in
import toys
with toys.no_sync():
    study = advanced(study_in(Path(sys.argv[3])), 9)
print(json.dumps([trial.parameters for trial in study.trials()]))
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a study of ten trials that was never interrupted."""
    return advanced(study_in(tmp_path_factory.mktemp("whole")), 10)


def url_of(folder):
    return f"sqlite:///{folder / 'study.db'}"


def study_in(folder, space=SPACE, seed=0):
    folder.mkdir(exist_ok=True)
    return Study(url_of(folder), space, seed, sampler=EARLY)


def seen(study):
    return {trial.record["spec_id"] for trial in study.trials()}


def ask(study):
    """Return a new proposal."""
    known = seen(study)
    return study.ask(lambda proposal: proposal.spec.spec_id not in known)


def start(study):
    """Start a new proposal; return its number and the proposal."""
    proposal = ask(study)
    return study.start(record(proposal), 99), proposal


def record(proposal):
    return {"spec_id": proposal.spec.spec_id, "widths": list(proposal.spec.widths)}


def advanced(study, count, space=SPACE):
    """Ask ``study`` and tell it made-up accuracies ``count`` times; return the study."""
    for _ in range(count):
        proposal = ask(study)
        if proposal.fills(space.budget):
            number = study.start(record(proposal), 99)
            notes = {"seconds": 0.5, "accuracies": [score(proposal.spec)]}
            study.tell(number, "complete", score(proposal.spec), notes)
        else:
            used = proposal.params / space.budget.params
            study.reject(record(proposal), shortfall=max(FILL - used, 1e-6))
    return study


def outcomes(study):
    """Return all that must not depend on how often a study was interrupted."""
    return [
        (trial.number, trial.parameters, trial.state, trial.accuracy, trial.record)
        for trial in study.trials()
    ]


def loaded(folder):
    """Open the study as optuna-dashboard does."""
    return optuna.load_study(study_name="search", storage=url_of(folder))


def test_the_same_seed_gives_the_same_proposals_in_another_process(tmp_path, whole):
    arguments = [str(HELPERS), str(Path(__file__).parent), str(tmp_path / "there")]
    done = subprocess.run(
        [sys.executable, "-c", PROPOSE, *arguments], check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout) == [trial.parameters for trial in whole.trials()[:9]]


def test_another_seed_gives_other_proposals(tmp_path):
    first = advanced(study_in(tmp_path / "0", seed=0), 3).trials()
    second = advanced(study_in(tmp_path / "1", seed=1), 3).trials()
    for one, other in zip(first, second, strict=True):
        assert one.parameters != other.parameters


def test_no_network_is_proposed_twice(whole):
    assert len(seen(whole)) == 10


def test_a_space_without_new_networks_is_exhausted(tmp_path):
    study = study_in(tmp_path, TINY)
    with pytest.raises(Exhausted):
        advanced(study, 100, TINY)
    stored = study_in(tmp_path, TINY)
    assert 1 < len(seen(stored)) == len(stored.trials()) < 20


def test_numbers_rise_from_0_and_outlive_the_study(tmp_path):
    advanced(study_in(tmp_path), 4)
    study = advanced(study_in(tmp_path), 4)
    assert [trial.number for trial in study.trials()] == list(range(8))
    assert outcomes(study) == outcomes(study_in(tmp_path))


@pytest.mark.parametrize("stop", [0, 3, 7])
def test_a_trial_whose_study_was_lost_is_handed_back_and_the_study_goes_on_as_if_it_never_was(
    tmp_path, whole, stop
):
    study = advanced(study_in(tmp_path / "cut"), stop)
    number, proposal = start(study)
    del study

    study = study_in(tmp_path / "cut")
    last = study.trials()[-1]
    assert (last.number, last.state) == (number, "running")
    assert SPACE.propose(last.parameters) == proposal
    notes = {"seconds": 0.5, "accuracies": [score(proposal.spec)]}
    study.tell(number, "complete", score(proposal.spec), notes)
    assert outcomes(advanced(study, 9 - stop)) == outcomes(whole)


def test_an_ask_that_was_lost_before_its_start_is_made_again(tmp_path):
    lost = ask(advanced(study_in(tmp_path), 6))
    study = study_in(tmp_path)
    assert len(study.trials()) == 6
    assert ask(study) == lost


def test_trials_that_run_side_by_side_keep_their_numbers_in_any_order_of_ending(tmp_path):
    study = study_in(tmp_path)
    asked = {}
    for _ in range(4):
        number, proposal = start(study)
        asked[number] = proposal
    assert len({proposal.spec.spec_id for proposal in asked.values()}) == 4
    for number in (2, 0):
        study.tell(number, "complete", number / 10)
    study = study_in(tmp_path)
    found = {trial.number: (trial.state, trial.accuracy) for trial in study.trials()}
    wanted = {0: ("complete", 0.0), 1: ("running", None), 2: ("complete", 0.2)}
    assert found == wanted | {3: ("running", None)}
    for number in (3, 1):
        assert SPACE.propose(study.trials()[number].parameters) == asked[number]
        study.tell(number, "complete", number / 10)
    assert [trial.value for trial in loaded(tmp_path).trials] == [0.0, 0.1, 0.2, 0.3]


def test_other_asks_see_running_trials_as_taken(tmp_path):
    study = advanced(study_in(tmp_path), STARTUP + 1)
    _, first = start(study)
    assert ask(study).spec != first.spec


def test_optuna_opens_the_study_and_sees_accuracies_parameters_and_notes(tmp_path):
    study = advanced(study_in(tmp_path), 6)
    found = loaded(tmp_path)
    assert found.direction == optuna.study.StudyDirection.MAXIMIZE
    for trial, ours in zip(found.trials, study.trials(), strict=True):
        assert trial.params == ours.parameters
        assert set(trial.params) == {*SPACE.knots, *SPACE.slopes}
        assert trial.user_attrs["network"]["widths"] == ours.record["widths"]
        if ours.state == "complete":
            assert trial.state == TrialState.COMPLETE
            assert trial.value == ours.accuracy
            result = {"outcome": "complete", "accuracies": [ours.accuracy], "seconds": 0.5}
            assert trial.user_attrs["result"] == result


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        ("diverged", TrialState.PRUNED),
        ("died", TrialState.FAIL),
        ("rejected", TrialState.PRUNED),
    ],
)
def test_what_was_not_trained_to_the_end_has_no_accuracy_and_its_own_state(
    tmp_path, outcome, state
):
    study = study_in(tmp_path)
    proposal = ask(study)
    notes = record(proposal) | {"reason": "loss nan"}
    if outcome == "rejected":
        study.reject(notes, shortfall=0.25)
    else:
        study.tell(study.start(record(proposal), 99), outcome, record=notes)
    for trial in (study.trials()[0], study_in(tmp_path).trials()[0]):
        assert (trial.state, trial.accuracy) == (outcome, None)
        assert trial.record["reason"] == "loss nan"
    (stored,) = loaded(tmp_path).trials
    assert stored.state == state
    assert stored.value is None
    assert stored.constraints == ({"budget": 0.25} if outcome == "rejected" else {})


def test_rejected_shapes_carry_by_how_much_they_miss_and_are_never_the_best_trial(tmp_path):
    study = study_in(tmp_path)
    for accuracy in (0.5, None, 0.4):
        proposal = ask(study)
        if accuracy is None:
            study.reject(record(proposal), shortfall=0.125)
        else:
            study.tell(study.start(record(proposal), 99), "complete", accuracy)
    found = loaded(tmp_path)
    rejected = [trial for trial in found.trials if trial.state == TrialState.PRUNED]
    assert [trial.constraints for trial in rejected] == [{"budget": 0.125}]
    assert found.best_trial.number == 0
    assert found.best_value == 0.5


def test_an_accuracy_is_stored_to_the_last_bit(tmp_path):
    study = study_in(tmp_path)
    number, _ = start(study)
    study.tell(number, "complete", 1 / 3, {"accuracies": [0.1, 1 / 7]})
    (trial,) = study_in(tmp_path).trials()
    assert trial.accuracy == 1 / 3
    assert trial.record["accuracies"] == [0.1, 1 / 7]


def damage(path, kind):
    """Damage a database in one way and return its bytes."""
    content = bytearray(path.read_bytes())
    page = 4096
    match kind:
        case "text":
            content = bytearray(b"not a database, but long enough to hold a header " * 9)
        case "half":
            content = content[: len(content) // 2]
        case "header only":
            content = content[:page]
        case "zeroed pages":
            content[page : len(content) // 2] = bytes(len(content) // 2 - page)
        case "garbage at the end":
            content[len(content) // 2 :] = b"\xa5" * (len(content) - len(content) // 2)
        case "empty":
            content.clear()
    path.write_bytes(content)
    return bytes(content)


@pytest.mark.parametrize(
    "kind", ["text", "half", "header only", "zeroed pages", "garbage at the end"]
)
def test_a_damaged_study_is_refused_by_name_and_left_as_it_is(tmp_path, kind):
    advanced(study_in(tmp_path), 3)
    content = damage(tmp_path / "study.db", kind)
    with pytest.raises(UserError) as error:
        study_in(tmp_path)
    assert "study.db cannot be used: " in str(error.value)
    assert "another --out" in str(error.value)
    assert "\n" not in str(error.value)
    assert (tmp_path / "study.db").read_bytes() == content


@pytest.mark.parametrize(
    ("reason", "wanted"),
    [
        ("database is locked", "another process holds it: wait"),
        ("database or disk is full", "mend that"),
        ("attempt to write a readonly database", "mend that"),
        ("database disk image is malformed", "it is damaged"),
        ("file is not a database", "it is damaged"),
    ],
)
def test_a_study_that_is_locked_or_has_no_room_is_not_called_damaged(reason, wanted):
    assert mend_of("sqlite:///S/study.db", reason).startswith(wanted)
    assert "can be reached" in mend_of("postgresql://host/db", reason)


def test_a_study_that_cannot_be_made_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"study\.db cannot be used: unable to open .*; mend that"):
        Study(f"sqlite:///{tmp_path / 'nowhere' / 'study.db'}", SPACE, 0)


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


@pytest.fixture
def sqlite(tmp_path):
    return f"sqlite:///{tmp_path / 'shared.db'}"


def test_the_same_network_asked_by_two_searches_is_trained_by_the_first(sqlite):
    one = Study(sqlite, SPACE, 0, name="shared", owner="one")
    other = Study(sqlite, SPACE, 0, name="shared", owner="other")
    one.ask(lambda proposal: True)
    other.ask(lambda proposal: True)
    number = running(one, "same")
    assert running(other, "same") is None
    assert [trial.state for trial in other.trials()] == ["running", "rejected"]
    one.tell(number, "complete", 0.5)
    (ended,) = [trial for trial in other.sync() if trial.state == "complete"]
    assert (ended.number, ended.accuracy) == (number, 0.5)
    one.close()
    other.close()


def test_searches_of_the_same_seed_propose_different_networks(sqlite):
    one = Study(sqlite, SPACE, 0, name="shared", owner="one")
    other = Study(sqlite, SPACE, 0, name="shared", owner="other")
    assert one.ask(lambda proposal: True) != other.ask(lambda proposal: True)
    one.close()
    other.close()


def test_a_search_that_lives_is_not_counted_out(sqlite):
    one = Study(sqlite, SPACE, 0, name="shared", owner="one")
    one.ask(lambda proposal: True)
    running(one, "a")
    grow_old(sqlite)
    one.heartbeat()
    other = Study(sqlite, SPACE, 0, name="shared", owner="other")
    other.heartbeat()
    assert other.sync() == []
    assert [trial.state for trial in other.trials()] == ["running"]
    one.close()
    other.close()


@pytest.mark.parametrize("url", ["nonsense", "mongodb://here/there", "mysql://me@here/there"])
def test_what_is_no_database_is_refused(url):
    with pytest.raises(UserError, match="cannot be used"):
        Study(url, SPACE, 0, name="shared", owner="me")
