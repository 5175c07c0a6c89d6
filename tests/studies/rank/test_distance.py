import pytest

from rexnet.paper import FIGURE_1
from rexnet.studies.rank.distance import distance, order


def test_distance_and_order_are_those_of_the_values_read():
    rows = [
        {"architecture": "pointwise", "function": name, "ratio": ratio, "mean": value}
        for name, values in FIGURE_1["pointwise"].items()
        for ratio, value in values.items()
    ]
    assert distance(rows) == 0
    right, pairs = order(rows)
    assert right == pairs > 60
    moved = [row | {"mean": row["mean"] + 0.01} for row in rows]
    assert distance(moved) == pytest.approx(0.01)
    assert order(moved) == (right, pairs)
    turned = [row | {"mean": -row["mean"]} for row in rows]
    assert order(turned) == (0, pairs)
    assert distance([row | {"ratio": 0.3} for row in rows]) is None
