import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexnet import UserError
from rexnet.budget import Budget, Count, LatencyBudget


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


@pytest.mark.parametrize("field", ["params", "macs"])
@pytest.mark.parametrize("value", [0, -5])
def test_a_budget_must_be_positive(field, value):
    with pytest.raises(UserError, match=rf"budget\.{field} {value} must be at least 1"):
        Budget(**({"params": 10, "macs": 10} | {field: value}))


@pytest.mark.parametrize(
    ("text", "milliseconds", "runtime", "plain"),
    [
        ("20ms@openvino", 20, "openvino", "20ms@openvino"),
        (" 1.50 ms@onnxruntime ", 1.5, "onnxruntime", "1.5ms@onnxruntime"),
        (".01ms@openvino", 0.01, "openvino", "0.01ms@openvino"),
        ("10000ms@openvino", 10_000, "openvino", "10000ms@openvino"),
    ],
)
def test_a_budget_is_a_time_and_a_runtime(text, milliseconds, runtime, plain):
    budget = LatencyBudget(text)
    assert (budget.milliseconds, budget.runtime) == (milliseconds, runtime)
    assert budget == plain
    assert LatencyBudget(budget) == budget


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("20ms", "'20ms' is no latency: give a time and a runtime: 20ms@openvino"),
        ("20@openvino", "is no latency"),
        ("-1ms@openvino", "is no latency"),
        ("nanms@openvino", "is no latency"),
        ("1.2.3ms@openvino", "is no latency"),
        (".ms@openvino", "is no latency"),
        ("", "'' is no latency"),
        (
            "20ms@openvin",
            r"unknown runtime 'openvin' of .* \(did you mean openvino\?\)",
        ),
        ("0.009ms@openvino", "must be from 0.01 to 10,000 ms"),
        ("10001ms@openvino", "must be from 0.01 to 10,000 ms"),
    ],
)
def test_another_budget_is_refused_in_one_line(text, reason):
    with pytest.raises(UserError, match=reason) as refusal:
        LatencyBudget(text)
    assert "\n" not in str(refusal.value)
