import dataclasses

import pytest

from rexnet import UserError
from rexnet.budget import Budget, Count, LatencyBudget
from rexnet.search.candidates.protocol import Protocol
from rexnet.search.config import PRESETS, BudgetConfig, SearchConfig

BUDGET = BudgetConfig(params=Count("0.2M"), macs=Count("30M"))


@pytest.mark.parametrize(
    ("preset", "blocks", "params", "macs"),
    [
        ("a", 5, 200_000, 30_000_000),
        ("b", 9, 500_000, 100_000_000),
        ("c", 9, 1_000_000, 200_000_000),
        ("d", 13, 3_000_000, 350_000_000),
    ],
)
def test_a_preset_is_a_row_of_table_3_without_the_classifier(preset, blocks, params, macs):
    config = SearchConfig(preset=preset).resolved()
    assert config.blocks == blocks
    assert config.limits() == Budget(params=params, macs=macs, count_classifier=False)


def test_there_are_no_other_presets():
    assert list(PRESETS) == ["a", "b", "c", "d"]


def test_what_is_given_beside_a_preset_wins():
    budget = BudgetConfig(macs=Count("25M"), count_classifier=True)
    config = SearchConfig(preset="a", blocks=7, budget=budget).resolved()
    assert config.blocks == 7
    assert config.limits() == Budget(params=200_000, macs=25_000_000, count_classifier=True)


def test_without_a_preset_the_classifier_counts_and_there_are_five_blocks():
    config = SearchConfig(budget=BUDGET).resolved()
    assert config.blocks == 5
    assert config.limits() == Budget(params=200_000, macs=30_000_000, count_classifier=True)


def test_resolving_fills_every_default_in_and_is_stable():
    config = SearchConfig(budget=BUDGET).resolved()
    fields = {**vars(config), **vars(config.budget)}
    unset = {name for name, value in fields.items() if value is None}
    assert unset == {
        "preset",
        "network",
        "init",
        "resolution",
        "address",
        "storage",
        "latency",
        "like",
    }
    assert config.workers >= 1
    assert config.resolved() == config


def test_the_protocol_takes_its_settings_from_the_config_and_shares_its_defaults():
    assert SearchConfig().protocol() == Protocol()
    config = SearchConfig(epochs=2, repeats=3, batch_size=16, lr=0.2, seed=4)
    wanted = Protocol(epochs=2, repeats=3, batch_size=16, lr=0.2, seed=4)
    assert config.protocol() == wanted


def test_a_search_without_a_limit_is_refused_with_an_example():
    with pytest.raises(UserError, match=r"needs a limit: --budget.params and .* such as 0.2M"):
        SearchConfig().resolved()


@pytest.mark.parametrize("limits", [{"params": 200_000}, {"macs": 30_000_000}])
def test_a_single_limit_is_one(limits):
    counts = {field: Count(value) for field, value in limits.items()}
    config = SearchConfig(budget=BudgetConfig(**counts)).resolved()
    assert config.limits() == Budget(**limits)
    assert config.resolved() == config


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"network": "mobilenet_v2", "preset": "a"}, "leave out --preset and --blocks"),
        ({"network": "mobilenet_v2", "blocks": 5}, "leave out --preset and --blocks"),
        ({"scale_ends": True}, "--scale_ends needs --network"),
        ({"preset": "a", "budget": BudgetConfig(like="rexnet_0.6")}, "leave out --budget.like"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(settings, reason):
    with pytest.raises(UserError, match=reason):
        SearchConfig(**settings)


def test_a_network_has_its_own_blocks():
    config = SearchConfig(network="mobilenet_v2", budget=BudgetConfig(like="rexnet_0.6"))
    assert config.resolved().blocks is None
    assert config.resolved().limits() == Budget()


@pytest.mark.parametrize(
    ("field", "value", "limit"),
    [
        ("trials", 0, "at least 1"),
        ("trials", -3, "at least 1"),
        ("workers", 0, "from 1 to 1024"),
        ("workers", -1, "from 1 to 1024"),
        ("workers", 5000, "from 1 to 1024"),
        ("resolution", 0, "from 8 to 512"),
        ("resolution", 600, "from 8 to 512"),
        ("blocks", 0, "from 3 to 64"),
        ("blocks", -5, "from 3 to 64"),
        ("blocks", 2, "from 3 to 64"),
        ("blocks", 65, "from 3 to 64"),
        ("epochs", 0, "at least 1"),
        ("repeats", 0, "at least 1"),
        ("batch_size", 1, "at least 2"),
        ("lr", -0.1, "from 0 to"),
        ("seed", -1, "at least 0"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_its_limit(field, value, limit):
    with pytest.raises(UserError, match=rf"^{field} {value} must be {limit}"):
        SearchConfig(budget=BUDGET, **{field: value}).resolved().protocol()


def test_a_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SearchConfig().trials = 3


def test_a_time_and_a_shared_study_do_not_go_together():
    with pytest.raises(UserError, match=r"leave out one of them"):
        SearchConfig(
            budget=BudgetConfig(latency=LatencyBudget("1ms@openvino")), storage="sqlite:///s.db"
        )
