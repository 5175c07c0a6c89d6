import pytest

from rexnet import cost, families
from rexnet.deploy.published import A1, milliseconds, ratio

EXCEPTIONS = {("rexnet_1.5", "macs"): "0.88", ("rexnet_3.0", "params"): "35"}
"""What our counts round to where the table has another number: a slip, and one cut off."""


@pytest.mark.parametrize("name", A1)
@pytest.mark.parametrize(("field", "unit"), [("macs", 1e9), ("params", 1e6)])
def test_our_counts_round_to_the_published(name, field, unit):
    printed = getattr(A1[name], field)[:-1]
    decimals = len(printed.partition(".")[2])
    ours = f"{getattr(cost.count(families.get(name)), field) / unit:.{decimals}f}"
    assert ours == EXCEPTIONS.get((name, field), printed)


def test_the_table_has_all_networks_at_the_paper_s_resolution():
    assert next(iter(A1)) == "rexnet_plain"
    assert set(A1) <= set(families.names())
    assert {families.get(name).resolution for name in A1} == {224}
    assert [A1[name].top1 for name in A1] == sorted(row.top1 for row in A1.values())


def test_published_times_are_those_of_the_device():
    assert milliseconds("rexnet_plain", "cpu") == 22
    assert milliseconds("rexnet_plain", "cuda") == 10
    assert ratio("rexnet_1.0", "cpu") == 1
    assert ratio("rexnet_3.0", "cuda") == 61 / 21
    assert milliseconds("mobilenet_v2", "cpu") is ratio("mobilenet_v2", "cpu") is None
