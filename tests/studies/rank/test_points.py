import json

import pytest

from rexnet import UserError, runs
from rexnet.studies.rank import points
from rexnet.studies.rank.config import FITTED, RankStudy
from rexnet.studies.rank.points import Point, rank


def config(**changes):
    small = {
        "architectures": ("pointwise", "depthwise"),
        "functions": ("linear", "relu", "silu"),
        "ratios": (0.25, 1.0),
        "networks": 6,
        "widths": (16, 24),
        "parallel": 2,
    }
    return RankStudy(**(small | changes))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_study_is_the_same_again_and_goes_on_where_it_stopped(here):
    shares = []
    rows = points.run(config(out="one"), lambda progress: shares.append(progress.share))
    assert shares[-1] == 1
    assert len(rows) == 2 * 3 * 2
    assert runs.read_jsonl(here / "one" / "points.jsonl") == rows
    points.run(config(out="two"), lambda progress: None)
    assert (here / "two" / "points.jsonl").read_bytes() == (
        here / "one" / "points.jsonl"
    ).read_bytes()
    # A point that is left out is counted again, the others are not.
    marked = here / "one" / "points" / "pointwise-1" / "result.json"
    kept = json.loads(marked.read_text())
    kept[0]["mean"] = 0.125
    marked.write_text(json.dumps(kept))
    (here / "one" / "points" / "depthwise-1" / "result.json").unlink()
    again = points.run(config(out="one"), lambda progress: None)
    changed = [new for new, old in zip(again, rows, strict=True) if new != old]
    assert [row["mean"] for row in changed] == [0.125]


def test_a_line_has_the_mean_and_its_standard_error(here):
    rows = points.run(
        config(architectures=("pointwise",), functions=("relu",), ratios=(0.5,)), lambda p: None
    )
    (row,) = rows
    point = Point.of(config(functions=("relu",)), "pointwise", 0.5)
    ratios = [rank(point, "relu", n) / points.drawn(point, n)[1] for n in range(6)]
    mean = sum(ratios) / 6
    variance = sum((ratio - mean) ** 2 for ratio in ratios) / 5
    assert row["mean"] == pytest.approx(mean)
    assert row["stderr"] == pytest.approx((variance / 6) ** 0.5)
    assert row["tolerance"] == FITTED["pointwise"].tolerance


def test_a_linear_layer_has_the_rank_of_its_input():
    point = Point.of(RankStudy(tolerance=1e-4, widths=(40, 60)), "pointwise", 0.5)
    for number in range(5):
        width_in, _, _ = points.drawn(point, number)
        assert rank(point, "linear", number) == width_in


def test_functions_expand_the_rank_of_narrow_inputs():
    point = Point.of(RankStudy(), "pointwise", 0.1)
    linear, relu, silu = (
        sum(rank(point, name, number) for number in range(10))
        for name in ("linear", "relu", "silu")
    )
    assert linear < relu < silu


def test_another_study_in_the_folder_is_refused(here):
    points.run(config(ratios=(1.0,), out="one"), lambda progress: None)
    before = (here / "one" / "points.jsonl").read_bytes()
    with pytest.raises(UserError, match="rank study of another configuration: seed is 0, not 1"):
        points.run(config(ratios=(1.0,), out="one", seed=1), lambda progress: None)
    assert (here / "one" / "points.jsonl").read_bytes() == before
