import numpy as np
import pytest
from one_by_one import train_here

from rexnet import UserError, families, runs
from rexnet.budget import Count
from rexnet.cli import main as cli
from rexnet.cost import count
from rexnet.data.in_memory import load
from rexnet.paper import TABLE_2
from rexnet.studies import factors
from rexnet.studies.config import FactorStudy
from rexnet.studies.factors import summarise


def row(network, top1, norm, seed=0):
    cost = {"macs": 5, "params": 7}
    return {"network": network, "seed": seed, "top1": top1, "nuclear_norm": norm, **cost}


@pytest.mark.parametrize("name", TABLE_2)
def test_a_network_has_the_macs_of_table_2(name):
    published = Count(TABLE_2[name].macs)
    assert count(families.factors(name)).macs == pytest.approx(published, rel=0.021)


def test_each_network_has_one_rule_more():
    of = {name: families.factors(name) for name in families.FACTORS}
    assert list(of) == list(TABLE_2)
    assert [spec.blocks[0].expansion for spec in of.values()] == [20, 6, 6, 6]
    for name, spec in of.items():
        for width_in, block in zip(spec.widths_in, spec.blocks, strict=True):
            wanted = 0.22 if name in ("baseline", "expansion") else 0.8
            assert width_in / block.width == pytest.approx(wanted, abs=0.005)
            assert block.expand_act == ("silu" if name == "silu" else "relu6")
            assert block.depthwise_act == "relu6"


def test_the_papers_own_numbers_make_its_table():
    rows = [row(name, top1 / 100, norm) for name, (top1, norm, _) in TABLE_2.items()]
    for line in summarise(rows):
        assert line["top1"] == pytest.approx(line["paper_top1"])
        assert line["nuclear_norm"] == line["paper_nuclear_norm"]
        assert line["gain"] == line["paper_gain"]
        assert line["top1_stderr"] is None


def test_a_line_has_means_and_errors_over_seeds():
    rows = [row(name, 0.5, 8, seed=0) for name in TABLE_2]
    rows += [row(name, 0.52, 10 + place, seed=1) for place, name in enumerate(TABLE_2)]
    baseline, *_, silu = summarise(rows)
    assert baseline["seeds"] == silu["seeds"] == 2
    assert (baseline["top1"], baseline["top1_stderr"]) == pytest.approx((51, 1))
    assert (silu["nuclear_norm"], silu["nuclear_norm_stderr"]) == pytest.approx((10.5, 2.5))
    assert silu["gain"] == pytest.approx(10.5 / 9)


def test_the_study_trains_looks_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    images = load("sample")
    np.savez("few.npz", images=images.images[:80], labels=images.labels[:80])
    settings = ("epochs=1", "batch_size=32", "resolution=8")
    config = FactorStudy(data="few.npz", seeds=1, out="F", device="cpu", set=settings)
    told = []
    table = factors.run(config, told.append, train_here)
    assert [progress.words for progress in told][-5:] == [
        "4/4 trainings, time left 0:00",
        *(f"{number}/4 networks looked at" for number in range(1, 5)),
    ]
    assert table == runs.read_json(tmp_path / "F" / "table.json")["table"]
    rows = runs.read_jsonl(tmp_path / "F" / "trainings.jsonl")
    assert [found["network"] for found in rows] == list(TABLE_2)
    for found in rows:
        (*_, final) = runs.read_jsonl(tmp_path / "F" / f"{found['network']}-0/rank/blocks.jsonl")
        assert found["nuclear_norm"] == final["nuclear_norm"] > 0
        assert 1 <= found["effective_rank"] <= found["num_images"]
    command = ["study", "factors", "--data", "few.npz", "--seeds", "1", "--out", "F"]
    assert cli.main([*command, "--device", "cpu", "--set", *settings]) == 0
    out = capsys.readouterr().out
    for words in ("baseline", "54.6", "6895.9", "4/4 networks looked at"):
        assert words in out
    before = {path: path.read_bytes() for path in (tmp_path / "F").rglob("*.json*")}
    assert cli.main([*command, "--device", "cpu", "--set", *settings, "epochs=2"]) == 2
    error = capsys.readouterr().err
    assert "F holds a study of factors of another configuration: recipe.epochs is 1" in error
    assert {path: path.read_bytes() for path in (tmp_path / "F").rglob("*.json*")} == before
    (tmp_path / "F/silu-0/rank/blocks.jsonl").write_text('{"images": 7}\n', encoding="utf-8")
    with pytest.raises(UserError, match="F/silu-0/rank is of 7 images, not of 10; remove it"):
        factors.run(config, told.append)
