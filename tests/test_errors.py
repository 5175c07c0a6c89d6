import math
from types import SimpleNamespace

import pytest

from rexnet.errors import NotKept, UserError, check_range, check_ranges, closest, not_lost


def test_what_cannot_be_written_is_at_hand_yet():
    with pytest.raises(NotKept, match=r"^no room$") as error, not_lost([1, 2]):
        raise UserError("no room")
    assert error.value.result == [1, 2]
    with not_lost(3):
        pass


@pytest.mark.parametrize("value", [0, 0.5, 2, None])
def test_what_is_in_range_or_not_given_passes(value):
    check_range("lr", value, 0, 2)


@pytest.mark.parametrize("value", [-1e-9, 2.1, math.inf, math.nan])
def test_what_is_out_of_range_is_named_with_the_limits(value):
    with pytest.raises(UserError, match=f"^lr {value} must be from 0 to 2$"):
        check_range("lr", value, 0, 2)


def test_the_first_field_out_of_range_is_named_as_its_limit_is_written():
    config = SimpleNamespace(rounds=1, images=10**6, seed=-1)
    with pytest.raises(UserError, match=r"^images 1000000 must be from 1 to 100,000$"):
        check_ranges(config, rounds=(1, 9), images=(1, 10**5, "100,000"), seed=(0, 9))


def test_the_nearest_word_is_offered():
    assert closest("rexnet_1.O", ["rexnet_1.0", "other"]) == " (did you mean rexnet_1.0?)"
    assert closest("x", ["rexnet_1.0"]) == ""
