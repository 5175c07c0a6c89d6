import pytest

from rexnet import UserError
from rexnet.studies.rank.config import RankStudy


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("architectures", ("dense",), "'dense' .did you mean depthwise.. is not one of"),
        ("functions", ("relu", "relu"), "functions must be different"),
        ("functions", ("silo",), r"did you mean silu\?"),
        ("ratios", (2.0,), "must be from 0.05 to 1"),
        ("networks", 0, "networks 0 must be from 1 to 100,000"),
        ("samples", 0.5, "samples 0.5 must be above 1"),
        ("tolerance", 2.0, "tolerance 2.0 must be"),
        ("expansion", 99, "expansion 99 must be from 1 to 16"),
        ("widths", (64, 32), "widths 64 to 32 must rise"),
        ("seed", -1, "seed -1 must be"),
        ("out", "", "--out must be a path"),
    ],
)
def test_a_wrong_option_is_told(field, value, message):
    with pytest.raises(UserError, match=message):
        RankStudy(**{field: value})
