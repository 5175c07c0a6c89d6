import claim
import claim_tables
import numpy as np
import pytest
import toys

from rexnet import runs
from rexnet.budget import Budget
from rexnet.data.in_memory import load
from rexnet.design import priced
from rexnet.runs import processes
from rexnet.search.candidates.outcomes import packed, unpacked

BUDGET = Budget(params=200_000, macs=30_000_000, count_classifier=False)


def row(network, seed, right):
    return {
        "network": network,
        "widths": [8, 9],
        "params": 100,
        "macs": 10**6,
        "seed": seed,
        "top1": float(np.mean(right)),
        "top5": 0.9,
        "loss": 1.0,
        "right": packed(np.array(right, bool)),
    }


@pytest.fixture
def eight(monkeypatch):
    """Let there be eight test images."""
    monkeypatch.setattr(claim_tables, "NUM_IMAGES", 8)


def test_the_networks_have_one_cost_and_the_shapes_that_they_are_called_by():
    networks = claim.claimed(100)
    assert len({spec.widths for spec in networks.values()}) == 6
    for name in ("line", "stage-wise", "late jump", "early jump"):
        proposal = priced(networks[name], BUDGET)
        assert proposal.inside(BUDGET)
        assert proposal.fills(BUDGET)
    jumps = {name: np.flatnonzero(np.diff(networks[name].widths)) for name in claim.JUMPS}
    assert {name: list(where) for name, where in jumps.items()} == {
        "late jump": [2],
        "early jump": [0],
    }
    assert networks["Table 3, best"].widths == (34, 34, 45, 55, 66)


def test_trainings_are_lines_that_are_not_repeated(tmp_path, monkeypatch):
    sample = load("sample")
    (tmp_path / "data").mkdir()
    for part, images in (("train", slice(0, 24)), ("test", slice(4000, 4010))):
        np.savez(
            tmp_path / "data" / f"cifar10-{part}.npz",
            images=sample.images[images, ::4, ::4],
            labels=np.arange(len(sample.labels[images])) % 10,
            classes=np.array(sample.classes),
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(processes, "start", toys.start_here)
    monkeypatch.setattr("os.nice", lambda value: value)
    options = "--data cifar10 --out C --seeds 1 --workers 2 --results . --set epochs=1 batch_size=8"
    monkeypatch.setattr("sys.argv", ["claim.py", *options.split(), "warmup_epochs=0"])
    claim.main()
    rows = runs.read_jsonl(tmp_path / "claim_cifar10.jsonl")
    assert {row["network"] for row in rows} == set(claim.claimed(10))
    for line in rows:
        result = runs.read_json(tmp_path / "C" / f"{line['network']}-0" / "result.json")
        right = unpacked(line["right"], 10)
        assert right.mean() == pytest.approx(line["top1"]) == pytest.approx(result["top1"])
        assert line["loss"] == pytest.approx(result["loss"], rel=1e-3)
        assert line["num_train"] == 24
    claim.main()
    assert runs.read_jsonl(tmp_path / "claim_cifar10.jsonl") == rows


@pytest.mark.usefixtures("eight")
def test_differences_are_those_of_the_same_seeds():
    rows = [
        row("line", 0, [1, 1, 1, 1, 0, 0, 0, 0]),
        row("line", 1, [1, 1, 1, 1, 1, 0, 0, 0]),
        row("line", 2, [1] * 8),
        row("stage-wise", 1, [1, 1, 1, 0, 0, 0, 0, 0]),
        row("stage-wise", 0, [1, 1, 1, 0, 0, 0, 0, 0]),
    ]
    _, (found,) = claim_tables.differences_table(rows)
    # 12.5 and 25 points; the interval of two values is wide.
    assert found[:2] == ["line - stage-wise", "+18.75"]
    assert found[4:] == ["2", "cannot tell yet"]
    header, networks = claim_tables.networks_table(rows)
    assert [cells[0] for cells in networks] == ["line", "stage-wise"]
    assert networks[1][header.index("sd")] == "0.00"


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        (None, "cannot tell yet"),
        ((-0.1, 0.2), "cannot tell yet"),
        ((0.1, 0.2), "shows"),
        ((-0.2, -0.1), "does not show: the other way round"),
    ],
)
def test_a_verdict_follows_from_the_interval(interval, words):
    assert claim_tables.verdict(interval) == words


def test_halves_agree_where_networks_differ_and_do_not_where_they_are_alike():
    generator = np.random.default_rng(0)
    levels = np.linspace(0.2, 0.8, 6)[:, None]
    apart = (generator.random((6, 2000)) < levels).astype(float)
    alike = (generator.random((6, 2000)) < 0.5).astype(float)
    assert np.median(claim_tables.split_half(apart)) > 0.99
    assert np.median(claim_tables.split_half(alike)) < 0.9
