import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
from clocks import ToyClock, made_up
from searches import MIDDLE, config_in, contents, inline, read, timed
from toys import SPACE, Toy

from rexnet import NetSpec, UserError, runs
from rexnet.search import job
from rexnet.search.candidates.outcomes import outcomes_of
from rexnet.search.candidates.protocol import Evaluation

CONFIRMED = {"strategy": "surface", "trials": 10, "epochs": 2, "confirm": 2, "confirm_epochs": 3}


@dataclass(frozen=True, kw_only=True)
class Alike:
    """Gives all networks accuracies that differ by noise alone: hardly any, so none is worth it."""

    def __call__(self, spec, weights, on_progress):
        accuracy = 0.6 + int(spec.spec_id, 16) % 9973 * 1e-8
        return Evaluation(accuracies=(accuracy,), seconds=0.0)


@dataclass(frozen=True, kw_only=True)
class Kinked:
    """Is the toy score, but lets the line down, so that another is surely better."""

    def __call__(self, spec, weights, on_progress):
        slope = spec.widths[-1] / spec.widths[0]
        return Evaluation(accuracies=(0.5 + 0.01 * slope,), seconds=0.0)


@dataclass(frozen=True, kw_only=True)
class Seen(Kinked):
    """Is ``Kinked``, and gets the same half of ten images right every time."""

    def __call__(self, spec, weights, on_progress):
        known = super().__call__(spec, weights, on_progress)
        logits, labels = np.eye(2, dtype=np.float32)[np.arange(10) % 2], np.zeros(10, dtype=int)
        return dataclasses.replace(known, outcomes=(outcomes_of(logits, labels, 0.7),))


def run(config, evaluate=None, on_progress=lambda progress: None):
    return job.run(config, on_progress, evaluate=evaluate or Toy(), make_executor=inline)


def rounds(folder):
    return sorted(path.name for path in (folder / "confirm").glob("*"))


@pytest.fixture(scope="module")
def concluded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("confirmed")
    run(config_in(folder, **CONFIRMED), Kinked())
    return folder / "S"


def test_every_round_trains_the_networks_that_matter_with_a_new_seed(concluded):
    seeds = {row["seed"] for row in read(concluded)}
    assert rounds(concluded) == ["10-1", "10-2"]
    trained = [read(concluded / "confirm" / name) for name in rounds(concluded)]
    assert trained[0] != trained[1]
    for rows in trained:
        assert len(rows) == 5
        assert seeds.isdisjoint(row["seed"] for row in rows)
    networks = [{row["spec_id"] for row in rows} for rows in trained]
    assert networks[0] == networks[1]
    protocol = runs.read_json(concluded / "confirm" / "10-1" / "search.json")["protocol"]
    assert protocol["epochs"] == 3


def test_the_answer_is_in_words_and_numbers(concluded):
    said = runs.read_json(concluded / "answer.json")
    assert said["is_confirmed"]
    assert "ahead of the line" in said["sentence"]
    assert said["gain"]["low"] > 0
    assert set(said["networks"]) == {"best 1", "best 2", "best 3", "line", "stage-wise"}
    recommended = NetSpec.load(concluded / "recommended.json")
    assert list(recommended.widths) == said["networks"][said["network"]]["widths"]
    for network in said["networks"].values():
        assert len(network["accuracies"]) == 2


def test_a_finished_search_trains_nothing_and_says_the_same(concluded):
    before = contents(concluded)["answer.json"]
    config = config_in(concluded.parent, **CONFIRMED)
    assert run(config, Kinked()) == 0
    assert contents(concluded)["answer.json"] == before


def test_a_search_that_was_stopped_while_confirming_goes_on(tmp_path, concluded):
    class Stop(Exception):
        pass

    def stop(progress):
        if "round 2" in progress.words:
            raise Stop

    config = config_in(tmp_path, **CONFIRMED)
    with pytest.raises(Stop):
        run(config, Kinked(), stop)
    assert not (tmp_path / "S" / "answer.json").exists()
    run(config, Kinked())
    assert contents(tmp_path / "S")["answer.json"] == contents(concluded)["answer.json"]


def test_a_search_made_longer_confirms_what_it_then_finds(tmp_path):
    run(config_in(tmp_path, **CONFIRMED), Kinked())
    run(config_in(tmp_path, **CONFIRMED | {"trials": 12}), Kinked())
    assert rounds(tmp_path / "S") == ["10-1", "10-2", "12-1", "12-2"]


def test_where_no_gain_is_worth_it_nothing_is_confirmed(tmp_path):
    run(config_in(tmp_path, **CONFIRMED), Alike())
    said = runs.read_json(tmp_path / "S" / "answer.json")
    assert not (tmp_path / "S" / "confirm").exists()
    assert said["network"] == "line"
    assert "below --worth 0.2" in said["stopped"]
    assert NetSpec.load(tmp_path / "S" / "recommended.json").widths == tuple(
        said["networks"]["line"]["widths"]
    )


def test_without_rounds_the_answer_is_a_prediction(tmp_path):
    run(config_in(tmp_path, **CONFIRMED | {"confirm": 0}), Kinked())
    said = runs.read_json(tmp_path / "S" / "answer.json")
    assert not said["is_confirmed"]
    assert "is predicted to be" in said["sentence"]


def test_the_noise_of_new_trainings_is_told_apart_where_images_are_known(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    run(config_in(tmp_path / "a", **CONFIRMED), Kinked())
    assert runs.read_json(tmp_path / "a" / "S" / "answer.json")["noise"] is None
    run(config_in(tmp_path / "b", **CONFIRMED), Seen())
    noise = runs.read_json(tmp_path / "b" / "S" / "answer.json")["noise"]
    assert noise == {"training": 0, "images": 0}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"trials": 7}, "trials 7 must be at least 8"),
        ({"confirm": 1}, "confirm 1 must be 0, or at least 2"),
        ({"pruner": "halving"}, "--strategy tpe"),
        ({"worth": -1.0}, "worth"),
        ({"batch": -1}, "batch"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, change, told):
    with pytest.raises(UserError, match=told):
        config_in(tmp_path, **CONFIRMED | change).resolved()


def test_searches_that_share_a_study_share_the_rounds(tmp_path):
    shared = {**CONFIRMED, "storage": f"sqlite:///{tmp_path / 'shared.db'}"}
    first = config_in(tmp_path, **shared, out=str(tmp_path / "first"))
    second = config_in(tmp_path, **shared, out=str(tmp_path / "second"))
    assert run(first, Kinked()) == 10 + 2 * 5
    assert run(second, Kinked()) == 0
    said = [contents(tmp_path / name)["answer.json"] for name in ("first", "second")]
    assert said[0] == said[1]


def test_under_a_limit_of_time_only_networks_that_keep_it_are_confirmed(tmp_path):
    limit = MIDDLE * 1.02
    config = timed(tmp_path, limit, **CONFIRMED)
    job.run(config, lambda progress: None, ToyClock(), evaluate=Kinked(), make_executor=inline)
    said = runs.read_json(tmp_path / "S" / "answer.json")
    for network in said["networks"].values():
        assert made_up(SPACE.of(network["widths"])) < 1.1 * limit
    assert NetSpec.load(tmp_path / "S" / "recommended.json")
