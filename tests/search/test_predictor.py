import json

import pytest
from clocks import ToyClock
from toys import SPACE

from rexnet import UserError
from rexnet.search.predictor import check_device, read_predictor, write_predictor
from rexnet.search.space import sample


def test_a_predictor_is_read_back_as_it_was_written(tmp_path):
    predictor = ToyClock().calibrate(sample(SPACE, 8))
    write_predictor(tmp_path, predictor)
    again = read_predictor(tmp_path)
    assert again == predictor
    assert again.digest == predictor.digest


@pytest.mark.parametrize("content", ["{", "[]", "{}", json.dumps({"device": {}, "costs": 3})])
def test_a_damaged_predictor_is_named(content, tmp_path):
    path = tmp_path / "latency.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"latency\.json is damaged"):
        read_predictor(tmp_path)


def test_times_of_another_device_are_refused_by_what_differs(tmp_path):
    check_device(tmp_path, {"threads": 2}, {"threads": 2})
    with pytest.raises(UserError, match="are of another device: threads is 2, not 1"):
        check_device(tmp_path, {"threads": 2}, {"threads": 1})
