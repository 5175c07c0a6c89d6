import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexnet import UserError
from rexnet.design import Budget
from rexnet.search.candidates.protocol import Protocol
from rexnet.search.config import PRESETS, BudgetConfig, Count, SearchConfig

BUDGET = BudgetConfig(params=Count("0.2M"), macs=Count("30M"))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("200000", 200_000),
        ("0.2M", 200_000),
        ("30M", 30_000_000),
        ("30m", 30_000_000),
        ("1.5B", 1_500_000_000),
        ("1.5G", 1_500_000_000),
        ("12k", 12_000),
        (" 4.8 M ", 4_800_000),
        ("2e5", 200_000),
        ("+7", 7),
        ("1", 1),
        (0.3e6, 300_000),
        (80_000, 80_000),
    ],
)
def test_counts_are_read_with_and_without_units(text, count):
    assert Count(text) == count
    assert isinstance(Count(text), int)


@given(st.integers(1, 10**15))
def test_a_whole_number_reads_back_as_itself(number):
    assert Count(str(number)) == Count(number) == Count(Count(number)) == number


@pytest.mark.parametrize("unit", ["", "k", "M", "B"])
@given(st.integers(10**6, 10**9))
def test_a_unit_multiplies(unit, number):
    factor = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9}[unit]
    assert Count(f"{number / 1000:.3f}{unit}") == pytest.approx(number * factor / 1000, abs=0.5)


@pytest.mark.parametrize(
    "text",
    ["", "-1", "-0.2M", "0", "0.0M", "0.4", "M", "1 2", "1.2.3", "1,5M", "1T", "1e30", "nan", "²"],
)
def test_what_is_no_count_above_0_is_refused_with_an_example(text):
    with pytest.raises(UserError) as error:
        Count(text)
    assert str(error.value).startswith(f"{text!r} is no count")
    assert "such as 0.2M" in str(error.value)


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
    assert unset == {"preset", "resolution", "address", "storage", "latency"}
    assert config.workers >= 1
    assert config.resolved() == config


def test_the_protocol_takes_its_settings_from_the_config_and_shares_its_defaults():
    assert SearchConfig().protocol() == Protocol()
    config = SearchConfig(epochs=2, repeats=3, batch_size=16, lr=0.2, seed=4)
    wanted = Protocol(epochs=2, repeats=3, batch_size=16, lr=0.2, seed=4)
    assert config.protocol() == wanted


@pytest.mark.parametrize(
    "budget",
    [
        BudgetConfig(),
        BudgetConfig(params=Count("0.2M")),
        BudgetConfig(macs=Count("30M")),
    ],
)
def test_a_search_without_both_limits_is_refused_with_an_example(budget):
    with pytest.raises(UserError, match=r"needs --budget.params and --budget.macs, such as 0.2M"):
        SearchConfig(budget=budget).resolved()


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
