import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexnet import UserError
from rexnet.search.candidates import protocol as protocols
from rexnet.search.candidates.protocol import Protocol

OTHER = {
    "epochs": 31,
    "batch_size": 65,
    "lr": 0.11,
    "momentum": 0.8,
    "weight_decay": 1e-4,
    "warmup": 0.3,
    "label_smoothing": 0.1,
    "schedule": "linear",
    "flips": "alternating",
    "norm_bias_lr": 8.0,
    "average": 0.99,
    "views": 2,
    "repeats": 2,
    "seed": 1,
    "init": "0123456789abcdef",
}

GOLDEN_ID = "752b2167169c"


def by_hand(protocol, step, steps):
    """Return the learning rate of the docstring: a linear rise, then a falling half cosine."""
    rise = protocol.warmup * steps
    if step < rise:
        return protocol.lr * (step + 1) / math.ceil(rise)
    return protocol.lr * math.cos(math.pi * (step - rise) / (steps - rise) / 2) ** 2


@settings(deadline=None, max_examples=100)
@given(st.floats(1e-4, 10), st.floats(0, 0.99), st.integers(1, 500))
def test_the_learning_rate_rises_to_its_peak_and_falls_as_a_cosine(lr, warmup, steps):
    protocol = Protocol(lr=lr, warmup=warmup)
    rates = [protocol.lr_at(step, steps) for step in range(steps)]
    wanted = [by_hand(protocol, step, steps) for step in range(steps)]
    np.testing.assert_allclose(rates, wanted, rtol=1e-9, atol=1e-12 * lr)
    assert all(0 < rate <= lr * (1 + 1e-12) for rate in rates)
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_learning_rates_of_ten_steps():
    rates = [Protocol(lr=1.0, warmup=0.2).lr_at(step, 10) for step in range(10)]
    falling = [(1 + math.cos(math.pi * index / 8)) / 2 for index in range(8)]
    np.testing.assert_allclose(rates, [0.5, 1.0, *falling])


def test_without_warmup_the_first_step_has_the_peak():
    assert Protocol(lr=0.3, warmup=0.0).lr_at(0, 7) == 0.3


def test_the_id_changes_with_every_setting_and_with_nothing_else():
    assert set(OTHER) == {field.name for field in dataclasses.fields(Protocol)}
    ids = {Protocol(**{field: value}).protocol_id for field, value in OTHER.items()}
    assert len({*ids, Protocol().protocol_id}) == len(OTHER) + 1
    assert Protocol(**OTHER).protocol_id == Protocol(**OTHER).protocol_id
    assert all(len(name) == 12 and int(name, 16) >= 0 for name in ids)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 1),
        ("repeats", 0),
        ("seed", -1),
        ("seed", 2**64),
        ("lr", -0.1),
        ("lr", 1e6),
        ("lr", math.nan),
        ("weight_decay", -1e-4),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("warmup", 1.0),
        ("label_smoothing", 1.0),
    ],
)
def test_a_setting_out_of_range_is_refused_with_its_limit(field, value):
    with pytest.raises(UserError, match=rf"^{field} {value} must be (at least|from)"):
        Protocol(**{field: value})


def test_reading_the_protocol_needs_no_torch():
    assert "torch" not in vars(protocols)


def test_new_weights_leave_the_id_what_it_was_before_there_were_others():
    assert "init" not in Protocol().identity
    assert Protocol().protocol_id == GOLDEN_ID
    assert Protocol(init="0123456789abcdef").identity["init"] == "0123456789abcdef"


def test_a_linear_schedule_falls_by_the_same_every_step():
    protocol = Protocol(lr=1.0, warmup=0.2, schedule="linear")
    rates = [protocol.lr_at(step, 10) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert np.diff(rates[2:]) == pytest.approx([-1 / 8] * 7)


@pytest.mark.parametrize("field", ["schedule", "flips", "norm_bias_lr", "average", "views"])
def test_settings_that_came_later_leave_the_ids_of_earlier_searches(field):
    assert field not in Protocol().identity
    changed = dataclasses.replace(Protocol(), **{field: OTHER[field]})
    assert changed.identity[field] == OTHER[field]


@pytest.mark.parametrize("change", [{"views": 3}, {"average": 1.0}, {"norm_bias_lr": -1.0}])
def test_settings_that_came_later_have_limits(change):
    with pytest.raises(UserError, match=next(iter(change))):
        Protocol(**change)
