import os
from pathlib import Path

import numpy as np
import optuna
import public_verdicts
import pytest
import ranking
import ranking_tables
from public_tables import TABLES, Table, read_table

from rexnet import UserError

optuna.logging.set_verbosity(optuna.logging.ERROR)

FOLDER = Path(os.environ.get("REXNET_TABLES", Path(__file__).parents[3] / "shared" / "data"))
REASON = "the public tables are not at hand: put their folder into REXNET_TABLES"
needs_tables = pytest.mark.skipif(not (FOLDER / "channel-bench-macro.npz").exists(), reason=REASON)


@pytest.fixture(scope="module")
def tables():
    return {name: read_table(FOLDER, name) for name in TABLES}


@pytest.fixture
def made_up():
    """Return a table of 120 networks whose accuracy is a plane in log widths, with noise."""
    generator = np.random.default_rng(0)
    levels = generator.permutation(np.stack(np.unravel_index(np.arange(512), (8, 8, 8)), 1))[:120]
    widths = 8 * (levels + 1)
    truth = 90 + np.log(widths) @ np.array([0.5, -0.2, 0.1])
    return Table(
        name="made up",
        widths=widths,
        levels=levels,
        accuracy=truth[:, None] + 0.2 * generator.standard_normal((120, 3)),
        params=np.full(120, 1000),
        macs=np.full(120, 5000),
    )


@pytest.mark.parametrize("strategy", ranking.STRATEGIES)
def test_a_strategy_visits_different_networks_and_recommends_one_of_the_window(made_up, strategy):
    visit, recommend = ranking.STRATEGIES[strategy]
    seen, _ = ranking.drawn(made_up, 0.5, np.random.default_rng(0))
    visited = visit(made_up, seen, np.random.default_rng(1))
    assert len(set(visited)) == len(visited) == 80
    assert 0 <= recommend(made_up, seen, visited) < len(made_up)


def test_on_a_plane_the_surface_regrets_less_than_the_best_of_random_trials(made_up, monkeypatch):
    monkeypatch.setattr(ranking, "BLOCK", 20)
    surface, random = (
        ranking.replayed(made_up, name, 0.5, 0)["regret"] for name in ("surface", "random")
    )
    assert all(ours < theirs for ours, theirs in zip(surface, random, strict=True))


def test_the_truth_of_a_training_is_not_made_of_its_own_noise(made_up):
    seen, truth = ranking.drawn(made_up, 0.0, np.random.default_rng(0))
    each = made_up.accuracy
    for number in range(5):
        used = int(np.abs(each[number] - seen[number]).argmin())
        assert truth[number] == pytest.approx(np.delete(each[number], used).mean())


def test_shapes_are_told_apart():
    widths = np.array(
        [
            [16, 24, 32, 40, 48],
            [24, 24, 24, 24, 64],
            [24, 48, 48, 48, 48],
            [16, 32, 32, 48, 48],
            [32, 32, 32, 32, 32],
        ]
    )
    found = public_verdicts.shapes(widths)
    for number, name in enumerate(
        ("line", "late jump", "early jump", "steps at the strides", "flat")
    ):
        assert [other for other in found if found[other][number]] == [name]


def test_mean_regret_counts_windows_alike():
    row = {"noise": 0.0, "strategy": "random", "trainings": [20, 40, 80], "variance": [1.0] * 3}
    rows = [
        row | {"table": "nats", "window": 0.5, "repetitions": 100, "regret": [1.0] * 3},
        row | {"table": "resnet", "window": 0.5, "repetitions": 50, "regret": [0.0] * 3},
        row | {"table": "resnet", "window": 0.5, "repetitions": 50, "regret": [0.0] * 3},
    ]
    mean, error, count = ranking_tables.regret(rows)
    assert mean == [0.5] * 3
    assert count == 200
    assert error == pytest.approx([np.sqrt(0.01 + 0.01) / 2] * 3)


def test_tables_that_are_not_there_are_asked_for(tmp_path):
    with pytest.raises(UserError, match="--tables"):
        read_table(tmp_path, "nats")


@needs_tables
def test_the_tables_are_those_that_are_described(tables):
    mobile = tables["mobilenet"]
    least = int((mobile.levels == 0).all(1).argmax())
    assert (mobile.macs[least], mobile.params[least]) == (14_285_312, 125_418)
    assert mobile.widths[least].tolist() == [32, 192, 192, 192, 64, 384, 256]
    assert round(tables["nats"].params.mean()) == 268_684
    assert len(tables["nats"]) == 32_768


@needs_tables
def test_macs_rank_a_space_and_not_a_window(tables):
    _, lines = public_verdicts.noise_table([(tables["resnet"], 0.5, tables["resnet"].window(0.5))])
    (_, *_, all_macs, _), (_, *_, window_macs, _) = lines
    assert float(all_macs) > 0.8
    assert abs(float(window_macs)) < 0.4


@needs_tables
def test_the_surface_recommends_better_networks_than_tpe_on_a_window_of_its_own(
    tables, monkeypatch
):
    monkeypatch.setattr(ranking, "BLOCK", 25)
    window = tables["mobilenet"].window(0.5)
    surface, tpe = (
        ranking.replayed(window, name, 0.5, 0)["regret"] for name in ("surface, batches", "TPE")
    )
    assert surface[1] < tpe[1]
    assert surface[2] < tpe[2]


@needs_tables
def test_late_jumps_lose_and_steps_do_not(tables):
    _, lines = public_verdicts.claim_table(tables["nats"])
    residual = {line[0]: float(line[2].split()[0]) for line in lines}
    assert residual["late jump"] < -0.2
    assert residual["steps at the strides"] > residual["line"] > residual["late jump"]


@needs_tables
def test_intervals_hold_what_they_say(tables, monkeypatch):
    monkeypatch.setattr(public_verdicts, "REPETITIONS", 8)
    table = tables["mobilenet"]
    _, lines = public_verdicts.coverage_table([(table, 0.5, table.window(0.5))])
    for line in lines:
        assert float(line[2]) > 85
